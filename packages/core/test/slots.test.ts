import { expect, test } from 'vitest'
import { dueSlots, slotsOf, type Timing } from '../src/slots.js'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const at = (instant: string): number => Date.parse(instant)
const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())
const cron = (expression: string, timeZone = 'UTC'): Timing => ({ cron: expression, timeZone })

function slots(timing: Timing, from: string, count: number): (string | null)[] {
  const next = slotsOf(timing)
  const found: (string | null)[] = []
  let slot = next(at(from))
  while (slot !== null && found.length < count) {
    found.push(iso(slot))
    slot = next(slot)
  }
  return found
}

test('slots come after an instant, never at it', () => {
  expect(slots(cron('0 3 * * *'), '2026-01-01T03:00:00Z', 2)).toEqual([
    '2026-01-02T03:00:00.000Z',
    '2026-01-03T03:00:00.000Z',
  ])
  expect(slots(cron('0 3 * * *', 'Europe/Berlin'), '2026-01-01T00:00:00Z', 1)).toEqual(['2026-01-01T02:00:00.000Z'])
  expect(slots(cron('*/20 * * * * *'), '2026-01-01T00:00:30Z', 2)).toEqual([
    '2026-01-01T00:00:40.000Z',
    '2026-01-01T00:01:00.000Z',
  ])
  expect(slots(cron('@weekly'), '2026-01-01T00:00:00Z', 1)).toEqual(['2026-01-04T00:00:00.000Z'])
  expect(slots({ everyMs: 1_500 }, '2026-01-01T00:00:00Z', 2)).toEqual([
    '2026-01-01T00:00:01.500Z',
    '2026-01-01T00:00:03.000Z',
  ])
  expect(slotsOf(cron('0 0 30 2 *'))(at('2026-01-01T00:00:00Z'))).toBeNull()
})

test.each([
  ['2 3 4', 'cron "2 3 4" is not allowed. Use minute, hour'],
  ['61 * * * *', 'cron "61 * * * *" is not allowed. Invalid value for minute: 61. Use minute, hour'],
  ['2026-01-01T00:00:00', 'cron "2026-01-01T00:00:00" is not allowed. Use'],
  ['@reboot', 'cron "@reboot" is not allowed. @reboot is not supported'],
  [5 as never, 'cron 5 is not allowed. Use'],
])('no cron expression: %s', (expression, message) => {
  expect(() => slotsOf(cron(expression))).toThrow(message)
  expect(() => slotsOf(cron(expression))).toThrow(expect.objectContaining({ code: 'PGQ_INVALID_OPTION' }))
})

test('no time zone', () => {
  expect(() => slotsOf(cron('* * * * *', 'Europe/Atlantis'))).toThrow(
    'timeZone "Europe/Atlantis" is unknown. Use a name',
  )
})

test('a time in the gap of a clock that is put forward is that of its end; one that comes twice counts once', () => {
  expect(slots(cron('30 2 * * *', 'Europe/Berlin'), '2026-03-28T12:00:00Z', 2)).toEqual([
    '2026-03-29T01:00:00.000Z',
    '2026-03-30T00:30:00.000Z',
  ])
  expect(slots(cron('30 2 * * *', 'Europe/Berlin'), '2026-10-24T12:00:00Z', 2)).toEqual([
    '2026-10-25T00:30:00.000Z',
    '2026-10-26T01:30:00.000Z',
  ])
})

// Mutant: the expression is read in UTC, or the zone's offset of today counts for ever.
test.each(['Europe/Berlin', 'America/New_York', 'America/Sao_Paulo', 'Australia/Lord_Howe', 'Asia/Kolkata'])(
  'three years in %s: a daily time once on each day, each quarter of an hour without a break',
  (timeZone) => {
    const from = at('2017-01-01T00:00:00Z')
    const until = from + 3 * 365 * DAY
    const dayOf = new Intl.DateTimeFormat('en-CA', { timeZone })
    for (const time of ['30 1 * * *', '30 2 * * *', '15 0 * * *']) {
      const next = slotsOf(cron(time, timeZone))
      const days: string[] = []
      for (let slot = next(from)!; slot < until; slot = next(slot)!) days.push(dayOf.format(slot))
      const all = Array.from({ length: days.length }, (_, day) => dayOf.format(at(`${days[0]}T12:00:00Z`) + day * DAY))
      expect(days.map((day) => day.slice(0, 10))).toEqual(all)
      expect(days.length).toBeGreaterThanOrEqual(3 * 365 - 1)
    }
    // Around each change of the clocks of 2018.
    const next = slotsOf(cron('*/15 * * * *', timeZone))
    for (let slot = at('2018-01-01T00:00:00Z'); slot < at('2019-01-01T00:00:00Z'); ) {
      const following = next(slot)!
      expect(following - slot).toBe(HOUR / 4)
      // From change to change in steps of a quarter, else a day.
      slot = offsetOf(timeZone, slot) === offsetOf(timeZone, slot + DAY) ? slot + DAY : following
    }
  },
  60_000,
)

function offsetOf(timeZone: string, instant: number): string {
  const parts = new Intl.DateTimeFormat('en', { timeZone, timeZoneName: 'longOffset' }).formatToParts(instant)
  return parts.find(({ type }) => type === 'timeZoneName')!.value
}

test('on time: one job, and the next slot after now, whatever is done about missed ones', () => {
  const due = at('2026-01-01T03:00:00Z')
  for (const catchUp of ['skip', 'one', 'all'] as const) {
    expect(dueSlots(cron('0 3 * * *'), due, catchUp, due + 20)).toEqual({ slots: [due], nextAt: due + DAY })
    expect(dueSlots({ everyMs: 1_000 }, due, catchUp, due + 999)).toEqual({ slots: [due], nextAt: due + 1_000 })
  }
})

test('after three days without a worker', () => {
  const due = at('2026-01-01T03:00:00Z')
  const now = due + 3 * DAY + HOUR
  const nextAt = due + 4 * DAY
  expect(dueSlots(cron('0 3 * * *'), due, 'skip', now)).toEqual({ slots: [], nextAt })
  expect(dueSlots(cron('0 3 * * *'), due, 'one', now)).toEqual({ slots: [due], nextAt })
  const all = { slots: [due, due + DAY, due + 2 * DAY, due + 3 * DAY], nextAt }
  expect(dueSlots(cron('0 3 * * *'), due, 'all', now)).toEqual(all)
})

test('an interval keeps its rhythm, however late a slot is seen', () => {
  const due = at('2026-01-01T00:00:00Z')
  expect(dueSlots({ everyMs: 10_000 }, due, 'one', due + 34_567)).toEqual({ slots: [due], nextAt: due + 40_000 })
  const all = { slots: [due, due + 10_000, due + 20_000, due + 30_000], nextAt: due + 40_000 }
  expect(dueSlots({ everyMs: 10_000 }, due, 'all', due + 34_567)).toEqual(all)
})

test('a slot of less than a minute ago was not missed', () => {
  const due = at('2026-01-01T03:00:00Z')
  expect(dueSlots(cron('0 3 * * *'), due, 'skip', due + 59_999).slots).toEqual([due])
  expect(dueSlots(cron('0 3 * * *'), due, 'skip', due + 60_000).slots).toEqual([])
})

test('what is caught up with has an end', () => {
  const due = at('2026-01-01T00:00:00Z')
  const { slots: caught, nextAt } = dueSlots({ everyMs: 1_000 }, due, 'all', due + DAY)
  expect(caught).toHaveLength(1_000)
  expect(caught.at(-1)).toBe(due + 999_000)
  expect(nextAt).toBe(due + DAY + 1_000)
})

test('a last slot has none after it', () => {
  const due = at('2026-01-01T00:00:00Z')
  expect(dueSlots(cron('0 0 30 2 *'), due, 'one', due)).toEqual({ slots: [due], nextAt: null })
})
