export { describeDelivery } from './describe-delivery.js'
export type { Delivery, Harness, OpenOptions, UnfinishedJob } from './harness.js'
