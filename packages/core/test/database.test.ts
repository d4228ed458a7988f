import type { Insertable, Selectable } from 'kysely'
import { expect, test } from 'vitest'
import type { PgqDatabase } from '../src/index.js'
import { queueDatabase } from './queue-database.js'

const database = await queueDatabase()

/** A column as the types know it. A json column is unknown, which says nothing of null. */
type Column<Table, Name extends keyof Table & keyof Selectable<Table>> = unknown extends Selectable<Table>[Name]
  ? 'json' | 'json null' | 'json default'
  : null extends Selectable<Table>[Name]
    ? `${TypeName<NonNullable<Selectable<Table>[Name]>>} null`
    : Record<Name, 'absent'> extends {
          [Key in Name]: Key extends OptionalKeys<Insertable<Table>> ? 'absent' : 'needed'
        }
      ? `${TypeName<Selectable<Table>[Name]>} default`
      : TypeName<Selectable<Table>[Name]>

type OptionalKeys<Row> = { [Key in keyof Row]-?: undefined extends Row[Key] ? Key : never }[keyof Row]

type TypeName<Type> = Type extends string
  ? 'string'
  : Type extends number
    ? 'number'
    : Type extends Date
      ? 'Date'
      : Type extends readonly (infer Item)[]
        ? unknown extends Item
          ? 'json[]'
          : `${Item extends string ? 'string' : Item extends number ? 'number' : 'Date'}[]`
        : Type extends boolean
          ? 'boolean'
          : never

/** Does not compile when it is not exactly what PgqDatabase says; the test fails when the database says otherwise. */
const tables: {
  [Name in keyof PgqDatabase]: {
    [Key in keyof PgqDatabase[Name] & keyof Selectable<PgqDatabase[Name]>]: Column<PgqDatabase[Name], Key>
  }
} = {
  jobs: {
    id: 'string default',
    position: 'string default',
    created_at: 'Date default',
    ready_at: 'Date default',
    execute_at: 'Date null',
    priority: 'number default',
    attempt: 'number default',
    crash_count: 'number default',
    queue: 'string default',
    task: 'string',
    args: 'json default',
    retry: 'json null',
    meta: 'json null',
    errors: 'json null',
  },
  workers: {
    id: 'number default',
    hostname: 'string default',
    pid: 'number default',
    queues: 'string[] default',
    tasks: 'string[] default',
    started_at: 'Date default',
    beat_at: 'Date default',
    epoch: 'Date default',
    locks: 'boolean default',
    listens: 'boolean default',
    lease_ms: 'number default',
    alone: 'boolean default',
  },
  leases: {
    worker_id: 'number',
    number: 'string',
    claimed_at: 'Date default',
    transactional: 'boolean default',
    undecided: 'number[] null',
    done: 'number[] default',
    ids: 'string[] default',
    positions: 'string[] default',
    created_ats: 'Date[] default',
    ready_ats: 'Date[] default',
    priorities: 'number[] default',
    attempts: 'number[] default',
    crash_counts: 'number[] default',
    queues: 'string[] default',
    tasks: 'string[] default',
    args: 'json[] default',
    retries: 'json[] default',
    metas: 'json[] default',
    errors: 'json[] default',
  },
  finished_jobs: { worker_id: 'number', number: 'string', ordinal: 'number' },
  dead_jobs: {
    id: 'string',
    created_at: 'Date default',
    ready_at: 'Date default',
    died_at: 'Date default',
    priority: 'number default',
    attempt: 'number default',
    crash_count: 'number default',
    reason: 'string default',
    queue: 'string default',
    task: 'string',
    args: 'json default',
    retry: 'json null',
    meta: 'json null',
    errors: 'json null',
  },
  queues: { name: 'string', paused_at: 'Date null' },
  cancellations: { job_id: 'string', requested_at: 'Date default' },
  job_stats: {
    id: 'string default',
    begun_at: 'Date default',
    grain: 'string default',
    queue: 'string',
    task: 'string',
    completed: 'number default',
    retried: 'number default',
    snoozed: 'number default',
    exhausted: 'number default',
    failed: 'number default',
    cancelled: 'number default',
    crashed: 'number default',
    lost: 'number default',
    wait_buckets: 'number[] default',
    wait_counts: 'number[] default',
    run_buckets: 'number[] default',
    run_counts: 'number[] default',
  },
  job_keys: {
    task: 'string',
    key: 'string',
    job_id: 'string null',
    held_until: 'Date null',
  },
  concurrency_holds: {
    queue: 'string',
    key: 'string',
    job_id: 'string',
    worker_id: 'number',
    number: 'string',
  },
  schedules: {
    name: 'string',
    task: 'string',
    args: 'json default',
    queue: 'string default',
    priority: 'number default',
    retry: 'json null',
    meta: 'json null',
    cron: 'string null',
    every_ms: 'string null',
    time_zone: 'string default',
    catch_up: 'string default',
    next_at: 'Date',
    paused_at: 'Date null',
    last_at: 'Date null',
    last_job_id: 'string null',
    failed_at: 'Date null',
    error: 'string null',
  },
  idle_workers: { worker_id: 'number', channel: 'string', queues: 'string[]', tasks: 'string[] default' },
  job_states: {
    id: 'string',
    queue: 'string',
    task: 'string',
    state: 'string',
    priority: 'number',
    attempt: 'number',
    crash_count: 'number',
    created_at: 'Date',
    execute_at: 'Date',
    worker_id: 'number null',
    since: 'Date null',
    args: 'json',
    errors: 'json null',
  },
  queue_counts: { queue: 'string', task: 'string', state: 'string', jobs: 'string', oldest: 'Date' },
}

const typeNames: Record<string, string> = {
  int2: 'number',
  int4: 'number',
  int8: 'string', // a bigint: as pg answers it
  text: 'string',
  timestamptz: 'Date',
  bool: 'boolean',
  json: 'json',
}
const typeName = (udt: string) => (udt.startsWith('_') ? `${typeNames[udt.slice(1)]}[]` : typeNames[udt])

test('the types agree with the migrated schema, column by column', async () => {
  const rows = await database.rows(
    `select table_name, column_name, udt_name, is_nullable = 'YES' as nullable, table_type = 'VIEW' as view,
       column_default is not null or is_identity = 'YES' as filled
     from information_schema.columns join information_schema.tables using (table_schema, table_name)
     where table_schema = 'pgq' and table_name <> 'migrations'`,
  )
  const expected: Record<string, Record<string, string>> = tables
  const found: Record<string, Record<string, string>> = {}
  for (const { table_name, column_name, udt_name, nullable, view, filled } of rows) {
    // A view's columns are all nullable to PostgreSQL: there the types know more.
    const nullInView = view && expected[table_name]?.[column_name]?.endsWith(' null')
    const suffix = (view ? nullInView : nullable) ? ' null' : filled ? ' default' : ''
    found[table_name] = { ...found[table_name], [column_name]: `${typeName(udt_name)}${suffix}` }
  }
  expect(found).toEqual(expected)
})
