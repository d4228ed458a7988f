import { describeMode } from './conformance.js'

await describeMode('at-least-once')
