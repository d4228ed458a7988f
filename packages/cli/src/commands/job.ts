import { type FoundJob, getJob } from '@pgq/monitor'
import { type DatabaseOptions, withQueue } from '../connection.js'
import { EXIT, UsageError } from '../failure.js'
import { instant } from '../format.js'
import { coloursFor } from '../output.js'
import { plain, plainLines } from '../plain.js'
import { show, type WatchOptions } from '../watch.js'

interface JobOptions extends DatabaseOptions, WatchOptions {
  readonly args?: boolean
  readonly queue?: string
  readonly task?: string
  readonly key?: string
  readonly state?: string
  readonly after?: string
}

const OF_LISTS = ['queue', 'task', 'key', 'state', 'after'] as const

/** Shows one job with all that is known of it; its args only when they are asked for. */
export function job(id: string, options: JobOptions): Promise<number> {
  if (!/^\d+$/.test(id))
    throw new UsageError(`${plain(id)} is no job id: ids are digits. For lists there are --queue, --task and --state.`)
  const unfit = OF_LISTS.find((name) => options[name] !== undefined)
  if (unfit) throw new UsageError(`--${unfit} is for lists, and ${id} names one job: leave one of them out.`)
  return show(options, async () => {
    const found = await withQueue(options, ({ client, schema }) =>
      getJob(client, id, { schema, withArgs: options.args ?? false }),
    )
    const exitCode = found.state === 'missing' ? EXIT.failed : EXIT.ok
    return { json: found, text: () => textOf(found), exitCode }
  })
}

type Present = Exclude<FoundJob, { state: 'missing' }>

function textOf(found: FoundJob): string {
  if (found.state === 'missing')
    return `Job ${found.id} is not there: it finished, was deleted, or never was. An at-most-once job that runs is in no table either.`
  const { bold } = coloursFor(process.stdout)
  const fields = fieldsOf(found).map(([name, value]) => `${bold(name.padEnd(NAME_WIDTH))}${value}`)
  return [...fields, ...found.errors.map((error) => errorText(error))].join('\n')
}

const NAME_WIDTH = 12

function fieldsOf(found: Present): [name: string, value: string][] {
  return [
    ['id', found.id],
    ['state', stateOf(found)],
    ['queue', plain(found.queue)],
    ['task', plain(found.task)],
    ['priority', String(found.priority)],
    ['attempt', String(found.attempt)],
    ['crashes', String(found.crashCount)],
    ['created', instant(found.createdAt)],
    ...(found.retry ? [['retry', plain(JSON.stringify(found.retry))] as [string, string]] : []),
    ...metaOf(found),
    ['args', 'args' in found ? indented(JSON.stringify(found.args, null, 2)) : 'hidden; --args shows them'],
  ]
}

/** What it carries beside its args. SQL may have written anything there. */
function metaOf({ meta }: Present): [name: string, value: string][] {
  const named = Object.entries({
    key: meta?.key,
    concurrency: meta?.concurrencyKey,
    max: meta?.concurrencyMax === '1' ? undefined : meta?.concurrencyMax,
    schedule: meta?.schedule,
    slot: meta?.slot,
  })
  return named.flatMap(([name, value]) => (value === undefined ? [] : [[name, plain(textOfMeta(value))]]))
}

const textOfMeta = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

function stateOf(found: Present): string {
  switch (found.state) {
    case 'ready':
      return `ready since ${instant(found.readyAt)}`
    case 'parked':
      return `parked since ${instant(found.readyAt)}: waits for others of its concurrency key`
    case 'scheduled':
      return `scheduled for ${instant(found.executeAt)}`
    case 'running': {
      const { id, hostname, pid } = found.worker
      return `running since ${instant(found.since)} on worker ${id} (${plain(hostname)}, process ${pid}), ${found.mode}`
    }
    case 'dead':
      return `${coloursFor(process.stdout).red('dead')} since ${instant(found.diedAt)}: ${found.reason}`
  }
}

/** Errors that SQL wrote may lack any of it. */
function errorText({ attempt, at, name, message, stack }: Present['errors'][number]): string {
  const { red } = coloursFor(process.stdout)
  const frames = String(stack ?? '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
  const head = red(`${plain(String(name))}: ${plainLines(String(message)).replaceAll('\n', '\n  ')}`)
  return [`\nattempt ${attempt}, ${plain(String(at))}`, head, ...frames.map(plain)].join('\n')
}

const indented = (text: string): string => plainLines(text).replaceAll('\n', `\n${' '.repeat(NAME_WIDTH)}`)
