import { readdirSync, readFileSync } from 'node:fs'

const TICK_US = 10_000 // USER_HZ is 100 on every Linux that Node runs on

/**
 * CPU time of a process and of its children, those that have ended too, in us: of a PostgreSQL server, when it is the postmaster.
 * Undefined where there is no /proc, or no such process.
 */
export function treeCpuUs(pid: number): number | undefined {
  let parent = readStat(pid)
  while (parent) {
    const children = readdirSync('/proc')
      .map((name) => (/^\d+$/.test(name) ? readStat(Number(name)) : undefined))
      .filter((stat) => stat?.parent === pid)
    const later = readStat(pid)
    // Else a child that ended meanwhile is in neither sum, or in both.
    if (later?.endedChildrenUs === parent.endedChildrenUs) {
      return children.reduce(
        (sum, child) => sum + child!.ownUs + child!.endedChildrenUs,
        parent.ownUs + parent.endedChildrenUs,
      )
    }
    parent = later
  }
  return undefined
}

/** The parent of a process, if there is one that is called so. */
export function parentCalled(name: string, pid: number): number | undefined {
  const parent = readStat(pid)?.parent
  return parent && readStat(parent)?.name === name ? parent : undefined
}

interface Stat {
  readonly name: string
  readonly parent: number
  readonly ownUs: number
  readonly endedChildrenUs: number
}

// The name in parentheses may hold anything; after it come state, parent, ..., and as 12th to 15th utime, stime, cutime, cstime.
function readStat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const name = text.slice(text.indexOf('(') + 1, text.lastIndexOf(')'))
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    const us = (first: number) => ((fields[first] ?? 0) + (fields[first + 1] ?? 0)) * TICK_US
    return { name, parent: fields[1]!, ownUs: us(11), endedChildrenUs: us(13) }
  } catch {
    return undefined
  }
}
