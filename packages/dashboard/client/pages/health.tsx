import type { Finding, Health } from '@pgq/monitor'
import type { Polled, Wire } from '../api.js'
import { duration, plain } from '../format.js'
import { linkTo } from '../route.js'
import { Empty, Heading, Loaded, Table } from '../ui.js'

export type HealthAnswer = Wire<Health>

const TITLES: Record<HealthAnswer['status'], string> = {
  ok: 'All is well',
  warning: 'Worth a look',
  critical: 'Needs somebody now',
}

export function HealthPage({ health }: { health: Polled<HealthAnswer> }) {
  return (
    <>
      <Heading title="Health">
        {health.data && <span class={`state state-${health.data.status}`}>{TITLES[health.data.status]}</span>}
      </Heading>
      <Loaded of={health}>
        {({ findings, unseen }) => (
          <>
            {findings.length === 0 && (
              <Empty title="Nothing found">
                Looked for old backlogs, lost workers, unknown tasks, locks, dead rows and what keeps them, connections,
                and numbers that run out.
              </Empty>
            )}
            {findings.map((finding) => (
              // Each code is there once; the message holds ages.
              <FindingCard key={finding.code} finding={finding} />
            ))}
            {unseen.length > 0 && (
              <section class="card unseen">
                <h2>Could not be looked at</h2>
                {unseen.map((text) => (
                  <p key={text} class="quiet">
                    {text}
                  </p>
                ))}
              </section>
            )}
          </>
        )}
      </Loaded>
    </>
  )
}

function FindingCard({ finding }: { finding: Wire<Finding> }) {
  const { code, severity, message, meaning, remedy, evidence } = finding
  const columns = Object.keys(evidence[0] ?? {})
  return (
    <article class={`card finding finding-${severity}`}>
      <header>
        <span class={`state state-${severity}`}>{severity}</span>
        <code class="quiet">{code}</code>
      </header>
      <h2>{plain(message)}</h2>
      <p class="quiet">{meaning}</p>
      <p>
        <b>What to do:</b> {plain(remedy)}
      </p>
      {columns.length > 0 && (
        <details>
          <summary>What this rests on</summary>
          <Table label="Evidence" head={columns.map((name) => <th key={name}>{name.replace(/Ms$/, '')}</th>)}>
            {evidence.map((line, index) => (
              // Lines have no key of their own, and keep their order.
              <tr key={`${index} ${line[columns[0]!]}`}>
                {columns.map((name) => (
                  <td key={name}>{shown(name, line[name] ?? null)}</td>
                ))}
              </tr>
            ))}
          </Table>
        </details>
      )}
    </article>
  )
}

function shown(name: string, value: string | number | boolean | null): string {
  if (value === null) return '–'
  return name.endsWith('Ms') ? duration(Number(value)) : String(value)
}

/** The worst finding in a line, for the overview; nothing when all is well. */
export function Worst({ health: { status, findings } }: { health: HealthAnswer }) {
  if (status === 'ok') return null
  const more = findings.filter(({ severity }) => severity !== 'info').length - 1
  return (
    <a class={`card worst finding-${status}`} href={linkTo('health')}>
      <span class={`state state-${status}`}>{TITLES[status]}</span>
      <span class="worst-text">{plain(findings[0]!.message)}</span>
      {more > 0 && <span class="quiet">and {more} more</span>}
    </a>
  )
}
