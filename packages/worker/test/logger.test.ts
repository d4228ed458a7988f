import { runInNewContext } from 'node:vm'
import { fail, type LeasedJob, LostLeaseError, retryAfter, snooze } from '@pgq/core'
import pino from 'pino'
import { beforeAll, describe, expect, test } from 'vitest'
import { Events, type WorkerEvents } from '../src/events.js'
import { createWorker } from '../src/index.js'
import { logEvents, loggableError } from '../src/logger.js'
import { all, next, numbered, queue, until } from './queue.js'
import { workerProcess } from './worker-process.js'

const db = await queue()
beforeAll(() => db.pool.query('create table accounts (name text primary key)'))

/** A real pino, and what it wrote. */
function pinoLog(level = 'debug') {
  const lines: Record<string, any>[] = []
  const log = pino({ level }, { write: (line: string) => lines.push(JSON.parse(line)) })
  return { log, lines, levels: () => lines.map((line) => [pino.levels.labels[line.level], line.msg]) }
}

// Mutant: an options type that pino does not fit would not compile here.
test('pino is taken as it is, and gets what happens, each at its level', async () => {
  const { log, lines, levels } = pinoLog()
  const outcomes = [undefined, retryAfter(60_000), snooze(60_000), fail(new Error('no use'))]
  const task = numbered()
  const worker = createWorker({
    connectionString: db.url,
    handlers: [task.handle((n) => outcomes[n])],
    handleSignals: false,
    concurrency: 1,
    logger: log,
  })
  await worker.start()
  const settled = all(worker, 'job.settled')
  for (const n of outcomes.keys()) {
    await task.enqueue(db.pool, n)
    await until(() => settled.length === n + 1)
  }
  await worker.stop()
  expect(levels()).toEqual([
    ['info', 'worker started'],
    ['debug', 'job started'],
    ['debug', 'job completed'],
    ['debug', 'job started'],
    ['warn', 'job runs again'],
    ['debug', 'job started'],
    ['warn', 'job runs again'],
    ['debug', 'job started'],
    ['error', 'job is dead'],
    ['info', 'worker stopping'],
    ['info', 'worker stopped'],
  ])
  // Mutant: what was not given is logged as the error "undefined".
  expect(lines.filter(({ err }) => err).map(({ err }) => err.message)).toEqual(['no use'])
})

test('with the job, the outcome and the error as fields', async () => {
  const { log, lines } = pinoLog('warn')
  const task = numbered('work', { queue: 'mail', retry: { maxAttempts: 2, minDelayMs: 0 } })
  const worker = await db.worker(
    [
      task.handle(() => {
        throw Object.assign(new RangeError('too far'), { code: 'E_FAR' })
      }),
    ],
    { logger: log },
  )
  const settled = all(worker, 'job.settled')
  const { id } = await task.enqueue(db.pool, 1)
  await until(() => settled.length === 2)
  const label = { jobId: id, task: 'work', queue: 'mail', mode: 'at-least-once', outcome: 'error' }
  const err = { message: 'too far', code: 'E_FAR', stack: expect.stringContaining('RangeError: too far') }
  expect(lines).toMatchObject([
    { msg: 'job runs again', ...label, attempt: 1, delayMs: 0, err },
    { msg: 'job is dead', ...label, attempt: 2, reason: 'exhausted', err },
  ])
})

// Mutant: dropped with the failure: the job is done, but what follows its transaction in the handler is not.
test('what a handler throws after its job was finished is a warning', async () => {
  const { log, levels, lines } = pinoLog('warn')
  const late = async (_: number, job: LeasedJob) => {
    await job.finish(db.pool)
    throw new Error('too late')
  }
  const worker = await db.worker([numbered().handle(late)], { logger: log })
  const settled = next(worker, 'job.settled')
  await numbered().enqueue(db.pool, 1)
  await settled
  expect(levels()).toEqual([['warn', 'handler failed after its job was finished']])
  expect(lines[0]).toMatchObject({ outcome: 'success', err: { message: 'too late' } })
})

// As those of Node itself are under jest.
test('an error of another realm is logged as an error', () => {
  const error: unknown = runInNewContext('Object.assign(new RangeError("too far"), { detail: "a row" })')
  const logged = loggableError(error)
  expect(logged).toMatchObject({ name: 'RangeError', message: 'too far', stack: expect.stringContaining('RangeError') })
  expect(logged).not.toHaveProperty('detail')
})

// Mutants: the args in an event; the error passed on as it is: pg's detail prints the row; a thrown value printed whole.
test('never args, results, rows of the database, or what was thrown in place of an error', async () => {
  const secret = 'hunter2-4711'
  const { log, lines } = pinoLog('trace')
  const task = numbered('work', { retry: { maxAttempts: 1 } })
  const ways: ((args: any) => unknown)[] = [
    (args) => args,
    () => db.pool.query('insert into accounts values ($1), ($1)', [secret]),
    (args) => {
      throw args
    },
    (args) => {
      throw Object.assign(new Error('failed'), { args, cause: new Error(secret), parameters: [secret] })
    },
  ]
  const worker = await db.worker([task.handle((args: any) => ways[args.way]!(args))], {
    logger: log,
    around: async (_, run) => run(),
  })
  const settled = all(worker, 'job.settled')
  for (const way of ways.keys()) await task.enqueue(db.pool, { way, secret, [secret]: 1 } as never)
  await until(() => settled.length === ways.length)
  await worker.stop()
  const dead = lines.filter(({ msg }) => msg === 'job is dead').map(({ err }) => err.code ?? err.message)
  expect(dead.toSorted()).toEqual(['23505', '[object Object]', 'failed'])
  expect(JSON.stringify(lines)).not.toContain('hunter2')
})

describe('every event has its line', () => {
  const label = { jobId: '7', task: 'work', queue: 'default', attempt: 1, mode: 'at-least-once' } as const
  const error = Object.assign(new Error('broken'), { code: '57P01', detail: 'Key (name)=(hunter2)' })
  const lines: { [Name in keyof WorkerEvents]?: [WorkerEvents[Name], string, string] } = {
    'worker.replaced': [
      { workerId: 1, newWorkerId: 2 },
      'error',
      'worker was taken for dead; it goes on under a new id',
    ],
    'job.released': [label, 'info', 'job given back'],
    'job.lost': [{ ...label, error: new LostLeaseError('7') }, 'error', 'job lost to another worker'],
    'job.unsettled': [{ ...label, error }, 'warn', 'job could not be settled; it runs again'],
    'job.stuck': [{ ...label, abortedForMs: 1_000 }, 'error', 'handler does not heed its abort signal'],
    'tasks.unknown': [{ tasks: ['x'] }, 'warn', 'jobs wait that no handler of this worker is for'],
    'workers.rescued': [{ workers: [3], requeued: 2, buried: 0 }, 'warn', 'jobs of lost workers rescued'],
    'listener.lost': [{ error }, 'warn', 'LISTEN lost; polling'],
    'listener.restored': [{}, 'info', 'LISTEN restored'],
    'database.lost': [{ error }, 'error', 'database lost; trying again'],
    'database.restored': [{ downMs: 5 }, 'info', 'database restored'],
  }
  const lost = { ...label, mode: 'at-most-once', error } as const
  test.each([
    ...Object.entries(lines),
    ['job.unsettled', [lost, 'warn', 'job could not be settled; it is lost']] as const,
  ])('%s', (name, [event, level, message]) => {
    const { log, lines, levels } = pinoLog()
    const events = new Events(() => {})
    logEvents(events, log)
    events.emit(name as keyof WorkerEvents, event as never)
    expect(levels()).toEqual([[level, message]])
    const { error, ...fields } = event as { error?: Error }
    expect(lines[0]).toMatchObject({ ...fields, ...(error && { err: { message: error.message } }) })
    expect(JSON.stringify(lines)).not.toContain('hunter2')
  })
})

test('an observer that throws is logged as an error, with the event', async () => {
  const { log, lines } = pinoLog('error')
  const worker = db.idleWorker([numbered().handle(() => {})], { logger: log })
  worker.on('worker.started', () => {
    throw new Error('mine')
  })
  await worker.start()
  expect(lines).toMatchObject([{ msg: 'an observer threw', event: 'worker.started', err: { message: 'mine' } }])
})

// Mutant: console as the default logger.
test('silent by default: a worker process writes nothing, whatever happens', async () => {
  const worker = workerProcess({ url: db.url, modes: ['at-most-once'], runMs: 1 })
  await worker.heard('ready')
  await db.pool.query('drop table effects')
  const dead = () => db.value("select count(*)::integer from pgq.dead_jobs where reason = 'failed'")
  await numbered('at-most-once', { mode: 'at-most-once' }).enqueue(db.pool, 1)
  await until(async () => (await dead()) === 1)
  await db.pool.query('create table effects (n integer)')
  worker.kill('SIGTERM')
  expect(await worker.ended).toEqual({ code: 0, signal: null })
  expect(worker.output()).toBe('')
})
