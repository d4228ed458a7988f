import type { Options } from 'tsup'

export interface PackageBuild extends Omit<Options, 'entry'> {
  /** Subpath exports by name, beside src/index.ts where there is one: `{ adapters: 'src/adapters.ts' }`. */
  entries?: Record<string, string>
  /**
   * Libraries of which the used part is built in, with their licence on top: for those of hundreds of files, which take Node longer to
   * open than all the rest. Their types still come from the package.
   */
  builtIn?: string[]
}

export declare function packageBuild(build?: PackageBuild): unknown
