import { readdirSync } from 'node:fs'
import { packageBuild } from '@pgq/config/tsup'

const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))

// A program, and no library: nobody imports it. File by file, so that each command loads what it needs, under names that stay.
export default packageBuild({
  entries: Object.fromEntries(sources.map((file) => [file.slice(0, -'.ts'.length), `src/${file}`])),
  bundle: false,
  format: ['esm'],
  dts: false,
  shims: false,
})
