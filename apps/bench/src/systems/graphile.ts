import { Logger, makeWorkerUtils, run, runMigrations, type WorkerUtils } from 'graphile-worker'
import pg from 'pg'
import { listenOn } from './listen.js'
import { type NewJob, type System, TASK } from './system.js'

const logger = new Logger(() => () => {})

/** As its documentation on performance advises: many at a time, jobs fetched ahead, completions batched. */
const TUNED: GraphileConfig.WorkerOptions = {
  concurrentJobs: 24,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
  maxPoolSize: 26,
}

const graphileWith = (settings: GraphileConfig.WorkerOptions): System => ({
  async prepare({ postgresUrl }) {
    await runMigrations({ connectionString: postgresUrl, logger })
  },
  async producer({ postgresUrl }) {
    const pgPool = quietPool(postgresUrl)
    const utils = await makeWorkerUtils({ pgPool, logger })
    return {
      enqueue: (args, priority = 0) => utils.addJob(TASK, args, priority ? { priority: -priority } : {}),
      enqueueMany: (jobs) => addJobs(utils, jobs),
      async unfinished() {
        const { rows } = await pgPool.query(
          '/* bench */ select exists(select from graphile_worker._private_jobs) as unfinished',
        )
        return rows[0].unfinished
      },
      async close() {
        await utils.release()
        await pgPool.end()
      },
    }
  },
  async worker({ postgresUrl }, { handler, concurrency }) {
    const runner = await run({
      taskList: { [TASK]: async (args) => void (await handler(args)) },
      logger,
      noHandleSignals: true,
      preset: {
        worker: {
          connectionString: postgresUrl,
          ...settings,
          ...(concurrency ? { concurrentJobs: concurrency } : {}),
        },
      },
    })
    return runner
  },
  listen: (place, onWake) => listenOn(place, () => 'jobs:insert', onWake),
})

export const graphile = graphileWith({})
export const graphileTuned = graphileWith(TUNED)

const addJobs = (utils: WorkerUtils, jobs: readonly NewJob[]) =>
  utils.addJobs(
    jobs.map(({ args, queue, priority, delayMs }) => ({
      // It has no queues in this sense: another queue's jobs are those of a task that the worker does not know.
      identifier: queue ?? TASK,
      payload: args,
      // Its lower numbers go first.
      ...(priority ? { priority: -priority } : {}),
      ...(delayMs ? { runAt: new Date(Date.now() + delayMs) } : {}),
    })),
  )

function quietPool(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString })
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}
