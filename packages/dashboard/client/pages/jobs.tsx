import type { JobState } from '@pgq/core'
import type { DeadJob, ParkedJob, ReadyJob, RunningJob, ScheduledJob } from '@pgq/monitor'
import { useContext, useState } from 'preact/hooks'
import { usePoll, type Wire } from '../api.js'
import { go, linkTo } from '../route.js'
import { Ago, Empty, Filter, Heading, Loaded, Name, SessionContext, Table } from '../ui.js'
import { Bulk } from './bulk.js'

type ListedJob = Wire<ReadyJob> | Wire<ScheduledJob> | Wire<ParkedJob> | Wire<RunningJob> | Wire<DeadJob>

interface JobsAnswer {
  readonly jobs: readonly ListedJob[]
  readonly next?: string
}

const STATES: readonly JobState[] = ['ready', 'running', 'scheduled', 'parked', 'dead']
const WHEN: Record<JobState, string> = {
  ready: 'Ready since',
  running: 'Runs since',
  scheduled: 'Due',
  parked: 'Ready since',
  dead: 'Died',
}
const ABOUT: Record<JobState, string> = {
  ready: 'Created',
  running: 'Worker',
  scheduled: 'Last error',
  parked: 'Waits for',
  dead: 'Last error',
}
const ORDER: Record<JobState, string> = {
  ready: 'In the order in which workers take them',
  running: 'Those that run longest come first',
  scheduled: 'Those that are due next come first',
  parked: 'The oldest come first',
  dead: 'Those that died last come first',
}

export function Jobs({ query }: { query: Readonly<Record<string, string>> }) {
  const state = STATES.find((one) => one === query.state) ?? 'ready'
  const { queue = '', task = '', text = '', after } = query
  // One of the task's: without it, it says nothing.
  const key = (task && query.key) ?? ''
  const { searchesArgs } = useContext(SessionContext)
  const answer = usePoll<JobsAnswer>(
    `jobs?${new URLSearchParams({ state, queue, task, key, text, ...(after && { after }) })}`,
  )
  const to = (change: Record<string, string | undefined>) =>
    linkTo('jobs', { state, queue, task, key, text, ...change })
  return (
    <>
      <Heading title="Jobs">
        <FindJob />
      </Heading>
      <div class="bar">
        <nav class="tabs" aria-label="State">
          {STATES.map((one) => (
            <a key={one} href={to({ state: one })} aria-current={one === state ? 'page' : undefined}>
              {one}
            </a>
          ))}
        </nav>
        <Filter label="Queue" value={queue} onChange={(value) => go(to({ queue: value }))} />
        <Filter label="Task" value={task} onChange={(value) => go(to({ task: value, key: '' }))} />
        {task && <Filter label="Key" value={key} onChange={(value) => go(to({ key: value }))} />}
        {searchesArgs && <Filter label="Text in args" value={text} onChange={(value) => go(to({ text: value }))} />}
      </div>
      {/* No action takes a text: it would hit more than what is shown. */}
      {(queue || task) && !text && (
        <div class="bar">
          <Bulk key={state} state={state} queue={queue} task={task} uniqueKey={key} onDone={answer.refresh} />
        </div>
      )}
      <Loaded of={answer}>
        {({ jobs, next }) => (
          <>
            {jobs.length === 0 ? (
              <Empty title={next ? 'None so far' : `No ${state} jobs`}>
                {whyEmpty({ next, isFiltered: !!(queue || task || text) })}
              </Empty>
            ) : (
              <Table label={`${state} jobs`} head={<Head state={state} />}>
                {jobs.map((job) => (
                  <JobRow key={job.id} job={job} state={state} />
                ))}
              </Table>
            )}
            <footer class="pager">
              <span class="quiet">{jobs.length > 0 && ORDER[state]}</span>
              {after && <a href={to({})}>First page</a>}
              {next && <a href={to({ after: next })}>Next page</a>}
            </footer>
          </>
        )}
      </Loaded>
    </>
  )
}

function whyEmpty({ next, isFiltered }: { next: string | undefined; isFiltered: boolean }): string | undefined {
  if (next) return 'The queue is long, and a page looks at a part of it: the next one goes on.'
  return isFiltered ? 'None that fit this filter.' : undefined
}

const Head = ({ state }: { state: JobState }) => (
  <>
    <th class="number">Id</th>
    <th>Task</th>
    <th>Queue</th>
    <th class="number">Priority</th>
    <th class="number">Attempt</th>
    <th>{WHEN[state]}</th>
    <th>{ABOUT[state]}</th>
  </>
)

function JobRow({ job, state }: { job: ListedJob; state: JobState }) {
  const at = instantOf(job)
  return (
    <tr>
      <td class="number">
        <a class="id" href={linkTo(`jobs/${job.id}`)}>
          {job.id}
        </a>
      </td>
      <td>
        <a href={linkTo(`jobs/${job.id}`)} tabIndex={-1}>
          <Name>{job.task}</Name>
        </a>
      </td>
      <td class="quiet">
        <Name>{job.queue}</Name>
      </td>
      <td class="number">{job.priority}</td>
      <td class="number">{job.attempt}</td>
      <td>{at ? <Ago at={at} /> : 'unknown'}</td>
      <td class="quiet message">{aboutOf(job, state)}</td>
    </tr>
  )
}

function instantOf(job: ListedJob): string | undefined {
  if ('diedAt' in job) return job.diedAt
  if ('executeAt' in job) return job.executeAt
  if ('readyAt' in job) return job.readyAt
  return job.since
}

function aboutOf(job: ListedJob, state: JobState) {
  if ('worker' in job) return `${job.worker.hostname} · ${job.worker.pid}`
  if ('concurrencyKey' in job) return job.concurrencyKey
  if (state === 'ready') return <Ago at={job.createdAt} />
  const error = 'lastError' in job ? job.lastError : undefined
  return error ? `${error.name}: ${error.message}` : 'reason' in job ? job.reason : '–'
}

/** Ids are exact, so this goes straight to the job. */
function FindJob() {
  const [isWrong, setWrong] = useState(false)
  return (
    <form
      class="find"
      onSubmit={(event) => {
        event.preventDefault()
        const id = String(new FormData(event.currentTarget).get('id')).trim()
        if (/^\d{1,19}$/.test(id)) go(linkTo(`jobs/${id}`))
        else setWrong(true)
      }}
    >
      <input
        name="id"
        type="search"
        inputMode="numeric"
        placeholder="Find by id"
        aria-label="Find a job by its id"
        aria-invalid={isWrong}
        autocomplete="off"
        onInput={() => setWrong(false)}
      />
    </form>
  )
}
