import { MigrationError } from './migration-error.js'
import { loadMigrations, type Migration, type Migrations, readDownSql } from './migration-files.js'
import { schemaOf } from './schema-name.js'
import { schemaPath } from './search-path.js'

/** Options of migrationSql. */
export interface MigrationSqlOptions {
  /** Where the queue lives, default `pgq`. */
  readonly schema?: string
  /** Default `up`. */
  readonly direction?: 'up' | 'down'
  /** The version that the database has: default 0 for up, and the latest for down. */
  readonly from?: number
  /** The version that it shall get: default the latest for up, and 0 for down, which drops the schema too. */
  readonly to?: number
}

/**
 * Writes out the SQL that `migrate()` and `migrateDown()` would run, for a migration tool of your own.
 *
 * It keeps the same records, so a later `migrate()` sees what was applied. It opens no transaction, because most tools do;
 * else run it in one. The search path is changed and put back. Throws {@link MigrationError}; needs no database.
 */
export async function migrationSql(options: MigrationSqlOptions = {}): Promise<string> {
  const schema = schemaOf(options, { schema: true, direction: true, from: true, to: true })
  const migrations = await loadMigrations()
  const latest = migrations.length - 1
  const { direction = 'up', from = direction === 'up' ? 0 : latest, to = direction === 'up' ? latest : 0 } = options
  checkVersions(direction, from, to, latest)
  const parts = direction === 'up' ? upSql(schema, migrations, from, to) : await downSql(schema, migrations, from, to)
  return `${[`-- @pgq/migrations: schema "${schema}", version ${from} to ${to}.`, ...parts].join('\n\n')}\n`
}

function checkVersions(direction: 'up' | 'down', from: number, to: number, latest: number): void {
  const [low, high] = direction === 'up' ? [from, to] : [to, from]
  if (Number.isInteger(low) && Number.isInteger(high) && 0 <= low && low <= high && high <= latest) return
  throw new MigrationError(
    'PGQ_TARGET_VERSION',
    `There is no way ${direction} from version ${from} to ${to}: this @pgq/migrations knows versions 0 to ${latest}.`,
  )
}

function upSql(schema: string, migrations: Migrations, from: number, to: number): string[] {
  // Without "if not exists": in somebody else's schema of that name this has to stop at once.
  const create = from === 0 ? [`create schema "${schema}";`] : []
  const steps = migrations.slice(from === 0 ? 0 : from + 1, to + 1)
  return [
    ...create,
    enterSchemaSql(schema),
    ...steps.flatMap((step) => [step.sql.trim(), recordSql(step)]),
    leaveSchemaSql,
  ]
}

async function downSql(schema: string, migrations: Migrations, from: number, to: number): Promise<string[]> {
  const steps = migrations.slice(to + 1, from + 1).reverse()
  const texts = await Promise.all(steps.map(readDownSql))
  const undo = steps.flatMap((step, place) => [
    texts[place]?.trim() ?? '',
    `delete from migrations where id = ${step.id};`,
  ])
  const drop = to === 0 ? ['drop table migrations;', `drop schema "${schema}" restrict;`] : []
  return [enterSchemaSql(schema), ...undo, ...drop, leaveSchemaSql]
}

function recordSql({ id, name, hash }: Migration): string {
  return `insert into migrations (id, name, hash) values (${id}, '${name}', '${hash}');`
}

// Kept in a setting of our own, because "set local" means nothing where each statement commits by itself, as in psql.
function enterSchemaSql(schema: string): string {
  return [
    `select pg_catalog.set_config('pgq.previous_search_path', pg_catalog.current_setting('search_path'), false);`,
    `set search_path to ${schemaPath(schema)};`,
  ].join('\n')
}

const leaveSchemaSql = `select pg_catalog.set_config('search_path', pg_catalog.current_setting('pgq.previous_search_path'), false);`
