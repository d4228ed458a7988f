import { expect, test } from 'vitest'
import { inTurn } from '../src/in-turn.js'

/** Jobs by their names: queue, priority, and a number to tell them apart. */
const runs = (names: string) =>
  names
    .split(' ')
    .filter(Boolean)
    .map((name) => ({ name, claim: { job: { queue: name[0]!, priority: Number(name[1]) } } }))

// Mutants: claimed jobs behind all that wait; before those of an equal priority; before those of other queues.
test.each([
  ['a0x a0y', 'a0z', 'a0x a0y a0z'],
  ['', 'a1x a0y', 'a1x a0y'],
  ['a0x a0y', 'a5x a5y a0z', 'a5x a5y a0x a0y a0z'],
  ['a9x a5x a1x', 'a5y a1y', 'a9x a5x a5y a1x a1y'],
  ['b0x a0x b0y', 'a7x b0z', 'b0x a7x a0x b0y b0z'],
  ['b0x b0y', 'a7x', 'b0x b0y a7x'],
])('%s, then %s: %s', (waiting, claimed, order) => {
  expect(inTurn(runs(waiting), runs(claimed)).map(({ name }) => name)).toEqual(order.split(' '))
})
