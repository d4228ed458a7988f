import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { count, duration } from './format.js'
import 'uplot/dist/uPlot.min.css'

/** One line of a chart. */
export interface Line {
  readonly label: string
  /** A class that sets its colour: see styles.css. */
  readonly tone: 'blue' | 'green' | 'amber' | 'red' | 'violet'
  readonly values: readonly (number | null)[]
  readonly filled?: boolean
}

interface ChartProps {
  readonly title: string
  /** Instants in ms, one per value. */
  readonly at: readonly number[]
  readonly lines: readonly Line[]
  /** Numbers, or lengths of time in ms. */
  readonly unit: 'number' | 'time'
  /** Follows the title. */
  readonly note?: string
}

const HEIGHT = 150

const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000]

const UNITS: Record<ChartProps['unit'], { format(value: number): string; incrs?: number[] }> = {
  number: { format: (value: number) => count(Math.round(value * 10) / 10) },
  time: {
    format: duration,
    // What people count time in: steps of 500,000 ms would be at 8 min 20 s and 16 min 40 s.
    incrs: [
      ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
      ...[1, 2, 5, 10, 15, 30].map((seconds) => seconds * SECOND),
      ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE),
      ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR),
      ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((days) => days * DAY),
    ],
  },
}

/** Lines over time. What the last point says stands in words below the title, so that nobody needs to see the lines. */
export function Chart({ title, at, lines, unit, note }: ChartProps) {
  const box = useRef<HTMLDivElement>(null)
  const legend = useRef<HTMLUListElement>(null)
  const plot = useRef<uPlot>(null)
  const data = [at.map((ms) => ms / 1_000), ...lines.map(({ values }) => values)] as uPlot.AlignedData
  const newest = useRef(data)
  newest.current = data

  useEffect(() => {
    const element = box.current
    // Gone again before it was ever drawn.
    if (!element) return
    const draw = () => {
      plot.current?.destroy()
      plot.current = new uPlot(optionsOf(element, legend.current!, lines, unit), newest.current, element)
    }
    draw()
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }))
    resized.observe(element)
    // Colours are read once, when the plot is made.
    const dark = matchMedia('(prefers-color-scheme: dark)')
    dark.addEventListener('change', draw)
    addEventListener('themechange', draw)
    return () => {
      resized.disconnect()
      dark.removeEventListener('change', draw)
      removeEventListener('themechange', draw)
      plot.current?.destroy()
      plot.current = null
    }
  }, [])
  useEffect(() => plot.current?.setData(data), [data])

  return (
    <figure class="card chart" aria-label={title}>
      <figcaption>
        <h2>
          {title} {note && <span class="quiet">{note}</span>}
        </h2>
        <ul class="legend" ref={legend}>
          {lines.map(({ label, tone, values }) => (
            <li key={label} class={`tone-${tone}`}>
              <span class="dot" aria-hidden="true" />
              {label} <b>{lastOf(values, UNITS[unit].format)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div class="plot" ref={box} aria-hidden="true" />
    </figure>
  )
}

function lastOf(values: readonly (number | null)[], format: (value: number) => string): string {
  const last = values.findLast((value) => value !== null)
  return last === undefined || last === null ? '–' : format(last)
}

function optionsOf(
  box: HTMLElement,
  legend: HTMLElement,
  lines: readonly Line[],
  unit: ChartProps['unit'],
): uPlot.Options {
  const { format, ...steps } = UNITS[unit]
  const text = getComputedStyle(box).color
  const grid = getComputedStyle(box).borderTopColor
  const axis = { stroke: text, font: '11px system-ui, sans-serif', ticks: { show: false } }
  return {
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    padding: [8, 28, 0, 0],
    scales: {
      y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 30,
        gap: 9,
        space: 70,
        values: (_plot, seconds) => seconds.map((value) => clock(value, seconds.at(-1)! - seconds[0]! < 600)),
      },
      {
        ...axis,
        ...steps,
        grid: { stroke: grid, width: 1 },
        size: 68,
        space: 28,
        values: (_plot, values) => values.map((value) => format(value)),
      },
    ],
    series: [{}, ...lines.map((line, index) => seriesOf(line, getComputedStyle(legend.children[index]!).color))],
  }
}

function clock(seconds: number, isShort: boolean): string {
  return new Date(seconds * 1_000).toTimeString().slice(0, isShort ? 8 : 5)
}

const seriesOf = ({ label, filled }: Line, colour: string): uPlot.Series => ({
  label,
  stroke: colour,
  width: 1.75,
  spanGaps: false,
  // One value alone is no line.
  points: { show: true, size: 5, fill: colour, filter: (plot, index) => aloneIn(plot.data[index]!) },
  ...(filled && { fill: colour.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.12)') }),
})

/** The places of values that have none beside them. */
const aloneIn = (values: uPlot.AlignedData[number]): number[] =>
  [...values.keys()].filter((place) => values[place] != null && values[place - 1] == null && values[place + 1] == null)
