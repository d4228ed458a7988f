import { type JobState, jobRank, optionNames, type RawBuilder, type StatementParts, sql, waitingState } from '@pgq/core'
import { type JobsFilter, matches, waitingSince } from './question.js'
import { queuesIn } from './queues-in.js'

/** How much of a table may be read to count it. */
export interface CountRequest extends JobsFilter {
  /** Reads every row, however many there are. Default: tables beyond 4 MB are estimated. */
  readonly exact?: boolean
}

export const COUNT_OPTIONS = optionNames<CountRequest>({ queue: true, task: true, exact: true })

export interface CountParams {
  readonly queue: string | null
  readonly task: string | null
  /** At most about so many bytes of a table are read. */
  readonly maxBytes: number
}

export const countParams = ({ queue, task, exact = false }: CountRequest): CountParams => ({
  queue: queue ?? null,
  task: task ?? null,
  maxBytes: exact ? Number.MAX_SAFE_INTEGER : 4_194_304,
})

/** The rows of a state, as an index has them. */
interface Front {
  readonly from: 'jobs' | 'dead_jobs'
  /** The condition of the index. */
  readonly where: RawBuilder<unknown>
  /** Which of its rows, where it has others behind them. */
  readonly fits?: RawBuilder<unknown>
  readonly order: RawBuilder<unknown>
  readonly oldest: RawBuilder<unknown>
}

/** Queues with at most so many rows of a state are counted by the index, also where the rest is estimated. */
const FRONT = 200

/**
 * Counts of waiting jobs and dead letters as the CTEs `waiting` and `dead` (queue, task, state, jobs, oldest, exact).
 *
 * A table that is small is read whole. Of a large one a random part of its blocks is read (which needs no statistics that may be
 * stale, and does not mind dead rows), and the count of what they hold is scaled up; a queue that has few rows is counted by
 * its index, so that no small queue is missed among large ones. 1,000,000 jobs of 14,000 blocks: 512 blocks read, 10 ms,
 * and how many these are by chance makes the count wrong by 4 % (standard deviation).
 */
export const countsByState = (parts: StatementParts<CountParams>): RawBuilder<unknown> => {
  const { table } = parts
  return sql`
    ${sampleOf(parts, 'jobs', {
      state: waitingState,
      oldest: waitingSince,
    })},
    ${sampleOf(parts, 'dead_jobs', { state: sql`'dead'`, oldest: sql`job.died_at` })},
    ${frontOf(parts, 'ready', {
      from: 'jobs',
      where: sql`job.execute_at is null`,
      order: jobRank,
      oldest: sql`job.ready_at`,
    })},
    ${frontOf(parts, 'scheduled', {
      from: 'jobs',
      where: sql`job.execute_at is not null`,
      fits: sql`job.execute_at < 'infinity'`,
      order: sql`job.execute_at`,
      oldest: sql`job.execute_at`,
    })},
    ${frontOf(parts, 'parked', {
      from: 'jobs',
      where: sql`job.execute_at = 'infinity'`,
      order: sql`job.queue`,
      oldest: sql`job.ready_at`,
    })},
    ${frontOf(parts, 'dead', {
      from: 'dead_jobs',
      where: sql`true`,
      order: sql`job.died_at`,
      oldest: sql`job.died_at`,
    })},
    waiting as (${together(sql`jobs_sample`, sql`select * from ready_front union all select * from scheduled_front union all select * from parked_front`)}),
    dead as (${together(sql`dead_jobs_sample`, sql`select * from dead_front`)})`

  /** What a random part of the table's blocks holds, scaled up. */
  function sampleOf(
    { param, schemaName }: StatementParts<CountParams>,
    name: 'jobs' | 'dead_jobs',
    { state, oldest }: Record<'state' | 'oldest', RawBuilder<unknown>>,
  ): RawBuilder<unknown> {
    const share = sql.ref(`${name}_share`)
    return sql`
      ${share} as materialized (
        select least(1, ${param('maxBytes')}::double precision / greatest(pg_relation_size((${schemaName} || ${sql.lit(`.${name}`)})::regclass), 1)) as share
      ), ${sql.ref(`${name}_sample`)} as materialized (
        select queue, task, state, round(jobs / share) as jobs, oldest, share = 1 as exact
        from (
          select job.queue, job.task, ${state} as state, count(*) as jobs, min(${oldest}) as oldest
          from ${table(name)} as job tablesample system ((select 100 * share from ${share}))
          where ${matches('job', param)}
          group by 1, 2, 3
        ) as counted
        cross join ${share}
      )`
  }

  /**
   * The first rows of each queue, by the index; exact where these are all. Nothing when the sample is the whole table. From the
   * queue on, not of it alone: without statistics the planner takes a queue for a handful of rows, and would read and sort all.
   */
  function frontOf(
    { param }: StatementParts<CountParams>,
    state: Exclude<JobState, 'running'>,
    front: Front,
  ): RawBuilder<unknown> {
    const queues = `${state}_queues`
    const isLarge = sql`(select share < 1 from ${sql.ref(`${front.from}_share`)})`
    return sql`
      ${queuesIn(table(front.from), sql`${front.where} and ${isLarge}`, param('queue'), queues)},
      ${sql.ref(`${state}_front`)} as materialized (
        select
          queue, task, ${sql.lit(state)} as state, count(*) as jobs, min(oldest) as oldest,
          sum(count(*)) over (partition by queue) <= ${sql.lit(FRONT)} as exact
        from ${sql.ref(queues)} as found
        cross join lateral (
          select job.queue, job.task, ${front.oldest} as oldest, ${front.fits ?? sql`true`} as fits
          from ${table(front.from)} as job
          where job.queue >= found.queue and ${front.where} and ${isLarge}
          order by job.queue, ${front.order}
          limit ${sql.lit(FRONT + 1)}
        ) as first (name, task, oldest, fits)
        where first.name = found.queue and first.fits
        group by queue, task
      )`
  }

  /** The front where it is all there is; else the sample, or as much as the front has already seen. */
  function together(sample: RawBuilder<unknown>, fronts: RawBuilder<unknown>): RawBuilder<unknown> {
    return sql`
      select queue, task, state, max(jobs) as jobs, min(oldest) filter (where exact) as oldest, bool_and(exact) as exact
      from (
        select * from (${fronts}) as front where ${matches('front', parts.param)}
        union all
        select * from ${sample} as sample
        where (queue, state) not in (select queue, state from (${fronts}) as front where exact)
      ) as counted
      group by queue, task, state`
  }
}
