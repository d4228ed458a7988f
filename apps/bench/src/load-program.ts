// The load as a program: the bench forks it and tells it over IPC what to do.
import { Load, type LoadOrder } from './load.js'

const order: LoadOrder = JSON.parse(process.argv[2]!)
const load = new Load(order, (tick) => process.connected && process.send!({ tick }))

process.on('message', async ({ id, name, order }: { id: number; name: keyof Load; order: never }) => {
  try {
    process.send!({ id, result: await load[name](order) })
  } catch (error) {
    process.send!({ id, error: error instanceof Error ? error.stack : String(error) })
  }
})
process.on('disconnect', () => process.exit())
process.on('SIGINT', () => {}) // a terminal's Ctrl-C: the bench ends us
