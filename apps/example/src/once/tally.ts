import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { Worker } from '@pgq/worker'
import Table from 'cli-table3'
import { tasks } from '../tasks.js'

interface TaskTally {
  runs: number
  failed: number
  retried: number
  /** In whole microseconds, as histograms want it. */
  readonly waits: RecordableHistogram
  readonly durations: RecordableHistogram
}

/** What a worker did, task by task. */
export class Tally {
  readonly #byTask = new Map(
    Object.values(tasks).map(({ name }): [string, TaskTally] => [
      name,
      { runs: 0, failed: 0, retried: 0, waits: createHistogram(), durations: createHistogram() },
    ]),
  )

  /** The worker tells of each run when its end is durable. */
  constructor(worker: Worker) {
    worker.on('job.settled', ({ task, settlement, waitMs, durationMs }) => {
      const tally = this.#byTask.get(task)!
      tally.runs += 1
      if (settlement.kind !== 'complete') tally.failed += 1
      if (settlement.kind === 'requeue') tally.retried += 1
      tally.waits.record(microseconds(waitMs))
      tally.durations.record(microseconds(durationMs))
    })
  }

  get runs(): number {
    return this.#sum(({ runs }) => runs)
  }

  /** Jobs that are done. */
  get done(): number {
    return this.#sum(({ runs, failed }) => runs - failed)
  }

  /** One row for each task, by delivery mode. Rates are over the given time. */
  table(seconds: number): string {
    const table = new Table({ head: HEAD, colAligns: ALIGNS, chars: NO_LINES, style: PLAIN })
    for (const mode of ['transactional', 'at-least-once', 'at-most-once']) {
      table.push([mode])
      for (const task of Object.values(tasks)) {
        if (task.mode === mode) table.push([`  ${task.name}`, ...this.#figures(task.name, seconds)])
      }
    }
    return table.toString().replaceAll(/ +$/gm, '')
  }

  #figures(task: string, seconds: number): (number | string)[] {
    const { runs, failed, retried, waits, durations } = this.#byTask.get(task)!
    const times = [waits, durations].flatMap((histogram) => [percentile(histogram, 50), percentile(histogram, 99)])
    return [runs, failed, retried, ...times, (runs / seconds).toFixed(0)]
  }

  #sum(of: (tally: TaskTally) => number): number {
    return [...this.#byTask.values()].reduce((sum, tally) => sum + of(tally), 0)
  }
}

const microseconds = (ms: number): number => Math.max(Math.round(ms * 1000), 1)

function percentile(histogram: RecordableHistogram, percent: number): string {
  if (histogram.count === 0) return '-'
  const ms = histogram.percentile(percent) / 1000
  return ms.toFixed(ms < 10 ? 1 : 0)
}

const HEAD = ['\ntimes in ms', '\nruns', '\nfailed', '\nretried', 'wait\np50', '\np99', 'run\np50', '\np99', '\nruns/s']
const ALIGNS = HEAD.map((_, column) => (column === 0 ? ('left' as const) : ('right' as const)))
const PLAIN = { head: [], border: [], 'padding-left': 0, 'padding-right': 0 }
const NO_LINES = {
  ...{ top: '', 'top-mid': '', 'top-left': '', 'top-right': '' },
  ...{ bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' },
  ...{ left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '' },
  middle: '  ',
}
