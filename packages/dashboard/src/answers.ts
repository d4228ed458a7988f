import { countMatching, InvalidOptionError, type JobState, SUSPECT_CRASHES } from '@pgq/core'
import {
  backlog,
  countFitting,
  countJobs,
  type Fitting,
  type FoundJob,
  getJob,
  getSchedule,
  health,
  type KeyedJobsFilter,
  type ListedJob,
  listDead,
  listParked,
  listReady,
  listRunning,
  listScheduled,
  listSchedules,
  listWorkers,
  type Page,
  type ScheduleDetails,
  statistics,
  statisticsByTask,
} from '@pgq/monitor'
import { type Context, Hono } from 'hono'
import { groupDeadLetters } from './dead-letters.js'
import type { ResolvedOptions } from './options.js'
import type { Permission } from './permissions.js'
import { singleFlight } from './questions.js'
import { maySearchArgs, redactor } from './redact.js'

/** How many dead letters are read to group them, the newest first. */
const GROUPED = 2_000
const PAGE = 50
/** Running jobs have no pages: those that run longest are what matters. */
const RUNNING = 200

const NO_SEARCH =
  'You may not search args: it takes the permission "view-args", and no option "redact", whose secrets a search would find.'

interface Env {
  Variables: { permissions: readonly Permission[] }
}

/** What the page asks for: each answer is one or two questions of @pgq/monitor. Lists never hold args. */
export function answers({ executor, schema, redact, questionTimeoutMs }: ResolvedOptions): Hono<Env> {
  const ask = singleFlight(questionTimeoutMs)
  const hidden = hideArgs(redactor(redact))
  const where = { schema }
  const app = new Hono<Env>()

  app.get('/overview', async (c) => {
    const [counts, queues, workers] = await Promise.all([
      ask('counts', () => countJobs(executor, {}, where)),
      ask('backlog', () => backlog(executor, where)),
      ask('workers', () => listWorkers(executor, where)),
    ])
    return c.json({ at: new Date(), counts, queues, workers: workers.length })
  })

  app.get('/statistics', async (c) => {
    const { name, hours, stepMs } = readRange(c)
    const filter = filterOf(c.req.query())
    return c.json(
      await ask(`statistics ${JSON.stringify([name, filter])}`, () =>
        statistics(executor, { ...filter, lastMs: hours * HOUR_MS, stepMs }, where),
      ),
    )
  })

  app.get('/tasks', async (c) => {
    const { name, hours } = readRange(c)
    return c.json(await ask(`tasks ${name}`, () => statisticsByTask(executor, { lastMs: hours * HOUR_MS }, where)))
  })

  const lists: Record<JobState, (request: Request) => Promise<Page<ListedJob>>> = {
    ready: (request) => listReady(executor, request, where),
    scheduled: (request) => listScheduled(executor, request, where),
    parked: (request) => listParked(executor, request, where),
    dead: (request) => listDead(executor, request, where),
    running: async ({ after: _, ...request }) => ({
      jobs: await listRunning(executor, { ...request, limit: RUNNING }, where),
    }),
  }

  app.get('/jobs', async (c) => {
    const { state, request } = readList(c)
    if (request.argsText && !maySearchArgs(c.var.permissions, redact)) return c.json({ error: NO_SEARCH }, 403)
    return c.json(await ask(`jobs ${JSON.stringify([state, request])}`, () => lists[state](request)))
  })

  /** How many an action over this filter would hit, as far as a look at a part of a long queue tells. */
  app.get('/jobs/count', async (c) => {
    const { state, filter } = readList(c)
    return c.json(await ask(`count ${JSON.stringify([state, filter])}`, () => countAll(state, filter)))
  })

  // What runs, and what has a key, is soon counted to the end.
  const countAll = async (state: JobState, filter: KeyedJobsFilter): Promise<Fitting> => {
    if (filter.key === undefined && state !== 'running') return countFitting(executor, state, filter, where)
    const jobs =
      state === 'dead'
        ? await countMatching(executor, 'dead', filter, where)
        : await countMatching(executor, 'unfinished', { ...filter, state }, where)
    return { jobs, isWhole: true }
  }

  app.get('/jobs/:id', async (c) => {
    const withArgs = c.var.permissions.includes('view-args')
    const id = c.req.param('id')
    const job = await ask(`job ${id} ${withArgs}`, () => getJob(executor, id, { ...where, withArgs }))
    return c.json(answeredJob(hidden(job)))
  })

  app.get('/dead-letters', async (c) => {
    const filter = filterOf(c.req.query())
    const { jobs, next } = await ask(`dead ${JSON.stringify(filter)}`, () =>
      listDead(executor, { ...filter, limit: GROUPED }, where),
    )
    return c.json({ groups: groupDeadLetters(jobs), read: jobs.length, isWhole: next === undefined })
  })

  app.get('/schedules', async (c) => c.json(await ask('schedules', () => listSchedules(executor, where))))

  // Its name as a query: in a path, a browser would take ".." for a step up.
  app.get('/schedule', async (c) => {
    const withArgs = c.var.permissions.includes('view-args')
    const { name = '' } = c.req.query()
    const schedule = await ask(`schedule ${withArgs} ${name}`, () =>
      getSchedule(executor, name, { ...where, withArgs }),
    )
    const answer: AnsweredSchedule = schedule ? { schedule: hidden(schedule) } : {}
    return c.json(answer)
  })

  app.get('/health', async (c) => c.json(await ask('health', () => health(executor, where))))

  app.get('/workers', async (c) => {
    const [workers, running] = await Promise.all([
      ask('workers', () => listWorkers(executor, where)),
      ask('running', () => listRunning(executor, { limit: 1_000 }, where)),
    ])
    return c.json({ workers, running })
  })
  return app
}

interface Request extends KeyedJobsFilter {
  readonly argsText?: string
  readonly after?: string
  readonly limit: number
}

const RANGES = new Map([
  ['1h', { hours: 1, stepMs: 60_000 }],
  ['6h', { hours: 6, stepMs: 300_000 }],
  ['24h', { hours: 24, stepMs: 900_000 }],
])

function readRange(c: Context) {
  const { range: name = '1h' } = c.req.query()
  const range = RANGES.get(name)
  if (!range) throw new InvalidOptionError(`range is ${JSON.stringify(name)}; use ${[...RANGES.keys()].join(', ')}.`)
  return { name, ...range }
}

const HOUR_MS = 3_600_000

function readList(c: Context): { state: JobState; filter: KeyedJobsFilter; request: Request } {
  const { state = 'ready', key, text, after } = c.req.query()
  if (!isState(state)) {
    throw new InvalidOptionError(`state is ${JSON.stringify(state)}; use ${STATES.join(', ')}.`)
  }
  const more = { ...(text && { argsText: text }), ...(after && { after }) }
  const filter = { ...filterOf(c.req.query()), ...(key && { key }) }
  return { state, filter, request: { ...filter, ...more, limit: PAGE } }
}

const STATES: readonly JobState[] = ['ready', 'scheduled', 'parked', 'running', 'dead']
const isState = (state: string): state is JobState => (STATES as readonly string[]).includes(state)

/** An empty field of a form is no condition. */
const filterOf = ({ queue, task }: { queue?: string | undefined; task?: string | undefined }) => ({
  ...(queue && { queue }),
  ...(task && { task }),
})

/** A job, and whether it is one that workers run with nothing beside it. */
export type AnsweredJob = FoundJob & { readonly runsAlone?: boolean }

function answeredJob(job: FoundJob): AnsweredJob {
  const mayCrash = job.state !== 'missing' && job.state !== 'dead'
  return mayCrash && job.crashCount >= SUSPECT_CRASHES ? { ...job, runsAlone: true } : job
}

/** A schedule, where there is one of that name. */
export interface AnsweredSchedule {
  readonly schedule?: ScheduleDetails
}

/** What is shown of something with args. */
const hideArgs =
  (hide: (args: unknown) => unknown) =>
  <Shown extends object>(shown: Shown): Shown =>
    'args' in shown ? { ...shown, args: hide(shown.args) } : shown
