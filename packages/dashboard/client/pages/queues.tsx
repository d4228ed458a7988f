import type { Polled } from '../api.js'
import { about, count, duration, moment } from '../format.js'
import { linkTo } from '../route.js'
import { Action, Ago, Empty, Heading, Loaded, Name, Table } from '../ui.js'
import type { OverviewAnswer } from './overview.js'

export function Queues({ overview }: { overview: Polled<OverviewAnswer> }) {
  return (
    <>
      <Heading title="Queues" />
      <Loaded of={overview}>
        {(data) => {
          const names = [...new Set([...data.queues, ...data.counts].map(({ queue }) => queue))].sort()
          if (names.length === 0)
            return <Empty title="No queues yet">A queue is there as soon as it has a job or a worker.</Empty>
          return (
            <Table
              label="Queues"
              head={
                <>
                  <th>Queue</th>
                  <th class="number">Ready</th>
                  <th class="number">Oldest</th>
                  <th class="number">Running</th>
                  <th class="number">Scheduled</th>
                  <th>Next</th>
                  <th class="number">Parked</th>
                  <th class="number">Dead</th>
                  <th class="number">Workers</th>
                  <th>
                    <span class="hidden">Actions</span>
                  </th>
                </>
              }
            >
              {names.map((name) => (
                <QueueRow key={name} name={name} data={data} onDone={overview.refresh} />
              ))}
            </Table>
          )
        }}
      </Loaded>
    </>
  )
}

function QueueRow({ name, data, onDone }: { name: string; data: OverviewAnswer; onDone: () => void }) {
  const backlog = data.queues.find(({ queue }) => queue === name)
  const number = (state: string, href = linkTo('jobs', { state, queue: name })) => {
    const counts = data.counts.filter((one) => one.queue === name && one.state === state)
    return <td class="number">{counts.length > 0 ? <a href={href}>{about(counts)}</a> : '0'}</td>
  }
  const nobodyServes = backlog && backlog.workers === 0 && backlog.ready + backlog.parked > 0
  return (
    <tr>
      <td>
        <a href={linkTo('jobs', { queue: name })}>
          <Name>{name}</Name>
        </a>{' '}
        {backlog?.pausedAt && (
          <span class="state state-paused" title={`Since ${moment(backlog.pausedAt)}`}>
            paused
          </span>
        )}
      </td>
      {number('ready')}
      <td class="number">{backlog?.oldestReadyMs === undefined ? '–' : duration(backlog.oldestReadyMs)}</td>
      {number('running')}
      {number('scheduled')}
      <td>{backlog?.nextScheduledAt ? <Ago at={backlog.nextScheduledAt} /> : '–'}</td>
      {number('parked')}
      {number('dead', linkTo('dead', { queue: name }))}
      <td
        class={`number ${nobodyServes ? 'bad' : ''}`}
        title={nobodyServes ? 'Jobs wait, and no worker serves this queue' : ''}
      >
        {count(backlog?.workers ?? 0)}
      </td>
      <td class="actions">
        <PauseOrResume name={name} isPaused={backlog?.pausedAt !== undefined} onDone={onDone} />
      </td>
    </tr>
  )
}

function PauseOrResume({ name, isPaused, onDone }: { name: string; isPaused: boolean; onDone: () => void }) {
  const about = { permission: 'pause', target: { queue: name }, onDone } as const
  return isPaused ? (
    <Action {...about} action="resume-queue" done={`“${name}” goes on.`}>
      Resume
    </Action>
  ) : (
    <Action
      {...about}
      action="pause-queue"
      done={`“${name}” is paused.`}
      confirm={`Pause the queue “${name}” for all workers? What runs goes on.`}
    >
      Pause
    </Action>
  )
}
