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
    with leased as materialized (
      select running.id
      from ${table('leases')} as lease cross join lateral unnest(lease.ids) with ordinality as running (id, ordinal)
      where ${isUnsettled(parts, sql`running.ordinal`)}
    ), seen as materialized (
      select
        held.task, held.key, held.job_id,
        (held.held_until is null or held.held_until < now())
          and not exists (select from ${table('jobs')} as waiting where waiting.id = held.job_id)
          and held.job_id not in (select id from leased) as is_free
      from ${table('job_keys')} as held
      where (held.task, held.key) > (${param('task')}, ${param('key')})
      order by held.task, held.key
      limit ${sql.lit(KEYS_A_LOOK)}
    ), locked as materialized (
      select held.ctid
      -- Each by its own look, which needs no statistics: joined while the table seemed small, these would be pairs of all with all. The row is
      -- locked as it is by now, and its job was looked for as it was when this began: it must still be that job.
      from seen cross join lateral (
        select held.ctid from ${table('job_keys')} as held
        where held.task = seen.task and held.key = seen.key and held.job_id = seen.job_id
        for update skip locked
      ) as held
      where seen.is_free
    ), forgotten as (
      delete from ${table('job_keys')} where ctid = any (array(select ctid from locked)) returning 1
    )
    select seen.task, seen.key, (select count(*) from seen)::integer as seen, (select count(*) from forgotten)::integer as forgotten
    from seen
    order by seen.task desc, seen.key desc
    limit 1`
  },
)
