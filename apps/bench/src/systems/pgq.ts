import {
  type DeliveryModeName,
  defineTask,
  hangDoorbell,
  registerWorker,
  type TransactionalJob,
  typed,
} from '@pgq/core'
import { createWorker, type WorkerOptions as PgqWorkerOptions, type Worker } from '@pgq/worker'
import pg from 'pg'
import { listenOn } from './listen.js'
import { type NewJob, type Place, QUEUE, type System, TASK, type WorkerOptions } from './system.js'

/** With ten slots, more locks so many jobs that every claim walks far past them: 8,400/s, with 100 1,800/s. */
const GROUP = 20

const taskOf = <Mode extends DeliveryModeName>(mode: Mode) => defineTask(TASK, { mode, args: typed<object>() })

/** pgq with its defaults. */
export const pgq: System = {
  // Not loaded by a worker: a process that works needs no migrations.
  async prepare({ postgresUrl }) {
    const { migrate } = await import('@pgq/migrations')
    await migrate(postgresUrl)
  },
  async producer({ postgresUrl }) {
    const pool = new pg.Pool({ connectionString: postgresUrl })
    const task = taskOf('at-least-once')
    return {
      enqueue: (args, priority = 0) => task.enqueue(pool, args, { priority }),
      enqueueMany: (jobs) => task.enqueueMany(pool, jobs.map(given)),
      async unfinished() {
        const { rows } = await pool.query(
          '/* bench */ select exists(select from pgq.jobs) or exists(select from pgq.leases) as unfinished',
        )
        return rows[0].unfinished
      },
      close: () => pool.end(),
    }
  },
  worker: (place, options) => startWorker(place, options),
  listen: (place, onWake) =>
    listenOn(
      place,
      async (client) => {
        const worker = { hostname: '', pid: process.pid, queues: [QUEUE], tasks: [TASK] }
        const workerId = await registerWorker(client, 'pgq', worker)
        const channel = `pgq_pgq_${workerId}`
        await hangDoorbell(client, 'pgq', { workerId, channel, queues: [QUEUE] })
        return channel
      },
      onWake,
    ),
}

/** Short transactional handlers that share commits: an option, not the default. */
export const pgqGrouped: System = {
  ...pgq,
  worker: (place, options) => startWorker(place, options, { settings: { transactionalGroup: GROUP } }),
}

/** What looks at a worker while it works, and what is set that has a default. */
export interface Extras {
  readonly settings?: Pick<PgqWorkerOptions, 'around' | 'transactionalGroup'>
  observe?(worker: Worker): void
}

export async function startWorker(
  { postgresUrl }: Place,
  options: WorkerOptions,
  { settings, observe }: Extras = {},
): Promise<Worker> {
  const { concurrency } = options
  const worker = createWorker({
    connectionString: postgresUrl,
    handlers: [await handlerOf(options)],
    ...(concurrency ? { concurrency } : {}),
    ...settings,
  })
  observe?.(worker)
  await worker.start()
  return worker
}

async function handlerOf({ mode, handler }: WorkerOptions) {
  if (mode !== 'transactional') return taskOf(mode).handle((args) => handler(args))
  const { sql } = await import('kysely')
  return taskOf(mode).handle((args, { trx }: TransactionalJob<any>) =>
    handler(args, (text) => sql.raw(text).execute(trx)),
  )
}

const given = ({ args, queue, priority, delayMs }: NewJob) => ({
  args,
  ...(queue === undefined ? {} : { queue }),
  ...(priority === undefined ? {} : { priority }),
  ...(delayMs === undefined ? {} : { delayMs }),
})
