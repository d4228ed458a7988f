import { InvalidOptionError } from './errors.js'
import { checkName } from './names.js'
import { checkOptionNames, optionNames, shown } from './option-names.js'
import { MAX_DELAY_MS } from './retry-policy.js'

/** For how long a job is the only one of its key, and what becomes of calls that come meanwhile. */
export interface UniqueOptions {
  /** 1 to 200 characters. Keys of different tasks have nothing to do with each other. */
  readonly key: string
  /** The job counts until it is 'finished' (done, dead, deleted), or only until it has 'started'. Default 'finished'. */
  readonly until?: 'finished' | 'started'
  /** The key is taken for so many ms from the enqueue on, too, whatever becomes of the job. Default: not. */
  readonly forMs?: number
  /**
   * While the job waits: 'keep' it as it is, or 'replace' its args, queue, priority, time and retries by those of this call. One that has begun
   * is not replaced: then another one is enqueued. Default 'keep'.
   */
  readonly ifWaiting?: 'keep' | 'replace'
}

const OPTIONS = optionNames<UniqueOptions>({ key: true, until: true, forMs: true, ifWaiting: true })

/** Throws InvalidOptionError. */
export function checkUnique(unique: UniqueOptions, where: string): void {
  checkOptionNames(unique, OPTIONS, `${where}: unique`)
  const { key, until = 'finished', forMs = 0, ifWaiting = 'keep' } = unique
  checkName(key, 'key')
  if (until !== 'finished' && until !== 'started') {
    throw new InvalidOptionError(`${where}: unique.until is ${shown(until)}; use 'finished' or 'started'.`)
  }
  if (ifWaiting !== 'keep' && ifWaiting !== 'replace') {
    throw new InvalidOptionError(`${where}: unique.ifWaiting is ${shown(ifWaiting)}; use 'keep' or 'replace'.`)
  }
  if (!(typeof forMs === 'number' && forMs >= 0 && forMs <= MAX_DELAY_MS)) {
    throw new InvalidOptionError(
      `${where}: unique.forMs is ${shown(forMs)}; use milliseconds from 0 to ${MAX_DELAY_MS}.`,
    )
  }
}
