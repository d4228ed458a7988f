import { type ComponentChildren, createContext } from 'preact'
import { useContext, useEffect, useRef, useState } from 'preact/hooks'
import type { ActionName } from '../src/actions.js'
import type { Permission } from '../src/permissions.js'
import { act, type Polled, type Session } from './api.js'
import { fromNow, jobs, moment, plain } from './format.js'

/** Who uses the page, and where it tells what happened. */
export const SessionContext = createContext<Session>({
  user: '',
  permissions: [],
  searchesArgs: false,
  schema: '',
  token: '',
})
export const NoticeContext = createContext<(text: string, more?: NoticeMore) => void>(() => {})

/** What a notice is beside its text. */
export interface NoticeMore {
  readonly isBad?: boolean
  /** A job that it leads to. */
  readonly jobId?: string
}

export const useMay = (permission: Permission): boolean => useContext(SessionContext).permissions.includes(permission)

export function Heading({ title, children }: { title: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="heading">
      <h1>{title}</h1>
      {children}
    </header>
  )
}

/** The answer of a poll, or why there is none yet. An older answer stays while newer ones fail. */
export function Loaded<Answer>({
  of,
  children,
}: {
  of: Polled<Answer>
  children: (data: Answer) => ComponentChildren
}) {
  if (of.data !== undefined) return <>{children(of.data)}</>
  if (of.error) return <Empty title="No answer yet">{of.error}</Empty>
  return <div class="loading" role="status" aria-label="Loading" />
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <p>{children}</p>}
    </div>
  )
}

export const State = ({ state }: { state: string }) => <span class={`state state-${state}`}>{state}</span>

/** An instant as its distance from now, which goes on by itself; the instant itself is the title. */
export const Ago = ({ at }: { at: string }) => (
  <time dateTime={at} title={moment(at)}>
    {fromNow(at)}
  </time>
)

/** In a table: cut where it is long, and then whole as the title. */
export const Name = ({ children }: { children: string }) => (
  <span class="name" title={children}>
    {children}
  </span>
)

/** The args of jobs, for who may see them. */
export function Args({ args }: { args: unknown }) {
  if (!useMay('view-args')) return <p class="quiet">Hidden: it takes the permission “view-args”.</p>
  return <pre>{JSON.stringify(args, null, 2)}</pre>
}

/** A table that scrolls by itself when the screen is narrow. */
export function Table({
  label,
  head,
  children,
}: {
  label: string
  head: ComponentChildren
  children: ComponentChildren
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
    <section class="table" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>{head}</tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  )
}

interface ActionProps {
  readonly action: ActionName
  readonly permission: Permission
  readonly target: object
  readonly children: ComponentChildren
  /** What to say when it is done, perhaps with the jobs that it changed: "3 jobs". A job that was enqueued is named after it. */
  readonly done: string | ((changed: string) => string)
  /** A question to ask first. Without one it is done at once. */
  readonly confirm?: string
  readonly danger?: boolean
  readonly onDone?: () => void
}

/** A button that changes something; not there for who may not do it. */
export function Action({ action, permission, target, children, done, confirm, danger = false, onDone }: ActionProps) {
  const session = useContext(SessionContext)
  const notify = useContext(NoticeContext)
  const [isAsking, setAsking] = useState(false)
  const [isBusy, setBusy] = useState(false)
  if (!useMay(permission)) return null
  const run = async () => {
    setAsking(false)
    setBusy(true)
    try {
      const { jobs: changed, ...more } = await act(session, action, target)
      const said = typeof done === 'string' ? done : done(jobs(changed))
      notify(changed === 0 ? 'Nothing to do: somebody, or a worker, was faster.' : said, more)
      onDone?.()
    } catch (error) {
      notify((error as Error).message, { isBad: true })
    } finally {
      setBusy(false)
    }
  }
  return (
    <>
      <button
        type="button"
        class={danger ? 'danger' : ''}
        disabled={isBusy}
        onClick={() => (confirm ? setAsking(true) : void run())}
      >
        {children}
      </button>
      {isAsking && (
        <Dialog title={confirm!} onClose={() => setAsking(false)}>
          <button type="button" onClick={() => setAsking(false)}>
            Keep as it is
          </button>
          <button type="button" class={danger ? 'danger filled' : 'filled'} onClick={() => void run()}>
            {children}
          </button>
        </Dialog>
      )}
    </>
  )
}

/** A modal question. Escape closes it, and the focus goes back where it was. */
export function Dialog({
  title,
  children,
  onClose,
}: {
  title: string
  children: ComponentChildren
  onClose: () => void
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const focused = document.activeElement as HTMLElement | null
    return () => focused?.focus()
  }, [])
  // Each time: where there is no moveBefore(), a list that is sorted anew takes it out and puts it in again, modal no more.
  useEffect(() => {
    if (dialog.current!.matches(':modal')) return
    dialog.current!.open = false
    dialog.current!.showModal()
  })
  return (
    <dialog ref={dialog} onClose={onClose} aria-label={plain(title)}>
      <p>{plain(title)}</p>
      <div class="dialog-buttons">{children}</div>
    </dialog>
  )
}

/** A text field that reports what was typed once the typing has paused. */
export function Filter({
  label,
  value,
  onChange,
}: {
  label: string
  value: string
  onChange: (value: string) => void
}) {
  const [text, setText] = useState(value)
  useEffect(() => setText(value), [value])
  useEffect(() => {
    if (text === value) return
    const timer = setTimeout(() => onChange(text), 300)
    return () => clearTimeout(timer)
  }, [text])
  return (
    <label class="filter">
      <span>{label}</span>
      <input
        type="search"
        value={text}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => setText(event.currentTarget.value)}
      />
    </label>
  )
}

/** A choice of one of the values, or of none. */
export function Select({
  label,
  value,
  values,
  all,
  onChange,
}: {
  label: string
  value: string
  values: readonly string[]
  /** What choosing none means. */
  all: string
  onChange: (value: string) => void
}) {
  // What an address asks for is shown, also when there is nothing of it now.
  const shown = [...new Set([...values, ...(value ? [value] : [])])].sort()
  return (
    <label class="select">
      <span class="hidden">{label}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">{all}</option>
        {shown.map((one) => (
          <option key={one} value={one}>
            {one}
          </option>
        ))}
      </select>
    </label>
  )
}
