import {
  checkExecutor,
  checkOptionNames,
  DEFAULT_SCHEMA,
  type Executor,
  InvalidOptionError,
  optionNames,
  shown,
} from '@pgq/core'
import { type Logger, type OnAudit, quiet } from './audit.js'
import { PERMISSIONS, type Permission } from './permissions.js'

/** Names who asks, or answers nothing for a stranger, or a Response of its own: a redirect to a login. */
export type Authenticate = (request: Request) => string | Response | undefined | Promise<string | Response | undefined>

/** What a user may do beside looking. */
export type Allow = readonly Permission[] | ((user: string) => readonly Permission[] | Promise<readonly Permission[]>)

/** How to serve a dashboard. Reading is what everybody may do who gets in; all else is named in `allow`. */
export interface DashboardOptions {
  /** Where to ask: as everywhere in pgq. A small pool of its own keeps the application's free: `limitTime(pool, 2_000)`. */
  readonly executor: Executor
  /** The schema that pgq was migrated into. Default 'pgq'. */
  readonly schema?: string
  /** The path that it is mounted at: '/jobs'. Default '/'. */
  readonly basePath?: string
  /** Who may come in: `basicAuth(...)`, or a function. `false` lets everybody in, on this machine's own names or `allowedHosts` alone. */
  readonly authenticate: Authenticate | false
  /** What a user may do beside looking. Default nothing: no action, and no args. */
  readonly allow?: Allow
  /** Names of hosts that it answers to, without port. Default all; with `authenticate: false`, localhost. */
  readonly allowedHosts?: readonly string[]
  /** Paths in args to hide: `card.number`, `items.*.secret`, `**.password`; `**` alone hides all. */
  readonly redact?: readonly string[]
  /** Hears of each action of who may come in: who, what, on which jobs, and how it went. Also of those that were refused. */
  readonly onAudit?: OnAudit
  /** Such as pino: each action as a line, and what went wrong. */
  readonly logger?: Logger
  /** How long a question may take before the page is told that the database is slow. Default 5,000. */
  readonly questionTimeoutMs?: number
}

const OPTIONS = optionNames<DashboardOptions>({
  ...{ executor: true, schema: true, basePath: true, authenticate: true, allow: true, allowedHosts: true },
  ...{ redact: true, onAudit: true, logger: true, questionTimeoutMs: true },
})

/** The options with their defaults. */
export interface ResolvedOptions extends Required<Omit<DashboardOptions, 'allowedHosts' | 'basePath'>> {
  readonly allowedHosts: readonly string[] | undefined
  /** '' at the root, else '/jobs'. */
  readonly basePath: string
}

const defaults = Object.freeze({ schema: DEFAULT_SCHEMA, allow: [], redact: [], questionTimeoutMs: 5_000 })

/** This machine's names for itself; an attacker's page cannot be served under them. */
export const LOOPBACK_HOSTS: readonly string[] = Object.freeze(['localhost', '127.0.0.1', '[::1]'])

/** Fills in the defaults. Throws InvalidOptionError for what cannot be. */
export function resolveOptions(options: DashboardOptions): ResolvedOptions {
  // A redact that is misspelt would show what it should hide.
  checkOptionNames(options, OPTIONS, 'dashboard')
  checkExecutor(options.executor, 'executor')
  const { authenticate, basePath = '/', allow = defaults.allow } = options
  if (authenticate !== false && typeof authenticate !== 'function') {
    throw new InvalidOptionError(
      'authenticate says who may see the dashboard: pass basicAuth({ username, password }), a function of the request, or false when only this machine can reach it.',
    )
  }
  if (!/^\/[\w\-./~]*$/.test(basePath)) {
    throw new InvalidOptionError(`basePath is ${shown(basePath)}; use a path such as '/jobs'.`)
  }
  if (typeof allow !== 'function') checkList('allow', allow, "['redrive', 'run-now'], or a function of the user")
  checkList('allowedHosts', options.allowedHosts, "['jobs.example.com']")
  checkList('redact', options.redact, "['card.number', '**.password']")
  checkTimeout(options.questionTimeoutMs)
  const unknown = Array.isArray(allow) ? allow.filter((permission) => !PERMISSIONS.includes(permission)) : []
  if (unknown.length > 0) {
    throw new InvalidOptionError(`allow names ${unknown.join(', ')}; there are ${PERMISSIONS.join(', ')}.`)
  }
  // An option that is undefined is not given.
  const given = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as DashboardOptions
  return {
    ...defaults,
    onAudit() {},
    ...given,
    logger: quiet(options.logger ?? { info() {}, error() {} }),
    basePath: basePath.replace(/\/+$/, ''),
    allowedHosts: options.allowedHosts ?? (authenticate === false ? LOOPBACK_HOSTS : undefined),
  }
}

// A text has most of what a list has, and would be asked for its letters.
function checkList(name: string, list: unknown, example: string): void {
  if (list === undefined || (Array.isArray(list) && list.every((one) => typeof one === 'string'))) return
  throw new InvalidOptionError(`${name} is ${JSON.stringify(list)}; use a list of texts: ${example}.`)
}

function checkTimeout(ms: unknown): void {
  // Timers take no more.
  if (ms === undefined || (typeof ms === 'number' && ms > 0 && ms < 2 ** 31)) return
  throw new InvalidOptionError(`questionTimeoutMs is ${shown(ms)}; use a number of ms over 0.`)
}
