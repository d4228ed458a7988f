import type { PostgresServer } from './start-postgres.js'

/**
 * The server that DATABASE_URL names, if it is set. It is not ours: only databases made by `createDatabase` may be used on it,
 * and they must be dropped.
 */
export function serverFromEnvironment(): Pick<PostgresServer, 'url' | 'stop'> | undefined {
  const url = process.env.DATABASE_URL
  return url ? { url, stop: async () => {} } : undefined
}
