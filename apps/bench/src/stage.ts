import { setTimeout as sleep } from 'node:timers/promises'
import { createDatabase, type TemporaryDatabase } from '@pgq/test-db'
import pg from 'pg'
import { now } from './clock.js'
import type { Tick, WorkOrder } from './load.js'
import { type LoadHandle, type StartLoad, startBuiltLoad } from './load-process.js'
import { Meter, type Reading } from './meter.js'
import type { Servers } from './servers.js'
import { type SystemName, systemEntry } from './systems/index.js'
import type { Place } from './systems/system.js'

/** How long anything may take until what was reached counts, ms. */
const LIMIT_MS = 10_000

type Progress = Pick<Tick, 'at' | 'runs' | 'enqueued' | 'cpuUs'>

/** What was reached at one moment by all measured processes together, and what their server had used just after it. */
export interface Sample extends Reading, Progress {
  /** How far they were when the server was read. */
  readonly whenRead: Progress
}

/** One run of one system: a fresh database, its processes, and what they use. */
export class Stage {
  readonly #processes: LoadHandle[] = []

  private constructor(
    readonly system: SystemName,
    readonly place: Place,
    readonly meter: Meter,
    private readonly database: TemporaryDatabase,
    private readonly startLoad: StartLoad,
  ) {}

  static async set(servers: Servers, system: SystemName, startLoad: StartLoad = startBuiltLoad): Promise<Stage> {
    const isRedis = systemEntry(system).store === 'redis'
    await runOn(servers.postgresUrl, 'checkpoint')
    const database = await createDatabase(servers.postgresUrl)
    const place = { postgresUrl: database.url, redisUrl: servers.redis?.url }
    const meter = new Meter(servers.postgresUrl, database.name, isRedis ? servers.redis?.pid : undefined)
    await meter.open()
    const stage = new Stage(system, place, meter, database, startLoad)
    const assistant = await stage.process()
    await assistant.call('prepare')
    return stage
  }

  /** A process to prepare, to fill and to ask, which is not measured. */
  get assistant(): LoadHandle {
    return this.#processes[0]!
  }

  /** One more process of the load. */
  async process(): Promise<LoadHandle> {
    const load = this.startLoad({ system: this.system, place: this.place })
    this.#processes.push(load)
    await load.call('ready')
    return load
  }

  processes(count: number): Promise<LoadHandle[]> {
    return Promise.all(Array.from({ length: count }, () => this.process()))
  }

  /** Worker processes, at work. */
  async workers(count: number, order: WorkOrder = {}): Promise<LoadHandle[]> {
    const workers = await this.processes(count)
    await Promise.all(workers.map((worker) => worker.call('work', order)))
    return workers
  }

  /** Statistics as autovacuum would soon have made them: a backlog does not come in one second. */
  analyze = (): Promise<void> => runOn(this.place.postgresUrl, 'analyze')

  query = (sql: string): Promise<void> => runOn(this.place.postgresUrl, `/* bench */ ${sql}`)

  async sample(measured: readonly LoadHandle[]): Promise<Sample> {
    const reached = progressOf(measured)
    const reading = await this.meter.read()
    return { ...reading, ...reached, whenRead: progressOf(measured) }
  }

  /** A sample as soon as the processes have begun so many runs together, or at the time limit. */
  async reached(measured: readonly LoadHandle[], runs: number, limitMs = LIMIT_MS): Promise<Sample> {
    const total = () => measured.reduce((sum, { last }) => sum + last.runs, 0)
    await this.#until(measured, () => total() >= runs, limitMs)
    return this.sample(measured)
  }

  /** Where one process was when it had begun so many runs: to the run, when that was one of its marks. */
  async tickAt(measured: LoadHandle, runs: number, limitMs = LIMIT_MS): Promise<Tick> {
    await this.#until([measured], () => measured.last.runs >= runs, limitMs)
    return measured.last
  }

  #until(measured: readonly LoadHandle[], isReached: () => boolean, limitMs: number): Promise<void> {
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
    await Promise.all(this.#processes.map((process) => process.end()))
    await this.meter.close()
    await this.database.drop()
  }
}

function progressOf(measured: readonly LoadHandle[]): Progress {
  const total = (field: keyof Progress) => measured.reduce((sum, { last }) => sum + last[field], 0)
  const at = Math.max(...measured.map(({ last }) => last.at))
  return { at, runs: total('runs'), enqueued: total('enqueued'), cpuUs: total('cpuUs') }
}

async function runOn(url: string, sql: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  await client.query(sql)
  await client.end()
}
