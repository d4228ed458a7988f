import { describeMode } from './conformance.js'

await describeMode('transactional')
