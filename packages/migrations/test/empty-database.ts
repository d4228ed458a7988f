import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { onTestFinished } from 'vitest'

const database = await testDatabase({ migrated: false })

/** The connection string of this file's database, emptied: as good as a new one, and sooner there. */
export async function emptyDatabase(): Promise<string> {
  const client = new pg.Client(database.url)
  await client.connect()
  await client.query(dropEverything).finally(() => client.end())
  return database.url
}

/** A connected client that ends with the test. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url)
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

const dropEverything = `
  do $$ declare name text; begin
    for name in select evtname from pg_event_trigger loop execute format('drop event trigger %I', name); end loop;
    for name in select extname from pg_extension where extname <> 'plpgsql' loop
      execute format('drop extension %I cascade', name);
    end loop;
    for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
      execute format('drop schema %I cascade', name);
    end loop;
    create schema public;
  end $$`
