import { setTimeout as sleep } from 'node:timers/promises'
import { createDatabase, type TemporaryDatabase } from '@pgq/test-db'
import pg from 'pg'
import { now } from './clock.js'
import type { Tick, WorkOrder } from './load.js'
import { LoadProcess } from './load-process.js'
import { Meter, type Reading } from './meter.js'
import type { Servers } from './servers.js'
import { type SystemName, systemEntry } from './systems/index.js'
import type { Place } from './systems/system.js'

/** How long anything may take until what was reached counts, ms. */
const LIMIT_MS = 15_000

/** What was reached at one moment, by all measured processes together. */
export type Sample = Reading & Pick<Tick, 'at' | 'runs' | 'enqueued' | 'cpuUs'>

/** One run of one system: a fresh database, its processes, and what they use. */
export class Stage {
  readonly #processes: LoadProcess[] = []

  private constructor(
    readonly system: SystemName,
    readonly place: Place,
    readonly meter: Meter,
    /** A process to prepare, to fill and to ask, which is not measured. */
    readonly assistant: LoadProcess,
    private readonly database: TemporaryDatabase,
    private readonly fromSources: boolean,
  ) {}

  static async set(servers: Servers, system: SystemName, fromSources = false): Promise<Stage> {
    const isRedis = systemEntry(system).store === 'redis'
    await runOn(servers.postgresUrl, 'checkpoint')
    const database = await createDatabase(servers.postgresUrl)
    const place = { postgresUrl: database.url, redisUrl: servers.redis?.url }
    const meter = new Meter(servers.postgresUrl, database.name, isRedis ? servers.redis?.pid : undefined)
    await meter.open()
    const assistant = new LoadProcess(system, place, fromSources)
    const stage = new Stage(system, place, meter, assistant, database, fromSources)
    stage.#processes.push(assistant)
    await assistant.call('open', { system, place })
    await assistant.call('prepare')
    return stage
  }

  /** One more process of the load. */
  async process(): Promise<LoadProcess> {
    const load = new LoadProcess(this.system, this.place, this.fromSources)
    this.#processes.push(load)
    await load.call('open', { system: this.system, place: this.place })
    return load
  }

  processes(count: number): Promise<LoadProcess[]> {
    return Promise.all(Array.from({ length: count }, () => this.process()))
  }

  /** Worker processes, at work. */
  async workers(count: number, order: WorkOrder = {}): Promise<LoadProcess[]> {
    const workers = await this.processes(count)
    await Promise.all(workers.map((worker) => worker.call('work', order)))
    return workers
  }

  /** Statistics as autovacuum would soon have made them: a backlog does not come in one second. */
  analyze = (): Promise<void> => runOn(this.place.postgresUrl, 'analyze')

  query = (sql: string): Promise<void> => runOn(this.place.postgresUrl, `/* bench */ ${sql}`)

  async sample(measured: readonly LoadProcess[]): Promise<Sample> {
    const reading = await this.meter.read()
    const total = (field: 'runs' | 'enqueued' | 'cpuUs') => measured.reduce((sum, { last }) => sum + last[field], 0)
    const at = Math.max(...measured.map(({ last }) => last.at))
    return { ...reading, at, runs: total('runs'), enqueued: total('enqueued'), cpuUs: total('cpuUs') }
  }

  /** A sample as soon as the processes have begun so many runs together, or at the time limit. */
  async reached(measured: readonly LoadProcess[], runs: number, limitMs = LIMIT_MS): Promise<Sample> {
    const total = () => measured.reduce((sum, { last }) => sum + last.runs, 0)
    await this.#until(measured, () => total() >= runs, limitMs)
    return this.sample(measured)
  }

  /** Where one process was when it had begun so many runs: to the run, when that was one of its marks. */
  async tickAt(measured: LoadProcess, runs: number, limitMs = LIMIT_MS): Promise<Tick> {
    await this.#until([measured], () => measured.last.runs >= runs, limitMs)
    return measured.last
  }

  #until(measured: readonly LoadProcess[], isReached: () => boolean, limitMs: number): Promise<void> {
    if (isReached()) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(end, limitMs)
      function look() {
        if (isReached()) end()
      }
      function end() {
        clearTimeout(timer)
        for (const each of measured) each.off('tick', look)
        resolve()
      }
      for (const each of measured) each.on('tick', look)
    })
  }

  /** Waits until every job is durably finished, at most for a second. Answers when that was, by the clock of the ticks. */
  async finished(): Promise<number> {
    const end = now() + 1_000
    while ((await this.assistant.call('unfinished')) && now() < end) await sleep(1)
    return now()
  }

  async clear(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.kill()))
    await this.meter.close()
    await this.database.drop()
  }
}

async function runOn(url: string, sql: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  await client.query(sql)
  await client.end()
}
