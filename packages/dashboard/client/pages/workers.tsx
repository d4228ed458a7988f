import type { RunningJob, WorkerStatus } from '@pgq/monitor'
import { usePoll, type Wire } from '../api.js'
import { count, duration } from '../format.js'
import { linkTo } from '../route.js'
import { Ago, Empty, Heading, Loaded } from '../ui.js'

interface WorkersAnswer {
  readonly workers: readonly Wire<WorkerStatus>[]
  readonly running: readonly Wire<RunningJob>[]
}

export function Workers() {
  const answer = usePoll<WorkersAnswer>('workers')
  return (
    <>
      <Heading title="Workers" />
      <Loaded of={answer}>
        {({ workers, running }) =>
          workers.length === 0 ? (
            <Empty title="No workers">Jobs wait until one is started.</Empty>
          ) : (
            <div class="cards">
              {workers.map((worker) => (
                <Worker
                  key={worker.id}
                  worker={worker}
                  running={running.filter((job) => job.worker.id === worker.id)}
                />
              ))}
            </div>
          )
        }
      </Loaded>
    </>
  )
}

const SHOWN = 8

function Worker({ worker, running }: { worker: Wire<WorkerStatus>; running: readonly Wire<RunningJob>[] }) {
  const isSilent = worker.beatAgeMs > worker.leaseMs
  return (
    <article class="card worker">
      <header>
        <h2>
          {worker.hostname} <span class="quiet">· {worker.pid}</span>
        </h2>
        <span class={`state state-${isSilent ? 'dead' : worker.idle ? 'idle' : 'running'}`}>
          {isSilent ? 'silent' : worker.idle ? 'idle' : 'works'}
        </span>
      </header>
      <dl>
        <dt>Started</dt>
        <dd>
          <Ago at={worker.startedAt} />
        </dd>
        <dt>Last sign</dt>
        <dd class={isSilent ? 'bad' : ''}>{duration(worker.beatAgeMs)} ago</dd>
        <dt>Queues</dt>
        <dd>{worker.queues.join(', ')}</dd>
        <dt>Tasks</dt>
        <dd>{worker.tasks.join(', ') || 'none'}</dd>
        {(!worker.locks || !worker.listens) && (
          <>
            <dt>Lacks</dt>
            <dd>{[!worker.locks && 'liveness lock', !worker.listens && 'NOTIFY'].filter(Boolean).join(', ')}</dd>
          </>
        )}
        {worker.alone && (
          <>
            <dt>Runs alone</dt>
            <dd>what two lost workers held, one job at a time</dd>
          </>
        )}
        <dt>Holds</dt>
        <dd>{count(worker.running)}</dd>
      </dl>
      {running.length > 0 && (
        <ul class="runs">
          {running.slice(0, SHOWN).map((job) => (
            <li key={job.id}>
              <a class="id" href={linkTo(`jobs/${job.id}`)}>
                {job.id}
              </a>
              <span class="name">{job.task}</span>
              <span class="quiet">{job.since ? <Ago at={job.since} /> : ''}</span>
            </li>
          ))}
          {worker.running > SHOWN && <li class="quiet">and {count(worker.running - SHOWN)} more</li>}
        </ul>
      )}
    </article>
  )
}
