import type { DeadGroup } from '../../src/dead-letters.js'
import { usePoll, type Wire } from '../api.js'
import { count, jobs } from '../format.js'
import { go, linkTo } from '../route.js'
import { Action, Ago, Empty, Filter, Heading, Loaded } from '../ui.js'
import { Bulk } from './bulk.js'

interface DeadAnswer {
  readonly groups: readonly Wire<DeadGroup>[]
  readonly read: number
  readonly isWhole: boolean
}

export function Dead({ query }: { query: Readonly<Record<string, string>> }) {
  const { queue = '', task = '' } = query
  const answer = usePoll<DeadAnswer>(`dead-letters?${new URLSearchParams({ queue, task })}`, 5_000)
  return (
    <>
      <Heading title="Dead letters" />
      <div class="bar">
        <Filter label="Queue" value={queue} onChange={(value) => go(linkTo('dead', { queue: value, task }))} />
        <Filter label="Task" value={task} onChange={(value) => go(linkTo('dead', { queue, task: value }))} />
        {(queue || task) && <Bulk state="dead" queue={queue} task={task} onDone={answer.refresh} />}
      </div>
      <Loaded of={answer}>
        {({ groups, read, isWhole }) => (
          <>
            {groups.length === 0 && (
              <Empty title="No dead letters">
                {queue || task ? 'None that fit this filter.' : 'Nothing failed for good.'}
              </Empty>
            )}
            {!isWhole && (
              <p class="quiet">These are the newest {count(read)}. Older ones come up when these are gone.</p>
            )}
            {groups.map((group) => (
              <Group key={group.key} group={group} onDone={answer.refresh} />
            ))}
          </>
        )}
      </Loaded>
    </>
  )
}

const SHOWN = 20

function Group({ group, onDone }: { group: Wire<DeadGroup>; onDone: () => void }) {
  const { task, reason, error, queues, firstDiedAt, lastDiedAt, ids } = group
  return (
    <article class="card group">
      <header>
        <span class="group-count">{count(ids.length)}</span>
        <div class="group-text">
          <h2 class="name">{task}</h2>
          <p class="message">
            {error ? (
              <>
                <span class="error-name">{error.name}</span> {error.message}
              </>
            ) : (
              'No error was kept.'
            )}
          </p>
          <p class="quiet">
            {reason} · {queues.join(', ')} · last <Ago at={lastDiedAt} />
            {ids.length > 1 && (
              <>
                , first <Ago at={firstDiedAt} />
              </>
            )}
          </p>
        </div>
        <div class="actions">
          <Action
            action="redrive"
            permission="redrive"
            target={{ ids }}
            confirm={`Put ${jobs(ids.length)} of “${task}” back into ${queues.join(', ')}? Attempts count from zero again.`}
            done={(changed) => `Redrove ${changed}.`}
            onDone={onDone}
          >
            Redrive
          </Action>
          <Action
            action="delete-dead"
            permission="delete"
            target={{ ids }}
            confirm={`Delete ${jobs(ids.length)} of “${task}” for good?`}
            done={(changed) => `Deleted ${changed}.`}
            danger
            onDone={onDone}
          >
            Delete
          </Action>
        </div>
      </header>
      <details>
        <summary>{ids.length > SHOWN ? `The newest ${SHOWN} of them` : 'Which jobs'}</summary>
        <p class="ids">
          {ids.slice(0, SHOWN).map((id) => (
            <a key={id} class="id" href={linkTo(`jobs/${id}`)}>
              {id}
            </a>
          ))}
        </p>
      </details>
    </article>
  )
}
