// Every scenario runs with pgq, so that none of them rots. What it measures is of no interest here.
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { type PostgresServer, startPostgres } from '@pgq/test-db'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bench } from '../src/bench.js'
import { Load, type LoadOrder } from '../src/load.js'
import { LoadHandle, LoadProcess } from '../src/load-process.js'
import type { Run } from '../src/report.js'
import { scenarios } from '../src/scenarios/index.js'
import { COSTS, RATE, type Scenario } from '../src/scenarios/scenario.js'
import type { SystemName } from '../src/systems/index.js'

const SCALE = 0.005

/** A load in this process: a new one takes a second to start. */
class LocalLoad extends LoadHandle {
  readonly #load: Load

  constructor(order: LoadOrder) {
    super()
    this.#load = new Load(order, (tick) => this.ticked(tick))
  }

  call: LoadHandle['call'] = (name, ...order) => (this.#load[name] as any)(...order)
  end = () => this.#load.close()
}

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({ fast: true, settings: { shared_preload_libraries: 'pg_stat_statements' } })
})
afterAll(() => server.stop('immediate'))

async function run(
  scenario: Scenario,
  system: SystemName,
  startLoad = (order: LoadOrder): LoadHandle => new LocalLoad(order),
) {
  const servers = { postgresUrl: server.url, redis: undefined, stop: async () => {} }
  const figures: Run['figures'][] = []
  const plan = { scenarios: [scenario], systems: [system], repetitions: 1, scale: SCALE, startLoad }
  for await (const { figures: measured } of bench(servers, plan)) figures.push(measured)
  expect(figures).toHaveLength(1)
  return figures[0]!
}

describe('pgq measures', () => {
  for (const scenario of scenarios) {
    test(scenario.name, async () => {
      const figures = await run(scenario, 'pgq')
      for (const { key } of scenario.columns) {
        // So few jobs may be over before the server can be asked.
        if (figures[key] === undefined && [RATE, ...COSTS].some((cost) => cost.key === key)) continue
        expect(figures[key], key).toBeTypeOf('number')
        expect(figures[key], key).toBeGreaterThanOrEqual(0)
      }
      // These find what they count by a name of pgq's own: of the claim, and of the channel.
      for (const key of ['rate', 'claims', 'wakes'] as const)
        if (figures[key] !== undefined) expect(figures[key], key).toBeGreaterThan(0)
    })
  }
})

test('the hand-written queue is measured beside it', async () => {
  const drain = scenarios.find(({ name }) => name === 'drain/transactional/1')!
  expect((await run(drain, 'sql')).rate).toBeGreaterThan(0)
})

test('a load runs in a process of its own', async () => {
  const program = join(import.meta.dirname, '../src/load-program.ts')
  const root = join(import.meta.dirname, '../../..')
  const env = { ...process.env, TSX_TSCONFIG_PATH: join(root, 'tsconfig.json') }
  const start = (args: string[]) => fork(program, args, { execArgv: ['--import', 'tsx'], env })
  const load = scenarios.find(({ name }) => name === 'enqueue/10')!
  expect((await run(load, 'pgq', (order) => new LoadProcess(order, start))).rate).toBeGreaterThan(0)
})
