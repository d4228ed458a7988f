import { defineTask, enqueue, fail } from '@pgq/core'
import { expect, it } from 'vitest'
import type { Harness } from './harness.js'
import { Recorder, schemaOf, taskOf } from './recorder.js'

// "__proto__" as an own key needs JSON.parse: a literal would set the prototype.
const HOSTILE: unknown = JSON.parse(
  String.raw`{
  "__proto__": { "polluted": true }, "constructor": "c", "toString": null, "": "empty key", "1": "number key", "a.b": [],
  "quotes": "\"'` +
    '`' +
    String.raw`\\", "control": "\u0001\b\f\n\r\t\u007f", "lines": "\u2028\u2029", "emoji": "👩‍👩‍👧 é é",
  "sql": "'; drop table jobs; -- $1 ? %s {} \\x00", "array": "{a,\"b\",NULL}", "json": "{\"a\":1}", "words": ["null", "", " "],
  "numbers": [0, -0, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 9007199254740993, 0.1],
  "empty": [[], {}, [[]], [{}]], "mixed": [null, true, false, [null]]
}`,
)

export function argsBehaviour({ mode, open }: Harness): void {
  it('come as they were enqueued, whatever JSON they are', async () => {
    const recorder = new Recorder()
    const task = taskOf('echo', mode)
    const seen: unknown[] = []
    await using delivery = await open({ handlers: [recorder.handler(task, (args) => seen.push(args))] })
    const deep = Array.from({ length: 100 }).reduce<unknown>((inner) => [inner], 'deep')
    const all = [HOSTILE, deep, null, 'text', '', 0, -0, false, [], {}, 'x'.repeat(100_000)]
    await task.enqueueMany(
      delivery.target,
      all.map((args) => ({ args })),
    )
    await delivery.settled(all.length)
    expect(seen).toStrictEqual(all)
    expect(Object.keys(seen[0] as object)).toEqual(Object.keys(HOSTILE as object))
    expect(await delivery.unfinished()).toEqual([])
  })

  it('are refused at enqueue when JSON would change them, and nothing is enqueued', async () => {
    const recorder = new Recorder()
    const task = taskOf('echo', mode)
    await using delivery = await open({ handlers: [recorder.handler(task)] })
    for (const bad of [undefined, Number.NaN, new Date(), { a: undefined }, [1n], 'a\0b', '\ud800', new Map()]) {
      const both = [{ args: 'good' }, { args: bad }]
      await expect(task.enqueueMany(delivery.target, both)).rejects.toMatchObject({ code: 'PGQ_NOT_SERIALISABLE' })
    }
    await task.enqueue(delivery.target, 'last')
    await delivery.settled(1)
    expect(recorder.args).toEqual(['last'])
  })

  it('reach the handler as the schema puts them out', async () => {
    const seen: unknown[] = []
    const at = '2030-01-01T00:00:00.000Z'
    const args = schemaOf(({ when }) => ({ when: new Date(when), added: 1 }))
    const task = defineTask('transforming', { mode, args })
    await using delivery = await open({ handlers: [task.handle((output) => seen.push(output))] })
    await task.enqueue(delivery.target, { when: at })
    await delivery.settled(1)
    expect(seen).toStrictEqual([{ when: new Date(at), added: 1 }])
  })

  it('are refused at enqueue when the schema refuses them', async () => {
    const task = defineTask('strict', { mode, args: schemaOf(refuseOdd) })
    const seen: unknown[] = []
    await using delivery = await open({ handlers: [task.handle((args) => seen.push(args))] })
    const jobs = [{ args: 2 }, { args: 3 }]
    await expect(task.enqueueMany(delivery.target, jobs)).rejects.toMatchObject({ code: 'PGQ_INVALID_ARGS' })
    await task.enqueue(delivery.target, 4)
    await delivery.settled(1)
    expect(seen).toEqual([4])
  })

  it('that come past the schema, as from SQL, end the job for good and never reach the handler', async () => {
    const task = defineTask('strict', { mode, args: schemaOf(refuseOdd) })
    const seen: unknown[] = []
    await using delivery = await open({ handlers: [task.handle((args) => seen.push(args))] })
    await enqueue(delivery.target, 'strict', 3)
    await delivery.settled(1)
    expect(seen).toEqual([])
    const [job] = await delivery.unfinished()
    expect(job).toMatchObject({ state: 'dead', reason: 'failed', attempts: 1, errors: [{ name: 'InvalidArgsError' }] })
    expect(job!.errors[0]!.message).toContain('odd')
  })

  it("may be changed by a handler: the next run, and the dead letter, have the job's own", async () => {
    const recorder = new Recorder()
    const task = taskOf('changing', mode, mode === 'at-most-once' ? {} : { retry: { minDelayMs: 0 } })
    const seen: unknown[] = []
    const handler = recorder.handler(task, (args, { attempt }) => {
      seen.push(structuredClone(args.list))
      args.list.push('changed')
      if (attempt === 1) throw new Error('once more')
      return fail('enough')
    })
    await using delivery = await open({ handlers: [handler] })
    await task.enqueue(delivery.target, { list: [-0] })
    const runs = mode === 'at-most-once' ? 1 : 2
    await delivery.settled(runs)
    expect(seen).toStrictEqual(Array(runs).fill([-0]))
  })
}

function refuseOdd(value: number): number {
  if (value % 2 !== 0) throw new Error('odd')
  return value
}
