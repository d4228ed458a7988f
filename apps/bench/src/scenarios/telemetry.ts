import { measureDrain } from './drain.js'
import { COSTS, RATE, type Scenario } from './scenario.js'

/** Jobs of one call share a trace, which is recorded or is not: small calls, so that one trace in a hundred is about one job in a hundred. */
const CHUNK = 100
const INSERT_CHUNK = 10

/** What it costs to be watched: the drain with its handlers counted, or traced; and what of that is the SDK's. */
export const telemetry: readonly Scenario[] = [
  {
    name: 'telemetry/nothing',
    title: 'Drain 100,000 jobs, at-least-once, one process, with metrics and traces; the handler does nothing',
    systems: [
      'pgq',
      'pgq-prometheus',
      'sdk-context',
      'sdk-sampled-traces',
      'pgq-sampled-traces',
      'sdk-traces',
      'pgq-traces',
    ],
    columns: [RATE, ...COSTS],
    run: (stage, scale) =>
      measureDrain(stage, { jobs: Math.round(100_000 * scale), processes: 1, mode: 'at-least-once', chunk: CHUNK }),
  },
  {
    name: 'telemetry/insert',
    title: 'Drain 20,000 jobs, transactional, one process, with metrics and traces; one INSERT in the handler',
    systems: ['pgq', 'pgq-prometheus', 'sdk-context', 'pgq-sampled-traces', 'pgq-traces'],
    columns: [RATE, ...COSTS],
    run: (stage, scale) =>
      measureDrain(stage, {
        jobs: Math.round(20_000 * scale),
        processes: 1,
        mode: 'transactional',
        work: 'insert',
        chunk: INSERT_CHUNK,
      }),
  },
]
