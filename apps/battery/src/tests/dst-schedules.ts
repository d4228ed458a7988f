import { defineTask, slotsOf } from '@pgq/core'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { ownWorker } from '../own-worker.js'
import { until } from '../test-context.js'

const MINUTE_MS = 60_000
const DAY_MINUTES = 1_440
const DAY_MS = DAY_MINUTES * MINUTE_MS
/** As many as are caught up with at once. */
const DAYS = 990

/** Zones, and a time of the day in the hour that their clocks skip, or have twice. */
const ZONES = [
  ['Europe/Berlin', '02:30'],
  ['America/New_York', '01:30'],
  ['America/New_York', '02:30'],
  ['Australia/Lord_Howe', '02:15'],
  ['Africa/Cairo', '00:30'],
  ['America/Santiago', '23:30'],
  ['America/Santiago', '00:00'],
] as const

/** Two years and eight months of daily jobs in zones whose clocks change: one for each day, at its time, or when the gap ends. */
export const dstSchedules: BatteryTest = {
  number: 33,
  name: 'dst-schedules',
  mutants: [
    {
      name: 'the time zone is passed over',
      patches: [
        {
          file: 'packages/core/src/slots.ts',
          find: 'new Cron(cron, { timezone, paused: true })',
          replace: "new Cron(cron, { timezone: timezone && 'UTC', paused: true })",
        },
      ],
    },
  ],
  async run(context) {
    const queue = await context.queue()
    const task = defineTask('daily')
    for (const [timeZone, time] of ZONES) {
      const [hour, minute] = time.split(':').map(Number)
      const options = {
        name: `${time} ${timeZone}`,
        cron: `${minute} ${hour} * * *`,
        timeZone,
        catchUp: 'all',
      } as const
      await task.schedule(queue.pool, {}, options)
      const first = slotsOf(options)(Date.now() - DAYS * DAY_MS)!
      await queue.pool.query('update pgq.schedules set next_at = $1 where name = $2', [new Date(first), options.name])
    }
    const slots = new Map<string, number[]>(ZONES.map(([timeZone, time]) => [`${time} ${timeZone}`, []]))
    const handler = task.handle((_, { meta }) => slots.get(meta.schedule!)!.push(Date.parse(meta.slot!)))
    const worker = await ownWorker(context, queue, [handler])
    const done = `select not exists (select from pgq.job_states) and not exists (select from pgq.schedules where next_at < now())`
    await until('every day has had its job', () => queue.value<boolean>(done), 60_000)
    await worker.stop()
    const problems: string[] = []
    let gaps = 0
    for (const [timeZone, time] of ZONES) {
      const name = `${time} ${timeZone}`
      const all = slots.get(name)!.toSorted((a, b) => a - b)
      const clock = clockOf(timeZone)
      const days = new Set(all.map((slot) => clock(slot).day))
      if (all.length < DAYS - 1) problems.push(`${name}: ${all.length} jobs in ${DAYS} days.`)
      if (days.size !== all.length) problems.push(`${name}: ${all.length} jobs on ${days.size} days.`)
      for (const [index, slot] of all.entries()) {
        if (index > 0 && slot - all[index - 1]! > 1.5 * DAY_MS)
          problems.push(`${name}: no job before ${clock(slot).day}.`)
        if (clock(slot).time === time) continue
        gaps += 1
        // The first instant after a gap that has swallowed the time.
        const [gap, end] = [minutesOf(clock(slot - MINUTE_MS).time) + 1, minutesOf(clock(slot).time)]
        const isIn = gap % DAY_MINUTES <= minutesOf(time) && minutesOf(time) < end
        if (!isIn) problems.push(`${name}: a job at ${clock(slot).time} on ${clock(slot).day}.`)
      }
    }
    expectNone([...problems, gaps === 0 && 'No clock has skipped a time: nothing was tested.'])
    const jobs = [...slots.values()].reduce((sum, all) => sum + all.length, 0)
    return `${jobs} days of ${ZONES.length} schedules in ${new Set(ZONES.map(([zone]) => zone)).size} zones: one job each; ${gaps} times that clocks skipped`
  },
}

/** The day and the time by the clock of a zone, by Intl: not by what is tested. */
function clockOf(timeZone: string): (instant: number) => { day: string; time: string } {
  const format = new Intl.DateTimeFormat('sv', { timeZone, dateStyle: 'short', timeStyle: 'short' })
  return (instant) => {
    const [day, time] = format.format(instant).split(' ') as [string, string]
    return { day, time }
  }
}

function minutesOf(time: string): number {
  const [hours, minutes] = time.split(':').map(Number) as [number, number]
  return hours * 60 + minutes
}
