import type { ClientBase } from 'pg'

/** What the database holds under the schema's name. */
export interface SchemaState {
  readonly exists: boolean
  /** The extension that owns the schema or lives in it. */
  readonly extension: string | null
  /** There is a migrations table of the right shape. */
  readonly hasHistory: boolean
  /** The rows of that table by id: what was applied. */
  readonly history: readonly AppliedMigration[]
  /** Some of the other objects in the schema, described for people; none when it is empty. */
  readonly members: readonly string[]
}

export interface AppliedMigration {
  readonly id: number
  readonly name: string
  readonly hash: string
}

type Queryable = Pick<ClientBase, 'query'>

/** Looks without changing anything; works under any search path. */
export async function inspectSchema(client: Queryable, schema: string): Promise<SchemaState> {
  const { rows } = await client.query<Omit<SchemaState, 'history'>>(inspection, [schema])
  const found = rows[0]
  if (found === undefined) return { exists: false, extension: null, hasHistory: false, history: [], members: [] }
  return { ...found, history: found.hasHistory ? await readHistory(client, schema) : [] }
}

/** How far the schema is migrated: 0 when it is not, or when its migrations table is somebody else's. */
export function versionOf(state: SchemaState): number {
  return isOurs(state) ? (state.history.at(-1)?.id ?? 0) : 0
}

/** Other programs keep a table of the same name and shape; ours has begun with this migration for good. */
export function isOurs(state: SchemaState): boolean {
  return state.history.some(({ id, name }) => id === 1 && name === 'queue')
}

// What DROP SCHEMA would stumble over is what makes a schema not empty: normal dependencies on it, of whatever kind.
const inspection = `
  select
    true as "exists",
    (
      select extension.extname
      from pg_catalog.pg_extension as extension
      where extension.extnamespace = namespace.oid
        or extension.oid in (
          select member.refobjid
          from pg_catalog.pg_depend as member
          where member.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and member.objid = namespace.oid
            and member.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and member.deptype = 'e'
        )
      order by extension.extname
      limit 1
    ) as extension,
    history.oid is not null as "hasHistory",
    array(
      select pg_catalog.pg_describe_object(member.classid, member.objid, member.objsubid)
      from pg_catalog.pg_depend as member
      where member.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and member.refobjid = namespace.oid
        and member.deptype = 'n'
        and not (member.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and member.objid is not distinct from history.oid)
      order by 1
      limit 5
    ) as members
  from pg_catalog.pg_namespace as namespace
  left join pg_catalog.pg_class as history
    on history.relnamespace = namespace.oid and history.relname = 'migrations' and history.relkind = 'r'
    and 4 = (
      select pg_catalog.count(*)
      from pg_catalog.pg_attribute as attribute
      where attribute.attrelid = history.oid and attribute.attname in ('id', 'name', 'hash', 'executed_at')
    )
  where namespace.nspname = $1`

async function readHistory(client: Queryable, schema: string): Promise<AppliedMigration[]> {
  const { rows } = await client.query<AppliedMigration>(`select id, name, hash from "${schema}".migrations order by id`)
  return rows
}
