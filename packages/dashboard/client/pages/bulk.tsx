import type { JobState } from '@pgq/core'
import type { Fitting } from '@pgq/monitor'
import { useState } from 'preact/hooks'
import { usePoll, type Wire } from '../api.js'
import { count } from '../format.js'
import { Action, useMay } from '../ui.js'

/** What one call changes at most. */
const AT_ONCE = 10_000

/** Everything that fits the filter, also what is not shown; how much that is stands on the buttons. */
export function Bulk({
  state,
  queue,
  task,
  uniqueKey = '',
  onDone,
}: {
  state: JobState
  queue: string
  task: string
  uniqueKey?: string
  onDone: () => void
}) {
  const names = { ...(queue && { queue }), ...(task && { task }), ...(uniqueKey && { key: uniqueKey }) }
  const preview = usePoll<Wire<Fitting>>(`jobs/count?${new URLSearchParams({ state, ...names })}`, 5_000)
  const { jobs: found, isWhole } = preview.data ?? { jobs: 0, isWhole: true }
  if (found === 0 && isWhole) return null
  const these = nameOf(found, isWhole)
  const onChanged = () => {
    preview.refresh()
    onDone()
  }
  if (state === 'dead') return <DeadOnes target={names} these={these} onDone={onChanged} />
  return (
    <div class="actions">
      {state === 'scheduled' && (
        <Action
          action="run-now"
          permission="run-now"
          target={names}
          confirm={`Make ${these} that fit this filter ready now?`}
          done={(changed) => `Made ${changed} ready.`}
          onDone={onChanged}
        >
          Run {these} now
        </Action>
      )}
      {state !== 'running' && <Priority target={{ ...names, state }} these={these} onDone={onChanged} />}
      <Action
        action="cancel"
        permission="cancel"
        target={{ ...names, state }}
        confirm={
          state === 'running'
            ? `Ask the handlers of ${these} that fit this filter to stop?`
            : `Cancel ${these} that fit this filter? They become dead letters.`
        }
        done={(changed) =>
          state === 'running' ? `Asked the handlers of ${changed} to stop.` : `Cancelled ${changed}.`
        }
        danger
        onDone={onChanged}
      >
        Cancel {these}
      </Action>
      {state !== 'running' && (
        <Action
          action="delete-waiting"
          permission="delete"
          target={{ ...names, state }}
          confirm={`Delete ${these} that fit this filter for good?`}
          done={(changed) => `Deleted ${changed}.`}
          danger
          onDone={onChanged}
        >
          Delete {these}
        </Action>
      )}
    </div>
  )
}

function nameOf(found: number, isWhole: boolean): string {
  if (found >= AT_ONCE) return `the first ${count(AT_ONCE)}`
  // The queue is too long to be counted each time: nobody knows how many more there are.
  return isWhole ? `all ${count(found)}` : `up to ${count(AT_ONCE)}`
}

interface Part {
  readonly target: object
  readonly these: string
  readonly onDone: () => void
}

const DeadOnes = ({ these, ...about }: Part) => (
  <div class="actions">
    <Action
      {...about}
      action="redrive"
      permission="redrive"
      confirm={`Put ${these} that fit this filter back into their queues?`}
      done={(changed) => `Redrove ${changed}.`}
    >
      Redrive {these}
    </Action>
    <Action
      {...about}
      action="delete-dead"
      permission="delete"
      confirm={`Delete ${these} that fit this filter for good?`}
      done={(changed) => `Deleted ${changed}.`}
      danger
    >
      Delete {these}
    </Action>
  </div>
)

/** The button comes with a number. */
function Priority({ target, these, onDone }: Part) {
  const [priority, setPriority] = useState(Number.NaN)
  if (!useMay('set-priority')) return null
  return (
    <span class="inline">
      <input
        type="number"
        min={-32_768}
        max={32_767}
        placeholder="Priority"
        aria-label="New priority of all that fit; higher runs first"
        onInput={(event) => setPriority(event.currentTarget.valueAsNumber)}
      />
      {!Number.isNaN(priority) && (
        <Action
          action="set-priority"
          permission="set-priority"
          target={{ ...target, priority }}
          confirm={`Give ${these} that fit this filter the priority ${priority}?`}
          done={(changed) => `${changed} changed to priority ${priority}.`}
          onDone={onDone}
        >
          Set for {these}
        </Action>
      )}
    </span>
  )
}
