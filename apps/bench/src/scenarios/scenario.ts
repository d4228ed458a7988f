import type { Sample, Stage } from '../stage.js'
import type { SystemName } from '../systems/index.js'

/** The figures of one run, by column. Undefined: it cannot be told. */
export type Measurement = Readonly<Record<string, number | undefined>>

export interface Column {
  readonly key: string
  readonly title: string
  readonly digits?: number
}

export interface Scenario {
  /** A path: `drain/at-least-once`. The command line also takes `drain`. */
  readonly name: string
  readonly title: string
  readonly systems: readonly SystemName[]
  /** The first one is what the chart shows. */
  readonly columns: readonly Column[]
  /** scale: a share of the jobs, of the time and of the idle workers, for tests. */
  run(stage: Stage, scale: number): Promise<Measurement>
}

export const RATE: Column = { key: 'rate', title: 'jobs/s' }

export const COSTS: readonly Column[] = [
  { key: 'ourCpu', title: 'our CPU µs/job', digits: 1 },
  { key: 'serverCpu', title: 'server CPU µs/job', digits: 1 },
  { key: 'wal', title: 'WAL B/job' },
  { key: 'statements', title: 'statements/job', digits: 3 },
]

/** What a job cost between two samples; a job is one that was begun, or one that was enqueued. */
export function costs(from: Sample, to: Sample, job: 'runs' | 'enqueued'): Measurement {
  const jobs = to.whenRead[job] - from.whenRead[job]
  const perJob = (key: 'serverCpuUs' | 'walBytes' | 'statements') => {
    const [before, after] = [from[key], to[key]]
    return before === undefined || after === undefined || jobs === 0 ? undefined : (after - before) / jobs
  }
  return {
    ourCpu: (to.cpuUs - from.cpuUs) / (to[job] - from[job]),
    serverCpu: perJob('serverCpuUs'),
    wal: perJob('walBytes'),
    statements: perJob('statements'),
  }
}
