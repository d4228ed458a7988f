import { useEffect, useRef, useState } from 'preact/hooks'
import type { ActionDone, ActionName } from '../src/actions.js'
import type { Permission } from '../src/permissions.js'

/** A value as JSON carries it. */
export type Wire<T> = T extends Date ? string : T extends object ? { [Key in keyof T]: Wire<T[Key]> } : T

export interface Session {
  readonly user: string
  readonly permissions: readonly Permission[]
  readonly searchesArgs: boolean
  readonly schema: string
  readonly token: string
}

const TIMEOUT_MS = 15_000

/** Asks our server. Throws an Error with a sentence for people. */
export async function ask<Answer>(path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(new URL(`api/${path}`, document.baseURI), {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    ...init,
  }).catch((error: Error) => {
    if (error.name === 'AbortError') throw error
    throw new Error('The dashboard’s server cannot be reached.')
  })
  const body = await response.json().catch(() => ({}))
  if (!response.ok) throw new Error(body.error ?? `The server answered ${response.status}.`)
  return body
}

/** Ten batches, with the time limit of a question each, and some more. */
const ACTION_TIMEOUT_MS = 60_000

/** Does something to jobs, a queue or a schedule. */
export async function act(session: Session, action: ActionName, target: object): Promise<ActionDone> {
  const headers = { 'Content-Type': 'application/json', 'X-Pgq-Token': session.token }
  const signal = AbortSignal.timeout(ACTION_TIMEOUT_MS)
  const init = { method: 'POST', headers, body: JSON.stringify(target), signal }
  return ask(`actions/${action}`, init)
}

export interface Polled<Answer> {
  readonly data: Answer | undefined
  /** Why the newest question was not answered; `data` is then the last answer. */
  readonly error: string | undefined
  refresh(): void
}

/** What is polled shall tell whether all is live. */
export const liveness = { onChange: (_error: string | undefined) => {} }

/** Asks again and again, while the page can be seen. One question at a time. */
export function usePoll<Answer>(path: string, everyMs = 3_000): Polled<Answer> {
  const [state, setState] = useState<{ path: string; data?: Answer; error?: string }>({ path })
  const refresh = useRef(() => {})
  useEffect(() => {
    const leaving = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let isAsking = false
    let isOutdated = false
    const poll = async () => {
      clearTimeout(timer)
      // What is under way may not know yet what was changed just now.
      isOutdated = isAsking
      if (document.hidden || isAsking) return
      isAsking = true
      try {
        const data = await ask<Answer>(path, {
          signal: AbortSignal.any([leaving.signal, AbortSignal.timeout(TIMEOUT_MS)]),
        })
        if (leaving.signal.aborted) return
        setState({ path, data })
        liveness.onChange(undefined)
      } catch (error) {
        if (leaving.signal.aborted) return
        const { message } = error as Error
        setState((last) => ({ ...(last.path === path ? last : { path }), error: message }))
        liveness.onChange(message)
      } finally {
        isAsking = false
        if (!leaving.signal.aborted) timer = setTimeout(poll, isOutdated ? 0 : everyMs)
      }
    }
    refresh.current = poll
    document.addEventListener('visibilitychange', poll)
    void poll()
    return () => {
      leaving.abort()
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', poll)
    }
  }, [path, everyMs])
  const isCurrent = state.path === path
  return {
    data: isCurrent ? state.data : undefined,
    error: isCurrent ? state.error : undefined,
    refresh: () => refresh.current(),
  }
}
