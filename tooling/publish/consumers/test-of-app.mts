import { eagerQueue } from '@pgq/eager'
import { handlers, signUp } from './app.cjs'

const queue = eagerQueue({ handlers, onError: 'record' })
queue.intercept()
await signUp({ query: () => Promise.reject(new Error('This enqueue was not intercepted.')) })
for (const { args, state, reason } of queue.jobs) console.log(JSON.stringify(args), state, reason)
