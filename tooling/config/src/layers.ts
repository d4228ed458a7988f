/** A package.json, as far as layers go. */
export interface Package {
  readonly name: string
  readonly folder: string
  /** Names of everything that comes along with it: also peers and optional ones. */
  readonly dependencies: readonly string[]
  readonly devDependencies: readonly string[]
}

// What a published package may bring along from this workspace. Nothing else, and never a sibling.
const mayDependOn: Readonly<Record<string, readonly string[]>> = {
  '@pgq/core': [],
  '@pgq/migrations': [],
  '@pgq/worker': ['@pgq/core'],
  '@pgq/eager': ['@pgq/core'],
  '@pgq/monitor': ['@pgq/core'],
  '@pgq/telemetry': ['@pgq/core', '@pgq/monitor'],
  '@pgq/dashboard': ['@pgq/core', '@pgq/monitor'],
  '@pgq/cli': [
    '@pgq/core',
    '@pgq/migrations',
    '@pgq/worker',
    '@pgq/eager',
    '@pgq/monitor',
    '@pgq/telemetry',
    '@pgq/dashboard',
  ],
}

// Everything is tested with the first two, so they may not lean on it, not even for their own tests. The conformance suite
// speaks of jobs, which core knows.
const toolsMayUse: Readonly<Record<string, readonly string[]>> = {
  '@pgq/config': [],
  '@pgq/test-db': ['@pgq/config'],
  '@pgq/conformance': ['@pgq/config', '@pgq/test-db', '@pgq/core'],
  '@pgq/publish': ['@pgq/config', '@pgq/test-db'],
  '@pgq/docs': [
    '@pgq/config',
    '@pgq/test-db',
    '@pgq/core',
    '@pgq/migrations',
    '@pgq/worker',
    '@pgq/eager',
    '@pgq/monitor',
    '@pgq/telemetry',
    '@pgq/dashboard',
    '@pgq/cli',
  ],
}

/** What breaks the layers: a sentence for each. Applications (`apps/*`) may use anything. */
export function violations(packages: readonly Package[]): string[] {
  return packages.filter(({ folder }) => !folder.startsWith('apps/')).flatMap(violationsOf)
}

function violationsOf({ name, folder, dependencies, devDependencies }: Package): string[] {
  const isTool = folder.startsWith('tooling/')
  const allowed = isTool ? toolsMayUse[name] : mayDependOn[name]
  if (!allowed) return [`${name} is in no layer: add it to tooling/config/src/layers.ts`]
  const checked = isTool ? [...dependencies, ...devDependencies] : dependencies
  return checked
    .filter((dependency) => dependency.startsWith('@pgq/') && !allowed.includes(dependency))
    .map((dependency) =>
      dependency in toolsMayUse && !isTool
        ? `${name} must have ${dependency} in devDependencies only`
        : `${name} must not depend on ${dependency}`,
    )
}
