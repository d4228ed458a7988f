import { afterEach, expect, test, vi } from 'vitest'
import { serverFromEnvironment } from '../src/index.js'

afterEach(() => void vi.unstubAllEnvs())

test('is the server of DATABASE_URL, which stays as it is', async () => {
  vi.stubEnv('DATABASE_URL', 'postgres://somewhere/db')
  const server = serverFromEnvironment()
  expect(server?.url).toBe('postgres://somewhere/db')
  await server?.stop()
})

test.each([undefined, ''])('is none when DATABASE_URL is %j', (url) => {
  vi.stubEnv('DATABASE_URL', url)
  expect(serverFromEnvironment()).toBeUndefined()
})
