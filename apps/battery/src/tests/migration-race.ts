import { setTimeout as sleep } from 'node:timers/promises'
import { latestVersion, migrateDown, schemaVersion } from '@pgq/migrations'
import { type BatteryTest, expectNone } from '../battery-test.js'
import type { TestContext } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const PROCESSES = 20

/** A deployment starts many processes at once, and each migrates; some are killed while they do. */
export const migrationRace: BatteryTest = {
  number: 36,
  name: 'migration-race',
  mutants: [
    {
      name: 'nobody waits for a turn',
      patches: [
        {
          file: 'packages/migrations/src/lock.ts',
          find: 'while (!(await tryLock(client, schema))) await sleep(pauseMs())',
          replace: 'if (pauseMs() < 0) await sleep(0)\n  await tryLock(client, schema)',
        },
      ],
    },
  ],
  async run(context) {
    const rounds = context.long ? 50 : 2
    let [killed, applied] = [0, 0]
    for (let round = 0; round < rounds; round++) {
      const result = await race(context)
      killed += result.killed
      applied += result.applied
    }
    return `${rounds} times ${PROCESSES} processes at once, ${killed} killed while they migrated: ${applied} applied, all others found it done; jobs run afterwards`
  },
}

async function race(context: TestContext): Promise<{ killed: number; applied: number }> {
  const queue = await context.queue()
  await migrateDown(queue.url, { to: 0 })
  const processes = Array.from({ length: PROCESSES }, () => context.program('migrate', { url: queue.url }))
  const begun = processes.map((process) => process.heard('begun'))
  const victims = processes.filter(() => context.random.chance(0.25))
  const kills = victims.map(async (victim) => {
    await Promise.all(begun)
    await sleep(context.random.between(0, 120))
    victim.kill('SIGKILL')
  })
  await Promise.all(kills)
  const ends = await Promise.all(processes.map(async (process) => ({ process, ...(await process.ended) })))
  const applied = processes.filter(({ told }) => told.some(([, fields]) => fields.applied?.length > 0)).length
  const failed = ends.filter(({ code, signal }) => code !== 0 && signal !== 'SIGKILL')
  const version = await schemaVersion(queue.pool)
  expectNone([
    ...failed.map(({ code, stderr }) => `A process ended with ${code}: ${stderr.slice(0, 300)}`),
    applied > 1 && `${applied} processes say that they migrated.`,
    version !== latestVersion && `The schema is at version ${version} of ${latestVersion}.`,
  ])
  await queue.enqueue('plain', works(20, context.random, 5))
  await context.worker(queue, { tasks: ['plain'] }).heard('ready')
  await verify(context, queue)
  return { killed: ends.filter(({ signal }) => signal === 'SIGKILL').length, applied }
}
