import { sql } from 'kysely'
import { defineStatement } from './statement.js'

/** Hangs up the doorbell: from now on an enqueue to one of the queues may notify the channel. Then look for jobs again. */
export const hangDoorbell = defineStatement<{ workerId: number; channel: string; queues: readonly string[] }, never>(
  'hang_doorbell',
  ({ table, param }) => sql`
    insert into ${table('idle_workers')} (worker_id, channel, queues, tasks)
    select id, ${param('channel')}::text, ${param('queues')}::text[], tasks
    from ${table('workers')} where id = ${param('workerId')}
    on conflict (worker_id) do nothing`,
)

/** Takes the doorbell down: the worker is busy and looks for jobs by itself. */
export const takeDoorbell = defineStatement<{ workerId: number }, never>(
  'take_doorbell',
  ({ table, param }) => sql`delete from ${table('idle_workers')} where worker_id = ${param('workerId')}`,
)

/** Wakes one idle worker per queue and kind of worker: a worker that leaves jobs behind passes the news on. */
export const ringDoorbell = defineStatement<{ queues: readonly string[] }, never>(
  'ring_doorbell',
  ({ routine, param }) => sql`select ${routine('ring_doorbell')}(${param('queues')}::text[])`,
)
