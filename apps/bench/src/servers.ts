import { serverFromEnvironment, startPostgres } from '@pgq/test-db'
import { type RedisServer, startRedis } from './redis-server.js'

export interface Servers {
  readonly postgresUrl: string
  readonly redis: RedisServer | undefined
  stop(): Promise<void>
}

/** The server of DATABASE_URL, else one of our own as it comes: durable, and with no setting changed that could make it faster. */
export async function startServers({ withRedis }: { readonly withRedis: boolean }): Promise<Servers> {
  const postgres =
    serverFromEnvironment() ?? (await startPostgres({ settings: { shared_preload_libraries: 'pg_stat_statements' } }))
  const redis = withRedis ? await startRedis() : undefined
  return {
    postgresUrl: postgres.url,
    redis,
    async stop() {
      await redis?.stop()
      await postgres.stop()
    },
  }
}
