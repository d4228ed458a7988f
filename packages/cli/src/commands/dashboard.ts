import { InvalidOptionError } from '@pgq/core'
import { basicAuth, PERMISSIONS, type Permission, serveDashboard } from '@pgq/dashboard'
import { type DatabaseOptions, databaseUrl, schemaOf, withQueue } from '../connection.js'
import { EXIT, UsageError } from '../failure.js'
import { Interruption } from '../interruption.js'
import { type LogOptions, openLog } from '../log.js'
import { print, printJson } from '../output.js'

interface DashboardOptions extends DatabaseOptions, LogOptions {
  readonly host?: string
  readonly port?: number
  readonly basePath?: string
  readonly allow?: readonly string[]
  readonly allowedHost?: readonly string[]
  readonly redact?: readonly string[]
}

/** Serves the dashboard until Ctrl-C. Anywhere but on this machine alone it asks for a password. */
export async function dashboard(options: DashboardOptions): Promise<number> {
  const { host, port, basePath, allow, allowedHost, redact, json } = options
  const authenticate = authFromEnvironment()
  const connectionString = databaseUrl(options)
  await withQueue(options, async () => {})
  const served = await serveDashboard({
    connectionString,
    schema: schemaOf(options),
    logger: openLog(options),
    allow: allow?.includes('all') ? PERMISSIONS : ((allow ?? []) as readonly Permission[]),
    ...(host !== undefined && { host }),
    ...(port !== undefined && { port }),
    ...(basePath !== undefined && { basePath }),
    ...(allowedHost && { allowedHosts: allowedHost }),
    ...(redact && { redact }),
    ...(authenticate && { authenticate }),
  }).catch((error) => {
    throw error instanceof InvalidOptionError && !authenticate ? inWordsOfHere(error) : error
  })
  if (json) printJson({ url: served.url })
  else print(`The dashboard is at ${served.url}. Ctrl-C ends it.`)
  const interruption = new Interruption()
  await new Promise((resolve) => interruption.signal.addEventListener('abort', resolve))
  await served.close()
  interruption.end()
  return EXIT.ok
}

/** By the environment alone: everybody on the machine can read the command lines of its programs. */
function authFromEnvironment(): ReturnType<typeof basicAuth> | undefined {
  const { PGQ_DASHBOARD_USER: username, PGQ_DASHBOARD_PASSWORD: password } = process.env
  if (!username && !password) return undefined
  if (!username || !password)
    throw new UsageError('PGQ_DASHBOARD_USER and PGQ_DASHBOARD_PASSWORD go together: set both, or neither.')
  return basicAuth({ username, password })
}

/** It speaks to programs, of an option that is not one here. */
function inWordsOfHere(error: InvalidOptionError): Error {
  if (!error.message.includes('basicAuth')) return error
  const [what] = error.message.split('. ')
  return new UsageError(
    `${what}. Set PGQ_DASHBOARD_USER and PGQ_DASHBOARD_PASSWORD in its environment, or leave --host out: it then answers to this machine alone.`,
    { cause: error },
  )
}
