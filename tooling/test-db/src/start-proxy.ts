import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface TcpProxy {
  readonly port: number
  /** The same URL, by way of the proxy. */
  through(url: string): string
  /** Nothing passes any more, in either direction, and nobody is told: the network is gone. New connections hang as well. */
  pause(): void
  /** Everything that was held back passes. */
  resume(): void
  /** Resets every connection that is open now, on both sides; new ones are welcome. */
  cut(): void
  /** Resets every connection and takes no new ones. */
  close(): Promise<void>
}

/** A TCP proxy on 127.0.0.1, for breaking the network between a client and a server. */
export async function startProxy(targetPort: number, targetHost = '127.0.0.1'): Promise<TcpProxy> {
  const links = new Set<Link>()
  let paused = false
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    const link = new Link(client, connect({ port: targetPort, host: targetHost, allowHalfOpen: true }))
    links.add(link)
    link.onEnd = () => links.delete(link)
    if (!paused) link.open()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  const cut = () => {
    for (const link of links) link.reset()
  }
  return {
    port,
    through: (url) => Object.assign(new URL(url), { host: `127.0.0.1:${port}` }).href,
    pause() {
      paused = true
      for (const link of links) link.hold()
    },
    resume() {
      paused = false
      for (const link of links) link.open()
    },
    cut,
    async close() {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      cut()
      await closed
    },
  }
}

/** One client connection and its connection to the server. */
class Link {
  onEnd: () => void = () => {}
  #open = false
  readonly #sides: readonly [Socket, Socket]

  constructor(client: Socket, server: Socket) {
    this.#sides = [client, server]
    for (const side of this.#sides) {
      // An error is always followed by a close.
      side.on('error', () => {})
      side.on('close', () => this.#endWhenSeen())
    }
  }

  open(): void {
    const [client, server] = this.#sides
    this.#open = true
    client.pipe(server)
    server.pipe(client)
    this.#endWhenSeen()
  }

  hold(): void {
    this.#open = false
    for (const side of this.#sides) side.unpipe().pause()
  }

  reset(): void {
    for (const side of this.#sides) side.resetAndDestroy()
    this.onEnd()
  }

  // While the network is gone, neither side may learn that the other one went away.
  #endWhenSeen(): void {
    if (this.#open && this.#sides.some((side) => side.destroyed)) this.reset()
  }
}
