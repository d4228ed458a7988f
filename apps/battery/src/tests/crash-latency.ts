import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, CheckFailed, expect, expectNone } from '../battery-test.js'
import { startCrew } from '../crew.js'
import type { HistoryEvent } from '../history.js'
import { percentile } from '../percentile.js'
import type { TaskName } from '../programs/worker.js'
import { type TestContext, until } from '../test-context.js'
import { verify } from '../verify.js'
import type { TestProcess } from '../worker-process.js'

const P50_MS = 300
const P99_MS = 1_200

/** From kill -9 of a worker to the next start of a job that it ran: what the survivors need to notice and to take over. */
export const crashLatency: BatteryTest = {
  number: 8,
  name: 'crash-latency',
  mutants: [
    {
      name: 'only the lease tells who is dead',
      patches: [
        {
          file: 'packages/core/src/rescue.ts',
          find: 'or worker.locks and pg_try_advisory_xact_lock(${lockClass(parts)}, worker.id)',
          replace: '',
        },
      ],
    },
    {
      name: 'a worker that was alone does not look after a newcomer',
      patches: [
        {
          file: 'packages/worker/src/rescuer.ts',
          find: 'if (wasCalm || this.#others === 0) this.#rescueNow.ring()',
          replace: 'if (wasCalm) this.#rescueNow.ring()',
        },
      ],
    },
  ],
  async run(context) {
    const kills = context.long ? 100 : 4
    const crews = context.long ? [2, 4, 10] : [2]
    // The figures are for 100 kills on a machine that does nothing else. A few kills on a busy one only tell whether anybody looks:
    // with the lease alone it would be 30 s, and 12 s with nobody who looks after a newcomer.
    const slack = context.long ? 1 : 6
    const problems: string[] = []
    const figures: string[] = []
    for (const task of ['finish', 'transactional'] as const) {
      for (const size of crews) {
        const latencies = await measure(context, task, size, kills)
        const [p50, p99] = [percentile(latencies, 0.5), percentile(latencies, 0.99)]
        const figure = `${task} with ${size} workers p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`
        figures.push(figure)
        if (p50 > P50_MS * slack || p99 > P99_MS * slack) problems.push(`${figure}.`)
      }
    }
    expectNone(problems)
    return `${kills} kills each: ${figures.join('; ')}`
  },
}

async function measure(context: TestContext, task: TaskName, size: number, kills: number): Promise<number[]> {
  const queue = await context.queue()
  const start = () => context.worker(queue, { tasks: [task], options: { concurrency: 2, maxCrashes: 1_000 } })
  const crew = await startCrew(context, size, start, { replaceAll: false })
  const killed: { victim: number; n: number }[] = []
  for (let n = 0; killed.length < kills; n++) {
    expect(n < kills * 3, `Of ${n} jobs only ${killed.length} were still running when their workers were killed.`)
    await queue.enqueue(task, [{ n, ms: 700 }])
    const victim = await whoRuns(crew.members, n)
    // At any point of the survivors' rhythm.
    await sleep(context.random.between(0, 500))
    victim.kill('SIGKILL')
    await victim.ended
    // On a busy machine the kill may come when the job is done.
    if (!queue.readHistory().some((event) => event.kind === 'finished' && event.n === n)) {
      killed.push({ victim: victim.pid, n })
      // Not before: a newcomer rescues when it starts, and nobody can count on one.
      await whoRuns(
        crew.members.filter((member) => member !== victim),
        n,
      )
    }
    await crew.replace(victim).heard('ready')
    // Alone at the next kill: a job that is there for two is a suspect, for which a worker stops all others.
    await until('the job is done', async () => (await queue.waiting()) === 0)
  }
  const { history } = await verify(context, queue, { noOverlap: true })
  for (const member of crew.members) {
    member.kill('SIGTERM')
    await member.ended
  }
  return killed.map(({ victim, n }) => latencyOf(history, task, victim, n))
}

const whoRuns = (members: readonly TestProcess[], n: number): Promise<TestProcess> =>
  Promise.any(members.map(async (member) => heardRun(member, n).then(() => member))).catch(() => {
    throw new CheckFailed([`Nobody ran job ${n}.`])
  })

/** Resolves when the process tells that it runs job n. */
async function heardRun(member: TestProcess, n: number): Promise<void> {
  for (let times = 1; ; times++) if ((await member.heard('run', times)).n === n) return
}

function latencyOf(history: readonly HistoryEvent[], task: TaskName, victim: number, n: number): number {
  const kill = history.find((event) => event.kind === 'killed' && event.victim === victim)!
  const start = history.find(
    (event) =>
      event.kind === 'started' && event.task === task && event.n === n && event.at > kill.at && event.pid !== victim,
  )
  return start ? start.at - kill.at : Number.POSITIVE_INFINITY
}
