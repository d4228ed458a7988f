import { formatFigure, type Run, table } from './report.js'
import { spread } from './statistics.js'

/** One figure of one repetition; NaN when it was not measured. */
type Figure = (scenario: string, system: string, key?: string) => number

interface Goal {
  readonly title: string
  readonly value: (figure: Figure) => number
  readonly atLeast?: number
  readonly atMost?: number
  readonly digits?: number
}

const DRAIN = 'drain/at-least-once/1'

/** What pgq wants to reach with its defaults, as ratios where the machine matters. */
const goals: readonly Goal[] = [
  {
    title: 'drain, at-least-once / graphile tuned',
    value: (f) => f(DRAIN, 'pgq') / f(DRAIN, 'graphile-tuned'),
    atLeast: 2,
  },
  { title: 'drain, at-least-once / hand-written', value: (f) => f(DRAIN, 'pgq') / f(DRAIN, 'sql'), atLeast: 0.65 },
  {
    title: 'drain, at-least-once: server CPU µs/job',
    value: (f) => f(DRAIN, 'pgq', 'serverCpu'),
    atMost: 8,
    digits: 1,
  },
  { title: 'drain, at-least-once: WAL B/job', value: (f) => f(DRAIN, 'pgq', 'wal'), atMost: 420, digits: 0 },
  ratio('drain, at-most-once / hand-written', 'drain/at-most-once/1', 'sql', 0.8),
  ratio('drain, transactional / hand-written', 'drain/transactional/1', 'sql', 1),
  {
    title: 'drain, transactional, grouped / hand-written',
    value: (f) => f('drain/transactional/1', 'pgq-grouped') / f('drain/transactional/1', 'sql'),
    atLeast: 4,
  },
  ratio('enqueue, 1 in flight / plain INSERT', 'enqueue/1', 'sql', 0.9),
  ratio('enqueue, 50 in flight / plain INSERT', 'enqueue/50', 'sql', 5),
  ratio('enqueue, 50 in flight / BullMQ', 'enqueue/50', 'bullmq', 2),
  {
    title: 'enqueue with somebody to wake / without',
    value: (f) => f('enqueue/50-waking', 'pgq') / f('enqueue/50', 'pgq'),
    atLeast: 0.9,
  },
  ratio('bulk / graphile', 'bulk', 'graphile', 2),
  ratio('bulk / hand-written unnest', 'bulk', 'sql', 0.9),
  {
    title: 'latency p50 / BullMQ',
    value: (f) => f('latency/idle', 'pgq', 'p50') / f('latency/idle', 'bullmq', 'p50'),
    atMost: 1,
  },
  {
    title: 'latency p99 / BullMQ',
    value: (f) => f('latency/idle', 'pgq', 'p99') / f('latency/idle', 'bullmq', 'p99'),
    atMost: 1,
  },
  {
    title: 'an urgent job under full load: most ms',
    value: (f) => f('latency/urgent', 'pgq', 'max'),
    atMost: 100,
    digits: 1,
  },
  ratio('mixed / BullMQ', 'mixed', 'bullmq', 2),
  { title: 'mixed: most behind, jobs', value: (f) => f('mixed', 'pgq', 'behind'), atMost: 1_000, digits: 0 },
  { title: 'degrade: last / first, %', value: (f) => f('degrade', 'pgq', 'kept'), atLeast: 95, digits: 0 },
  growth('1,000,000 / 10,000', '1m', '10k'),
  growth('behind future jobs / not', 'future', '10k'),
  growth('behind another queue / not', 'foreign', '10k'),
  growth('ten priorities / one', 'priorities', '100k'),
  { title: 'idle, one worker: statements/s', value: (f) => f('idle/1', 'pgq', 'statements'), atMost: 0.5 },
  { title: 'idle, ten workers: statements/s', value: (f) => f('idle/10', 'pgq', 'statements'), atMost: 1.5 },
  { title: 'herd: claims/job', value: (f) => f('herd', 'pgq', 'claims'), atMost: 2, digits: 1 },
  {
    title: 'memory over 1,000,000 jobs: most / first, %',
    value: (f) => f('memory', 'pgq', 'growth'),
    atMost: 110,
    digits: 0,
  },
]

function ratio(title: string, scenario: string, other: string, atLeast: number): Goal {
  return { title, value: (f) => f(scenario, 'pgq') / f(scenario, other), atLeast }
}

function growth(title: string, scenario: string, other: string): Goal {
  return {
    title: `growth: ${title}`,
    value: (f) => f(`growth/${scenario}`, 'pgq') / f(`growth/${other}`, 'pgq'),
    atLeast: 0.95,
  }
}

/**
 * A Markdown table of the goals whose figures were measured. Empty when there are none. A ratio is taken in each repetition,
 * where its two runs are neighbours in time, and the median of those counts: less of what else the machine did is in it than in
 * the ratio of two medians.
 */
export function goalsTable(runs: readonly Run[]): string {
  const figures = figuresByRepetition(runs)
  const rows = goals.flatMap(({ title, value, atLeast, atMost, digits = 2 }) => {
    const reached = spread(figures.map(value).filter(Number.isFinite))?.median
    if (reached === undefined) return []
    const isMet = atLeast === undefined ? reached <= atMost! : reached >= atLeast
    const wanted =
      atLeast === undefined ? `≤ ${formatFigure({ digits }, atMost!)}` : `≥ ${formatFigure({ digits }, atLeast)}`
    return [[title, wanted, formatFigure({ digits }, reached), isMet ? 'yes' : '**no**']]
  })
  return rows.length === 0 ? '' : table(['goal', 'wanted', 'measured', 'reached'], rows)
}

function figuresByRepetition(runs: readonly Run[]): Figure[] {
  const repetitions = [...new Set(runs.map(({ repetition }) => repetition))]
  return repetitions.map((repetition) => (scenario, system, key = 'rate') => {
    const run = runs.find((one) => one.scenario === scenario && one.system === system && one.repetition === repetition)
    return run?.figures[key] ?? Number.NaN
  })
}
