import type { Schedule } from '@pgq/monitor'
import type { ComponentChildren } from 'preact'
import { usePoll, type Wire } from '../api.js'
import { every, moment } from '../format.js'
import { linkTo } from '../route.js'
import { Action, Ago, Empty, Heading, Loaded, Name, State, Table } from '../ui.js'

export function Schedules() {
  const answer = usePoll<readonly Wire<Schedule>[]>('schedules')
  return (
    <>
      <Heading title="Schedules" />
      <Loaded of={answer}>
        {(schedules) =>
          schedules.length === 0 ? (
            <Empty title="No schedules yet">
              A program makes one:{' '}
              <code>task.schedule(db, args, {"{ cron: '0 3 * * *', timeZone: 'Europe/Berlin' }"})</code>
            </Empty>
          ) : (
            <Table
              label="Schedules"
              head={
                <>
                  <th>Schedule</th>
                  <th>Task, queue</th>
                  <th>When</th>
                  <th>Next</th>
                  <th>Last job</th>
                  <th>State</th>
                  <th>
                    <span class="hidden">Actions</span>
                  </th>
                </>
              }
            >
              {schedules.map((schedule) => (
                <ScheduleRow key={schedule.name} schedule={schedule} onDone={answer.refresh} />
              ))}
            </Table>
          )
        }
      </Loaded>
    </>
  )
}

interface Part {
  readonly schedule: Wire<Schedule>
  readonly onDone: () => void
}

function ScheduleRow({ schedule, onDone }: Part) {
  const { name, task, queue, nextAt, pausedAt, error } = schedule
  return (
    <>
      <tr>
        <td>
          <a href={linkTo('schedules', { name })}>
            <Name>{name}</Name>
          </a>
        </td>
        <td>
          <Name>{task}</Name>
          <span class="below quiet">
            <Name>{queue}</Name>
          </span>
        </td>
        <td>
          <When schedule={schedule} />
        </td>
        <td>{nextAt && !pausedAt ? <Ago at={nextAt} /> : '–'}</td>
        <td>
          <LastJob schedule={schedule} />
        </td>
        <td>
          <ScheduleState schedule={schedule} />
        </td>
        <td class="actions">
          <ScheduleActions schedule={schedule} onDone={onDone} />
        </td>
      </tr>
      {error && (
        <tr class="follows">
          <td colSpan={7}>
            <p class="message quiet">{error}</p>
          </td>
        </tr>
      )}
    </>
  )
}

/** Its times, in words. */
export const When = ({ schedule: { cron, timeZone, everyMs } }: { schedule: Wire<Schedule> }) =>
  cron === null ? (
    every(everyMs!)
  ) : (
    <>
      <code>
        <Name>{cron}</Name>
      </code>{' '}
      <span class="below quiet">
        <Name>{timeZone}</Name>
      </span>
    </>
  )

export const LastJob = ({ schedule: { lastAt, lastJobId } }: { schedule: Wire<Schedule> }) =>
  lastAt ? (
    <a class="id" href={linkTo(`jobs/${lastJobId}`)}>
      {lastJobId} · <Ago at={lastAt} />
    </a>
  ) : (
    <span class="quiet">none yet</span>
  )

export function ScheduleState({ schedule: { pausedAt, failedAt } }: { schedule: Wire<Schedule> }) {
  if (!pausedAt) return <State state={failedAt ? 'failed' : 'on'} />
  return (
    <span title={`Since ${moment(pausedAt)}`}>
      <State state="paused" />
    </span>
  )
}

/** The buttons of a schedule, and more of them. */
export function ScheduleActions({ schedule, onDone, children }: Part & { readonly children?: ComponentChildren }) {
  const { name, pausedAt } = schedule
  const about = { target: { schedule: name }, onDone }
  return (
    <div class="actions">
      <Action {...about} action="run-schedule" permission="run-now" done={`“${name}” has a new job.`}>
        Run now
      </Action>
      {pausedAt ? (
        <Action {...about} action="resume-schedule" permission="pause" done={`“${name}” goes on.`}>
          Resume
        </Action>
      ) : (
        <Action
          {...about}
          action="pause-schedule"
          permission="pause"
          done={`“${name}” is paused.`}
          confirm={`Pause the schedule “${name}”? Its slots have no jobs until it is resumed.`}
        >
          Pause
        </Action>
      )}
      {children}
    </div>
  )
}
