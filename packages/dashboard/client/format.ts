const numbers = new Intl.NumberFormat('en')

/**
 * Names and errors may hold what turns the direction of writing, and with it the rest of a sentence that they stand in. It is
 * spelled out, as \u202e.
 */
export const plain = (text: string): string =>
  text.replace(/\p{Bidi_Control}/gu, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** 1234567 → "1,234,567". */
export const count = (value: number): string => numbers.format(value)

/** The same of counts that may be estimates: "≈ 1,230,000". */
export function about(counts: readonly { readonly jobs: number; readonly exact: boolean }[]): string {
  const sum = counts.reduce((total, { jobs }) => total + jobs, 0)
  if (counts.every(({ exact }) => exact)) return count(sum)
  // Three digits are what an estimate is good for.
  return `≈ ${count(Number(sum.toPrecision(3)))}`
}

/** "1 job", "2,000 jobs". */
export const jobs = (value: number): string => `${count(value)} ${value === 1 ? 'job' : 'jobs'}`

/** A length of time in at most two units: "340 ms", "4.2 s", "3 min 20 s", "2 d 4 h". */
export function duration(ms: number): string {
  if (ms < 1) return ms <= 0 ? '0 ms' : '< 1 ms'
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`
  const [size, unit, part, partUnit] = UNITS.find(([size]) => ms >= size)!
  const rest = Math.floor((ms % size) / part)
  return `${Math.floor(ms / size)} ${unit}${rest > 0 ? ` ${rest} ${partUnit}` : ''}`
}

const UNITS = [
  [86_400_000, 'd', 3_600_000, 'h'],
  [3_600_000, 'h', 60_000, 'min'],
  [60_000, 'min', 1_000, 's'],
] as const

/** An interval: "every minute", "every 90 seconds", "every 1.5 seconds". */
export function every(ms: number): string {
  const [size, unit] = WHOLE.find(([size]) => ms % size === 0) ?? [1_000, 'second']
  return ms === size ? `every ${unit}` : `every ${count(ms / size)} ${unit}s`
}

const WHOLE = [
  [86_400_000, 'day'],
  [3_600_000, 'hour'],
  [60_000, 'minute'],
] as const

/** How far an instant is from now: "3 s ago", "in 2 min". */
export function fromNow(instant: string, now = Date.now()): string {
  const ms = now - Date.parse(instant)
  if (Math.abs(ms) < 1_000) return 'now'
  return ms > 0 ? `${duration(ms)} ago` : `in ${duration(-ms)}`
}

const moments = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })

/** The instant in this browser's time zone. */
export const moment = (instant: string): string => moments.format(new Date(instant))

/** This browser's time zone. */
export const HERE = new Intl.DateTimeFormat().resolvedOptions().timeZone

/** Tells instants by the clock of a time zone, with their weekday; undefined where this browser does not know the zone. */
export function clockOf(timeZone: string): ((instant: string) => string) | undefined {
  try {
    const slots = new Intl.DateTimeFormat('en-GB', { ...SLOT, timeZone })
    return (instant) => slots.format(new Date(instant))
  } catch {
    return undefined
  }
}

const SLOT: Intl.DateTimeFormatOptions = {
  ...{ weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' },
  ...{ hour: '2-digit', minute: '2-digit', second: '2-digit' },
}
