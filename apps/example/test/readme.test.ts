import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { shopApi } from '../src/api.js'
import { tasks } from '../src/tasks.js'
import { shopDatabase } from './shop-database.js'

const { db } = await shopDatabase()
const folder = join(import.meta.dirname, '..')
const readme = readFileSync(join(folder, 'README.md'), 'utf8')

test('every file that it names is there, and every file of src is named', () => {
  const named = [...readme.matchAll(/\]\(([^)]+)\)/g)].map(([, path]) => path!)
  expect(named.filter((path) => !existsSync(join(folder, path)))).toEqual([])
  expect(readdirSync(join(folder, 'src')).filter((file) => !named.includes(`src/${file}`))).toEqual([])
})

test('every task has its row, with its mode', () => {
  for (const { name, mode } of Object.values(tasks)) expect(readme).toContain(`| \`${name}\` | ${mode}`)
})

test('every curl command does what it says', async () => {
  const commands = [...readme.matchAll(/^curl http:\/\/127\.0\.0\.1:3000(\S+)(?: -d '(.+?)'| (-X POST))?/gm)]
  expect(commands).toHaveLength(4)
  const statuses = []
  for (const [, path, body, post] of commands) {
    const request = body || post ? { method: 'POST', ...(body && { body }) } : {}
    statuses.push((await shopApi(db).request(path!, request)).status)
  }
  expect(statuses).toEqual([201, 200, 202, 200])
})
