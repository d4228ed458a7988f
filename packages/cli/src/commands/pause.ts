import { pauseQueue, resumeQueue } from '@pgq/core'
import { backlog } from '@pgq/monitor'
import { changeEach, checkNames } from '../change-each.js'
import { type DatabaseOptions, withQueue } from '../connection.js'
import { EXIT } from '../failure.js'
import { note } from '../output.js'
import { plain } from '../plain.js'

interface PauseOptions extends DatabaseOptions {
  readonly json?: boolean
}

/** Pauses queues: no worker takes jobs from them. */
export const pause = async (queues: readonly string[], options: PauseOptions): Promise<number> => {
  checkNames(queues, 'queue')
  return withQueue(options, async ({ client, schema }) => {
    // A name that nobody has heard of is paused all the same: its jobs may be still to come. Or it is a slip.
    const known = new Set((await backlog(client, { schema })).map(({ queue }) => queue))
    for (const queue of queues) {
      if (!known.has(queue)) note(`No job waits in "${plain(queue)}" and no worker serves it: is that its name?`)
    }
    await changeEach(queues, options, async (queue) => {
      const changed = await pauseQueue(client, queue, { schema })
      return { queue, changed, text: changed ? 'paused' : 'was paused already' }
    })
    return EXIT.ok
  })
}

/** Lets paused queues go on. */
export const resume = async (queues: readonly string[], options: PauseOptions): Promise<number> => {
  checkNames(queues, 'queue')
  return withQueue(options, async ({ client, schema }) => {
    await changeEach(queues, options, async (queue) => {
      const changed = await resumeQueue(client, queue, { schema })
      return { queue, changed, text: changed ? 'resumed' : 'was not paused' }
    })
    return EXIT.ok
  })
}
