import { type BatteryTest, Skipped } from '../battery-test.js'

const toCome = (number: number, name: string, missing: string): BatteryTest => ({
  number,
  name,
  async run() {
    throw new Skipped(`${missing} are not part of this version.`)
  },
})

/** Tests of what this version does not have: they keep their places. */
export const serialKey = toCome(38, 'serial-key', 'limits per key')
