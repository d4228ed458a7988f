import type { ShopDatabase } from './database.js'

export interface Mail {
  readonly orderId: number
  readonly to: string
  readonly attempt: number
  readonly signal: AbortSignal
}

export interface MailServer {
  send(mail: Mail): Promise<void>
}

/** Stands for a real one: it notes what it has sent, and it turns every 25th order away the first time. */
export const fakeMailServer = (db: ShopDatabase): MailServer => ({
  async send({ orderId, to, attempt, signal }) {
    signal.throwIfAborted()
    if (orderId % 25 === 0 && attempt === 1) throw new Error('451 mail server busy, try again later')
    await db.insertInto('shop.mails').values({ order_id: orderId, address: to }).execute()
  },
})
