import { InvalidOptionError, pauseSchedule, removeSchedule, resumeSchedule, runSchedule } from '@pgq/core'
import { getSchedule } from '@pgq/monitor'
import { type Change, changeEach, checkNames } from '../change-each.js'
import { type DatabaseOptions, type Session, withQueue } from '../connection.js'
import { EXIT, Failure, UsageError } from '../failure.js'
import { note } from '../output.js'
import { plain } from '../plain.js'
import type { WatchOptions } from '../watch.js'

type Action = 'pause' | 'resume' | 'run' | 'remove'

/** Does something to the schedules that are named. Fails where none of the names is one. */
export async function steerSchedules(
  action: Action,
  names: readonly string[],
  options: DatabaseOptions & WatchOptions,
): Promise<number> {
  if (names.length === 0) throw new UsageError(`Which schedules? Name them: pgq schedules ${action} <names...>.`)
  if (options.watch || options.everyMs !== undefined)
    throw new UsageError(`--watch and --every-ms are for the list, and not for ${action}: leave them out.`)
  checkNames(names, 'schedule')
  return withQueue(options, async (session) => {
    const changes = await changeEach(names, options, async (name) => {
      const changed = await ACTIONS[action](session, name).catch((error) => refused(name, error))
      if (changed.missing) note(`There is no schedule "${plain(name)}".`)
      return { schedule: name, ...changed }
    })
    return changes.every(({ missing }) => missing) ? EXIT.failed : EXIT.ok
  })
}

interface Steered extends Change {
  readonly changed?: boolean
  /** Of run. */
  readonly jobId?: string | null
  /** There is no schedule of that name. */
  readonly missing?: true
}

const ACTIONS: Readonly<Record<Action, (session: Session, name: string) => Promise<Steered>>> = {
  pause: async (session, name) =>
    (await pauseSchedule(session.client, name, { schema: session.schema }))
      ? { changed: true, text: 'paused' }
      : unchanged(session, name, 'was paused already'),
  resume: async (session, name) =>
    (await resumeSchedule(session.client, name, { schema: session.schema }))
      ? { changed: true, text: 'resumed' }
      : unchanged(session, name, 'was not paused'),
  run: async ({ client, schema }, name) => {
    const jobId = await runSchedule(client, name, { schema })
    return jobId === null ? { jobId, missing: true } : { jobId, text: `enqueued as job ${jobId}` }
  },
  remove: async ({ client, schema }, name) =>
    (await removeSchedule(client, name, { schema }))
      ? { changed: true, text: 'removed' }
      : { changed: false, missing: true },
}

/** It was so before, or there is none. */
async function unchanged({ client, schema }: Session, name: string, text: string): Promise<Steered> {
  const isThere = await getSchedule(client, name, { schema })
  return isThere ? { changed: false, text } : { changed: false, missing: true }
}

/** The names are checked: it is the schedule that is wrong, and not the command line. */
function refused(name: string, error: unknown): never {
  if (error instanceof InvalidOptionError) throw new Failure(`${plain(name)}: ${error.message}`, { cause: error })
  throw error
}
