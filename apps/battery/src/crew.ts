import type { Random } from './random.js'
import type { TestProcess } from './worker-process.js'

/** A number of workers, of which one that ends is replaced. */
export interface Crew {
  readonly members: readonly TestProcess[]
  /** Any member that works by now; resolves when there is one. */
  pick(): Promise<TestProcess>
  /** kill -9 of any member that works, and another in its place. */
  killOne(): Promise<TestProcess>
  /** A new member in the place of one that ended. */
  replace(member: TestProcess): TestProcess
}

/** Starts that many workers, and resolves when all of them are ready. */
export async function startCrew(size: number, random: Random, start: () => TestProcess): Promise<Crew> {
  const members = Array.from({ length: size }, start)
  await Promise.all(members.map((member) => member.heard('ready')))
  const replace = (member: TestProcess) => {
    const newcomer = start()
    members[members.indexOf(member)] = newcomer
    newcomer.heard('ready').catch(() => {}) // killed before it was ready
    return newcomer
  }
  const working = () => members.filter(({ isRunning, told }) => isRunning && told.some(([event]) => event === 'ready'))
  const pick = async () => {
    if (working().length === 0) await Promise.any(members.map((member) => member.heard('ready')))
    return random.pick(working())
  }
  return {
    members,
    pick,
    replace,
    async killOne() {
      const victim = await pick()
      victim.kill('SIGKILL')
      replace(victim)
      return victim
    },
  }
}
