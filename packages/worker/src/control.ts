import { cancelChannel, hangDoorbell, ringDoorbell, takeDoorbell, tellWorkers, workersChannel } from '@pgq/core'
import type pg from 'pg'
import type { Connection } from './connection.js'
import type { Events } from './events.js'
import type { ResolvedOptions } from './options.js'
import { processIdOf, type Session } from './session.js'

const RECONNECT_MS = 250
const MAX_RECONNECT_MS = 5_000

/** What the control connection hears. */
export interface ControlListener {
  /** Somebody enqueued, or LISTEN was just set up: look for jobs. */
  rung(): void
  /** Another worker came, or has work in hand: look after it. */
  othersStir(): void
  /** Jobs were asked to end. */
  cancelRequested(): void
  /** The connection is back after it was lost: others may have taken this worker for dead. */
  reconnected(): void
}

/**
 * The worker's one listening connection, for short statements only: LISTEN, the doorbell, the rescue and the statistics. It comes
 * back by itself and listens again; losing it costs latency, never a job.
 */
export class Control {
  readonly connection: Connection
  /** Whether NOTIFY reaches us; until the probe says so, what the options want. */
  listens: boolean
  #hung = false
  #tries = 0
  #closed = false
  #reconnect: NodeJS.Timeout | undefined

  constructor(
    private readonly session: Session,
    private readonly options: ResolvedOptions,
    private readonly events: Events,
    private readonly listener: ControlListener,
  ) {
    this.listens = options.doorbell
    this.connection = session.open({
      // Losing the last of what is written here costs a latency, never a job: its commits need not wait for the disk.
      settings: 'set synchronous_commit = off',
      prepare: (client) => this.#listen(client),
      onLost: (error) => this.#lost(error),
    })
  }

  /** An enqueue rings. */
  get isHung(): boolean {
    return this.#hung
  }

  /** Listens on the channel of the worker that was just registered on this connection. */
  async listenAsWorker(): Promise<void> {
    const client = await this.connection.client()
    if (this.listens) await this.connection.query(`listen ${client.escapeIdentifier(this.#channel)}`)
  }

  /** Hangs up the doorbell. False when it hung already, or cannot hang: so when the worker has no id yet. */
  async hang(): Promise<boolean> {
    const { workerId } = this.session
    if (this.#hung || !this.listens || !workerId) return false
    const { schema, queues } = this.options
    // From now on, so that whoever finds work meanwhile takes it down again: statements here run in their order.
    this.#hung = true
    try {
      await hangDoorbell(this.connection, schema, { workerId, channel: this.#channel, queues })
    } catch (error) {
      this.#hung = false
      throw error
    }
    return true
  }

  /** Lets the other workers know that this one has work in hand. Who does not listen can be heard all the same. */
  async tell(): Promise<void> {
    await tellWorkers(this.connection, this.options.schema, {})
  }

  /** Takes the doorbell down. pass: there is more work than this worker takes at once; wake another. */
  async take(pass: boolean): Promise<void> {
    if (!this.#hung) return
    this.#hung = false
    await takeDoorbell(this.connection, this.options.schema, { workerId: this.session.workerId })
    if (pass) await ringDoorbell(this.connection, this.options.schema, { queues: this.options.queues })
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#reconnect)
  }

  get #channel(): string {
    return `pgq_${this.options.schema}_${this.session.workerId}`
  }

  async #listen(client: pg.Client): Promise<void> {
    this.#hung = false
    // Whoever needed the connection opened it before its time; a loss that comes now is a new one.
    clearTimeout(this.#reconnect)
    this.#reconnect = undefined
    if (this.listens && !this.session.isPooled) await this.#listenOn(client)
    if (this.#tries > 0 && this.listens) this.events.emit('listener.restored', {})
    this.#tries = 0
    // The first client opens before the worker has its id.
    if (this.session.workerId) this.listener.reconnected()
  }

  async #listenOn(client: pg.Client): Promise<void> {
    const workers = workersChannel(this.options.schema)
    const cancels = cancelChannel(this.options.schema)
    client.on('notification', ({ channel, processId }) => {
      if (channel === this.#channel) this.listener.rung()
      else if (channel === cancels) this.listener.cancelRequested()
      else if (channel === workers && processId !== processIdOf(client)) this.listener.othersStir()
    })
    await client.query(`listen ${client.escapeIdentifier(workers)}; listen ${client.escapeIdentifier(cancels)}`)
    // A client that opens before the worker has its id listens on the worker's channel afterwards: listenAsWorker.
    if (this.session.workerId) await client.query(`listen ${client.escapeIdentifier(this.#channel)}`)
  }

  #lost(error: Error): void {
    if (this.#closed || this.#reconnect) return
    this.#hung = false
    if (this.#tries++ === 0 && this.listens) this.events.emit('listener.lost', { error })
    const delayMs = Math.min(RECONNECT_MS * 2 ** (this.#tries - 1), MAX_RECONNECT_MS) * (0.5 + Math.random() / 2)
    this.#reconnect = setTimeout(() => {
      this.#reconnect = undefined
      this.connection.client().catch((failure) => this.#lost(failure))
    }, delayMs)
  }
}
