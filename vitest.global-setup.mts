import { createDatabase, serverFromEnvironment, startPostgres } from '@pgq/test-db'
import type { TestProject } from 'vitest/node'
import * as migrations from './packages/migrations/src/index.js'

/** One server for the whole run, and on it one migrated database, which each test file copies for itself. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = serverFromEnvironment() ?? (await startPostgres({ fast: true }))
  const template = await createDatabase(server.url)
  await migrations.migrate(template.url)
  project.provide('pgqAdminUrl', server.url)
  project.provide('pgqTemplate', template.name)
  return async () => {
    await template.drop()
    await server.stop('immediate')
  }
}
