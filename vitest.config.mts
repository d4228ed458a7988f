import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { packageAliases, testProjects } from './tooling/config/src/vitest.js'

const root = import.meta.dirname

export default defineConfig(({ mode }) => ({
  test: {
    projects: testProjects(root, mode),
    // Once per run: the server, and the migrated database that each test file copies.
    globalSetup: ['./vitest.global-setup.mts'],
    reporters: ['default', './tooling/config/src/tally-reporter.ts'],
    // A test waits for the database, or for a clock, for a good part of its time: so one file more than there are processors.
    maxWorkers: availableParallelism() + 1,
    passWithNoTests: false,
    coverage: {
      provider: 'v8',
      include: ['packages/*/src/**/*.ts'],
      reporter: [['text', { skipFull: true }], 'text-summary'],
    },
  },
  resolve: { alias: packageAliases(root) },
}))
