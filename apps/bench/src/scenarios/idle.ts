import { setTimeout as sleep } from 'node:timers/promises'
import type { Stage } from '../stage.js'
import type { Measurement, Scenario } from './scenario.js'

// Workers look after each other more often for a while after one has started.
const SETTLE_MS = 15_000
/** Whole periods of what is done seldom: a beat, a poll, a look for unknown tasks. */
const MEASURED_MS = 60_000

const withWorkers = (count: number): Scenario => ({
  name: `idle/${count}`,
  title: `${count === 1 ? 'One idle worker' : `${count} idle workers, a process each`}: what they ask of the server, all together`,
  systems: ['pgq', 'graphile', 'pg-boss', 'pg-boss-notify', 'bullmq-postgres'],
  columns: [
    { key: 'statements', title: 'statements/s', digits: 2 },
    { key: 'serverCpu', title: 'server CPU ms/s', digits: 2 },
    { key: 'ourCpu', title: 'our CPU ms/s', digits: 2 },
  ],
  run: (stage, scale) => measure(stage, count, scale),
})

/** What a queue costs in which nothing happens. */
export const idle: readonly Scenario[] = [withWorkers(1), withWorkers(10)]

async function measure(stage: Stage, count: number, scale: number): Promise<Measurement> {
  const workers = await stage.workers(Math.ceil(count * scale))
  await sleep(SETTLE_MS * scale)
  const begin = await stage.sample(workers)
  await sleep(MEASURED_MS * scale)
  const end = await stage.sample(workers)
  const seconds = (end.at - begin.at) / 1_000
  const used = (before: number | undefined, after: number | undefined, per: number) =>
    before === undefined || after === undefined ? undefined : (after - before) / seconds / per
  return {
    statements: used(begin.statements, end.statements, 1),
    serverCpu: used(begin.serverCpuUs, end.serverCpuUs, 1_000),
    ourCpu: used(begin.cpuUs, end.cpuUs, 1_000),
  }
}
