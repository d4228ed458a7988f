import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { namesIn } from './names-in.js'
import { headingsOf, root, withoutBlocks } from './page.js'

// What a user can set or hear, and the page that has to name it. Mutant: a new option that nobody wrote about.
test.each([
  ['packages/worker/src/options.ts', 'WorkerOptions', 'packages/worker/README.md'],
  ['packages/worker/src/events.ts', 'WorkerEvents', 'packages/worker/README.md'],
  ['packages/core/src/task.ts', 'TaskOptions', 'packages/core/README.md'],
  ['packages/core/src/enqueue.ts', 'EnqueueOptions', 'packages/core/README.md'],
  ['packages/core/src/job.ts', 'Job', 'packages/core/README.md'],
  ['packages/core/src/retry-policy.ts', 'RetryPolicy', 'packages/core/README.md'],
  ['packages/core/src/retry-policy.ts', 'TaskRetryPolicy', 'packages/core/README.md'],
  ['packages/core/src/errors.ts', 'PgqErrorCode', 'packages/core/README.md'],
  ['packages/eager/src/eager-queue.ts', 'EagerQueueOptions', 'packages/eager/README.md'],
  ['packages/eager/src/eager-queue.ts', 'EagerQueue', 'packages/eager/README.md'],
  ['packages/telemetry/src/observe-worker.ts', 'ObserveWorkerOptions', 'packages/telemetry/README.md'],
  ['packages/telemetry/src/queue-metrics.ts', 'QueueMetricsOptions', 'packages/telemetry/README.md'],
  ['packages/telemetry/src/metrics-handler.ts', 'MetricsHandlerOptions', 'packages/telemetry/README.md'],
  ['packages/telemetry/src/tracer.ts', 'TraceOptions', 'packages/telemetry/README.md'],
  ['packages/monitor/src/findings.ts', 'FindingCode', 'packages/monitor/README.md'],
  ['packages/migrations/src/migrate.ts', 'MigrateOptions', 'packages/migrations/README.md'],
  ['packages/dashboard/src/options.ts', 'DashboardOptions', 'packages/dashboard/README.md'],
  ['packages/dashboard/src/serve.ts', 'ServeOptions', 'packages/dashboard/README.md'],
  ['packages/dashboard/src/permissions.ts', 'Permission', 'packages/dashboard/README.md'],
])('%s: %s is in %s', (file, type, page) => {
  const names = namesIn(file, type)
  expect(names.length).toBeGreaterThan(0)
  const text = withoutBlocks(readFileSync(join(root, page), 'utf8'))
  const code = [...text.matchAll(/`([^`]+)`/g)].map(([, span]) => span).join(' ')
  expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(code))).toEqual([])
})

// Mutants: a new finding that tells people nothing to do; a section that outlived its finding.
test('the runbook has a section for each finding, in their order', () => {
  const runbook = readFileSync(join(root, 'docs/runbook.md'), 'utf8')
  expect(headingsOf(runbook, 2)).toEqual(namesIn('packages/monitor/src/findings.ts', 'FindingCode'))
})
