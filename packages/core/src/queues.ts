import { type RawBuilder, sql } from 'kysely'
import type { Executor } from './executor.js'
import { checkName, DEFAULT_SCHEMA } from './names.js'
import { checkOptionNames, optionNames } from './option-names.js'
import { defineStatement, type StatementParts } from './statement.js'

/** Where the queue is. */
export interface QueueOptions {
  /** The schema that pgq was migrated into. Default 'pgq'. */
  readonly schema?: string
}

export const QUEUE_OPTIONS = optionNames<QueueOptions>({ schema: true })

/**
 * Pauses a queue, for all workers at once: no claim that begins after this is committed takes a job from it. What is running
 * goes on, and so does what a worker holds ready to start: about a second of it at most. Enqueues go on, and delayed jobs become
 * ready in their time. Answers whether it ran before.
 */
export async function pauseQueue(executor: Executor, queue: string, options: QueueOptions = {}): Promise<boolean> {
  checkName(queue, 'queue')
  checkOptionNames(options, QUEUE_OPTIONS, 'pauseQueue')
  const { schema = DEFAULT_SCHEMA } = options
  return (await pauseStatement(executor, schema, { queue })).length > 0
}

const pauseStatement = defineStatement<{ queue: string }, { name: string }>(
  'pause_queue',
  ({ table, param }) => sql`
    insert into ${table('queues')} as queue (name, paused_at) values (${param('queue')}, now())
    on conflict (name) do update set paused_at = now() where queue.paused_at is null
    returning name`,
)

/** Lets a paused queue go on, and wakes a worker for it. Answers whether it was paused. */
export async function resumeQueue(executor: Executor, queue: string, options: QueueOptions = {}): Promise<boolean> {
  checkName(queue, 'queue')
  checkOptionNames(options, QUEUE_OPTIONS, 'resumeQueue')
  const { schema = DEFAULT_SCHEMA } = options
  return (await resumeStatement(executor, schema, { queue })).length > 0
}

const resumeStatement = defineStatement<{ queue: string }, { name: string }>(
  'resume_queue',
  ({ table, param, routine }) => sql`
    with resumed as (
      update ${table('queues')} set paused_at = null where name = ${param('queue')} and paused_at is not null
      returning name
    )
    select name, ${routine('ring_doorbell')}(array[name]) from resumed`,
)

/**
 * The condition that a queue is not paused. An array, read once per statement and before anything else: as "not exists" the
 * planner may make a join of it, and ask only after the jobs were locked.
 */
export const isNotPaused = (
  { table }: Pick<StatementParts<object>, 'table'>,
  queue: RawBuilder<unknown>,
): RawBuilder<unknown> => sql`
  ${queue} <> all (array(select name from ${table('queues')} where paused_at is not null))`
