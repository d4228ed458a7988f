export const SECOND_MS = 1_000
export const MINUTE_MS = 60_000

/** `45 s`, `3 min`, `2 h 5 min`. */
export function lasting(ms: number): string {
  const [seconds, minutes] = [Math.round(ms / SECOND_MS), Math.round(ms / MINUTE_MS)]
  if (seconds < 120) return `${seconds} s`
  if (minutes < 120) return `${minutes} min`
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ''}`
}

/** The first five, and how many more. */
export const names = (all: readonly string[]): string =>
  all.length > 5 ? `${all.slice(0, 5).join(', ')} and ${all.length - 5} more` : all.join(', ')

/** As a shell takes it. */
export const shellWord = (text: string) => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)
