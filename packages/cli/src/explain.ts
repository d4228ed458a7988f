import { EXIT, Failure } from './failure.js'

/** What is said of an error, and how the command ends. */
export interface Explanation {
  readonly message: string
  readonly code?: string
  readonly exitCode: number
}

// What was asked for cannot be: of core and monitor, of the migrations.
const USAGE_CODES = ['PGQ_INVALID_OPTION', 'PGQ_SCHEMA_NAME', 'PGQ_TARGET_VERSION']

/** Puts an error into words. Of database errors the message alone: the detail prints rows. */
export function explain(error: unknown): Explanation {
  const { code, message = '', stack, cause } = error as Partial<Error> & { code?: string }
  if (error instanceof Failure) return { message, ...codeOf(error.cause), exitCode: error.exitCode }
  const lacksRights = code === 'PGQ_MIGRATION_FAILED' && codeOf(cause).code === '42501'
  const worded = lacksRights ? `${message} ${ROLES}` : wordsFor(code ?? '', message)
  // A fault of ours: its place tells more than its words.
  if (worded === undefined) return { message: stack ?? String(error), exitCode: EXIT.failed }
  const exitCode = USAGE_CODES.includes(code ?? '') ? EXIT.usage : EXIT.failed
  return { message: worded, ...codeOf(error), exitCode }
}

const ROLES = `What each role needs is in "Roles" of pgq's docs/operating.md.`

function codeOf(error: unknown): { code?: string } {
  const { code } = (error ?? {}) as { code?: string }
  return code === undefined ? {} : { code }
}

const NO_ADDRESS = ['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN']
const LOST = ['ECONNRESET', 'ECONNREFUSED', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']

function wordsFor(code: string, message: string): string | undefined {
  if (code === 'PGQ_NOT_MIGRATED')
    return 'Something that this pgq needs is not in the schema. Run: pgq migrate. If the schema is newer than this pgq, upgrade @pgq/cli.'
  if (code.startsWith('PGQ_')) return message
  if (code === '42501')
    return `The database says: ${message}. Connect as the role that migrated, or grant this one the right. ${ROLES}`
  if (code === '57014' || message === 'Query read timeout')
    return 'The database did not answer in time. Run: pgq doctor.'
  if (code === '25006') return `This database can only be read, as a standby: ${message}. Connect to the primary.`
  // Of the dashboard's own address: a database that cannot be reached was told as such before.
  if (code === 'EADDRINUSE' || code === 'EACCES') return `${message}. Choose another port: --port.`
  if (NO_ADDRESS.includes(code)) return `${message}. Choose an address of this machine: --host.`
  if (code.startsWith('57P') || LOST.includes(code) || message.startsWith('Connection terminated'))
    return `The connection to the database was lost: ${message || code}. What was done before is kept; try again.`
  // SQLSTATE
  return /^[0-9A-Z]{5}$/.test(code) ? `The database says: ${message} (${code}).` : undefined
}
