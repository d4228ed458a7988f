import { type ComponentChildren, render } from 'preact'
import { useCallback, useEffect, useState } from 'preact/hooks'
import { ask, liveness, type Polled, type Session, usePoll } from './api.js'
import { about, plain } from './format.js'
import { Dead } from './pages/dead.js'
import { type HealthAnswer, HealthPage } from './pages/health.js'
import { Job } from './pages/job.js'
import { Jobs } from './pages/jobs.js'
import { Overview, type OverviewAnswer } from './pages/overview.js'
import { Queues } from './pages/queues.js'
import { Schedule } from './pages/schedule.js'
import { Schedules } from './pages/schedules.js'
import { Workers } from './pages/workers.js'
import { go, linkTo, type Route, useRoute } from './route.js'
import { Empty, Heading, NoticeContext, type NoticeMore, SessionContext } from './ui.js'
import './styles.css'

/** What the navigation leads to, and the key that follows `g`. */
const PLACES = [
  { path: '', name: 'Overview', key: 'o' },
  { path: 'queues', name: 'Queues', key: 'q' },
  { path: 'jobs', name: 'Jobs', key: 'j' },
  { path: 'dead', name: 'Dead letters', key: 'd' },
  { path: 'schedules', name: 'Schedules', key: 's' },
  { path: 'workers', name: 'Workers', key: 'w' },
  { path: 'health', name: 'Health', key: 'h' },
]

function App() {
  const [session, setSession] = useState<Session>()
  const [refusal, setRefusal] = useState<string>()
  useEffect(() => {
    ask<Session>('session').then(setSession, (error: Error) => setRefusal(error.message))
  }, [])
  if (refusal) return <Empty title="The dashboard cannot be shown">{refusal}</Empty>
  if (!session) return null
  return (
    <SessionContext.Provider value={session}>
      <Notices>
        <Shell session={session} />
      </Notices>
    </SessionContext.Provider>
  )
}

function Shell({ session }: { session: Session }) {
  const route = useRoute()
  const overview = usePoll<OverviewAnswer>('overview')
  const health = usePoll<HealthAnswer>('health', 10_000)
  useShortcuts()
  const place = PLACES.find(({ path }) => path === route.path.split('/')[0])
  useEffect(() => {
    document.title = place?.path ? `${place.name} · pgq` : 'pgq'
  }, [place])
  return (
    <>
      <a class="skip" href="#content">
        To the content
      </a>
      <header class="side">
        <a class="mark" href={linkTo('')}>
          <img src={document.querySelector<HTMLLinkElement>('link[rel=icon]')!.href} alt="" width="26" height="26" />
          <span>pgq</span>
        </a>
        <nav aria-label="Pages">
          {PLACES.map(({ path, name, key }) => (
            <a
              key={path}
              href={linkTo(path)}
              aria-current={path === place?.path ? 'page' : undefined}
              title={`g ${key}`}
            >
              {name}
              {path === 'dead' && <DeadCount overview={overview} />}
              {path === 'health' && health.data && <HealthDot status={health.data.status} />}
            </a>
          ))}
        </nav>
        <div class="side-end">
          <Live />
          <Theme />
          <span class="quiet who">
            {session.user} · {session.schema}
          </span>
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        <Page route={route} overview={overview} health={health} />
      </main>
    </>
  )
}

function Page({
  route,
  overview,
  health,
}: {
  route: Route
  overview: Polled<OverviewAnswer>
  health: Polled<HealthAnswer>
}): ComponentChildren {
  const [place, id] = route.path.split('/')
  if (place === '') return <Overview query={route.query} overview={overview} health={health.data} />
  if (place === 'queues') return <Queues overview={overview} />
  if (place === 'jobs') return id ? <Job key={id} id={id} /> : <Jobs query={route.query} />
  if (place === 'dead') return <Dead query={route.query} />
  if (place === 'schedules') {
    const { name } = route.query
    return name ? <Schedule key={name} name={name} /> : <Schedules />
  }
  if (place === 'workers') return <Workers />
  if (place === 'health') return <HealthPage health={health} />
  return (
    <>
      <Heading title="Nothing here" />
      <Empty title="There is no such page" />
    </>
  )
}

function DeadCount({ overview: { data } }: { overview: Polled<OverviewAnswer> }) {
  const dead = data?.counts.filter(({ state }) => state === 'dead') ?? []
  return dead.length > 0 ? <span class="badge">{about(dead)}</span> : null
}

const HealthDot = ({ status }: { status: HealthAnswer['status'] }) =>
  status === 'ok' ? null : <span class={`badge badge-${status}`}>{status === 'critical' ? 'act' : 'look'}</span>

/** Whether what is on the screen is how things are. */
function Live() {
  const [error, setError] = useState<string>()
  useEffect(() => {
    liveness.onChange = setError
  }, [])
  return (
    <span
      class={`live ${error ? 'live-lost' : ''}`}
      role="status"
      title={error ?? 'Every 3 seconds, while this page can be seen'}
    >
      {error ?? 'Live'}
    </span>
  )
}

const THEMES = ['system', 'light', 'dark'] as const

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem('pgq-theme') ?? 'system')
  useEffect(() => {
    document.documentElement.dataset.theme = theme
    localStorage.setItem('pgq-theme', theme)
    dispatchEvent(new Event('themechange'))
  }, [theme])
  return (
    <label class="select small">
      <span class="hidden">Colours</span>
      <select value={theme} onChange={(event) => setTheme(event.currentTarget.value)}>
        {THEMES.map((one) => (
          <option key={one} value={one}>
            {one}
          </option>
        ))}
      </select>
    </label>
  )
}

/** `g` and a letter go to a page, `/` to the first filter. */
function useShortcuts(): void {
  useEffect(() => {
    let isGoing = false
    const press = (event: KeyboardEvent) => {
      const isTyping =
        (event.target as Element).matches('input, select, textarea') || document.querySelector('dialog[open]')
      if (isTyping || event.metaKey || event.ctrlKey || event.altKey) return
      const place = isGoing ? PLACES.find(({ key }) => key === event.key) : undefined
      isGoing = event.key === 'g'
      if (place) go(linkTo(place.path))
      const filter = event.key === '/' ? document.querySelector<HTMLElement>('main input') : null
      if (place || filter) event.preventDefault()
      filter?.focus()
    }
    addEventListener('keydown', press)
    return () => removeEventListener('keydown', press)
  }, [])
}

const NOTICE_MS = 6_000
/** One with a link: until the keyboard can have come to it. */
const LINK_NOTICE_MS = 20_000

function Notices({ children }: { children: ComponentChildren }) {
  const [notice, setNotice] = useState<NoticeMore & { text: string }>()
  const notify = useCallback((text: string, more: NoticeMore = {}) => setNotice({ text, ...more }), [])
  useEffect(() => {
    if (!notice) return
    const timer = setTimeout(() => setNotice(undefined), notice.jobId ? LINK_NOTICE_MS : NOTICE_MS)
    return () => clearTimeout(timer)
  }, [notice])
  return (
    <NoticeContext.Provider value={notify}>
      {children}
      <div class={`notice ${notice?.isBad ? 'notice-bad' : ''}`} role="status">
        {notice && plain(notice.text)}
        {notice?.jobId && (
          <>
            {' '}
            <a href={linkTo(`jobs/${notice.jobId}`)}>Job {notice.jobId}</a>
          </>
        )}
      </div>
    </NoticeContext.Provider>
  )
}

const place = document.getElementById('app')!
place.replaceChildren()
render(<App />, place)
