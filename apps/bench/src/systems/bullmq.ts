import { createPostgresBackend, Queue, Worker } from 'bullmq'
import { type NewJob, type Place, QUEUE, type System, TASK } from './system.js'

/** Its default is one job at a time; more than this did not make it faster. */
const CONCURRENCY = 50

/** Like every queue on Postgres here, it does not keep what is done. */
const OPTIONS = { removeOnComplete: true }

/** BullMQ on Redis, or on PostgreSQL. */
const bullmqOn = (queueAt: (place: Place) => Queue, workerAt: typeof redisWorker): System => ({
  async prepare(place) {
    const queue = queueAt(place)
    await queue.waitUntilReady()
    await queue.obliterate({ force: true })
    await queue.close()
  },
  async producer(place) {
    const queue = queueAt(place)
    await queue.waitUntilReady()
    return {
      enqueue: (args, priority) =>
        queue.add(TASK, args, { ...OPTIONS, ...(priority ? { priority: 10 - priority } : {}) }),
      enqueueMany: (jobs) => queue.addBulk(jobs.map(given)),
      async unfinished() {
        const counts = await queue.getJobCounts('waiting', 'active', 'prioritized')
        return Object.values(counts).some((count) => count > 0)
      },
      close: () => queue.close(),
    }
  },
  async worker(place, { handler, concurrency = CONCURRENCY }) {
    const worker = workerAt(place, async (job) => void (await handler(job.data)), concurrency)
    worker.on('error', () => {})
    await worker.waitUntilReady()
    return { stop: () => worker.close() }
  },
})

export const bullmq = bullmqOn((place) => new Queue(QUEUE, { connection: redis(place) }), redisWorker)
export const bullmqPostgres = bullmqOn(
  (place) => new Queue(QUEUE, { connection: postgres(place) }, createPostgresBackend) as unknown as Queue,
  (place, processor, concurrency) =>
    new Worker(QUEUE, processor, { connection: postgres(place), concurrency }, createPostgresBackend) as never,
)

function redisWorker(place: Place, processor: (job: { data: object }) => Promise<void>, concurrency: number): Worker {
  return new Worker(QUEUE, processor, { connection: redis(place), concurrency })
}

const postgres = ({ postgresUrl }: Place) => ({ connectionString: postgresUrl, migrate: true })
const redis = ({ redisUrl }: Place) => ({ url: redisUrl!, maxRetriesPerRequest: null })

const given = ({ args, priority, delayMs }: NewJob) => ({
  name: TASK,
  data: args,
  opts: { ...OPTIONS, ...(priority ? { priority: 10 - priority } : {}), ...(delayMs ? { delay: delayMs } : {}) },
})
