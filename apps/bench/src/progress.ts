import { Presets, SingleBar } from 'cli-progress'

export interface Progress {
  /** What runs now. */
  begin(what: string): void
  done(what: string): void
  stop(): void
}

/** A bar on a terminal; elsewhere a line for each run. Both on stderr: stdout is for the tables. */
export function startProgress(total: number): Progress {
  return process.stderr.isTTY ? bar(total) : lines(total)
}

function bar(total: number): Progress {
  const format = '{bar} {value}/{total}  {duration_formatted}  {what}'
  const single = new SingleBar(
    { format, hideCursor: true, barsize: 24, stream: process.stderr },
    Presets.shades_classic,
  )
  single.start(total, 0, { what: '' })
  return {
    begin: (what) => single.update({ what }),
    done: () => single.increment(),
    stop: () => single.stop(),
  }
}

function lines(total: number): Progress {
  let done = 0
  return {
    begin: () => {},
    done: (what) => console.error(`${String(++done).padStart(String(total).length)}/${total} ${what}`),
    stop: () => {},
  }
}
