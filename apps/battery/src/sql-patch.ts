import type { Patch } from './battery-test.js'

/** A defect in a function of the schema. SQL files are no part of a build: the function is written anew, right after the migration. */
export const sqlPatch = (routine: string, find: string, replace: string): Patch => ({
  file: 'packages/migrations/src/migrate.ts',
  find: 'await applyMigrations({ client }, sqlFolder)',
  replace: `await applyMigrations({ client }, sqlFolder)
    const { rows } = await client.query('select pg_get_functiondef($1::regproc) as sql', [${JSON.stringify(routine)}])
    const [before, after, ...more] = rows[0].sql.split(${JSON.stringify(find)})
    if (after === undefined || more.length > 0) throw new Error('This mutant is out of date.')
    await client.query(before + ${JSON.stringify(replace)} + after)`,
})
