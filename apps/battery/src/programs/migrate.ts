// A program that migrates once, as every process of a deployment does at its start. Its one argument is MigrateProgram as JSON.
import { migrate } from '@pgq/migrations'

export interface MigrateProgram {
  readonly url: string
}

const { url }: MigrateProgram = JSON.parse(process.argv[2]!)
process.on('disconnect', () => process.exit(1))
process.send?.(['begun', {}])
const { applied } = await migrate(url)
process.send?.(['migrated', { applied }])
process.channel?.unref()
