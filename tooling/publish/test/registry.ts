import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
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
  /** The names of everything that was published. */
  packages(): string[]
  /** The path of the file that was published. */
  tarball(name: string, version: string): string
  /** The package.json as the registry hands it out. */
  manifest(name: string, version: string): Promise<Manifest>
}

/** A package.json, as far as these tests look at it. */
export interface Manifest {
  readonly name: string
  readonly version: string
  readonly description: string
  readonly keywords: readonly string[]
  readonly license: string
  readonly engines: Readonly<Record<string, string>>
  readonly sideEffects: boolean
  readonly publishConfig: Readonly<Record<string, unknown>>
  readonly repository: Readonly<Record<string, string>>
  readonly scripts?: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, unknown>>
  readonly bin?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

/** A registry of our packages alone, on a free port of this machine, in this process: it ends with it. */
export async function startRegistry(): Promise<Registry> {
  const folder = temporaryFolder('registry')
  const storage = join(folder, 'storage')
  mkdirSync(storage)
  writeFileSync(join(folder, 'config.yaml'), configuration(folder, storage))
  const server: Server = (await runServer(join(folder, 'config.yaml'))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  afterAll(() => void server.close().closeAllConnections())
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}/`
  return {
    url,
    // Anybody may publish; npm wants a token to send all the same.
    npmrc: `@pgq:registry=${url}\n//127.0.0.1:${port}/:_authToken=nobody\n`,
    packages: () => readdirSync(join(storage, '@pgq')).map((name) => `@pgq/${name}`),
    tarball: (name, version) => join(storage, name, `${name.replace(/^.*\//, '')}-${version}.tgz`),
    manifest: async (name, version) =>
      (await (await fetch(`${url}${name.replace('/', '%2f')}/${version}`)).json()) as Manifest,
  }
}

const configuration = (folder: string, storage: string) => `
storage: ${JSON.stringify(storage)}
auth: { htpasswd: { file: ${JSON.stringify(join(folder, 'htpasswd'))} } }
packages:
  '@pgq/*': { access: $all, publish: $all }
log: { type: stdout, level: fatal }
web: { enable: false }
max_body_size: 50mb
`
