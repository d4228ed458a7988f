import type { Polled } from '../api.js'
import { count, duration } from '../format.js'
import { linkTo } from '../route.js'
import { Action, Ago, Empty, Heading, Loaded, Table } from '../ui.js'
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
  const sum = (state: string) =>
    data.counts.reduce((total, one) => total + (one.queue === name && one.state === state ? one.jobs : 0), 0)
  const number = (state: string, href = linkTo('jobs', { state, queue: name })) => {
    const jobs = sum(state)
    return <td class="number">{jobs > 0 ? <a href={href}>{count(jobs)}</a> : '0'}</td>
  }
  const nobodyServes = backlog && backlog.workers === 0 && backlog.ready > 0
  return (
    <tr>
      <td>
        <a class="name" href={linkTo('jobs', { queue: name })}>
          {name}
        </a>
      </td>
      {number('ready')}
      <td class="number">{backlog?.oldestReadyMs === undefined ? '–' : duration(backlog.oldestReadyMs)}</td>
      {number('running')}
      {number('scheduled')}
      <td>{backlog?.nextScheduledAt ? <Ago at={backlog.nextScheduledAt} /> : '–'}</td>
      {number('dead', linkTo('dead', { queue: name }))}
      <td
        class={`number ${nobodyServes ? 'bad' : ''}`}
        title={nobodyServes ? 'Jobs wait, and no worker serves this queue' : ''}
      >
        {count(backlog?.workers ?? 0)}
      </td>
      <td class="actions">
        <PauseOrResume name={name} onDone={onDone} />
      </td>
    </tr>
  )
}

function PauseOrResume({ name, onDone }: { name: string; onDone: () => void }) {
  return (
    <Action
      action="pause-queue"
      permission="pause"
      target={{ queue: name }}
      done={`Paused ${name}.`}
      confirm={`Pause the queue “${name}” for all workers? What runs goes on.`}
      onDone={onDone}
    >
      Pause
    </Action>
  )
}
