import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadMigrationFiles } from 'postgres-migrations'
import { MigrationError, reasonOf } from './migration-error.js'

/** The version that `migrate()` goes to: the number of the newest migration in this package. */
export const latestVersion: number = 1

export type Migration = Awaited<ReturnType<typeof loadMigrationFiles>>[number]

/** Each at the place of its id. Number 0 is postgres-migrations' own, and always there: it makes the migrations table. */
export type Migrations = readonly [Migration, ...Migration[]]

// One level below the package in both src and dist.
export const sqlFolder = fileURLToPath(new URL('../sql', import.meta.url))

export async function loadMigrations(): Promise<Migrations> {
  return readSql(async () => (await loadMigrationFiles(sqlFolder)) as [Migration, ...Migration[]])
}

/** The text that undoes a migration: the file of the same name in sql/down. */
export async function readDownSql(migration: Migration): Promise<string> {
  return readSql(() => readFile(join(sqlFolder, 'down', migration.fileName), 'utf8'))
}

/** `1_queue`: what people see of a migration. */
export function labelOf(migration: Migration): string {
  return basename(migration.fileName, '.sql')
}

async function readSql<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    throw new MigrationError(
      'PGQ_SQL_FILES',
      `@pgq/migrations cannot read its SQL files in ${sqlFolder}. Install the package whole, and leave it out of your ` +
        `bundle (external). ${reasonOf(cause)}`,
      { cause },
    )
  }
}
