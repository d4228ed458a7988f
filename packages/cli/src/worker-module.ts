import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { WorkerOptions } from '@pgq/worker'
import { Failure, UsageError } from './failure.js'

/** What a module says of a worker: the handlers, and any other options of createWorker. */
export type WorkerModule = Partial<WorkerOptions> & Pick<WorkerOptions, 'handlers'>

/** Loads a module and takes its handlers and options. Throws with what it must export. */
export async function loadWorkerModule(file: string): Promise<WorkerModule> {
  const path = resolve(file)
  if (!existsSync(path)) throw new UsageError(`There is no file ${path}.`)
  const exported = await load(path, file)
  const { handlers, ...options } = optionsIn(exported)
  if (Array.isArray(handlers) && handlers.length > 0) return { ...options, handlers }
  const names = Object.keys(exported).join(', ') || 'nothing'
  throw new UsageError(
    `${file} must export its handlers: "export const handlers = [task.handle(...)]" and, if you like, "export const options = {...}"; or all options of createWorker together: "export default { handlers, ... }". It exports ${names}.`,
  )
}

async function load(path: string, file: string): Promise<Record<string, unknown>> {
  try {
    return unwrapped(await import(pathToFileURL(path).href))
  } catch (error) {
    const { code, stack } = error as { code?: string; stack?: string }
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION')
      throw new UsageError(
        `This Node cannot load ${file} by itself. For TypeScript register a loader: NODE_OPTIONS='--import tsx' pgq work ${file}, with tsx installed. Or compile it first.`,
      )
    throw new Failure(`${file} could not be loaded. ${stack ?? String(error)}`, { cause: error })
  }
}

/** What a compiler made of ESM for CommonJS arrives wrapped in a default of Node's own. */
function unwrapped(imported: Record<string, unknown>): Record<string, unknown> {
  const inner = imported.default
  return isObject(inner) && '__esModule' in inner ? inner : imported
}

/** A list as the default export are the handlers; an object, all options. Named exports come first. */
function optionsIn(exported: Record<string, unknown>): Partial<WorkerOptions> {
  const given = exported.default
  const together = Array.isArray(given) ? { handlers: given } : isObject(given) ? given : {}
  const options = isObject(exported.options) ? exported.options : {}
  const handlers = exported.handlers ?? options.handlers ?? together.handlers
  return { ...together, ...options, handlers } as Partial<WorkerOptions>
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
