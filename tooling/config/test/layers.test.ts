import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { type Package, violations } from '../src/layers.js'
import { workspaces } from '../src/workspaces.js'

test('every package depends only on what its layer may', () => {
  const packages = allPackages()
  expect(packages.length).toBeGreaterThan(5)
  expect(violations(packages)).toEqual([])
})

const core = { name: '@pgq/core', folder: 'packages/core', dependencies: [], devDependencies: [] }

// Each names the mutant that the check above has to catch.
test.each<[string, Package, string]>([
  [
    'core with a dependency in the workspace',
    { ...core, dependencies: ['@pgq/monitor'] },
    '@pgq/core must not depend on @pgq/monitor',
  ],
  [
    'two siblings',
    { name: '@pgq/worker', folder: 'packages/worker', dependencies: ['@pgq/monitor'], devDependencies: [] },
    '@pgq/worker must not depend on @pgq/monitor',
  ],
  [
    'a lower layer on a higher one',
    { name: '@pgq/monitor', folder: 'packages/monitor', dependencies: ['@pgq/telemetry'], devDependencies: [] },
    '@pgq/monitor must not depend on @pgq/telemetry',
  ],
  [
    'a tool that users would install',
    { name: '@pgq/cli', folder: 'packages/cli', dependencies: ['@pgq/test-db'], devDependencies: [] },
    '@pgq/cli must have @pgq/test-db in devDependencies only',
  ],
  [
    'the test database on a package that is tested with it',
    { name: '@pgq/test-db', folder: 'tooling/test-db', dependencies: [], devDependencies: ['@pgq/migrations'] },
    '@pgq/test-db must not depend on @pgq/migrations',
  ],
  [
    'a package in no layer',
    { name: '@pgq/helpers', folder: 'packages/helpers', dependencies: [], devDependencies: [] },
    '@pgq/helpers is in no layer: add it to tooling/config/src/layers.ts',
  ],
])('refuses %s', (_, mutant, complaint) => {
  expect(violations([mutant])).toEqual([complaint])
})

function allPackages(): Package[] {
  return workspaces(fileURLToPath(new URL('../../..', import.meta.url))).map(({ name, folder, manifest }) => {
    const namesIn = (...fields: string[]) => fields.flatMap((field) => Object.keys(manifest[field] ?? {}))
    return {
      name,
      folder,
      dependencies: namesIn('dependencies', 'peerDependencies', 'optionalDependencies'),
      devDependencies: namesIn('devDependencies'),
    }
  })
}
