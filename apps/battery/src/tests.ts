import type { BatteryTest } from './battery-test.js'
import { kill9Transactional } from './tests/kill9-transactional.js'

/** The battery, in the order of reliability.md. */
export const tests: readonly BatteryTest[] = [kill9Transactional]
