import type { ResolvedOptions } from './options.js'

/** The cookie that the page's token is compared with. */
export const TOKEN_COOKIE = 'pgq_dashboard'
const TOKEN_HEADER = 'x-pgq-token'

/**
 * Why the host that a request names is not answered to; nothing when it is. A page of somebody else, whose name was turned
 * to this machine (DNS rebinding), gives itself away by it.
 */
export function refuseHost(request: Request, { allowedHosts }: ResolvedOptions): string | undefined {
  const host = hostOf(request).replace(/:\d+$/, '').toLowerCase()
  const isKnown = !allowedHosts || allowedHosts.some((allowed) => allowed.toLowerCase() === host)
  return isKnown ? undefined : `This dashboard does not answer to the host "${host}": name it in allowedHosts.`
}

/**
 * Why a request that changes something was not sent by our own page; nothing when it was. Three signs must agree: the origin,
 * what the browser says of the site, and a token that only our page can read and that the cookie repeats.
 */
export function refuseForeign(request: Request, cookie: string | undefined): string | undefined {
  const { headers } = request
  const site = headers.get('sec-fetch-site')
  if (site !== null && site !== 'same-origin') return 'This request comes from another site.'
  const [page, own] = [originHost(headers.get('origin')), hostOf(request)]
  if (page === undefined) return 'This request does not say which page it comes from.'
  if (page !== own) {
    return `The page is at "${page}", but this side is asked for the host "${own}". When that is a proxy's doing, let it pass the Host header; nginx: proxy_set_header Host $http_host.`
  }
  const token = headers.get(TOKEN_HEADER)
  if (!token || !cookie || token !== cookie) return 'The page is out of date: reload it.'
  return undefined
}

const hostOf = (request: Request): string => request.headers.get('host') ?? new URL(request.url).host

// Not the scheme: behind a proxy that ends TLS, this side sees http.
function originHost(origin: string | null): string | undefined {
  return origin !== null && URL.canParse(origin) ? new URL(origin).host : undefined
}
