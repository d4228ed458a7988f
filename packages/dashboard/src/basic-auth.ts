import { createHash, timingSafeEqual } from 'node:crypto'
import { InvalidOptionError } from '@pgq/core'
import { auth } from 'hono/utils/basic-auth'
import type { Authenticate } from './options.js'

/** One name and one password, asked for by the browser. Serve it over TLS: they travel with each request. */
export function basicAuth({ username, password }: { username: string; password: string }): Authenticate {
  if (!username || !password) throw new InvalidOptionError('basicAuth needs a username and a password, neither empty.')
  return (request) => {
    const given = auth(request)
    const isKnown = given && isSame(`${given.username}:${given.password}`, `${username}:${password}`)
    if (isKnown) return username
    const headers = { 'WWW-Authenticate': 'Basic realm="pgq", charset="UTF-8"' }
    return new Response('Who are you? Reload the page to be asked again.', { status: 401, headers })
  }
}

// Digests are of one length, so neither the comparison nor its time tells anything of the password.
const isSame = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b))

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
