import type { StartLoad } from './load-process.js'
import type { Run } from './report.js'
import type { Scenario } from './scenarios/scenario.js'
import type { Servers } from './servers.js'
import { Stage } from './stage.js'
import type { SystemName } from './systems/index.js'

export interface Plan {
  readonly scenarios: readonly Scenario[]
  readonly systems: readonly SystemName[]
  readonly repetitions: number
  /** A share of everything, for tests. Default 1. */
  readonly scale?: number
  /** Default: processes of what was built. */
  readonly startLoad?: StartLoad
}

/** Called before each run, with the stage that it runs on. */
export type Announce = (run: Omit<Run, 'figures'>, stage: Stage) => void

/** Which systems of the plan a scenario has. */
export const systemsOf = ({ systems }: Plan, scenario: Scenario): SystemName[] =>
  scenario.systems.filter((system) => systems.includes(system))

/**
 * Runs the scenarios, one after the other, and within each the systems in turn, A B C A B C, so that whatever else the machine
 * does meets them alike.
 */
export async function* bench(servers: Servers, plan: Plan, announce: Announce = () => {}): AsyncGenerator<Run> {
  for (const scenario of plan.scenarios) {
    for (let repetition = 1; repetition <= plan.repetitions; repetition++) {
      for (const system of systemsOf(plan, scenario)) {
        const run = { scenario: scenario.name, system, repetition }
        const stage = await Stage.set(servers, system, plan.startLoad)
        announce(run, stage)
        try {
          yield { ...run, figures: await scenario.run(stage, plan.scale ?? 1) }
        } finally {
          await stage.clear()
        }
      }
    }
  }
}
