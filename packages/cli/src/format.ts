import prettyMs from 'pretty-ms'
import { number } from './output.js'

/** `850ms`, `12.3s`, `2h 5m`. */
export const duration = (ms: number): string =>
  prettyMs(ms < 1_000 ? Math.round(ms) : ms, { unitCount: 2, ...(ms >= 60_000 && { secondsDecimalDigits: 0 }) })

/** To the second, in UTC. */
export const instant = (at: Date): string => `${at.toISOString().slice(0, 19).replace('T', ' ')}Z`

/** A count, marked when it is an estimate. */
export const count = (jobs: number, exact: boolean): string => `${exact ? '' : '≈'}${number(jobs)}`
