import { useState } from 'preact/hooks'
import type { AnsweredJob } from '../../src/answers.js'
import { type Polled, usePoll, type Wire } from '../api.js'
import { moment } from '../format.js'
import { linkTo } from '../route.js'
import { Action, Ago, Args, Empty, Heading, Loaded, State, useMay } from '../ui.js'

type Found = Wire<AnsweredJob>
type Present = Exclude<Found, { state: 'missing' }>

export function Job({ id }: { id: string }) {
  const answer = usePoll<Found>(`jobs/${id}`)
  return (
    <Loaded of={answer}>
      {(job) =>
        job.state === 'missing' ? (
          <>
            <Heading title={`Job ${id}`} />
            <Empty title="Not there">
              It has finished, was deleted, or never was: finished jobs leave the database.
            </Empty>
          </>
        ) : (
          <Details job={job} answer={answer} />
        )
      }
    </Loaded>
  )
}

function Details({ job, answer }: { job: Present; answer: Polled<Found> }) {
  return (
    <>
      <Heading title={<span class="name">{job.task}</span>}>
        <State state={job.state} />
        <Actions job={job} onDone={answer.refresh} />
      </Heading>
      <div class="columns">
        <div>
          <section class="card">
            <h2>Timeline</h2>
            <Timeline job={job} />
          </section>
          <section class="card">
            <h2>Errors</h2>
            {job.errors.length === 0 ? <p class="quiet">No attempt has failed.</p> : null}
            {job.errors.toReversed().map((error, index) => (
              <details class="error" key={`${error.attempt} ${error.at} ${index}`} open={index === 0}>
                <summary>
                  <span class="error-name">{error.name}</span> {error.message}
                </summary>
                <p class="quiet">
                  Attempt {error.attempt}, {isInstant(error.at) ? moment(error.at) : 'at an unknown time'}
                </p>
                {error.stack && <pre>{error.stack}</pre>}
              </details>
            ))}
          </section>
        </div>
        <div>
          <section class="card">
            <h2>Job</h2>
            <dl>
              <dt>Id</dt>
              <dd class="id">{job.id}</dd>
              <dt>Queue</dt>
              <dd>
                <a href={linkTo('jobs', { state: job.state, queue: job.queue })}>{job.queue}</a>
              </dd>
              <dt>Priority</dt>
              <dd>
                <Priority job={job} onDone={answer.refresh} />
              </dd>
              <dt>Attempt</dt>
              <dd>{job.attempt}</dd>
              <dt>Workers lost</dt>
              <dd>
                {job.crashCount}
                {job.runsAlone && (
                  <span class="quiet"> · runs with nothing beside it, to tell whether it is the cause</span>
                )}
              </dd>
              {job.state === 'running' && (
                <>
                  <dt>Worker</dt>
                  <dd>
                    {job.worker.hostname} · {job.worker.pid}
                  </dd>
                  <dt>Mode</dt>
                  <dd>{job.mode}</dd>
                </>
              )}
              {job.retry && (
                <>
                  <dt>Retry</dt>
                  <dd>
                    <pre>{JSON.stringify(job.retry, null, 2)}</pre>
                  </dd>
                </>
              )}
              <Meta job={job} />
            </dl>
          </section>
          <section class="card">
            <h2>Args</h2>
            <Args args={job.args} />
          </section>
        </div>
      </div>
    </>
  )
}

/** What it carries beside its args. SQL may have written anything there. */
function Meta({ job: { state, task, meta } }: { job: Present }) {
  const all: [name: string, value: unknown][] = Object.entries(meta ?? {})
  const isNamed = ([name, value]: (typeof all)[number]) => NAMED.includes(name) && typeof value === 'string'
  const { key, concurrencyKey, concurrencyMax, schedule, slot } = Object.fromEntries(all.filter(isNamed)) as Record<
    string,
    string | undefined
  >
  const more = all.filter((entry) => !isNamed(entry))
  return (
    <>
      {key !== undefined && (
        <>
          <dt>Key</dt>
          <dd>
            <a href={linkTo('jobs', { state, task, key })}>{key}</a>
          </dd>
        </>
      )}
      {concurrencyKey !== undefined && (
        <>
          <dt>Concurrency key</dt>
          <dd>
            {concurrencyKey}
            {concurrencyMax !== undefined && concurrencyMax !== '1' && (
              <span class="quiet"> · at most {concurrencyMax} run at a time</span>
            )}
          </dd>
        </>
      )}
      {schedule !== undefined && (
        <>
          <dt>Schedule</dt>
          <dd>
            <a href={linkTo('schedules', { name: schedule })}>{schedule}</a>
          </dd>
        </>
      )}
      {slot !== undefined && (
        <>
          <dt>Slot</dt>
          <dd>{isInstant(slot) ? moment(slot) : slot}</dd>
        </>
      )}
      {more.length > 0 && (
        <>
          <dt>Meta</dt>
          <dd>
            <pre>{JSON.stringify(Object.fromEntries(more), null, 2)}</pre>
          </dd>
        </>
      )}
    </>
  )
}

const NAMED = ['key', 'concurrencyKey', 'concurrencyMax', 'schedule', 'slot']

const isInstant = (text: string): boolean => !Number.isNaN(Date.parse(text))

interface Event {
  readonly at?: string
  readonly text: string
  readonly tone: string
}

function Timeline({ job }: { job: Present }) {
  return (
    <ol class="timeline">
      {eventsOf(job).map(({ at, text, tone }) => (
        <li key={`${at} ${text}`} class={`tone-${tone}`}>
          <span class="dot" aria-hidden="true" />
          <span>{text}</span>
          {at && (
            <span class="quiet">
              <Ago at={at} /> · {moment(at)}
            </span>
          )}
        </li>
      ))}
    </ol>
  )
}

function eventsOf(job: Present): Event[] {
  const failures = job.errors
    .filter(({ at }) => isInstant(at))
    .map(({ at, attempt, name }) => ({ at, text: `Attempt ${attempt} failed: ${name}`, tone: 'amber' }))
  return [{ at: job.createdAt, text: 'Enqueued', tone: 'blue' }, ...failures, stateEvent(job)]
}

function stateEvent(job: Present): Event {
  switch (job.state) {
    case 'ready':
      return { at: job.readyAt, text: 'Ready: waits for a worker', tone: 'blue' }
    case 'parked':
      return { at: job.readyAt, text: 'Parked: waits for others of its concurrency key', tone: 'violet' }
    case 'scheduled':
      return { at: job.executeAt, text: job.attempt > 0 ? 'Runs again' : 'Becomes ready', tone: 'violet' }
    case 'running':
      return { ...(job.since && { at: job.since }), text: `Attempt ${job.attempt} runs`, tone: 'green' }
    case 'dead':
      return { at: job.diedAt, text: `Dead: ${job.reason}`, tone: 'red' }
  }
}

function Actions({ job, onDone }: { job: Present; onDone: () => void }) {
  const target = { ids: [job.id] }
  return (
    <div class="actions">
      {job.state === 'scheduled' && (
        <Action action="run-now" permission="run-now" target={target} done="It is ready now." onDone={onDone}>
          Run now
        </Action>
      )}
      {job.state === 'dead' && (
        <Action action="redrive" permission="redrive" target={target} done="It is back in its queue." onDone={onDone}>
          Redrive
        </Action>
      )}
      {job.state !== 'dead' && (
        <Action
          action="cancel"
          permission="cancel"
          target={target}
          confirm={
            job.state === 'running'
              ? 'Ask the handler to stop, and end this job?'
              : 'Cancel this job? It becomes a dead letter.'
          }
          done={job.state === 'running' ? 'Its handler was asked to stop.' : 'It was cancelled.'}
          onDone={onDone}
        >
          Cancel job
        </Action>
      )}
      {job.state !== 'running' && (
        <Action
          action={job.state === 'dead' ? 'delete-dead' : 'delete-waiting'}
          permission="delete"
          target={target}
          confirm="Delete this job for good?"
          done="It was deleted."
          danger
          onDone={onDone}
        >
          Delete
        </Action>
      )}
    </div>
  )
}

/** The priority, to be changed while the job waits. */
function Priority({ job, onDone }: { job: Present; onDone: () => void }) {
  const [priority, setPriority] = useState<number>()
  const isOpen = useMay('set-priority') && job.state !== 'running' && job.state !== 'dead'
  if (!isOpen) return <>{job.priority}</>
  const wanted = priority ?? job.priority
  return (
    <span class="inline">
      <input
        type="number"
        min={-32_768}
        max={32_767}
        value={wanted}
        aria-label="Priority; higher runs first"
        onInput={(event) => setPriority(event.currentTarget.valueAsNumber)}
      />
      {wanted !== job.priority && !Number.isNaN(wanted) && (
        <Action
          action="set-priority"
          permission="set-priority"
          target={{ ids: [job.id], priority: wanted }}
          done={`Its priority is ${wanted} now.`}
          onDone={() => {
            setPriority(undefined)
            onDone()
          }}
        >
          Set
        </Action>
      )}
    </span>
  )
}
