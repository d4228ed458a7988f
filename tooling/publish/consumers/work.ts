import { defineTask, type JsonValue, typed } from '@pgq/core'
import { migrate, migrateDown } from '@pgq/migrations'
import { createWorker } from '@pgq/worker'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'

const greet = defineTask('greet', { args: typed<{ name: string }>() })
const connectionString = process.env.DATABASE_URL as string
const print = (...values: JsonValue[]) => console.log(...values.map((value) => JSON.stringify(value)))

async function main(): Promise<void> {
  const db = new Kysely<object>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString }) }) })
  const worker = createWorker({
    connectionString,
    handlers: [
      greet.handle(({ name }, job) => {
        // @ts-expect-error Types that had become `any` on their way would let this pass.
        name satisfies number
        print('hello', name, job.attempt)
      }),
    ],
  })
  const settled = new Promise<void>((resolve) =>
    worker.on('job.settled', ({ task, outcome }) => {
      print(task, outcome.type)
      resolve()
    }),
  )

  print('migrated', (await migrate(connectionString)).from)
  await worker.start()
  await db.transaction().execute((trx) => greet.enqueue(trx, { name: 'world' }))
  await settled
  await worker.stop()
  await db.destroy()
  print('migrated', (await migrateDown(connectionString, { to: 0 })).to)
}

void main()
