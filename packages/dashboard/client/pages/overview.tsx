import type { JobCount, QueueBacklog, Statistics, StatisticsStep, TaskStatistics } from '@pgq/monitor'
import { type Polled, usePoll, type Wire } from '../api.js'
import { Chart } from '../chart.js'
import { about, count, duration } from '../format.js'
import { go, linkTo } from '../route.js'
import { Empty, Heading, Loaded, Name, Select, Table } from '../ui.js'
import { type HealthAnswer, Worst } from './health.js'

export interface OverviewAnswer {
  readonly at: string
  readonly counts: readonly Wire<JobCount>[]
  readonly queues: readonly Wire<QueueBacklog>[]
  readonly workers: number
}

const RANGES = { '1h': 'hour', '6h': '6 hours', '24h': '24 hours' }

/** How the last answers looked: kept while the page is open, as nobody else keeps it. */
const seen: { at: number; queues: OverviewAnswer['queues'] }[] = []
const SEEN = 600

export function Overview({
  query,
  overview,
  health,
}: {
  query: Readonly<Record<string, string>>
  overview: Polled<OverviewAnswer>
  health: HealthAnswer | undefined
}) {
  const range = query.range && query.range in RANGES ? query.range : '1h'
  const { queue = '', task = '' } = query
  const statistics = usePoll<Wire<Statistics>>(`statistics?${new URLSearchParams({ range, queue, task })}`, 10_000)
  const tasks = usePoll<readonly Wire<TaskStatistics>[]>(`tasks?range=${range}`, 10_000)
  const to = (change: Record<string, string>) => go(linkTo('', { range, queue, task, ...change }))
  const ended = tasks.data ?? []
  const fitting = ended.filter((one) => (!queue || one.queue === queue) && (!task || one.task === task))
  return (
    <>
      <Heading title="Overview" />
      {health && <Worst health={health} />}
      <Loaded of={overview}>{(data) => <Tiles data={data} />}</Loaded>
      <div class="bar">
        <label class="select">
          <span class="hidden">Time shown</span>
          <select value={range} onChange={(event) => to({ range: event.currentTarget.value })}>
            {Object.entries(RANGES).map(([value, label]) => (
              <option key={value} value={value}>
                Last {label}
              </option>
            ))}
          </select>
        </label>
        <Select
          label="Queue shown"
          all="All queues"
          value={queue}
          values={[...ended, ...(overview.data?.queues ?? [])].map((one) => one.queue)}
          onChange={(value) => to({ queue: value })}
        />
        <Select
          label="Task shown"
          all="All tasks"
          value={task}
          values={ended.filter((one) => !queue || one.queue === queue).map((one) => one.task)}
          onChange={(value) => to({ task: value })}
        />
      </div>
      <div class="charts">
        <Loaded of={statistics}>{(data) => <EndedCharts statistics={data} />}</Loaded>
        <Loaded of={overview}>{(data) => <BacklogChart data={data} queue={queue} isOfTask={task !== ''} />}</Loaded>
      </div>
      <Loaded of={tasks}>{() => <Tasks tasks={fitting} range={RANGES[range as keyof typeof RANGES]} />}</Loaded>
    </>
  )
}

function Tiles({ data: { counts, queues, workers } }: { data: OverviewAnswer }) {
  const of = (state: string) => about(counts.filter((one) => one.state === state))
  const oldest = oldestOf(queues)
  const next = Math.min(
    ...queues.map(({ nextScheduledAt }) => (nextScheduledAt ? Date.parse(nextScheduledAt) : Infinity)),
  )
  const has = (state: string) => counts.some((one) => one.state === state)
  return (
    <div class="tiles">
      <Tile
        name="Ready"
        state="ready"
        value={of('ready')}
        note={has('ready') ? `oldest waits ${duration(oldest)}` : 'nothing waits'}
      />
      <Tile
        name="Running"
        state="running"
        value={of('running')}
        note={`${count(workers)} ${workers === 1 ? 'worker' : 'workers'}`}
      />
      <Tile
        name="Scheduled"
        state="scheduled"
        value={of('scheduled')}
        note={next < Infinity ? dueNote(next) : 'nothing planned'}
      />
      {has('parked') && <Tile name="Parked" state="parked" value={of('parked')} note="wait for others of their key" />}
      <Tile
        name="Dead"
        state="dead"
        value={of('dead')}
        note={has('dead') ? 'look at the errors' : 'no dead letters'}
        href={linkTo('dead')}
      />
    </div>
  )
}

const oldestOf = (queues: OverviewAnswer['queues']): number =>
  Math.max(0, ...queues.map(({ oldestReadyMs = 0 }) => oldestReadyMs))

function dueNote(next: number): string {
  const ms = next - Date.now()
  return ms > 0 ? `next in ${duration(ms)}` : 'next is due'
}

function Tile({
  name,
  state,
  value,
  note,
  href,
}: {
  name: string
  state: string
  value: string
  note: string
  href?: string
}) {
  return (
    <a class={`card tile tile-${state}`} href={href ?? linkTo('jobs', { state })}>
      <span class="tile-name">{name}</span>
      <span class="tile-value">{value}</span>
      <span class="tile-note">{note}</span>
    </a>
  )
}

function EndedCharts({ statistics: { steps, stepMs } }: { statistics: Wire<Statistics> }) {
  const at = steps.map((step) => Date.parse(step.at))
  // The last one still fills: as a rate it would look like a fall.
  const whole = steps.slice(0, -1)
  const rate = (read: (step: Wire<StatisticsStep>) => number) => whole.map((step) => read(step) / (stepMs / 60_000))
  const died = ({ dead }: Wire<StatisticsStep>) => dead.exhausted + dead.failed + dead.cancelled + dead.crashed
  const percentile = (of: 'waitMs' | 'runMs', name: 'p50' | 'p95' | 'p99') =>
    steps.map((step) => step[of]?.[name] ?? null)
  const percentiles = (of: 'waitMs' | 'runMs') => [
    { label: 'p50', tone: 'blue' as const, values: percentile(of, 'p50') },
    { label: 'p95', tone: 'violet' as const, values: percentile(of, 'p95') },
    { label: 'p99', tone: 'amber' as const, values: percentile(of, 'p99') },
  ]
  return (
    <>
      <Chart
        title="Finished per minute"
        at={at.slice(0, -1)}
        unit="number"
        note={`in whole steps of ${duration(stepMs)}`}
        lines={[
          { label: 'completed', tone: 'green', filled: true, values: rate(({ completed }) => completed) },
          { label: 'retried', tone: 'amber', values: rate(({ retried }) => retried) },
          { label: 'dead', tone: 'red', values: rate(died) },
        ]}
      />
      <Chart title="Wait before a start" at={at} unit="time" lines={percentiles('waitMs')} />
      <Chart title="Time to run" at={at} unit="time" lines={percentiles('runMs')} />
    </>
  )
}

/** Of a queue, or of all. How old the jobs of one task are is not asked for. */
function BacklogChart({ data, queue, isOfTask }: { data: OverviewAnswer; queue: string; isOfTask: boolean }) {
  const now = Date.parse(data.at)
  if (seen.at(-1)?.at !== now) {
    seen.push({ at: now, queues: data.queues })
    if (seen.length > SEEN) seen.shift()
  }
  const ages = seen.map(({ queues }) => oldestOf(queues.filter((one) => !queue || one.queue === queue)))
  // One point alone would span no time, so a minute without one comes before it.
  const before = seen.length === 1 ? [now - 60_000] : []
  return (
    <Chart
      title="Oldest job that waits"
      at={[...before, ...seen.map(({ at }) => at)]}
      unit="time"
      lines={[{ label: 'age', tone: 'blue', filled: true, values: [...before.map(() => null), ...ages] }]}
      note={`${isOfTask ? 'of every task, ' : ''}since this page was opened`}
    />
  )
}

function Tasks({ tasks, range }: { tasks: readonly Wire<TaskStatistics>[]; range: string }) {
  return (
    <section>
      <h2>Tasks of the last {range}</h2>
      {tasks.length === 0 ? (
        <Empty title="Nothing ended in this time">Workers report every few seconds.</Empty>
      ) : (
        <Table
          label="Tasks"
          head={
            <>
              <th>Task</th>
              <th>Queue</th>
              <th class="number">Completed</th>
              <th class="number">Failed</th>
              <th class="number">Dead</th>
              <th class="number">Wait p95</th>
              <th class="number">Run p50</th>
              <th class="number">Run p95</th>
            </>
          }
        >
          {tasks.map(({ queue, task, completed, retried, dead, waitMs, runMs }) => (
            <tr key={`${queue} ${task}`}>
              <td>
                <a href={linkTo('jobs', { queue, task })}>
                  <Name>{task}</Name>
                </a>
              </td>
              <td class="quiet">
                <Name>{queue}</Name>
              </td>
              <td class="number">{count(completed)}</td>
              <td class="number">{count(retried)}</td>
              <td class="number">{count(dead.exhausted + dead.failed + dead.cancelled + dead.crashed)}</td>
              <td class="number">{waitMs ? duration(waitMs.p95) : '–'}</td>
              <td class="number">{runMs ? duration(runMs.p50) : '–'}</td>
              <td class="number">{runMs ? duration(runMs.p95) : '–'}</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  )
}
