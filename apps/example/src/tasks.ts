// What the shop has to do after an order. API, worker and tests share these definitions; how each is done is in worker.ts.
import { defineTask, type Executor } from '@pgq/core'
import { z } from 'zod'

// Ids, not whole orders: the handler reads what it needs when it runs, so that it never works on stale data.
const order = z.object({ orderId: z.number().int() })

export const tasks = {
  /** Money moves exactly once: the handler's writes and the end of the job are one transaction. */
  chargeOrder: defineTask('charge-order', { mode: 'transactional', args: order }),

  /** Runs again after a crash, unless the handler finished the job inside its own transaction, as this one does. */
  writeReceipt: defineTask('write-receipt', { args: order }),

  /** No transaction reaches a mail server: better a second mail than none. */
  sendMail: defineTask('send-mail', {
    args: order.extend({ to: z.string() }),
    retry: { maxAttempts: 8, minDelayMs: 200 },
    timeoutMs: 10_000,
  }),

  /** Statistics: better a lost sale than one that counts twice. */
  countSale: defineTask('count-sale', { mode: 'at-most-once', args: order }),

  /** "How did you like it?" Enqueued with a delay; it waits in the table until then. */
  followUp: defineTask('follow-up', { args: order }),

  /** Fills the shelves again. Enqueued for all that was sold at once; less urgent than what customers wait for. */
  restock: defineTask('restock', {
    mode: 'transactional',
    priority: -10,
    args: order.extend({ sku: z.string(), quantity: z.number().int().positive() }),
  }),

  /** Comes by itself every night: see openSchedules. */
  restockSold: defineTask('restock-sold', { mode: 'transactional' }),
}

/** What the shop does by the clock. Run at each start: a schedule that is there already stays as it is. */
export const openSchedules = (executor: Executor) =>
  tasks.restockSold.schedule(executor, null, { cron: '0 3 * * *', timeZone: 'Europe/Berlin' })
