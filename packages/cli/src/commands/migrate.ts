import {
  type MigrateDownResult,
  type MigrateResult,
  migrateDown,
  migrate as migrateUp,
  migrationSql,
  schemaVersion,
} from '@pgq/migrations'
import { confirm } from '../confirm.js'
import { type DatabaseOptions, databaseUrl, schemaOf, withClient } from '../connection.js'
import { EXIT, UsageError } from '../failure.js'
import { note, print, printJson } from '../output.js'

interface MigrateCommandOptions extends DatabaseOptions {
  readonly json?: boolean
  /** The version to go down to. */
  readonly down?: number
  readonly print?: boolean
  /** With print: the version that the database has. */
  readonly from?: number
  readonly yes?: boolean
}

/** Brings the schema to this version, or takes it down to an older one, or prints the SQL that would. */
export async function migrate(options: MigrateCommandOptions): Promise<number> {
  const schema = schemaOf(options)
  if (options.from !== undefined && !options.print)
    throw new UsageError(
      '--from is for --print: without it, the database tells its version. Leave it out, or add --print.',
    )
  if (options.print) return printSql(schema, options)
  const connectionString = databaseUrl(options)
  if (!options.yes && !(await mayLose(connectionString, schema, options.down))) {
    note('Nothing was done.')
    return EXIT.failed
  }
  const result = await withClient<MigrateResult | MigrateDownResult>({ connectionString }, (client) =>
    options.down === undefined ? migrateUp(client, { schema }) : migrateDown(client, { schema, to: options.down }),
  )
  if (options.json) printJson(result)
  else print(told(result))
  return EXIT.ok
}

/** Asks before anything is lost: not about a version that the schema is at, or that it cannot go down to. */
async function mayLose(connectionString: string, schema: string, down: number | undefined): Promise<boolean> {
  if (down === undefined) return true
  const version = await withClient({ connectionString }, (client) => schemaVersion(client, { schema }))
  if (down >= version) return true
  const what = down === 0 ? 'The schema and every job in it' : 'What newer versions have stored'
  return confirm(`${what} would be lost: schema "${schema}" goes down to version ${down}.`)
}

async function printSql(schema: string, { down, from, json }: MigrateCommandOptions): Promise<number> {
  const sql = await migrationSql({
    schema,
    ...(from !== undefined && { from }),
    ...(down === undefined ? { direction: 'up' } : { direction: 'down', to: down }),
  })
  if (json) printJson({ sql })
  // Its own text, and a schema name that was checked: nothing in it is hostile.
  else process.stdout.write(sql)
  return EXIT.ok
}

function told(result: MigrateResult | MigrateDownResult): string {
  const { schema, from, to } = result
  const steps = 'applied' in result ? result.applied : result.reverted
  if (steps.length === 0) return `Schema "${schema}" is at version ${to}: nothing to do.`
  return `Schema "${schema}" went from version ${from} to ${to}: ${'applied' in result ? '' : 'undid '}${steps.join(', ')}.`
}
