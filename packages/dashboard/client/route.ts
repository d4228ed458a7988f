import { useEffect, useState } from 'preact/hooks'

/** Where the user is, below the base path. */
export interface Route {
  /** 'jobs', 'jobs/17'; '' is the overview. */
  readonly path: string
  readonly query: Readonly<Record<string, string>>
}

const base = () => new URL(document.baseURI)

function current(): Route {
  const path = location.pathname.slice(base().pathname.length).replace(/\/+$/, '')
  return { path, query: Object.fromEntries(new URLSearchParams(location.search)) }
}

/** An address of this dashboard; empty values are left out. */
export function linkTo(path: string, query: Readonly<Record<string, string | undefined>> = {}): string {
  const search = new URLSearchParams(Object.entries(query).filter((entry): entry is [string, string] => !!entry[1]))
  return `${base().pathname}${path}${search.size > 0 ? `?${search}` : ''}`
}

/** Goes there without loading the page again. */
export function go(href: string): void {
  history.pushState(null, '', href)
  dispatchEvent(new PopStateEvent('popstate'))
}

/** Follows the address, and takes clicks on links of this dashboard. */
export function useRoute(): Route {
  const [route, setRoute] = useState(current)
  useEffect(() => {
    const follow = () => setRoute(current())
    const click = (event: MouseEvent) => {
      const link = (event.target as Element).closest?.('a')
      const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey
      if (!link || !isPlain || link.target || !link.href.startsWith(base().href)) return
      event.preventDefault()
      go(link.href)
      scrollTo(0, 0)
    }
    addEventListener('popstate', follow)
    document.addEventListener('click', click)
    return () => {
      removeEventListener('popstate', follow)
      document.removeEventListener('click', click)
    }
  }, [])
  return route
}
