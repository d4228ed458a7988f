import type { Worker } from '@pgq/worker'

/** One line for each run of a job, so that one can watch. */
export function logJobs(worker: Worker): void {
  worker.on('job.settled', ({ task, jobId, attempt, settlement, durationMs }) => {
    const end =
      settlement.kind === 'complete'
        ? 'done'
        : settlement.kind === 'requeue'
          ? `again in ${settlement.delayMs} ms: ${settlement.error?.message}`
          : `dead: ${settlement.reason}`
    console.log(`${task} ${jobId}, attempt ${attempt}, ${durationMs.toFixed(0)} ms: ${end}`)
  })
}
