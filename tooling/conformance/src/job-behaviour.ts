import { expect, it } from 'vitest'
import type { Harness } from './harness.js'
import { Recorder, taskOf } from './recorder.js'

export function jobBehaviour({ mode, open }: Harness): void {
  it('says what it is', async () => {
    const recorder = new Recorder()
    const task = taskOf('described', mode, {
      queue: 'lane',
      ...(mode !== 'at-most-once' && { retry: { maxAttempts: 7 } }),
    })
    const jobs: any[] = []
    await using delivery = await open({ handlers: [recorder.handler(task, (_, job) => jobs.push(job))] })
    const before = delivery.now()
    const { id } = await task.enqueue(delivery.target, {}, { priority: 3, delayMs: 200 })
    await delivery.settled(1)
    const [job] = jobs
    expect(job).toMatchObject({
      id,
      task: 'described',
      queue: 'lane',
      priority: 3,
      attempt: 1,
      maxAttempts: mode === 'at-most-once' ? 1 : 7,
      crashCount: 0,
      createdAt: expect.any(Date),
      readyAt: expect.any(Date),
    })
    expect(job.signal).toBeInstanceOf(AbortSignal)
    expect(job.signal.aborted).toBe(false)
    expect(job.createdAt.getTime()).toBeGreaterThanOrEqual(before)
    expect(job.readyAt.getTime() - job.createdAt.getTime()).toBeGreaterThanOrEqual(200)
    expect(typeof job.finish).toBe(mode === 'at-least-once' ? 'function' : 'undefined')
  })

  it('is reported, and left where it is, when no handler knows its task', async () => {
    const recorder = new Recorder()
    const task = taskOf('known', mode)
    await using delivery = await open({ handlers: [recorder.handler(task)] })
    expect(await delivery.reportedUnknown('stranger')).toEqual(['stranger'])
    await task.enqueue(delivery.target, 'still works').catch(() => {})
    await delivery.settled(1)
    expect(recorder.args).toEqual(['still works'])
    for (const left of await delivery.unfinished()) {
      expect(left).toMatchObject({ task: 'stranger', state: 'waiting', attempts: 0, errors: [] })
    }
  })

  it('may enqueue others while it runs', async () => {
    const recorder = new Recorder()
    const child = taskOf('child', mode)
    const parent = taskOf('parent', mode)
    const handlers = [
      recorder.handler(child),
      recorder.handler(parent, async () => {
        await child.enqueueMany(delivery.target, [{ args: 'first child' }, { args: 'second child' }])
        recorder.runs.push({ args: 'parent ends', attempt: 1, at: 0 })
      }),
    ]
    await using delivery = await open({ handlers })
    await parent.enqueue(delivery.target, 'parent')
    await delivery.settled(3)
    // One slot: the children wait for it.
    expect(recorder.args).toEqual(['parent', 'parent ends', 'first child', 'second child'])
  })
}
