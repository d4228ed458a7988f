import { type RawBuilder, sql } from 'kysely'

/**
 * The names of the queues that have rows in a table, as a recursive CTE: one step of an index per queue, however many rows there
 * are. Only `queue` itself when it is given.
 */
export const queuesIn = (
  table: RawBuilder<unknown>,
  condition: RawBuilder<unknown>,
  queue: RawBuilder<string | null>,
  name = 'found',
): RawBuilder<unknown> => sql`
  ${sql.ref(name)} as (
    select coalesce(
      ${queue}::text, (select job.queue from ${table} as job where ${condition} order by job.queue limit 1)
    ) as queue
    union all
    select following.queue
    from ${sql.ref(name)} as found
    cross join lateral (
      select job.queue from ${table} as job where ${condition} and job.queue > found.queue order by job.queue limit 1
    ) as following
    where ${queue}::text is null
  )`
