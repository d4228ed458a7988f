import type { Worker, WorkerEvents } from '@pgq/worker'

/** One line for each run of a job, and for an outage of the database, so that one can watch. */
export function logJobs(worker: Worker): void {
  worker.on('job.settled', (run) => {
    const label = `${run.task.padEnd(13)} job ${run.jobId}, attempt ${run.attempt}`
    console.log(`${label}: ${endOf(run)} (waited ${run.waitMs.toFixed(0)} ms, ran ${run.durationMs.toFixed(0)} ms)`)
  })
  worker.on('database.lost', ({ error }) => console.log(`The database is away: ${(error as Error).message}`))
  worker.on('database.restored', ({ downMs }) => console.log(`The database is back after ${downMs} ms`))
}

function endOf({ settlement }: WorkerEvents['job.settled']): string {
  switch (settlement.kind) {
    case 'complete':
      return 'done'
    case 'requeue':
      return `failed, again in ${settlement.delayMs.toFixed(0)} ms: ${settlement.error?.message}`
    case 'bury':
      return `dead (${settlement.reason}): ${settlement.error?.message}`
  }
}
