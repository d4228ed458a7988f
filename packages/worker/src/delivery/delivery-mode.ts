import type {
  ClaimedJob,
  ClaimRequest,
  DeliveryModeName,
  Executor,
  ParkedRequest,
  Restore,
  Settlement,
  SuspectRequest,
} from '@pgq/core'
import type { Transaction } from 'kysely'

/** Where the commit falls: one small strategy per delivery mode. */
export interface DeliveryMode {
  readonly name: DeliveryModeName
  /** A mode that cannot run a job twice must never be asked to: it would lose the job. */
  readonly mayRetry: boolean
  /** Before the first claim: what this mode alone needs. */
  load?(): Promise<void>
  claim(request: ClaimRequest): Promise<Found>
  /** Claims one job that may have taken its workers down, to run with nothing beside it. */
  claimSuspect(request: SuspectRequest): Promise<Found>
  /** Claims parked jobs of these concurrency keys, as many as may run by now. Not with at-most-once, whose jobs have none. */
  claimParked?(request: ParkedRequest): Promise<Found>
  /** Ends when everything that was settled is durable, or its connection is closed for good. */
  drain(): Promise<void>
}

/** What a claim brought. */
export interface Found {
  readonly claims: Claim[]
  /** How many more it found, and parked: as many of their concurrency keys run as may. */
  readonly parked: number
  /** Those that the database refuses to park together: they go back one by one. */
  readonly unparked: readonly Claim[]
}

/** The database refuses to commit what the handler did. The job is still ours: settle it as failed, with the cause. */
export class CommitRefused extends Error {}

/** The handler failed, but its job is finished: the transaction of its finish() has committed. Settle it as a success. */
export class FinishedAlready extends Error {}

/** A job that is ours, until it is settled. */
export interface Claim {
  readonly job: ClaimedJob
  /** Waits until the handler may run, for jobs that need a connection. False: there is none; it goes back then. */
  begin?(): Promise<boolean>
  /** The transaction of a transactional job. */
  readonly trx?: Transaction<any> | undefined
  /** True when a statement of the handler failed and was not rolled back: this transaction cannot commit any more. */
  isSpoiled?(): boolean
  /** Completes the job inside the handler's transaction (at-least-once). */
  finish?(trx: Executor): Promise<void>
  /**
   * Durable when it resolves; to false when the job was no longer ours: its result is dropped. Throws CommitRefused instead of a
   * completion that the database refuses, and FinishedAlready instead of anything but a completion.
   */
  settle(ending: Ending): Promise<boolean>
}

/** What becomes of a claimed job: what its handler's end means, or it goes back, its attempt not counted. */
export type Ending = Settlement | Restore

export const RELEASE = { kind: 'release' } as const
