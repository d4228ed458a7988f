import { type Executor, type JobState, optionNames, sql } from '@pgq/core'
import { deadJobs } from './list-dead.js'
import { parkedJobs } from './list-parked.js'
import { readyJobs } from './list-ready.js'
import { scheduledJobs } from './list-scheduled.js'
import { checkCall, defineQuestion, type JobsFilter, type MonitorOptions } from './question.js'
import { queuesIn } from './queues-in.js'
import { orderBy, WALK, type WalkedOrder } from './walk.js'

/** How many jobs fit a filter. */
export interface Fitting {
  readonly jobs: number
  /** False: these are those among the first 25,000, and more may fit behind them. */
  readonly isWhole: boolean
}

const FILTER_OPTIONS = optionNames<JobsFilter>({ queue: true, task: true })

/**
 * Counts the jobs of a list that fit a filter, in its order, and looks at 25,000 of them at the most: a preview that may be asked
 * again and again. countMatching() of core reads to the end.
 */
export async function countFitting(
  executor: Executor,
  state: Exclude<JobState, 'running'>,
  filter: JobsFilter = {},
  options: MonitorOptions = {},
): Promise<Fitting> {
  checkCall('countFitting', filter, FILTER_OPTIONS, options)
  const { queue, task } = filter
  const [row] = await questions[state](executor, options, { queue: queue ?? null, task: task ?? null, walk: WALK })
  return row!
}

interface FittingParams {
  readonly queue: string | null
  readonly task: string | null
  readonly walk: number
}

const defineCount = (name: string, { from, where, range = sql`true`, order, direction }: WalkedOrder) =>
  defineQuestion<FittingParams, Fitting>(name, ({ table, param }) => {
    const share = sql`greatest(${param('walk')}::integer / (select count(*) from found), 1)`
    // The limit stands twice: the planner takes one that it does not know for a tenth, which for each queue of millions looks dear
    // enough to be compiled.
    return sql`
      with recursive ${queuesIn(table(from), where, param('queue'))}
      select sum(looked.fitting)::integer as jobs, bool_and(looked.jobs < ${share}) as "isWhole"
      from found
      cross join lateral (
        select count(*) filter (where ${param('task')}::text is null or job.task = ${param('task')}) as fitting, count(*) as jobs
        from (
          select task from (
            select job.task from ${table(from)} as job
            where job.queue = found.queue and ${where} and ${range}
            order by ${orderBy(order, direction)}
            limit ${share}
          ) as job
          limit ${share}
        ) as job
      ) as looked`
  })

const questions = {
  ready: defineCount('count_fitting_ready', readyJobs),
  scheduled: defineCount('count_fitting_scheduled', scheduledJobs),
  parked: defineCount('count_fitting_parked', parkedJobs),
  dead: defineCount('count_fitting_dead', deadJobs),
}
