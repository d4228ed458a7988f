import { type Level, type Logger, pino, stdSerializers } from 'pino'
import { coloursFor } from './output.js'
import { plain, plainJsonText, plainLines } from './plain.js'

export interface LogOptions {
  readonly json?: boolean
  readonly logLevel?: Level
}

/** Logs to stderr: lines for people, or pino's JSON. */
export function openLog({ json, logLevel = 'info' }: LogOptions): Logger {
  const write = json ? plainJsonText : lineOf
  const stream = { write: (line: string) => void process.stderr.write(write(line)) }
  return pino({ level: logLevel, serializers: { err: stdSerializers.err } }, stream)
}

interface Line {
  readonly level: number
  readonly time: number
  readonly msg: string
  /** type is the class; what is no Error, as the dashboard logs it without a stack, has a name of its own. */
  readonly err?: { readonly type: string; readonly name?: string; readonly message: string; readonly stack?: string }
}

/** `12:30:01.123 INFO worker started workerId=1`, and the stack of an error below it. */
function lineOf(json: string): string {
  const { level, time, msg, err, pid: _, hostname: __, ...fields } = JSON.parse(json) as Line & Record<string, unknown>
  const { dim } = coloursFor(process.stderr)
  const at = new Date(time).toISOString().slice(11, 23)
  const told = Object.entries(fields).map(([name, value]) => dim(`${plain(name)}=${plain(textOf(value))}`))
  const stack = err ? [`\n${plainLines(err.stack || `${err.name ?? err.type}: ${err.message}`)}`] : []
  return `${[dim(at), labelled(level), plain(msg ?? ''), ...told].join(' ')}${stack.join('')}\n`
}

function textOf(value: unknown): string {
  if (typeof value === 'number') return String(Math.round(value * 10) / 10)
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function labelled(level: number): string {
  const { red, yellow, green, dim } = coloursFor(process.stderr)
  if (level >= pino.levels.values.error!) return red('ERROR')
  if (level >= pino.levels.values.warn!) return yellow('WARN')
  return level >= pino.levels.values.info! ? green('INFO') : dim('DEBUG')
}
