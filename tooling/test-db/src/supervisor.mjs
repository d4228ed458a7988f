// Stands between a launcher and its PostgreSQL server, so that the server never outlives the launcher: when the launcher dies,
// even by SIGKILL, the pipe to this process's stdin closes. Plain JavaScript, because it runs where no loader is at hand.
import { spawn } from 'node:child_process'
import { openSync, rmSync, writeSync } from 'node:fs'

const patienceMs = 3000
const { program, args, uid, gid, folder, logFile } = JSON.parse(process.argv[2])
const log = openSync(logFile, 'a')
const credentials = uid === undefined ? {} : { uid, gid }
const postgres = spawn(program, args, { cwd: folder, stdio: ['ignore', log, log], ...credentials })
let abandoned = false

postgres.on('spawn', () => process.stdout.write(`${postgres.pid}\n`))
postgres.on('error', (error) => {
  writeSync(log, `${error.message}\n`)
  process.exit(1)
})
postgres.on('exit', (code) => {
  // Its children may still be writing for a moment.
  if (abandoned) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  process.exit(code ?? 1)
})

process.stdout.on('error', () => {})
process.stdin.on('error', abandon).on('close', abandon).resume()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => postgres.kill('SIGINT'))

function abandon() {
  if (abandoned) return
  abandoned = true
  // Immediate shutdown: nobody will read this data again.
  postgres.kill('SIGQUIT')
  setTimeout(() => postgres.kill('SIGKILL'), patienceMs)
}
