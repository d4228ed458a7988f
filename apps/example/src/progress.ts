import { Presets, SingleBar } from 'cli-progress'

const LINE_EVERY_MS = 2_000
const BAR_EVERY_MS = 100

export interface Progress {
  step(): void
  stop(): void
}

/** A bar on a terminal; in a log, a line every two seconds. Counts its steps, or asks `done` for their number. */
export function startProgress(what: string, total: number, done?: () => number): Progress {
  let steps = 0
  const value = () => Math.min(total, done?.() ?? steps)
  const show = process.stdout.isTTY ? bar(what, total) : line(what, total)
  const timer = setInterval(() => show(value()), process.stdout.isTTY ? BAR_EVERY_MS : LINE_EVERY_MS)
  return {
    step: () => {
      steps++
    },
    stop: () => {
      clearInterval(timer)
      show(value(), true)
    },
  }
}

type Show = (value: number, isLast?: boolean) => void

function bar(what: string, total: number): Show {
  const format = `${what.padEnd(7)} {bar} {percentage}%  {value}/{total}  {duration_formatted}`
  const single = new SingleBar({ format, hideCursor: true }, Presets.shades_classic)
  single.start(total, 0)
  return (value, isLast) => {
    single.update(value)
    if (isLast) single.stop()
  }
}

const line =
  (what: string, total: number): Show =>
  (value) =>
    console.log(`${what.padEnd(7)} ${value}/${total}`)
