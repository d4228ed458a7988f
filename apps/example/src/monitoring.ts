import { dashboard, limitTime, PERMISSIONS } from '@pgq/dashboard'
import { metricsHandler, observeWorker, queueMetrics } from '@pgq/telemetry/prometheus'
import type { Worker } from '@pgq/worker'
import { Hono } from 'hono'
import pg from 'pg'
import { Registry } from 'prom-client'

export interface Monitoring {
  readonly routes: Hono
  close(): Promise<void>
}

/** The dashboard at /dashboard, and at /metrics what Prometheus scrapes. To be made before the worker starts: it counts from here on. */
export function shopMonitoring(connectionString: string, worker: Worker): Monitoring {
  // A pool of its own: a slow question takes no connection from the shop, and ends.
  const pool = new pg.Pool({ connectionString, max: 4, application_name: 'shop monitoring' })
  // A lost connection is told to whoever asked on it.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  const executor = limitTime(pool, 2_000)

  const registry = new Registry()
  observeWorker(worker, { registry })
  queueMetrics(executor, { registry })
  const metrics = metricsHandler({ registry })

  // Everything is allowed, because only this machine reaches it. Where others do: authenticate, and allow by name.
  const pages = dashboard({ executor, basePath: '/dashboard', authenticate: false, allow: PERMISSIONS })

  const routes = new Hono()
  routes.get('/metrics', (c) => metrics(c.req.raw))
  for (const path of ['/dashboard', '/dashboard/*']) routes.all(path, (c) => pages(c.req.raw))
  return { routes, close: () => pool.end() }
}
