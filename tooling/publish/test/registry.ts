import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { runServer } from 'verdaccio'
import { afterAll } from 'vitest'
import { temporaryFolder } from './temporary-folder.js'

export interface Registry {
  /** With a slash at its end. */
  readonly url: string
  /** What npm and pnpm need to know: our packages come from here, all others from wherever npm is set to get them. */
  readonly npmrc: string
  /** The file that was published. */
  tarball(name: string, version: string): Buffer
}

/** A registry of our packages alone, on a free port of this machine, in this process: it ends with it. */
export async function startRegistry(): Promise<Registry> {
  const folder = temporaryFolder('registry')
  const config = join(folder, 'config.yaml')
  mkdirSync(join(folder, 'storage'))
  writeFileSync(config, configuration(folder))
  const server: Server = (await runServer(config)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  afterAll(() => void server.close().closeAllConnections())
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    // Anybody may publish; npm wants a token to send all the same.
    npmrc: `@pgq:registry=http://127.0.0.1:${port}/\n//127.0.0.1:${port}/:_authToken=nobody\n`,
    tarball: (name, version) =>
      readFileSync(join(folder, 'storage', name, `${name.replace(/^.*\//, '')}-${version}.tgz`)),
  }
}

const configuration = (folder: string) => `
storage: ${JSON.stringify(join(folder, 'storage'))}
auth: { htpasswd: { file: ${JSON.stringify(join(folder, 'htpasswd'))} } }
packages:
  '@pgq/*': { access: $all, publish: $all }
log: { type: stdout, level: fatal }
web: { enable: false }
max_body_size: 50mb
`
