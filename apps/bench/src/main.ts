// Measures pgq beside its peers and beside hand-written SQL: npm run bench -- --help
import { bench, systemsOf } from './bench.js'
import { goalsTable } from './goals.js'
import { describeMachine, isThere } from './machine.js'
import { readOptions } from './options.js'
import { machineList, renewPage } from './page.js'
import { writeCharts } from './plot.js'
import { startProgress } from './progress.js'
import { type Run, scenarioTable } from './report.js'
import { type Results, readResults, writeResults } from './results.js'
import { startServers } from './servers.js'
import type { Stage } from './stage.js'
import { systemEntry } from './systems/index.js'

const options = readOptions(process.argv)
const { scenarios, repetitions, scale } = options
let stage: Stage | undefined
let isInterrupted = false

try {
  const results = options.from ? readResults(options.from) : await measure()
  report(results)
  process.exit()
} catch (error) {
  if (!isInterrupted) throw error
}

async function measure(): Promise<Results> {
  const systems = options.systems.filter((name) => isThere(systemEntry(name).program))
  const plan = { scenarios, systems, repetitions, scale }
  const used = new Set(scenarios.flatMap((scenario) => systemsOf(plan, scenario)))
  const servers = await startServers({ withRedis: [...used].some((name) => systemEntry(name).store === 'redis') })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, async () => {
      isInterrupted = true
      await stage?.clear().catch(() => {})
      await servers.stop()
      process.exit(130)
    })
  }
  const machine = await describeMachine(servers, [...used])
  console.log(`${machineList(machine)}\n`)
  const runs: Run[] = []
  const total = scenarios.reduce((sum, scenario) => sum + systemsOf(plan, scenario).length, 0) * repetitions
  const progress = startProgress(total)
  const announce = (run: Omit<Run, 'figures'>, next: Stage) => {
    stage = next
    progress.begin(`${run.scenario} ${run.system}`)
  }
  for await (const run of bench(servers, plan, announce)) {
    runs.push(run)
    progress.done(`${run.scenario} ${run.system}: ${JSON.stringify(run.figures)}`)
    if (options.json) writeResults(options.json, { machine, runs })
  }
  progress.stop()
  await servers.stop()
  return { machine, runs }
}

function report(results: Results): void {
  const { runs } = results
  for (const scenario of scenarios) {
    const table = scenarioTable(scenario, runs)
    if (table) console.log(`### ${scenario.title}\n\n${table}\n`)
  }
  const goals = goalsTable(runs)
  if (goals) console.log(`### Goals\n\n${goals}\n`)
  if (options.plot) writeCharts(options.plot, scenarios, runs)
  if (options.page) renewPage(options.page, results)
}
