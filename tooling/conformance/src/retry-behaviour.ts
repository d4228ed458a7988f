import { retryAfter, snooze } from '@pgq/core'
import { expect, it } from 'vitest'
import type { Harness } from './harness.js'
import { Recorder, taskOf } from './recorder.js'

/** Of a mode that retries. */
export function retryBehaviour({ mode, open }: Harness): void {
  const failUntil = (attempt: number) => (_: unknown, job: { readonly attempt: number }) => {
    if (job.attempt < attempt) throw new Error(`attempt ${job.attempt}`)
  }

  it('a failed job waits for its backoff, then runs again until it succeeds', async () => {
    const recorder = new Recorder()
    const task = taskOf('flaky', mode, { retry: { minDelayMs: 100, factor: 3, jitter: 0 } })
    await using delivery = await open({ handlers: [recorder.handler(task, failUntil(3))] })
    recorder.delivery = delivery
    await task.enqueue(delivery.target, { kept: -0 })
    await delivery.settled(3)
    expect(recorder.attempts).toEqual([1, 2, 3])
    expect(recorder.args).toStrictEqual(Array(3).fill({ kept: -0 }))
    const [first, second, third] = recorder.runs.map(({ at }) => at)
    expect(second! - first!).toBeGreaterThanOrEqual(100)
    expect(third! - second!).toBeGreaterThanOrEqual(300)
    expect(await delivery.unfinished()).toEqual([])
  })

  it('between attempts it is scheduled, with what went wrong so far', async () => {
    const recorder = new Recorder()
    const task = taskOf('flaky', mode, { retry: { minDelayMs: 3_600_000, jitter: 0 } })
    await using delivery = await open({ handlers: [recorder.handler(task, failUntil(9))] })
    await task.enqueue(delivery.target, {})
    await delivery.settled(1)
    const [job] = await delivery.unfinished()
    expect(job).toMatchObject({ state: 'scheduled', attempts: 1, errors: [{ attempt: 1, message: 'attempt 1' }] })
    expect(job!.dueInMs).toBeGreaterThan(3_590_000)
    expect(job!.dueInMs).toBeLessThanOrEqual(3_600_000)
  })

  it('when its attempts are used up it is dead, with the whole history', async () => {
    const recorder = new Recorder()
    const task = taskOf('hopeless', mode, { retry: { maxAttempts: 4, minDelayMs: 0 } })
    await using delivery = await open({ handlers: [recorder.handler(task, failUntil(99))] })
    await task.enqueue(delivery.target, {})
    await delivery.settled(4)
    expect(recorder.attempts).toEqual([1, 2, 3, 4])
    const [job] = await delivery.unfinished()
    expect(job).toMatchObject({ state: 'dead', reason: 'exhausted', attempts: 4 })
    expect(job!.errors.map(({ attempt, message }) => [attempt, message])).toEqual(
      [1, 2, 3, 4].map((attempt) => [attempt, `attempt ${attempt}`]),
    )
  })

  it("a task's own backoff function decides the delay, from the attempt and the error", async () => {
    const recorder = new Recorder()
    const asked: unknown[] = []
    const backoff = (attempt: number, error: unknown) => {
      asked.push([attempt, (error as Error).message])
      return attempt === 1 ? 0 : 7_200_000
    }
    const task = taskOf('own backoff', mode, { retry: { backoff } })
    await using delivery = await open({ handlers: [recorder.handler(task, failUntil(9))] })
    await task.enqueue(delivery.target, {})
    await delivery.settled(2)
    expect(asked).toEqual([
      [1, 'attempt 1'],
      [2, 'attempt 2'],
    ])
    const [job] = await delivery.unfinished()
    expect(job!.dueInMs).toBeGreaterThan(7_190_000)
  })

  it("a job's own retry policy is over the task's, and what it leaves open is the task's", async () => {
    const recorder = new Recorder()
    const task = taskOf('overridden', mode, { retry: { maxAttempts: 9, minDelayMs: 0 } })
    let maxAttempts: number | undefined
    const handler = recorder.handler(task, (_, job) => {
      maxAttempts = job.maxAttempts
      throw new Error('no')
    })
    await using delivery = await open({ handlers: [handler] })
    await task.enqueue(delivery.target, {}, { retry: { maxAttempts: 2 } })
    await delivery.settled(2)
    expect(maxAttempts).toBe(2)
    expect(await delivery.unfinished()).toMatchObject([{ state: 'dead', reason: 'exhausted', attempts: 2 }])
  })

  it('retryAfter sets the delay and counts as a failed attempt', async () => {
    const recorder = new Recorder()
    const task = taskOf('asking', mode, { retry: { maxAttempts: 3, minDelayMs: 3_600_000 } })
    const handler = recorder.handler(task, (_, { attempt }) => retryAfter(50, new Error(`busy ${attempt}`)))
    await using delivery = await open({ handlers: [handler] })
    recorder.delivery = delivery
    await task.enqueue(delivery.target, {})
    await delivery.settled(3)
    expect(recorder.attempts).toEqual([1, 2, 3])
    expect(recorder.runs[1]!.at - recorder.runs[0]!.at).toBeGreaterThanOrEqual(50)
    const [job] = await delivery.unfinished()
    expect(job).toMatchObject({ state: 'dead', reason: 'exhausted' })
    expect(job!.errors.map(({ message }) => message)).toEqual(['busy 1', 'busy 2', 'busy 3'])
  })

  it('a snooze puts the job off and does not count', async () => {
    const recorder = new Recorder()
    const task = taskOf('sleepy', mode, { retry: { maxAttempts: 1 } })
    const handler = recorder.handler(task, () => (recorder.runs.length < 4 ? snooze(40) : undefined))
    await using delivery = await open({ handlers: [handler] })
    recorder.delivery = delivery
    await task.enqueue(delivery.target, {})
    await delivery.settled(1)
    for (const job of await delivery.unfinished()) expect(job).toMatchObject({ attempts: 0, errors: [] })
    await delivery.settled(4)
    expect(recorder.attempts).toEqual([1, 1, 1, 1])
    expect(recorder.runs[3]!.at - recorder.runs[0]!.at).toBeGreaterThanOrEqual(120)
    expect(await delivery.unfinished()).toEqual([])
  })

  it('a job that is put off lets others run, and returns behind those that are ready', async () => {
    const recorder = new Recorder()
    const task = taskOf('turns', mode, { retry: { minDelayMs: 0 } })
    const handler = recorder.handler(task, (args, { attempt }) => {
      if (args === 'a' && attempt === 1) throw new Error('later')
    })
    await using delivery = await open({ handlers: [handler] })
    await task.enqueueMany(delivery.target, [{ args: 'a' }, { args: 'b' }, { args: 'c' }])
    await delivery.settled(4)
    expect(recorder.args).toEqual(['a', 'b', 'c', 'a'])
  })

  it('the history keeps the newest 20 errors', async () => {
    const recorder = new Recorder()
    const task = taskOf('long history', mode, { retry: { maxAttempts: 23, minDelayMs: 0 } })
    await using delivery = await open({ handlers: [recorder.handler(task, failUntil(99))] })
    await task.enqueue(delivery.target, {})
    await delivery.settled(23)
    const [job] = await delivery.unfinished()
    expect(job!.errors.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 20 }, (_, index) => index + 4))
  })
}
