import { type Evidence, type Finding, type Health, health, type Severity } from '@pgq/monitor'
import { type DatabaseOptions, withQueue } from '../connection.js'
import { EXIT } from '../failure.js'
import { duration } from '../format.js'
import { coloursFor, counted } from '../output.js'
import { plain } from '../plain.js'
import { show, type WatchOptions } from '../watch.js'

interface DoctorOptions extends DatabaseOptions, WatchOptions {
  readonly backlogMs?: number
}

/** Says what slows the queue down, or will, and what to do. Fails when something is wrong. */
export const doctor = (options: DoctorOptions): Promise<number> =>
  show(options, async () => {
    const { backlogMs } = options
    const found = await withQueue(options, ({ client, schema }) =>
      health(client, { schema, ...(backlogMs !== undefined && { backlogMs }) }),
    )
    return { json: found, text: () => textOf(found), exitCode: found.status === 'ok' ? EXIT.ok : EXIT.failed }
  })

function textOf({ status, findings, unseen }: Health): string {
  const { green, dim } = coloursFor(process.stdout)
  const wrong = findings.filter(({ severity }) => severity !== 'info').length
  const head = status === 'ok' ? green('Nothing is wrong.') : `${counted(wrong, 'thing')} to look at.`
  const limits = unseen.map((text) => dim(`Not looked at: ${plain(text)}`))
  return [head, ...findings.map(findingText), ...(limits.length > 0 ? [limits.join('\n')] : [])].join('\n\n')
}

const MOST_EVIDENCE = 5

function findingText({ code, severity, message, meaning, remedy, evidence }: Finding): string {
  const { bold, dim } = coloursFor(process.stdout)
  const rest = evidence.length - MOST_EVIDENCE
  return [
    `${marked(severity)} ${bold(code)}: ${plain(message)}`,
    `  ${plain(meaning)}`,
    `  What to do: ${plain(remedy)}`,
    ...evidence.slice(0, MOST_EVIDENCE).map((line) => dim(`  - ${evidenceText(line)}`)),
    ...(rest > 0 ? [dim(`  - and ${rest} more: --json`)] : []),
  ].join('\n')
}

function marked(severity: Severity): string {
  const { red, yellow, cyan } = coloursFor(process.stdout)
  return { critical: red, warning: yellow, info: cyan }[severity](severity)
}

const evidenceText = (line: Evidence): string =>
  Object.entries(line)
    .filter(([, value]) => value !== null && value !== '')
    .map(([name, value]) =>
      name.endsWith('Ms') ? `${name.slice(0, -2)} ${duration(Number(value))}` : `${name} ${plain(String(value))}`,
    )
    .join(', ')
