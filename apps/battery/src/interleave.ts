import type pg from 'pg'

/** Steps of one session, in order. */
export type Script = readonly ((client: pg.Client) => Promise<unknown>)[]

/** Every order in which the steps of two scripts can follow each other: as lists of 0 and 1. */
export function interleavings(first: number, second: number): number[][] {
  if (first === 0 && second === 0) return [[]]
  const begin = (who: number, rest: number[][]) => rest.map((order) => [who, ...order])
  return [
    ...(first > 0 ? begin(0, interleavings(first - 1, second)) : []),
    ...(second > 0 ? begin(1, interleavings(first, second - 1)) : []),
  ]
}

/**
 * Runs the steps of two sessions in the given order. A step that has to wait for the other session's lock is left
 * waiting, and the steps behind it with it, as they would be in two processes.
 */
export async function interleave(
  clients: readonly [pg.Client, pg.Client],
  scripts: readonly [Script, Script],
  order: readonly number[],
  isBlocked: (client: pg.Client) => Promise<boolean>,
): Promise<void> {
  const done: [Promise<unknown>, Promise<unknown>] = [Promise.resolve(), Promise.resolve()]
  const next = [0, 0]
  for (const who of order as (0 | 1)[]) {
    const step = scripts[who][next[who]!++]!
    let settled = false
    const ended = done[who]
      .then(() => step(clients[who]))
      .finally(() => {
        settled = true
      })
    done[who] = ended
    ended.catch(() => {}) // reported by the end of the script
    while (!settled && !(await isBlocked(clients[who]))) await Promise.race([ended.catch(() => {}), pause()])
  }
  await Promise.all(done)
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 2))
