import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { countJobs } from '@pgq/monitor'
import { Hono } from 'hono'
import { z } from 'zod'
import type { ShopDatabase } from './database.js'
import { findOrder, newOrder, placeOrder, restockSold } from './orders.js'

const MAX_ID = 2 ** 31 - 1

export function shopApi(db: ShopDatabase): Hono {
  const app = new Hono()
  app.get('/', (c) => c.text('POST /orders {customer, sku, quantity}\nGET /orders/:id\nPOST /restock\nGET /stats\n'))

  app.post('/orders', async (c) => {
    const order = newOrder.safeParse(await c.req.json().catch(() => undefined))
    if (!order.success) return c.json({ error: z.prettifyError(order.error) }, 400)
    const id = await placeOrder(db, order.data)
    return c.json({ id }, 201, { location: `/orders/${id}` })
  })

  app.get('/orders/:id{[0-9]{1,10}}', async (c) => {
    const id = Number(c.req.param('id'))
    const order = id <= MAX_ID ? await findOrder(db, id) : undefined
    return order ? c.json(order) : c.json({ error: `There is no order ${id}.` }, 404)
  })

  app.post('/restock', async (c) => c.json({ jobs: await restockSold(db) }, 202))

  // The monitor reads the queue's tables; it needs no worker and disturbs none.
  app.get('/stats', async (c) => c.json(await countJobs(db)))

  app.onError((error, c) => {
    console.error(error)
    return c.json({ error: 'Something went wrong here.' }, 500)
  })
  return app
}

export interface RunningApi {
  readonly url: string
  close(): Promise<void>
}

/** Serves the API on 127.0.0.1; port 0 takes a free one. */
export async function serveApi(db: ShopDatabase, port: number): Promise<RunningApi> {
  const server = createAdaptorServer({ fetch: shopApi(db).fetch }) as import('node:http').Server
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections() // a browser would keep its connection, and this process, for minutes
      await closed
    },
  }
}
