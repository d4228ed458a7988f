import type { Finding, Thresholds } from './findings.js'
import type { HealthFacts, WorkerFacts } from './health-facts.js'
import { dateOf } from './question.js'
import { lasting, MINUTE_MS, names, shellWord } from './wording.js'

/** What the queue suffers from: jobs that wait or die, and workers that lack something. */
export const queueFindings = (facts: HealthFacts, thresholds: Thresholds): Finding[] => [
  ...unserved(facts),
  ...paused(facts),
  ...oldBacklog(facts, thresholds),
  ...waitingSuspects(facts, thresholds),
  ...lateJobs(facts),
  ...lateSchedules(facts),
  ...failedSchedules(facts),
  ...unknownTasks(facts),
  ...dyingJobs(facts),
  ...orphans(facts),
  ...lostWorkers(facts),
  ...lackingWorkers(facts),
]

/**
 * It lives, as far as the server knows: its lock is held, and its last beat is young. Twice the lease: a living worker gives its jobs
 * back after one, and what a standby tells of a beat may be late.
 */
const isLost = (worker: WorkerFacts, { isStandby }: HealthFacts['server']) =>
  worker.beatAgeMs > 2 * worker.leaseMs || (!isStandby && worker.locks && worker.isBack && !worker.lockHeld)

const living = ({ workers, server }: HealthFacts) => workers.filter((worker) => !isLost(worker, server))

function unserved(facts: HealthFacts): Finding[] {
  const served = new Set(living(facts).flatMap(({ queues }) => queues))
  const queues = facts.backlog.filter(
    ({ queue, ready, parked, pausedAt }) => ready + parked > 0 && !pausedAt && !served.has(queue),
  )
  if (queues.length === 0) return []
  return [
    {
      code: 'queue-unserved',
      severity: 'critical',
      message: `No living worker serves ${names(queues.map(({ queue }) => queue))}, where jobs could run.`,
      meaning: 'These jobs wait until a worker comes.',
      remedy: 'Start a worker for the queue (pgq work, or createWorker), or look why its workers are gone.',
      evidence: queues.map(({ queue, ready, parked, oldestReadyMs = null }) => ({
        queue,
        ready,
        parked,
        oldestReadyMs,
      })),
    },
  ]
}

function paused({ backlog }: HealthFacts): Finding[] {
  const queues = backlog.filter(({ pausedAt }) => pausedAt)
  if (queues.length === 0) return []
  return [
    {
      code: 'queue-paused',
      severity: 'info',
      message: `${names(queues.map(({ queue }) => queue))} ${queues.length === 1 ? 'is' : 'are'} paused.`,
      meaning: 'Nothing of a paused queue is claimed; its jobs wait.',
      remedy: `When that is no longer wanted: ${resuming(queues[0]!.queue)}.`,
      evidence: queues.map(({ queue, ready, pausedAt }) => ({ queue, ready, pausedAt: pausedAt!.toISOString() })),
    },
  ]
}

const resuming = (queue: string) => `pgq resume ${shellWord(queue)}, or resumeQueue(executor, ${JSON.stringify(queue)})`

function oldBacklog(facts: HealthFacts, { backlogMs }: Thresholds): Finding[] {
  const old = facts.backlog.filter(({ oldestReadyMs = 0, pausedAt }) => oldestReadyMs > backlogMs && !pausedAt)
  if (old.length === 0) return []
  const oldest = Math.max(...old.map(({ oldestReadyMs = 0 }) => oldestReadyMs))
  return [
    {
      code: 'backlog-old',
      severity: oldest > 10 * backlogMs ? 'critical' : 'warning',
      message: `Jobs in ${names(old.map(({ queue }) => queue))} have been ready for up to ${lasting(oldest)}.`,
      meaning: 'Jobs come faster than they are run, handlers hang, or nobody runs these tasks.',
      remedy:
        'Look at what runs and since when (pgq jobs --state running, or listRunning), at the other findings, and at run times (pgq status, or statisticsByTask); then raise the concurrency or start more workers (pgq work).',
      evidence: old.map(({ queue, ready, exact, workers, oldestReadyMs = null }) => ({
        queue,
        ready,
        exact,
        workers,
        oldestReadyMs,
      })),
    },
  ]
}

function waitingSuspects({ suspects, backlog }: HealthFacts, { backlogMs }: Thresholds): Finding[] {
  const isPaused = (queue: string) => backlog.some((one) => one.queue === queue && one.pausedAt)
  const old = suspects.filter(({ queue, oldestReadyMs }) => oldestReadyMs > backlogMs && !isPaused(queue))
  if (old.length === 0) return []
  const oldest = Math.max(...old.map(({ oldestReadyMs }) => oldestReadyMs))
  return [
    {
      code: 'suspects-wait',
      severity: 'warning',
      message: `Jobs in ${names(old.map(({ queue }) => queue))} that two lost workers held wait to run alone, for up to ${lasting(oldest)}.`,
      meaning:
        'A worker lets everything else end before it runs such a job, and runs one at a time: long handlers hold them up, and there may be many.',
      remedy:
        'Start one more worker for the queue, and find out why workers are lost. Or cancel the jobs: pgq cancel <ids>, or cancelJobs(executor, { ids }).',
      evidence: old.map((suspects) => ({ ...suspects })),
    },
  ]
}

function lateJobs({ server, backlog }: HealthFacts): Finding[] {
  const lateMs = ({ nextScheduledAt }: (typeof backlog)[number]) =>
    nextScheduledAt ? server.nowMs - nextScheduledAt.getTime() : 0
  const late = backlog.filter((queue) => lateMs(queue) > MINUTE_MS)
  if (late.length === 0) return []
  return [
    {
      code: 'due-jobs-late',
      severity: 'warning',
      message: `Scheduled jobs in ${names(late.map(({ queue }) => queue))} are due and were not made ready.`,
      meaning: 'Workers do that for their queues: there is none, or the database keeps it from its work.',
      remedy: 'Start a worker for the queue (pgq work, or createWorker), or look at the other findings.',
      evidence: late.map((queue) => ({
        queue: queue.queue,
        scheduled: queue.scheduled,
        lateMs: Math.round(lateMs(queue)),
      })),
    },
  ]
}

function lateSchedules({ server, schedules }: HealthFacts): Finding[] {
  const late = schedules
    .filter(({ error }) => error === null)
    .map(({ name, slotMs }) => ({ name, slot: dateOf(slotMs) }))
    .filter(({ slot }) => server.nowMs - slot.getTime() > 2 * MINUTE_MS)
  const [first] = late
  if (!first) return []
  return [
    {
      code: 'schedules-late',
      severity: 'warning',
      message: `No worker enqueues the jobs of ${names(late.map(({ name }) => name))}, due since ${first.slot.toISOString()}.`,
      meaning:
        'Any worker of this schema does that: there is none, or the database keeps it from its work. What becomes of slots that are missed is said by catchUp of the schedule.',
      remedy:
        'Start a worker (pgq work, or createWorker); it needs neither the queue nor a handler of the task for this. If there is one, look at the other findings, and at its log.',
      evidence: late.map(({ name, slot }) => ({
        schedule: name,
        slot: slot.toISOString(),
        lateMs: Math.round(server.nowMs - slot.getTime()),
      })),
    },
  ]
}

function failedSchedules({ schedules }: HealthFacts): Finding[] {
  const failed = schedules.filter(({ error }) => error !== null)
  const [first] = failed
  if (!first) return []
  const { name, error, slotMs } = first
  return [
    {
      code: 'schedule-failed',
      severity: 'warning',
      message: `Slots of ${names(failed.map((one) => one.name))} have no jobs${failed.length > 1 ? `; of ${name}` : ''} since ${dateOf(slotMs).toISOString()}: ${error}`,
      meaning:
        'Workers could not enqueue the job of a slot. They try again each minute; what comes later waits behind.',
      remedy: `Mend what the error names: schedule it anew from the program, or let the database take the job. Or stop it: pgq schedules pause ${shellWord(name)}, or pauseSchedule(executor, ${JSON.stringify(name)}).`,
      evidence: failed.map(({ name, error, slotMs }) => ({
        schedule: name,
        slot: dateOf(slotMs).toISOString(),
        error,
      })),
    },
  ]
}

function unknownTasks(facts: HealthFacts): Finding[] {
  const workers = living(facts)
  const serving = (queue: string) => workers.filter(({ queues }) => queues.includes(queue))
  const unknown = facts.heads.filter(
    ({ queue, task }) => serving(queue).length > 0 && !serving(queue).some(({ tasks }) => tasks.includes(task)),
  )
  if (unknown.length === 0) return []
  return [
    {
      code: 'tasks-unknown',
      severity: 'warning',
      message: `No living worker has a handler for ${names([...new Set(unknown.map(({ task }) => task))])}.`,
      meaning:
        'Jobs of these tasks are kept and never run. A name was changed, or the workers are older than what enqueues.',
      remedy: `Deploy workers that have the handler. Or give the jobs up: pgq cancel --task ${shellWord(unknown[0]!.task)} leaves dead letters, deleteWaitingJobs(executor, { task: ${JSON.stringify(unknown[0]!.task)} }) nothing.`,
      evidence: unknown,
    },
  ]
}

function dyingJobs({ deaths }: HealthFacts): Finding[] {
  const [first] = deaths
  if (!first) return []
  const { task, allDied, allEnded } = first
  const counted = deaths.map(({ task, exhausted, failed, crashed }) => `${task} ${exhausted + failed + crashed}`)
  return [
    {
      code: 'jobs-die',
      severity: 'warning',
      message: `In the last hour ${allDied} of ${allEnded} jobs that ended became dead letters: ${names(counted)}.`,
      meaning:
        'Their attempts were used up, their handlers failed them for good, or they took their workers down. None runs again by itself.',
      remedy: `Look what they died of: pgq jobs --state dead --task ${shellWord(task)}, or failures(executor, { task: ${JSON.stringify(task)} }). Mend that, then put them back: pgq redrive --task ${shellWord(task)}, or redriveDeadJobs(executor, { task: ${JSON.stringify(task)} }).`,
      evidence: deaths.map(({ task, exhausted, failed, crashed }) => ({ task, exhausted, failed, crashed })),
    },
  ]
}

function orphans({ orphans }: HealthFacts): Finding[] {
  const jobs = orphans.reduce((sum, lease) => sum + lease.jobs, 0)
  if (orphans.length === 0) return []
  return [
    {
      code: 'leases-orphaned',
      severity: 'warning',
      message: `${jobs} jobs are leased to workers that do not exist.`,
      meaning: 'Rows of workers were deleted, or tables restored from a dump. These jobs do not run meanwhile.',
      remedy:
        'Any running worker gives them back within a second or at its next beat: start one (pgq work, or createWorker).',
      evidence: orphans,
    },
  ]
}

function lostWorkers(facts: HealthFacts): Finding[] {
  const lost = facts.workers.filter((worker) => isLost(worker, facts.server))
  if (lost.length === 0) return []
  const jobs = lost.reduce((sum, { running }) => sum + running, 0)
  const nobodyElse = living(facts).length === 0
  return [
    {
      code: 'workers-lost',
      severity: nobodyElse && jobs > 0 ? 'critical' : 'warning',
      message: `${lost.length === 1 ? 'A worker is' : `${lost.length} workers are`} lost and not rescued yet; ${jobs} ${jobs === 1 ? 'job' : 'jobs'} with ${lost.length === 1 ? 'it' : 'them'}.`,
      meaning: nobodyElse
        ? 'Living workers give the jobs of lost ones back; there is none.'
        : 'A living worker gives these jobs back, within a second of the loss, or when the lease ran out.',
      remedy: nobodyElse
        ? 'Start a worker (pgq work, or createWorker).'
        : 'Nothing, unless it stays: then look at the logs of the living ones.',
      evidence: lost.map(({ id, hostname, pid, beatAgeMs, running }) => ({ id, hostname, pid, beatAgeMs, running })),
    },
  ]
}

function lackingWorkers(facts: HealthFacts): Finding[] {
  const workers = living(facts)
  const deaf = workers.filter(({ listens }) => !listens)
  const lockless = workers.filter(({ locks }) => !locks)
  const evidence = (lacking: readonly WorkerFacts[]) => lacking.map(({ id, hostname, pid }) => ({ id, hostname, pid }))
  const found: Finding[] = []
  if (lockless.length > 0)
    found.push({
      code: 'workers-without-locks',
      severity: 'info',
      message: `${lockless.length} of ${workers.length} workers hold no liveness lock.`,
      meaning:
        'A pooler stands in between, or this server has no session locks: their loss is noticed by their silence alone, after leaseMs.',
      remedy: 'Connect workers to the server itself, or to a pooler in session mode.',
      evidence: evidence(lockless),
    })
  if (deaf.length > 0)
    found.push({
      code: 'workers-without-notify',
      severity: 'info',
      message: `${deaf.length} of ${workers.length} workers do not hear NOTIFY.`,
      meaning: 'They find jobs by polling, up to a second late.',
      remedy: 'Connect workers to the server itself, and leave the option doorbell on.',
      evidence: evidence(deaf),
    })
  return found
}
