import { expect, it } from 'vitest'
import type { Harness } from './harness.js'
import { Recorder, taskOf } from './recorder.js'

export function orderBehaviour({ mode, open }: Harness): void {
  it('higher priorities run first, and within one the oldest', async () => {
    const recorder = new Recorder()
    const task = taskOf('ordered', mode, { priority: 1 })
    await using delivery = await open({ handlers: [recorder.handler(task)] })
    const jobs = ['1a', '-9a', '1b', '32767', '1c', '-32768', '-9b', '2'].map((args) => ({
      args,
      ...(args.startsWith('1') ? {} : { priority: Number.parseInt(args, 10) }),
    }))
    await task.enqueueMany(delivery.target, jobs)
    await delivery.settled(jobs.length)
    expect(recorder.args).toEqual(['32767', '2', '1a', '1b', '1c', '-9a', '-9b', '-32768'])
  })

  it('first in, first out, over many jobs', async () => {
    const recorder = new Recorder()
    const task = taskOf('many', mode)
    await using delivery = await open({ handlers: [recorder.handler(task)] })
    const numbers = Array.from({ length: 50 }, (_, index) => index)
    await task.enqueueMany(
      delivery.target,
      numbers.map((args) => ({ args })),
    )
    await delivery.settled(numbers.length)
    expect(recorder.args).toEqual(numbers)
  })

  it('delayed jobs do not run before their time, and jobs of the past run at once', async () => {
    const recorder = new Recorder()
    const task = taskOf('delayed', mode)
    await using delivery = await open({ handlers: [recorder.handler(task)] })
    recorder.delivery = delivery
    const start = delivery.now()
    await task.enqueueMany(delivery.target, [
      { args: 'at', executeAt: new Date(start + 2_000) },
      { args: 'delayed', delayMs: 1_500 },
      { args: 'past', executeAt: new Date(start - 60_000) },
      { args: 'now', delayMs: 0 },
    ])
    await delivery.settled(2)
    expect(await delivery.unfinished()).toMatchObject([{ state: 'scheduled' }, { state: 'scheduled' }])
    await delivery.settled(4)
    expect(recorder.args).toEqual(['past', 'now', 'delayed', 'at'])
    expect(recorder.runs[2]!.at - start).toBeGreaterThanOrEqual(1_500)
    expect(recorder.runs[3]!.at - start).toBeGreaterThanOrEqual(2_000)
  })

  it('a bulk takes options per job, and answers an id for each, in order', async () => {
    const recorder = new Recorder()
    const task = taskOf('bulk', mode)
    const other = taskOf('unused', mode, { queue: 'other' })
    await using delivery = await open({ handlers: [recorder.handler(task), recorder.handler(other)] })
    const results = await task.enqueueMany(delivery.target, [
      { args: 'later', delayMs: 3_600_000 },
      { args: 'low', priority: -1 },
      { args: 'high' },
    ])
    await delivery.settled(2)
    expect(recorder.args).toEqual(['high', 'low'])
    expect(results).toEqual(results.map(({ id }) => ({ status: 'inserted', id: expect.stringMatching(/^\d+$/) && id })))
    expect(new Set(results.map(({ id }) => id)).size).toBe(3)
    expect(await delivery.unfinished()).toMatchObject([{ id: results[0]!.id, state: 'scheduled', attempts: 0 }])
    expect(await task.enqueueMany(delivery.target, [])).toEqual([])
  })

  it('all its queues are served', async () => {
    const recorder = new Recorder()
    const mail = taskOf('mail', mode, { queue: 'mail' })
    const image = taskOf('image', mode, { queue: 'images' })
    const handlers = [recorder.handler(mail), recorder.handler(image)]
    await using delivery = await open({ handlers, queues: ['mail', 'images', 'urgent'] })
    await mail.enqueue(delivery.target, 'mail')
    await image.enqueue(delivery.target, 'image')
    await mail.enqueue(delivery.target, 'urgent mail', { queue: 'urgent' })
    await delivery.settled(3)
    expect(recorder.args.toSorted()).toEqual(['image', 'mail', 'urgent mail'])
  })
}
