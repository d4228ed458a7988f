import { checkName, pauseQueue, resumeQueue } from '@pgq/core'
import { backlog } from '@pgq/monitor'
import { type DatabaseOptions, withQueue } from '../connection.js'
import { EXIT } from '../failure.js'
import { note, print, printJson } from '../output.js'
import { plain } from '../plain.js'

interface PauseOptions extends DatabaseOptions {
  readonly json?: boolean
}

/** Pauses queues: no worker takes jobs from them. */
export const pause = async (queues: readonly string[], options: PauseOptions): Promise<number> => {
  checkNames(queues)
  return withQueue(options, async ({ client, schema }) => {
    // A name that nobody has heard of is paused all the same: its jobs may be still to come. Or it is a slip.
    const known = new Set((await backlog(client, { schema })).map(({ queue }) => queue))
    for (const queue of queues) {
      if (!known.has(queue)) note(`No job waits in "${plain(queue)}" and no worker serves it: is that its name?`)
    }
    return forEach(queues, options, async (queue) => {
      const changed = await pauseQueue(client, queue, { schema })
      return { queue, changed, text: changed ? 'paused' : 'was paused already' }
    })
  })
}

/** Lets paused queues go on. */
export const resume = async (queues: readonly string[], options: PauseOptions): Promise<number> => {
  checkNames(queues)
  return withQueue(options, ({ client, schema }) =>
    forEach(queues, options, async (queue) => {
      const changed = await resumeQueue(client, queue, { schema })
      return { queue, changed, text: changed ? 'resumed' : 'was not paused' }
    }),
  )
}

/** All of them before the first: a command line that is refused has done nothing. */
function checkNames(queues: readonly string[]): void {
  for (const queue of queues) checkName(queue, 'queue')
}

interface Change {
  readonly queue: string
  /** False: it was so before. */
  readonly changed: boolean
  readonly text: string
}

async function forEach(
  queues: readonly string[],
  { json }: PauseOptions,
  change: (queue: string) => Promise<Change>,
): Promise<number> {
  for (const queue of queues) {
    const { text, ...rest } = await change(queue)
    if (json) printJson(rest)
    else print(`${plain(queue)} ${text}`)
  }
  return EXIT.ok
}
