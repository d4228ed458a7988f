import { type RawBuilder, sql } from 'kysely'

/**
 * The names of the queues that have rows in a table, as the recursive CTE `found`: one step of an index per queue, however many
 * rows there are. Only `queue` itself when it is given.
 */
export const queuesIn = (
  table: RawBuilder<unknown>,
  condition: RawBuilder<unknown>,
  queue: RawBuilder<string | null>,
): RawBuilder<unknown> => sql`
  found as (
    select coalesce(
      ${queue}::text, (select job.queue from ${table} as job where ${condition} order by job.queue limit 1)
    ) as queue
    union all
    select following.queue
    from found
    cross join lateral (
      select job.queue from ${table} as job where ${condition} and job.queue > found.queue order by job.queue limit 1
    ) as following
    where ${queue}::text is null
  )`
