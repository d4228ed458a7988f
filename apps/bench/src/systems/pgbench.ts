import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { handWritten } from './hand-written.js'
import type { System } from './system.js'

/** PostgreSQL's own load program, for the plain INSERT: what the server can do without Node in front of it. */
export const pgbench: System = {
  ...handWritten,
  async producer(place) {
    return {
      ...(await handWritten.producer(place)),
      enqueueFor: (durationMs, inFlight) => insertFor(place.postgresUrl, durationMs, inFlight),
    }
  },
}

async function insertFor(url: string, durationMs: number, inFlight: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'pgq-pgbench-'))
  const script = join(folder, 'insert.sql')
  writeFileSync(script, `insert into jobs (args) values ('{"n":1,"text":"${'x'.repeat(80)}"}');\n`)
  // Whole seconds are all it takes.
  const seconds = String(Math.max(1, Math.round(durationMs / 1_000)))
  const clients = ['--client', String(inFlight), '--jobs', String(Math.min(2, inFlight)), '--time', seconds]
  try {
    const { stdout } = await promisify(execFile)('pgbench', [
      '--no-vacuum',
      '--protocol=prepared',
      ...clients,
      '--file',
      script,
      url,
    ])
    return Number(/actually processed: (\d+)/.exec(stdout)?.[1])
  } finally {
    rmSync(folder, { recursive: true })
  }
}
