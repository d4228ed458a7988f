import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { countJobs } from '@pgq/monitor'
import { Hono } from 'hono'
import { z } from 'zod'
import type { ShopDatabase } from './database.js'
import { findOrder, newOrder, placeOrder } from './orders.js'
import { tasks } from './tasks.js'

const MAX_ID = 2 ** 31 - 1

export function shopApi(db: ShopDatabase): Hono {
  const app = new Hono()

  app.post('/orders', async (c) => {
    const order = newOrder.safeParse(await c.req.json().catch(() => undefined))
    if (!order.success) return c.json({ error: z.prettifyError(order.error) }, 400)
    const id = await db.transaction().execute((trx) => placeOrder(trx, order.data))
    return c.json({ id }, 201, { location: `/orders/${id}` })
  })

  app.get('/orders/:id{[0-9]+}', async (c) => {
    const id = Number(c.req.param('id'))
    const order = id <= MAX_ID ? await findOrder(db, id) : undefined
    return order ? c.json(order) : c.notFound()
  })

  app.post('/restock', async (c) => {
    // Pressed twice, it waits once. One that has begun may have missed the last order: then another one may wait.
    const { id, status } = await tasks.restockSold.enqueue(db, null, { unique: { key: 'restock', until: 'started' } })
    return c.json({ job: id, status }, 202)
  })

  // The monitor only reads: it needs no worker and disturbs none.
  app.get('/jobs', async (c) => c.json(await countJobs(db)))

  app.notFound((c) => c.json({ error: `There is no ${c.req.path}.` }, 404))
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

/** Serves it on 127.0.0.1; port 0 takes a free one. Rejects with EADDRINUSE when the port is taken. */
export async function serveApi(app: Hono, port: number): Promise<RunningApi> {
  const server = createAdaptorServer({ fetch: app.fetch }) as Server
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
