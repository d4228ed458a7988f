import { describeMode } from './conformance.js'

await describeMode('at-most-once')
