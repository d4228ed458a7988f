import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** One client's way through the proxy. */
export interface ProxyConnection {
  /** The last 64 KiB that the client sent, as text: to tell one connection from another. */
  readonly sent: string
  /** Nothing passes any more, in either direction, and nobody is told. */
  pause(): void
  /** Everything that was held back passes. */
  resume(): void
  /** Resets both sides. */
  cut(): void
}

export interface TcpProxy {
  readonly port: number
  /** Those that are open now. */
  readonly connections: readonly ProxyConnection[]
  /** Bytes that passed so far, over all connections. */
  readonly passed: Readonly<Record<Direction, number>>
  /** The same URL, by way of the proxy. */
  through(url: string): string
  /** Nothing passes any more, in either direction, and nobody is told: the network is gone. New connections hang as well. */
  pause(): void
  /** Everything that was held back passes. */
  resume(): void
  /** Resets every connection that is open now, on both sides; new ones are welcome. */
  cut(): void
  /** Lets that many bytes more pass, over all connections together, and closes the connection of the last of them on both sides. */
  cutAfter(bytes: number, direction: Direction): void
  /** Closes the connection on which the text comes next, on both sides: what stands before it passes. */
  cutBefore(text: string, direction: Direction): void
  /** New connections go to another port; open ones stay where they are. */
  retarget(port: number): void
  /** Resets every connection and takes no new ones. */
  close(): Promise<void>
}

export type Direction = 'toServer' | 'toClient'

/** A TCP proxy on 127.0.0.1, for breaking the network between a client and a server. */
export async function startProxy(targetPort: number, targetHost = '127.0.0.1'): Promise<TcpProxy> {
  const links = new Set<Link>()
  const meter = new Meter()
  let target = targetPort
  let paused = false
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    const link = new Link(client, connect({ port: target, host: targetHost, allowHalfOpen: true }), meter)
    links.add(link)
    link.onEnd = () => links.delete(link)
    if (!paused) link.resume()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  const cut = () => {
    for (const link of links) link.cut()
  }
  return {
    port,
    get connections() {
      return [...links]
    },
    passed: meter.passed,
    through: (url) => Object.assign(new URL(url), { host: `127.0.0.1:${port}` }).href,
    pause() {
      paused = true
      for (const link of links) link.pause()
    },
    resume() {
      paused = false
      for (const link of links) link.resume()
    },
    cut,
    cutAfter: (bytes, direction) => meter.limit(bytes, direction),
    cutBefore: (text, direction) => meter.refuse(text, direction),
    retarget(port) {
      target = port
    },
    async close() {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      cut()
      await closed
    },
  }
}

/** Counts what passes, and knows when it is enough. */
class Meter {
  readonly passed = { toServer: 0, toClient: 0 }
  #limits: Partial<Record<Direction, number>> = {}
  #refused: Partial<Record<Direction, string>> = {}

  limit(bytes: number, direction: Direction): void {
    this.#limits[direction] = bytes
  }

  refuse(text: string, direction: Direction): void {
    this.#refused[direction] = text
  }

  /** What of the chunk may pass; last: the limit is reached, or what is refused came. */
  admit(chunk: Buffer, direction: Direction): { admitted: Buffer; last: boolean } {
    const refused = this.#refused[direction]
    const end = refused === undefined ? -1 : chunk.indexOf(refused)
    if (end >= 0) {
      delete this.#refused[direction]
      this.passed[direction] += end
      return { admitted: chunk.subarray(0, end), last: true }
    }
    const limit = this.#limits[direction]
    const admitted = limit === undefined ? chunk : chunk.subarray(0, limit)
    this.passed[direction] += admitted.length
    if (limit === undefined) return { admitted, last: false }
    const last = chunk.length >= limit
    if (last) delete this.#limits[direction]
    else this.#limits[direction] = limit - chunk.length
    return { admitted, last }
  }
}

const REMEMBERED = 65_536

/** One client connection and its connection to the server. */
class Link implements ProxyConnection {
  onEnd: () => void = () => {}
  #open = false
  #sent = Buffer.alloc(0)
  readonly #sides: readonly [Socket, Socket]

  constructor(
    client: Socket,
    server: Socket,
    private readonly meter: Meter,
  ) {
    this.#sides = [client, server]
    for (const side of this.#sides) {
      // An error is always followed by a close.
      side.on('error', () => {})
      side.on('close', () => this.#endWhenSeen())
    }
    this.#forward(client, server, 'toServer')
    this.#forward(server, client, 'toClient')
    this.pause()
  }

  get sent(): string {
    return this.#sent.toString('latin1')
  }

  resume(): void {
    this.#open = true
    for (const side of this.#sides) side.resume()
    this.#endWhenSeen()
  }

  pause(): void {
    this.#open = false
    for (const side of this.#sides) side.pause()
  }

  cut(): void {
    for (const side of this.#sides) side.resetAndDestroy()
    this.onEnd()
  }

  #forward(from: Socket, to: Socket, direction: Direction): void {
    from.on('data', (chunk: Buffer) => {
      const { admitted, last } = this.meter.admit(chunk, direction)
      if (direction === 'toServer') this.#sent = Buffer.concat([this.#sent, admitted]).subarray(-REMEMBERED)
      const hasRoom = to.write(admitted)
      if (last) this.#closeAfterwards(from, to)
      else if (!hasRoom) from.pause()
    })
    to.on('drain', () => this.#open && from.resume())
    from.on('end', () => to.end())
  }

  // Not a reset: what was written before must still arrive.
  #closeAfterwards(from: Socket, to: Socket): void {
    to.end(() => to.destroy())
    from.destroy()
  }

  // While the network is gone, neither side may learn that the other one went away.
  #endWhenSeen(): void {
    if (this.#open && this.#sides.every((side) => side.destroyed)) this.onEnd()
    else if (this.#open && this.#sides.some((side) => side.destroyed && !side.writableEnded)) this.cut()
  }
}
