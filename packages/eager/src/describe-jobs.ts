import { inspect } from 'node:util'
import type { EagerJob } from './eager-job.js'

const MAX_JOBS = 20

/** Says that nothing matched, and what there was instead: jobs of the same task first. */
export function describeMissing(task: string, match: unknown, jobs: readonly EagerJob[]): string {
  const wanted = match === undefined ? '' : ` with args that match ${show(match)}`
  const listed = [...jobs.filter((job) => job.task === task), ...jobs.filter((job) => job.task !== task)]
  const lines = listed.slice(0, MAX_JOBS).map((job) => `  ${job.task} ${show(job.args)} (${job.state})`)
  if (listed.length > MAX_JOBS) lines.push(`  ... and ${listed.length - MAX_JOBS} more`)
  const there = lines.length > 0 ? `Enqueued were:\n${lines.join('\n')}` : 'Nothing was enqueued.'
  return `No job of task "${task}" was enqueued${wanted}. ${there}`
}

const show = (value: unknown): string => inspect(value, { depth: 6, breakLength: Number.POSITIVE_INFINITY })
