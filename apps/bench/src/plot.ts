import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BarChart } from 'echarts/charts'
import { GridComponent, TitleComponent } from 'echarts/components'
import { init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import { formatFigure, type Run, spreadOf, systemsIn } from './report.js'
import type { Scenario } from './scenarios/scenario.js'

use([BarChart, GridComponent, TitleComponent, SVGRenderer])

const OURS = '#2563eb'
const OTHERS = '#94a3b8'
const ROW_HEIGHT = 34

/** Writes one SVG file for each scenario that ran: a bar for each system's median in the first column. */
export function writeCharts(folder: string, scenarios: readonly Scenario[], runs: readonly Run[]): void {
  mkdirSync(folder, { recursive: true })
  for (const scenario of scenarios) {
    const systems = systemsIn(runs, scenario.name)
    if (systems.length === 0) continue
    writeFileSync(join(folder, `${scenario.name.replaceAll('/', '-')}.svg`), chartOf(scenario, systems, runs))
  }
}

function chartOf(scenario: Scenario, systems: readonly string[], runs: readonly Run[]): string {
  const column = scenario.columns[0]!
  const bars = systems.map((system) => {
    const value = spreadOf(runs, scenario.name, system, column.key)?.median
    return {
      value: value ?? 0,
      itemStyle: { color: system === 'pgq' ? OURS : OTHERS },
      label: {
        show: true,
        position: 'right' as const,
        formatter: value === undefined ? '-' : formatFigure(column, value),
      },
    }
  })
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: 760, height: 80 + systems.length * ROW_HEIGHT })
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: {
      text: scenario.title,
      subtext: column.title,
      textStyle: { fontSize: 14, width: 740, overflow: 'truncate' },
    },
    grid: { left: 130, right: 90, top: 60, bottom: 10 },
    xAxis: { type: 'value', axisLabel: { show: false }, splitLine: { show: false } },
    yAxis: { type: 'category', data: systems, inverse: true, axisTick: { show: false } },
    series: [{ type: 'bar', data: bars, barWidth: 18 }],
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}
