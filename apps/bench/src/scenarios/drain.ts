import type { DeliveryModeName } from '@pgq/core'
import type { FillOrder, WorkOrder } from '../load.js'
import type { Stage } from '../stage.js'
import type { SystemName } from '../systems/index.js'
import { COSTS, costs, type Measurement, RATE, type Scenario } from './scenario.js'

/** A system that takes longer to warm up is slow enough to be measured as it is. */
const WARM_UP_LIMIT_MS = 3_000

interface Drain {
  readonly mode: DeliveryModeName
  readonly systems: readonly SystemName[]
  readonly jobs: number
  readonly work: WorkOrder['work']
}

const drains: readonly Drain[] = [
  {
    mode: 'at-least-once',
    systems: [
      'pgq',
      'graphile',
      'graphile-tuned',
      'pg-boss',
      'pg-boss-loop',
      'bullmq',
      'bullmq-postgres',
      'sql-update',
      'sql',
    ],
    jobs: 100_000,
    work: 'nothing',
  },
  { mode: 'at-most-once', systems: ['pgq', 'sql'], jobs: 100_000, work: 'nothing' },
  { mode: 'transactional', systems: ['pgq', 'pgq-grouped', 'pg-boss-notify', 'sql'], jobs: 20_000, work: 'insert' },
]

type DrainOrder = WorkOrder & FillOrder & { readonly processes: number }

/** How fast a backlog is worked off, and what a job costs. */
export const drain: readonly Scenario[] = drains.flatMap((each) => [withProcesses(each, 1), withProcesses(each, 2)])

function withProcesses({ mode, systems, jobs, work }: Drain, processes: number): Scenario {
  const does = work === 'insert' ? 'one INSERT in the handler' : 'the handler does nothing'
  return {
    name: `drain/${mode}/${processes}`,
    title: `Drain ${jobs.toLocaleString('en')} jobs, ${mode}, ${processes === 1 ? 'one process' : `${processes} processes`}; ${does}`,
    systems,
    columns: [RATE, ...COSTS],
    run: (stage, scale) =>
      measureDrain(stage, { jobs: Math.round(jobs * scale), processes, mode, ...(work ? { work } : {}) }),
  }
}

export async function measureDrain(stage: Stage, order: DrainOrder): Promise<Measurement> {
  const { jobs, processes } = order
  // Connections, prepared statements and the compiler of JavaScript warm up on the first tenth, which does not count.
  const warmUp = Math.ceil(jobs / 10)
  const marks = processes === 1 ? [warmUp, warmUp + jobs] : []
  await stage.query('create table effects (n integer)')
  await stage.assistant.call('fill', { ...order, jobs: warmUp + jobs })
  await stage.analyze()
  const workers = await stage.workers(processes, { ...order, marks })
  const begin = await stage.reached(workers, warmUp, WARM_UP_LIMIT_MS)
  const last = await stage.reached(workers, warmUp + jobs)
  const isDone = last.runs >= warmUp + jobs
  const endAt = isDone ? await stage.finished() : last.at
  const end = await stage.sample(workers)
  return {
    // So few jobs may be over before the processes have told of the first tenth.
    rate: last.runs > begin.runs ? ((last.runs - begin.runs) / (endAt - begin.at)) * 1_000 : undefined,
    ...costs(begin, end, 'runs'),
  }
}
