import { MigrationError } from './migration-error.js'
import { labelOf, type Migrations } from './migration-files.js'
import { isOurs, type SchemaState, versionOf } from './schema-state.js'

/** Answers the version that the schema has, or throws why this package must not touch it. */
export function checkHistory(schema: string, state: SchemaState, migrations: Migrations): number {
  refuseForeign(schema, state)
  refuseTooNew(schema, state, migrations)
  refuseChanged(schema, state, migrations)
  return versionOf(state)
}

// A migrate() that was stopped early leaves at most an empty schema, or one that holds nothing but its migrations table.
function refuseForeign(schema: string, state: SchemaState): void {
  if (isOurs(state)) return
  const begun = state.history.some(({ id }) => id > 0)
  if (state.extension === null && state.members.length === 0 && !begun) return
  const owner =
    state.extension !== null
      ? `belongs to the extension ${state.extension}`
      : `holds other things (${begun ? "another program's migrations table" : state.members.join(', ')})`
  throw new MigrationError(
    'PGQ_FOREIGN_SCHEMA',
    `Schema "${schema}" ${owner}. Nothing was changed. Choose another schema for the queue: { schema: 'job_queue' }.`,
  )
}

function refuseTooNew(schema: string, state: SchemaState, migrations: Migrations): void {
  const latest = migrations.length - 1
  const version = versionOf(state)
  if (version <= latest) return
  throw new MigrationError(
    'PGQ_SCHEMA_TOO_NEW',
    `Schema "${schema}" is at version ${version}, and this @pgq/migrations knows versions up to ${latest}. ` +
      'Nothing was changed. Upgrade the package, or migrate down with the newer one first.',
  )
}

function refuseChanged(schema: string, state: SchemaState, migrations: Migrations): void {
  const changed = migrations.filter((migration, id) => {
    const applied = state.history[id]
    return applied !== undefined && (applied.id !== id || applied.hash !== migration.hash)
  })
  if (changed.length === 0) return
  throw new MigrationError(
    'PGQ_MIGRATION_CHANGED',
    `Schema "${schema}" was migrated with another text of ${changed.map(labelOf).join(', ')} than this @pgq/migrations has. ` +
      'Nothing was changed. Install the package version that made the schema, unedited; or, if its jobs can go, ' +
      'drop the schema and migrate again.',
  )
}
