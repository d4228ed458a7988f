import type { TestContext } from './test-context.js'
import type { TestProcess } from './worker-process.js'

/** A number of workers. */
export interface Crew {
  readonly members: readonly TestProcess[]
  /** Any member that works by now; resolves when there is one. */
  pick(): Promise<TestProcess>
  /** A new member in the place of one that ended. */
  replace(member: TestProcess): TestProcess
}

/** Starts that many workers, and resolves when all of them are ready. replaceAll: one that ends is replaced at once. */
export async function startCrew(
  context: TestContext,
  size: number,
  start: () => TestProcess,
  { replaceAll = true } = {},
): Promise<Crew> {
  const members: TestProcess[] = []
  const enter = (place: number): TestProcess => {
    const member = start()
    members[place] = member
    member.heard('ready').catch(() => {}) // killed before it was ready
    if (replaceAll) void member.ended.then(() => context.isClosing || enter(place))
    return member
  }
  for (let place = 0; place < size; place++) enter(place)
  await Promise.allSettled(members.map((member) => member.heard('ready')))
  const working = () => members.filter(({ isRunning, told }) => isRunning && told.some(([event]) => event === 'ready'))
  return {
    members,
    replace: (member) => enter(members.indexOf(member)),
    async pick() {
      while (working().length === 0) await Promise.any(members.map((member) => member.heard('ready'))).catch(() => {})
      return context.random.pick(working())
    },
  }
}
