import { checkName } from '@pgq/core'
import { print, printJson } from './output.js'
import { plain } from './plain.js'

/** What became of one of the names: the words for it, and the rest as JSON. */
export interface Change {
  /** Without: there is nothing to say on stdout, but in JSON. */
  readonly text?: string
}

/** Changes what the command line names, one after the other, and says each at once. */
export async function changeEach<Changed extends Change>(
  names: readonly string[],
  { json }: { readonly json?: boolean },
  change: (name: string) => Promise<Changed>,
): Promise<Changed[]> {
  const changes: Changed[] = []
  for (const name of names) {
    const changed = await change(name)
    const { text, ...rest } = changed
    if (json) printJson(rest)
    else if (text !== undefined) print(`${plain(name)} ${text}`)
    changes.push(changed)
  }
  return changes
}

/** All of them before the first: a command line that is refused has done nothing. */
export function checkNames(names: readonly string[], what: 'queue' | 'schedule'): void {
  for (const name of names) checkName(name, what)
}
