import { isError } from '@pgq/core'
import type { Logger } from './logger.js'

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** What is less than the level is left out. */
export type LogLevel = (typeof LEVELS)[number]

/**
 * Lines for people, on stderr: `12:30:01.123 WARN job runs again jobId=7 task=send-receipt ...`, and the stack of an error below. Control
 * characters of texts are left out or escaped. Default level 'info', which tells nothing of jobs that end well.
 */
export function consoleLogger(level: LogLevel = 'info'): Logger {
  const write = (own: LogLevel) => (fields: object, message: string) => {
    if (LEVELS.indexOf(own) >= LEVELS.indexOf(level)) process.stderr.write(lineOf(own, fields, message))
  }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

function lineOf(level: LogLevel, { err, ...fields }: { readonly err?: unknown }, message: string): string {
  const at = new Date().toISOString().slice(11, 23)
  const told = Object.entries(fields).map(([name, value]) => `${name}=${textOf(value)}`)
  const stack = err === undefined ? '' : `\n${(isError(err) && err.stack) || String(err)}`
  return `${[at, level.toUpperCase(), message, ...told].join(' ')}${stack}\n`.replace(CONTROLS, '')
}

function textOf(value: unknown): string {
  if (typeof value === 'number') return String(Math.round(value * 10) / 10)
  if (Array.isArray(value)) return value.map(textOf).join()
  return typeof value === 'string' && /^[\w.:/-]+$/.test(value) ? value : JSON.stringify(value)
}

/** All but the line feed. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal acts on them
const CONTROLS = /[\x00-\x09\x0b-\x1f\x7f-\x9f]/g
