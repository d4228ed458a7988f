import { expect, test } from 'vitest'
import { WakeUp } from '../src/wake-up.js'

test('a ring ends the wait', async () => {
  const wakeUp = new WakeUp()
  const waiting = wakeUp.wait(60_000)
  wakeUp.ring()
  expect(await waiting).toBe(true)
})

// Mutant: ring() that only resolves: a ring between the last look and the wait is lost.
test('a ring while nobody waits is kept for the next wait, once', async () => {
  const wakeUp = new WakeUp()
  wakeUp.ring()
  wakeUp.ring()
  expect(await wakeUp.wait(60_000)).toBe(true)
  expect(await wakeUp.wait(1)).toBe(false)
})

test('without a ring it ends after its ms', async () => {
  const start = performance.now()
  expect(await new WakeUp().wait(30)).toBe(false)
  expect(performance.now() - start).toBeGreaterThanOrEqual(28)
})

test('a wait without end needs no timer, and one beyond what timers hold does not end at once', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const endless = new WakeUp()
  const waiting = endless.wait(Number.POSITIVE_INFINITY)
  expect(timers()).toBeLessThanOrEqual(before)
  const long = new WakeUp()
  let ended = false
  const longWait = long.wait(2 ** 40).then(() => {
    ended = true
  })
  await new WakeUp().wait(20)
  expect(ended).toBe(false)
  endless.ring()
  long.ring()
  await Promise.all([waiting, longWait])
  expect(timers()).toBeLessThanOrEqual(before)
})
