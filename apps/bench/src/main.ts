// Measures pgq beside its peers and beside hand-written SQL: npm run bench -- --help
import { writeFileSync } from 'node:fs'
import { bench, systemsOf } from './bench.js'
import { describeMachine, isThere } from './machine.js'
import { readOptions } from './options.js'
import { startProgress } from './progress.js'
import { type Run, scenarioTable } from './report.js'
import { startServers } from './servers.js'
import { systemEntry } from './systems/index.js'

const options = readOptions(process.argv)
const { scenarios } = options
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

const systems = options.systems.filter((name) => isThere(systemEntry(name).program))
const servers = await startServers({ withRedis: systems.some((name) => systemEntry(name).store === 'redis') })
const machine = await describeMachine(servers, systems)
console.log(
  Object.entries(machine)
    .map(([name, value]) => `- ${name}: ${value}`)
    .join('\n'),
)

const plan = { scenarios, systems, repetitions: options.repetitions, scale: options.scale }
const total = scenarios.reduce((sum, scenario) => sum + systemsOf(plan, scenario).length, 0) * options.repetitions
const progress = startProgress(total)
const runs: Run[] = []
for await (const run of bench(servers, plan, ({ scenario, system }) => progress.begin(`${scenario} ${system}`))) {
  runs.push(run)
  const [first] = scenarios.find(({ name }) => name === run.scenario)!.columns
  progress.done(
    `${run.scenario} ${run.system}: ${first!.title} ${run.figures[first!.key]?.toFixed(first!.digits ?? 0)}`,
  )
  if (options.json) writeFileSync(options.json, JSON.stringify({ machine, runs }, undefined, 1))
}
progress.stop()
for (const scenario of scenarios) console.log(`\n${scenarioTable(scenario, runs)}`)
await servers.stop()
process.exit()
