import { type RawBuilder, sql } from '@pgq/core'

/**
 * The names of the queues that have rows in a table, as two CTEs, one of them recursive: one step of an index per queue, however many
 * rows there are. Only `queue` itself when it is given.
 *
 * The planner takes a recursion for 100 rows, and an array for 10. What is asked for each queue would look so dear that a server
 * with JIT compiles it: seconds, for milliseconds of work.
 */
export const queuesIn = (
  table: RawBuilder<unknown>,
  condition: RawBuilder<unknown>,
  queue: RawBuilder<string | null>,
  name = 'found',
): RawBuilder<unknown> => {
  const steps = sql.ref(`${name}_steps`)
  return sql`
  ${steps} as (
    select coalesce(
      ${queue}::text, (select job.queue from ${table} as job where ${condition} order by job.queue limit 1)
    ) as queue
    union all
    select following.queue
    from ${steps} as found
    cross join lateral (
      select job.queue from ${table} as job where ${condition} and job.queue > found.queue order by job.queue limit 1
    ) as following
    where ${queue}::text is null
  ), ${sql.ref(name)} as (
    select unnest(array(select queue from ${steps})) as queue
  )`
}
