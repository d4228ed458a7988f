import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { WORKER_OPTIONS, type WorkerOptions } from '@pgq/worker'
import { Failure, UsageError } from './failure.js'

/** What a module says of a worker: the handlers, and any other options of createWorker. */
export type WorkerModule = Partial<WorkerOptions> & Pick<WorkerOptions, 'handlers'>

/** Loads a module and takes its handlers and options. Throws with what it must export. */
export async function loadWorkerModule(file: string): Promise<WorkerModule> {
  const path = resolve(file)
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found) throw new UsageError(`There is no file ${path}.`)
  if (found.isDirectory()) throw new UsageError(`${path} is a folder: name the file that exports the handlers.`)
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
    return namedExports(await import(pathToFileURL(path).href), path)
  } catch (error) {
    const { code, stack } = error as { code?: string; stack?: string }
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION')
      throw new UsageError(
        `This Node cannot load ${file} by itself. For TypeScript register a loader: NODE_OPTIONS='--import tsx' pgq work ${file}, with tsx installed. Or compile it first.`,
      )
    throw new Failure(`${file} could not be loaded. ${stack ?? String(error)}`, { cause: error })
  }
}

/**
 * Of CommonJS, module.exports comes as the default: its properties are what the module exports by name, and those that are options
 * may be all of them together.
 */
function namedExports(imported: Record<string, unknown>, path: string): Record<string, unknown> {
  const inner = imported.default
  if (!isObject(inner) || Array.isArray(inner)) return imported
  // What a compiler made of ESM has a default of its own.
  if ('__esModule' in inner) return inner
  if (!isCommonJs(inner, path)) return imported
  const options = Object.entries(inner).filter(([name]) => WORKER_OPTIONS.has(name))
  return 'options' in inner ? inner : { ...inner, default: Object.fromEntries(options) }
}

function isCommonJs(exported: object, path: string): boolean {
  const { cache, resolve } = createRequire(path)
  return cache[resolve(path)]?.exports === exported
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
