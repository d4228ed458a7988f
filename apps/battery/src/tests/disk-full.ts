import { execFileSync } from 'node:child_process'
import { chmodSync, closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { serverUser } from '@pgq/test-db'
import pg from 'pg'
import { type BatteryTest, expect, Skipped } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { type TestContext, until } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const DISK_MB = 48

/** The disk under the queue's tables is full: enqueues are refused, and with space there again everything that was taken is done. */
export const diskFull: BatteryTest = {
  number: 25,
  name: 'disk-full',
  mutants: [
    {
      name: 'a settlement that the database refused is given up',
      patches: [
        {
          file: 'packages/worker/src/acknowledger.ts',
          find: 'doubtful ||= breaksConnection(error)',
          replace: 'if (!breaksConnection(error)) return; doubtful = true',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const disk = mountSmallDisk(context)
    const server = await context.server()
    const admin = new pg.Client(server.url)
    await admin.connect()
    await admin.query(`create tablespace small location '${disk}'`)
    // Everything that is created from now on: the queue's tables and the handlers'.
    await admin.query('alter role postgres set default_tablespace = small')
    await admin.end()
    const queue = await context.queue(server)
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    const options = { concurrency: 5, maxCrashes: 1_000 }
    const crew = await startCrew(context, 2, () => context.worker(queue, { tasks, options }), {
      replaceAll: false,
    })
    let [next, refused] = [0, 0]
    const produce = async (count: number) => {
      const task = random.pick(tasks)
      // Some fail at first, so that they have to be written back.
      const jobs = works(count, random, 20, next).map((work) => ({
        ...work,
        pad: 'x'.repeat(1_000),
        ...(random.chance(0.3) && task !== 'once' && task !== 'plain' ? { deed: 'swallow-sql-error' as const } : {}),
      }))
      next += count
      await queue.enqueue(task, jobs).catch((error) => {
        expect(error.code === '53100', `An enqueue was refused otherwise: ${error.message}`)
        refused += 1
      })
    }
    const rounds = long ? 10 : 2
    for (let round = 0; round < rounds; round++) {
      for (let batch = 0; batch < 20; batch++) await produce(20)
      const filler = join(disk, 'filler')
      fill(filler)
      const refusedBefore = refused
      for (const end = performance.now() + (long ? 20_000 : 3_000); performance.now() < end; ) {
        await produce(100)
        await sleep(20)
        // What has become free by work that was done is filled, too.
        fill(filler)
      }
      expect(refused > refusedBefore, 'No enqueue was refused: the disk was not full.')
      rmSync(filler)
      await until('everything is done', async () => (await queue.waiting()) === 0)
    }
    const account = await verify(context, queue)
    expect(
      crew.members.every(({ isRunning }) => isRunning),
      'A worker ended.',
    )
    return (
      `${rounds} times full; ${refused} enqueues refused with 53100; ${account.jobs} acknowledged jobs in ${account.runs} runs: ` +
      'none lost, effects once, no worker ended'
    )
  },
}

/** A file system of some megabytes that the server may write to. */
function mountSmallDisk({ folder, onEnd }: TestContext): string {
  if (process.getuid?.() !== 0) throw new Skipped('only root can mount a small disk')
  const disk = join(folder, 'disk')
  mkdirSync(disk)
  chmodSync(folder, 0o711)
  const { uid, gid } = serverUser()!
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MB}m,mode=700,uid=${uid},gid=${gid}`, 'tmpfs', disk], {
      stdio: 'pipe',
    })
  } catch (error) {
    throw new Skipped(`mount refuses a tmpfs here (${(error as Error).message.trim().split('\n').at(-1)})`)
  }
  const unmount = () => {
    process.off('exit', unmount)
    execFileSync('umount', ['--lazy', disk])
  }
  process.once('exit', unmount)
  onEnd(unmount)
  return disk
}

/** Takes what is free. */
function fill(path: string): void {
  const file = openSync(path, 'a')
  const chunk = Buffer.alloc(4_096)
  try {
    for (;;) writeSync(file, chunk)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  } finally {
    closeSync(file)
  }
}
