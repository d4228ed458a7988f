import { Presets, SingleBar, type ValueType } from 'cli-progress'
import { note, number } from './output.js'

const formatValue = (value: number, _options: unknown, type: ValueType): string =>
  type === 'value' || type === 'total' ? number(value) : String(value)

export interface Progress {
  reached(count: number): void
  /** A remark while it runs. */
  say(text: string): void
  stop(): void
}

/** A bar on a terminal, when there is more to do than one step; else nothing. On stderr. */
export function startProgress(total: number, step: number): Progress {
  if (!process.stderr.isTTY || total <= step) return { reached() {}, say: note, stop() {} }
  const format = '{bar} {percentage}%  {value}/{total}  {eta_formatted} left'
  const bar = new SingleBar({ format, barsize: 24, stream: process.stderr, formatValue }, Presets.shades_classic)
  bar.start(total, 0)
  return {
    reached: (count) => bar.update(count),
    say(text) {
      process.stderr.write('\n')
      note(text)
    },
    stop: () => bar.stop(),
  }
}
