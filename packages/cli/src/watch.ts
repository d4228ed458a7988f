import { setTimeout as sleep } from 'node:timers/promises'
import stringWidth from 'string-width'
import { explain } from './explain.js'
import { EXIT, UsageError } from './failure.js'
import { instant } from './format.js'
import { Interruption } from './interruption.js'
import { coloursFor, print, printJson } from './output.js'
import { plainJson, plainLines } from './plain.js'

export interface WatchOptions {
  readonly json?: boolean
  readonly watch?: boolean
  readonly everyMs?: number
}

/** One answer, to be shown. */
export interface Look {
  readonly json: unknown
  /** Safe for a terminal, laid out for its width. */
  text(): string
  readonly exitCode: number
}

/** Shows what `look` answers: once, or again and again until Ctrl-C. Answers the exit code of the last look. */
export async function show(options: WatchOptions, look: () => Promise<Look>): Promise<number> {
  if (options.everyMs !== undefined && !options.watch) throw new UsageError('--every-ms is for --watch: add it.')
  const first = await look()
  if (options.watch) return watch(options, first, look)
  if (options.json) printJson(first.json)
  else print(first.text())
  return first.exitCode
}

/** Goes on when the database does not answer: that is when one watches. */
async function watch({ json, everyMs = 2_000 }: WatchOptions, first: Look, look: () => Promise<Look>): Promise<number> {
  const interruption = new Interruption()
  const screen = json ? lines : process.stdout.isTTY ? fullScreen() : pages
  let last = first
  screen.show(last)
  while (!interruption.requested) {
    await sleep(everyMs, undefined, { signal: interruption.signal }).catch(() => {})
    if (interruption.requested) break
    last = await look().catch((error) => unanswered(error, last))
    screen.show(last)
  }
  interruption.end()
  screen.leave()
  return last.exitCode
}

function unanswered(error: unknown, before: Look): Look {
  const { message } = explain(error)
  return {
    json: { error: message },
    text: () => `${coloursFor(process.stdout).red(plainLines(message))}\n\n${before.text()}`,
    exitCode: EXIT.failed,
  }
}

interface Screen {
  show(look: Look): void
  leave(): void
}

/** A line of JSON for each look. */
const lines: Screen = { show: ({ json }) => print(plainJson(json)), leave() {} }

/** For a file or a pipe: one below the other. */
const pages: Screen = { show: (look) => print(`${look.text()}\n`), leave() {} }

const ENTER = '\x1b[?1049h\x1b[?25l'
const LEAVE = '\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

/** The whole terminal, painted over each time. The last look stays behind. */
function fullScreen(): Screen {
  const { stdout } = process
  const restore = () => void stdout.write(LEAVE)
  let shown = ''
  stdout.write(ENTER)
  process.on('exit', restore)
  return {
    show(look) {
      shown = look.text()
      const at = coloursFor(stdout).dim(`${instant(new Date())}  Ctrl-C ends this`)
      const painted = fitting([at, '', ...shown.split('\n')], stdout.columns, stdout.rows - 1)
      stdout.write(`${HOME}${painted.map((line) => `${line}${CLEAR_LINE}\n`).join('')}${CLEAR_BELOW}`)
    },
    leave() {
      process.off('exit', restore)
      restore()
      print(shown)
    },
  }
}

/** The first lines that fit so many rows: the terminal wraps those that are longer than it is wide. */
function fitting(lines: readonly string[], columns: number, rows: number): readonly string[] {
  let taken = 0
  const end = lines.findIndex((line) => {
    taken += Math.max(1, Math.ceil(stringWidth(line) / columns))
    return taken > rows
  })
  return end === -1 ? lines : lines.slice(0, end)
}
