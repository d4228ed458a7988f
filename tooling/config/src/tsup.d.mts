import type { Options } from 'tsup'

export interface PackageBuild extends Omit<Options, 'entry'> {
  /** Subpath exports by name, beside src/index.ts where there is one: `{ adapters: 'src/adapters.ts' }`. */
  entries?: Record<string, string>
}

export declare function packageBuild(build?: PackageBuild): unknown
