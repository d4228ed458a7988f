import { execFileSync } from 'node:child_process'

/** A network of its own, joined to this machine's by one cable that can be made to swallow everything. */
export interface Namespace {
  /** What to start a program with that is to live there. */
  readonly prefix: readonly string[]
  /** This machine's address, as seen from there. */
  readonly host: string
  /** The address there. */
  readonly address: string
  /** Nothing arrives any more, in either direction, and nobody is told. */
  swallow(): void
  heal(): void
  remove(): void
}

/** Whether this process may make one. */
export function canMakeNamespaces(): boolean {
  if (process.getuid?.() !== 0) return false
  try {
    const name = `pgq-probe-${process.pid}`
    ip('netns', 'add', name)
    ip('netns', 'delete', name)
    return true
  } catch {
    return false
  }
}

export function makeNamespace(): Namespace {
  // Interfaces and addresses are the machine's: another battery may run at the same time.
  const place = process.pid % 16_384
  const [outer, inner, name] = [`pgqo${place}`, `pgqi${place}`, `pgq-${place}`]
  const [high, low] = [64 + (place >> 8), place & 255]
  const [host, address] = [`10.${high}.${low}.1`, `10.${high}.${low}.2`]
  const inside = (...args: string[]) => ip('-n', name, ...args)
  const remove = () => {
    process.off('exit', remove)
    ip('netns', 'delete', name)
  }
  ip('netns', 'add', name)
  process.once('exit', remove)
  ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', name)
  ip('address', 'add', `${host}/30`, 'dev', outer)
  ip('link', 'set', outer, 'up')
  inside('address', 'add', `${address}/30`, 'dev', inner)
  inside('link', 'set', inner, 'up')
  inside('link', 'set', 'lo', 'up')
  return {
    prefix: ['ip', 'netns', 'exec', name],
    host,
    address,
    // Packets go to an interface that does not exist: no error, no answer.
    swallow() {
      ip('neighbour', 'replace', address, 'lladdr', '02:00:00:00:00:01', 'dev', outer, 'nud', 'permanent')
      inside('neighbour', 'replace', host, 'lladdr', '02:00:00:00:00:01', 'dev', inner, 'nud', 'permanent')
    },
    heal() {
      ip('neighbour', 'delete', address, 'dev', outer)
      inside('neighbour', 'delete', host, 'dev', inner)
    },
    remove,
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
