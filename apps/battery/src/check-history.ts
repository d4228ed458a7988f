import type { HistoryEvent } from './history.js'

/** What the database says in the end. */
export interface FinalState {
  /** What handlers wrote, one row per effect. */
  readonly effects: readonly Effect[]
  /** Jobs that are still waiting or running. */
  readonly left: readonly JobName[]
  readonly dead: readonly JobName[]
}

export interface JobName {
  readonly task: string
  readonly n: number
}

export interface Effect extends JobName {
  readonly pid: number
  readonly attempt: number
  readonly crashes: number
}

export interface Expectations {
  /** Jobs that are to end as dead letters, and have no effect. Default: none. */
  readonly buried?: (job: JobName) => boolean
  /** Nothing but kill -9 happened to the workers: then two runs of one job never overlap, and none comes after the job was done. */
  readonly noOverlap?: boolean
}

interface Run {
  readonly pid: number
  readonly attempt: number
  readonly crashes: number
  readonly from: number
  to: number
  finished: boolean
  failed: boolean
}

interface Story extends JobName {
  acknowledged: boolean
  readonly runs: Run[]
  readonly effects: Effect[]
}

/**
 * Holds what happened against what was promised, per task: `plain` (at-least-once) has its effect once or more, `finish`
 * (at-least-once with job.finish) and `transactional` exactly once, `once` (at-most-once) once or not at all, whose failures are
 * dead letters. Nothing that was
 * acknowledged is lost. Answers the problems, a sentence each.
 */
export function checkHistory(
  history: readonly HistoryEvent[],
  { effects, left, dead }: FinalState,
  { buried = () => false, noOverlap = false }: Expectations = {},
): string[] {
  const stories = tell(history, effects)
  const problems = left.map(({ task, n }) => `${task} ${n} was left in the queue.`)
  for (const job of dead) if (job.task !== 'once' && !buried(job)) problems.push(`${job.task} ${job.n} was buried.`)
  for (const story of stories.values()) {
    problems.push(...countProblems(story, buried(story)))
    if (noOverlap) problems.push(...repeatProblems(story), ...overlapProblems(story))
  }
  return problems
}

/**
 * How many runs of jobs with a fence (finish, transactional) began while another run of the same job went on: of a worker that was
 * frozen or cut off. Only one of them may have had its effect; that is what checkHistory looks at.
 */
export function countOverlaps(history: readonly HistoryEvent[]): number {
  const fenced = [...tell(history, []).values()].filter(({ task }) => task === 'finish' || task === 'transactional')
  return fenced.flatMap(overlapProblems).length
}

/**
 * At-least-once jobs that started again although no handler of theirs had failed: taken from a worker, or claimed in a moment that
 * the server forgot.
 */
export function findRepeats(history: readonly HistoryEvent[]): JobName[] {
  const leased = [...tell(history, []).values()].filter(({ task }) => task === 'plain' || task === 'finish')
  return leased.filter(({ runs }) => runs.filter(({ failed }) => !failed).length > 1)
}

function tell(history: readonly HistoryEvent[], effects: readonly Effect[]): Map<string, Story> {
  const stories = new Map<string, Story>()
  const storyOf = ({ task, n }: JobName): Story => {
    const found = stories.get(`${task} ${n}`) ?? { task, n, acknowledged: false, runs: [], effects: [] }
    stories.set(`${task} ${n}`, found)
    return found
  }
  const running = new Map<number, Set<Run>>()
  const killed = new Set<number>()
  for (const event of history) {
    if (event.kind === 'killed') {
      killed.add(event.victim)
      for (const run of running.get(event.victim) ?? []) run.to = event.at
      continue
    }
    const story = storyOf(event)
    if (event.kind === 'acknowledged') story.acknowledged = true
    else if (event.kind === 'started') {
      // A process may do a little more between the order to kill it and its end.
      const to = killed.has(event.pid) ? event.at : Number.POSITIVE_INFINITY
      const { pid, attempt, crashes, at: from } = event
      const run = { pid, attempt, crashes, from, to, finished: false, failed: false }
      story.runs.push(run)
      running.set(event.pid, (running.get(event.pid) ?? new Set()).add(run))
    } else {
      const run = story.runs.findLast(({ pid, to }) => pid === event.pid && to === Number.POSITIVE_INFINITY)
      if (!run) continue
      run.to = event.at
      run.finished = event.kind === 'finished'
      run.failed = event.kind === 'failed'
      running.get(event.pid)?.delete(run)
    }
  }
  for (const effect of effects) storyOf(effect).effects.push(effect)
  return stories
}

function countProblems({ task, n, acknowledged, runs, effects }: Story, buried: boolean): string[] {
  const times = effects.length
  if (buried) return times > 0 ? [`${task} ${n} was to be buried, but had its effect.`] : []
  if (task === 'once') {
    const twice = times > 1 ? [`once ${n} had ${times} effects.`] : []
    return runs.length > 1 ? [...twice, `once ${n} ran ${runs.length} times.`] : twice
  }
  if (times === 0) return acknowledged ? [`${task} ${n} was acknowledged and had no effect.`] : []
  return times > 1 && task !== 'plain' ? [`${task} ${n} had ${times} effects.`] : []
}

/** A run that starts after the job was done. A worker cut off from the database may begin one; what it writes is refused. */
function repeatProblems({ task, n, runs, effects }: Story): string[] {
  const [effect] = effects
  if (task === 'plain' || !effect) return []
  // The last such run: a transaction that did not commit leaves no trace, not even of its attempt.
  const done = runs.findLast(
    ({ pid, attempt, crashes, finished }) =>
      finished && pid === effect.pid && attempt === effect.attempt && crashes === effect.crashes,
  )
  const late = done && runs.find((run) => run !== done && run.from > done.to)
  return late ? [`${task} ${n} started again ${(late.from - done.to).toFixed(0)} ms after it was done.`] : []
}

function overlapProblems({ task, n, runs }: Story): string[] {
  const problems: string[] = []
  let end = Number.NEGATIVE_INFINITY
  for (const { from, to } of runs) {
    if (from < end) problems.push(`Two runs of ${task} ${n} overlapped.`)
    end = Math.max(end, to)
  }
  return problems
}
