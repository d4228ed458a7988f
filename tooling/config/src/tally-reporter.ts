import type { Reporter, SerializedError, TestModule } from 'vitest/node'

/**
 * Ends the run with a line for programs to read: `12 passed, 0 failed`, and `, 1 skipped` when there are any. A file or a hook
 * that fails outside of its tests is one failure, and a run without tests is one too.
 */
export default class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const tally = count(modules)
    tally.failed += unhandledErrors.length
    if (tally.passed + tally.failed === 0) tally.failed = 1
    const again = modules
      .flatMap((module) => [...module.children.allTests()])
      .filter((test) => test.diagnostic()?.flaky)
    // After the coverage and everything else that has something to say.
    process.once('exit', (code) => {
      if (again.length > 0) process.stdout.write('\nPassed when they ran again:\n')
      for (const { module, fullName } of again)
        process.stdout.write(`  ${module.project.name} ${module.relativeModuleId}: ${fullName}\n`)
      if (tally.failed > 0 && code === 0) process.exitCode = 1
      process.stdout.write(`${lineOf(tally)}\n`)
    })
  }
}

interface Tally {
  passed: number
  failed: number
  skipped: number
}

function count(modules: readonly TestModule[]): Tally {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 }
  for (const module of modules) {
    let failedTests = 0
    for (const test of module.children.allTests()) {
      const { state } = test.result()
      if (state === 'passed') tally.passed++
      else if (state === 'failed') failedTests++
      else tally.skipped++
    }
    const failedOutside = [module, ...module.children.allSuites()].filter((suite) => suite.errors().length > 0).length
    tally.failed += failedTests + failedOutside
  }
  return tally
}

function lineOf({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
