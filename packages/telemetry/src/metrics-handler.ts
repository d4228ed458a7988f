import type { MetricsRegistry } from './scraped-metric.js'

/** Options of metricsHandler. */
export interface MetricsHandlerOptions {
  readonly registry: MetricsRegistry
  /** Told when a metric of the registry, not one of pgq's, could not be collected; the scraper is answered 500. */
  readonly onError?: (error: unknown) => void
}

/** The endpoint to scrape, as a fetch handler: for Hono, Next, Bun, or an adapter of your server. Answers GET and HEAD. */
export function metricsHandler({ registry, onError }: MetricsHandlerOptions): (request: Request) => Promise<Response> {
  return async ({ method }) => {
    if (method !== 'GET' && method !== 'HEAD') {
      return new Response('Use GET.\n', { status: 405, headers: { allow: 'GET, HEAD' } })
    }
    try {
      const text = await registry.metrics()
      const headers = { 'content-type': registry.contentType, 'cache-control': 'no-store' }
      return new Response(method === 'HEAD' ? null : text, { headers })
    } catch (error) {
      onError?.(error)
      return new Response('A metric could not be collected.\n', { status: 500 })
    }
  }
}
