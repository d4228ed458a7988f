import type { ScheduleDetails } from '@pgq/monitor'
import type { AnsweredSchedule } from '../../src/answers.js'
import { usePoll, type Wire } from '../api.js'
import { clockOf, HERE } from '../format.js'
import { linkTo } from '../route.js'
import { Action, Ago, Args, Empty, Heading, Loaded, Table } from '../ui.js'
import { LastJob, ScheduleActions, ScheduleState, When } from './schedules.js'

type Found = Wire<ScheduleDetails>

/** One schedule, by its name. */
export function Schedule({ name }: { name: string }) {
  const answer = usePoll<Wire<AnsweredSchedule>>(`schedule?${new URLSearchParams({ name })}`)
  return (
    <Loaded of={answer}>
      {({ schedule }) =>
        schedule ? (
          <Details schedule={schedule} onDone={answer.refresh} />
        ) : (
          <>
            <Heading title={<span class="name">{name}</span>} />
            <Empty title="Not there">There is no schedule of this name: it was removed, or never was.</Empty>
          </>
        )
      }
    </Loaded>
  )
}

function Details({ schedule, onDone }: { schedule: Found; onDone: () => void }) {
  const { name, task, queue, priority, catchUp, retry, pausedAt, failedAt, error } = schedule
  return (
    <>
      <Heading title={<span class="name">{name}</span>}>
        <ScheduleState schedule={schedule} />
        <ScheduleActions schedule={schedule} onDone={onDone}>
          <Action
            action="remove-schedule"
            permission="delete"
            target={{ schedule: name }}
            confirm={`Remove the schedule “${name}”? Its jobs stay. A program that makes it at its start makes it anew.`}
            done={`“${name}” was removed.`}
            danger
            onDone={onDone}
          >
            Remove
          </Action>
        </ScheduleActions>
      </Heading>
      <div class="columns">
        <div>
          {failedAt && (
            <section class="card">
              <h2>Error</h2>
              <p class="message">{error}</p>
              <p class="quiet">
                <Ago at={failedAt} />. {!pausedAt && 'Workers try again each minute.'}
              </p>
            </section>
          )}
          <section class="card">
            <h2>{pausedAt ? 'Next slots, if it were resumed now' : 'Next slots'}</h2>
            <NextSlots schedule={schedule} />
          </section>
        </div>
        <div>
          <section class="card">
            <h2>Schedule</h2>
            <dl>
              <dt>When</dt>
              <dd>
                <When schedule={schedule} />
              </dd>
              <dt>Task</dt>
              <dd>
                <a href={linkTo('jobs', { task })}>{task}</a>
              </dd>
              <dt>Queue</dt>
              <dd>
                <a href={linkTo('jobs', { queue })}>{queue}</a>
              </dd>
              <dt>Priority</dt>
              <dd>{priority}</dd>
              <dt>Catch-up</dt>
              <dd>
                {catchUp} <span class="quiet">· {CATCH_UP[catchUp]}</span>
              </dd>
              <dt>Last job</dt>
              <dd>
                <LastJob schedule={schedule} />
              </dd>
              {pausedAt && (
                <>
                  <dt>Paused</dt>
                  <dd>
                    <Ago at={pausedAt} />
                  </dd>
                </>
              )}
              {retry && (
                <>
                  <dt>Retry</dt>
                  <dd>
                    <pre>{JSON.stringify(retry, null, 2)}</pre>
                  </dd>
                </>
              )}
            </dl>
          </section>
          <section class="card">
            <h2>Args</h2>
            <Args args={schedule.args} />
          </section>
        </div>
      </div>
    </>
  )
}

const CATCH_UP: Record<Found['catchUp'], string> = {
  skip: 'slots that no worker was there for have no job',
  one: 'one job for all slots that no worker was there for',
  all: 'a job for each slot that no worker was there for',
}

/** By the clock that its cron expression is read by, and by the one of who looks. */
function NextSlots({ schedule: { cron, timeZone, nextSlots } }: { schedule: Found }) {
  if (nextSlots.length === 0) {
    return <p class="quiet">None: its cron expression has no more times, or is not understood here.</p>
  }
  const clocks = [...new Set(cron === null ? [HERE] : [timeZone, HERE])]
    .map((zone) => ({ zone, tell: clockOf(zone) }))
    .filter(({ tell }) => tell)
  return (
    <Table
      label="Next slots"
      head={
        <>
          {clocks.map(({ zone }) => (
            <th key={zone}>{zone === HERE ? `Here: ${zone}` : zone}</th>
          ))}
          <th>From now</th>
        </>
      }
    >
      {nextSlots.map((slot) => (
        <tr key={slot}>
          {clocks.map(({ zone, tell }) => (
            <td key={zone}>{tell!(slot)}</td>
          ))}
          <td class="quiet">
            <Ago at={slot} />
          </td>
        </tr>
      ))}
    </Table>
  )
}
