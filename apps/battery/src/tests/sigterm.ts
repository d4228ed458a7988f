import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type BatteryTest, CheckFailed, expect, expectNone } from '../battery-test.js'
import type { TaskName, Work } from '../programs/worker.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import type { TestProcess } from '../worker-process.js'

const TASKS = ['plain', 'finish', 'transactional', 'once'] as const
/** A worker that takes longer does not end at all. */
const STUCK_MS = 20_000
const GRACE_MS = 700

/** SIGTERM at every point of a job's way, in every mode: the worker ends by itself, and the job is none the worse. */
export const sigterm: BatteryTest = {
  number: 27,
  name: 'sigterm',
  waits: true,
  mutants: [
    {
      name: 'an aborted job counts as failed',
      patches: [
        {
          file: 'packages/worker/src/run-job.ts',
          find: 'goesBack ? RELEASE :',
          replace: 'goesBack && !mode.mayRetry ? RELEASE :',
        },
      ],
    },
    {
      name: 'a stop does not wait for the claim that is under way',
      patches: [
        {
          file: 'packages/worker/src/lane.ts',
          find: 'await Promise.all([this.#looping, this.#claimingSuspect, this.#claimingFreed])',
          replace: '',
        },
      ],
    },
    {
      name: 'a second signal is ignored',
      patches: [
        {
          file: 'packages/worker/src/stop-signals.ts',
          find: "if (signalled) process.exit(signal === 'SIGINT' ? 130 : 143)",
          replace: 'if (signalled) return',
        },
      ],
    },
  ],
  async run(context) {
    const queue = await context.queue()
    await queue.pool.query(GATES)
    const bench = new Bench(context, queue)
    const rounds = context.long ? 20 : 1
    for (let round = 0; round < rounds; round++) {
      await bench.idle()
      for (const task of TASKS) {
        await bench.midClaim(task)
        await bench.midHandler(task)
        await bench.beyondGrace(task)
        await bench.midCommit(task)
      }
      await bench.secondSignal()
    }
    await verify(context, queue)
    return (
      `${bench.cases} stops in ${TASKS.length} modes: idle, amid claim, handler and commit, beyond the grace; no attempt burnt; ` +
      `ended within ${Math.max(...bench.overheadMs).toFixed(0)} ms of what they waited for; a second signal ended at once (143)`
    )
  },
}

class Bench {
  cases = 0
  readonly overheadMs: number[] = []
  #n = 0

  constructor(
    private readonly context: TestContext,
    private readonly queue: TestQueue,
  ) {}

  async idle(): Promise<void> {
    const worker = await this.#worker([...TASKS])
    worker.kill('SIGTERM')
    await this.#stops(worker, 'idle')
  }

  /** The claim waits at a gate when the signal comes, and succeeds afterwards. */
  async midClaim(task: TaskName): Promise<void> {
    const worker = await this.#worker([task])
    const open = await this.#closeGate(CLAIM)
    const n = await this.#enqueue(task)
    await this.#waitsAt(CLAIM)
    worker.kill('SIGTERM')
    await worker.heard('worker.stopping')
    await open()
    await this.#stops(worker, `amid the claim of ${task}`)
    await this.#isUntouched(task, n)
  }

  /** The handler ends within the grace: so does its job. */
  async midHandler(task: TaskName): Promise<void> {
    const worker = await this.#worker([task])
    const n = await this.#enqueue(task, { ms: 400 })
    await worker.heard('run')
    worker.kill('SIGTERM')
    await this.#stops(worker, `amid the handler of ${task}`, GRACE_MS)
    await this.#isDone(task, n)
  }

  /** The handler is aborted: its job goes back as it was, or is a dead letter where it must not run twice. */
  async beyondGrace(task: TaskName): Promise<void> {
    const worker = await this.#worker([task])
    const n = await this.#enqueue(task, { ms: 30_000 })
    await worker.heard('run')
    await sleep(this.context.random.between(0, 200))
    worker.kill('SIGTERM')
    await this.#stops(worker, `amid a long handler of ${task}`, GRACE_MS)
    if (task !== 'once') return this.#isUntouched(task, n)
    const dead = await this.queue.value<number>(`${COUNT} pgq.dead_jobs where task = 'once' and args->>'n' = $1`, [n])
    expect(dead === 1, `once ${n}, aborted by a stop, is not among the dead letters.`)
  }

  /** The commit waits at a gate when the signal comes. */
  async midCommit(task: TaskName): Promise<void> {
    const gate = task === 'plain' ? SETTLE : EFFECT
    const worker = await this.#worker([task])
    const open = await this.#closeGate(gate)
    const n = await this.#enqueue(task)
    await this.#waitsAt(gate)
    worker.kill('SIGTERM')
    await worker.heard('worker.stopping')
    await open()
    await this.#stops(worker, `amid the commit of ${task}`)
    await this.#isDone(task, n)
  }

  async secondSignal(): Promise<void> {
    const worker = await this.#worker(['finish'], 20_000)
    const n = await this.#enqueue('finish', { ms: 10_000 })
    await worker.heard('run')
    worker.kill('SIGTERM')
    await worker.heard('worker.stopping')
    const from = performance.now()
    worker.kill('SIGTERM')
    const { code } = await worker.ended
    const ms = performance.now() - from
    expect(code === 143 && ms < 2_000, `A second signal: ended with ${code} after ${ms.toFixed(0)} ms.`)
    await this.queue.pool.query(SHORTEN)
    const next = await this.#worker(['finish'])
    await until('the job of the one that left is taken over', async () => (await this.queue.waiting()) <= 1)
    await this.queue.pool.query(SHORTEN)
    await until('it is done', async () => (await this.queue.waiting()) === 0)
    next.kill('SIGTERM')
    await this.#stops(next, 'after the rescue')
    // As after a crash: nobody can know what a process that ends at once had done of it.
    await this.#isDone('finish', n, 1)
  }

  async #worker(tasks: readonly TaskName[], graceMs = GRACE_MS): Promise<TestProcess> {
    const options = { graceMs, concurrency: 2 }
    const worker = this.context.worker(this.queue, { tasks, options, tell: ['worker.stopping'] })
    await worker.heard('ready')
    await until('it sleeps', () => this.queue.value<boolean>('select count(*) = 1 from pgq.idle_workers'))
    return worker
  }

  async #enqueue(task: TaskName, work: Omit<Work, 'n'> = {}): Promise<number> {
    const n = this.#n++
    await this.queue.enqueue(task, [{ n, ...work }])
    return n
  }

  /** After its signal: it ends with code 0, soon, and leaves nothing. */
  async #stops(worker: TestProcess, where: string, waitsMs = 0): Promise<void> {
    const from = performance.now()
    const ended = await Promise.race([worker.ended, sleep(waitsMs + STUCK_MS, undefined, { ref: false })])
    if (!ended) throw new CheckFailed([`A worker that was stopped ${where} does not end.`])
    const { code, signal, stderr } = ended
    this.cases += 1
    const overheadMs = Math.max(performance.now() - from - waitsMs, 0)
    this.overheadMs.push(overheadMs)
    const left = await this.queue.value<number>(LEFT)
    expectNone([
      code !== 0 && `A worker that was stopped ${where} ended with ${code ?? signal}. ${stderr}`,
      overheadMs > 3_000 && `A worker that was stopped ${where} took ${overheadMs.toFixed(0)} ms to end.`,
      left > 0 && `A worker that was stopped ${where} left ${left} rows or sessions.`,
    ])
  }

  async #isDone(task: TaskName, n: number, crashes = 0): Promise<void> {
    const rows = await this.queue.rows(EFFECTS, [task, n])
    const found = rows.map((row) => `attempt ${row.attempt} after ${row.crashes} crashes`).join() || 'none'
    const wanted = `attempt 1 after ${crashes} crashes`
    expect(found === wanted, `${task} ${n}: effects: ${found}, instead of ${wanted}.`)
  }

  /** It waits as if nothing had happened; then it runs. */
  async #isUntouched(task: TaskName, n: number): Promise<void> {
    const [job] = await this.queue.rows(
      "select attempt, crash_count from pgq.jobs where task = $1 and args->>'n' = $2 and execute_at is null",
      [task, n],
    )
    const found = job ? `attempt ${job.attempt}, crash count ${job.crash_count}` : 'no waiting job'
    expect(job?.attempt === 0 && job.crash_count === 0, `${task} ${n} after a stop: ${found}.`)
    await this.queue.pool.query(SHORTEN)
    const worker = await this.#worker([task])
    await worker.heard('run')
    await until('it is done', async () => (await this.queue.rows(EFFECTS, [task, n])).length > 0)
    await this.#isDone(task, n)
    worker.kill('SIGTERM')
    await this.#stops(worker, 'after its job')
  }

  /** Whoever comes to it waits until the answer is called. */
  async #closeGate(gate: number): Promise<() => Promise<unknown>> {
    const client = new pg.Client(this.queue.url)
    await client.connect()
    await client.query('select pg_advisory_lock($1)', [gate])
    return () => client.end()
  }

  async #waitsAt(gate: number): Promise<void> {
    await until(`somebody waits at gate ${gate}`, () =>
      this.queue.value<boolean>(
        `${COUNT.replace('integer', 'integer > 0')} pg_locks where locktype = 'advisory' and not granted and objid = $1`,
        [gate],
      ),
    )
  }
}

const [CLAIM, SETTLE, EFFECT] = [701, 702, 703] as const
const COUNT = 'select count(*)::integer from'
const EFFECTS = 'select attempt, crashes from effects where task = $1 and n = $2'
const SHORTEN = `update pgq.jobs set args = json_build_object('n', args->'n')`
const LEFT = `select (
  (select count(*) from pgq.workers) + (select count(*) from pgq.leases) + (select count(*) from pgq.idle_workers)
  + (select count(*) from pg_stat_activity where application_name like 'pgq%' and datname = current_database()))::integer`

// Statements wait there while a test holds the lock: at a claim, at the settlement of a lease, and at a handler's commit.
const GATES = `
  create function gate() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock_shared(tg_argv[0]::bigint);
      return null;
    end $$;
  create trigger claim before delete on pgq.jobs for each statement execute function gate(701);
  create trigger settle before update or delete on pgq.leases for each statement execute function gate(702);
  create constraint trigger effect after insert on effects deferrable initially deferred
    for each row execute function gate(703)`
