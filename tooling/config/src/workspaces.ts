import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Workspace {
  readonly name: string
  /** From the root: `packages/core`. */
  readonly folder: string
  readonly manifest: Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>
}

const parents = ['packages', 'apps', 'tooling']

/** Every package of the repository, the private ones too. */
export function workspaces(root: string): Workspace[] {
  return parents
    .flatMap((parent) => filesIn(join(root, parent)).map((child) => `${parent}/${child}`))
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map((folder) => {
      const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
      return { name: manifest.name, folder, manifest }
    })
}

/** Names of what is in a folder; none when there is no folder. */
export function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}
