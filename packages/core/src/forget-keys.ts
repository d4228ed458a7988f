import { sql } from 'kysely'
import { isUnsettled } from './finish.js'
import { defineStatement } from './statement.js'

/** The most keys that one look goes through: 20 ms, most of it for the jobs of those that are taken. */
export const KEYS_A_LOOK = 5_000

/** Where a look goes on: behind this key. */
export interface KeyPlace {
  readonly task: string
  readonly key: string
}

/**
 * Removes the rows of keys that are free, among the first behind a place. Answers the last key that it saw, if any, how many it saw, and how
 * many it removed. Nothing depends on it but the size of the table: what takes a key is its job.
 */
export const forgetKeys = defineStatement<KeyPlace, KeyPlace & { seen: number; forgotten: number }>(
  'forget_keys',
  (parts) => {
    const { table, param } = parts
    return sql`
    with seen as materialized (
      select held.task, held.key
      from ${table('job_keys')} as held
      where (held.task, held.key) > (${param('task')}, ${param('key')})
      order by held.task, held.key
      limit ${sql.lit(KEYS_A_LOOK)}
    ), leased as materialized (
      select running.id
      from ${table('leases')} as lease cross join lateral unnest(lease.ids) with ordinality as running (id, ordinal)
      where ${isUnsettled(parts, sql`running.ordinal`)}
    ), forgotten as (
      delete from ${table('job_keys')} as held
      where (held.task, held.key) in (
        select free.task, free.key
        from seen join ${table('job_keys')} as free using (task, key)
        where (free.held_until is null or free.held_until < now())
          and not exists (select from ${table('jobs')} as waiting where waiting.id = free.job_id)
          and free.job_id not in (select id from leased)
        for update of free skip locked
      )
      returning 1
    )
    select seen.task, seen.key, (select count(*) from seen)::integer as seen, (select count(*) from forgotten)::integer as forgotten
    from seen
    order by seen.task desc, seen.key desc
    limit 1`
  },
)
