import stringWidth from 'string-width'

/** A column: its title, and how it is laid out. */
export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
  /** May be cut to fit the terminal, with an ellipsis; its cells have no colours then. Others are always shown whole. */
  readonly shrinks?: boolean
}

const GAP = '  '
const NARROWEST = 8

/**
 * A table without lines. Cells are safe texts on one line each; the rows fit `width` when there is one. Our own few lines:
 * cli-table3 took 11 s for 10,000 rows.
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width?: number): string {
  const widths = widthsOf(columns, rows)
  if (width) fit(columns, widths, width)
  const line = (cells: readonly string[]) =>
    columns
      .map((column, index) => laidOut(cells[index] ?? '', column, widths[index]!))
      .join(GAP)
      .trimEnd()
  return [columns.map(({ title }) => title), ...rows].map(line).join('\n')
}

/** The width of the terminal that stdout is, if it is one. */
export const terminalWidth = (): number | undefined => (process.stdout.isTTY ? process.stdout.columns : undefined)

const widthsOf = (columns: readonly Column[], rows: readonly (readonly string[])[]): number[] =>
  columns.map(({ title }, index) =>
    rows.reduce((widest, row) => Math.max(widest, widthOf(row[index] ?? '')), widthOf(title)),
  )

// Next to all cells are plain ASCII, of which string-width asks more than it needs.
const widthOf = (text: string): number => (/^[ -~]*$/.test(text) ? text.length : stringWidth(text))

/** Takes what is too much from the columns that may shrink, always from the widest. */
function fit(columns: readonly Column[], widths: number[], most: number): void {
  let excess = widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1)) - most
  for (; excess > 0; excess -= 1) {
    const widest = widths.reduce(
      (best, width, index) => (columns[index]!.shrinks && width > (widths[best] ?? NARROWEST) ? index : best),
      -1,
    )
    if (widest === -1) return
    widths[widest]! -= 1
  }
}

function laidOut(cell: string, { align, shrinks }: Column, width: number): string {
  const text = shrinks ? cut(cell, width) : cell
  const space = ' '.repeat(width - widthOf(text))
  return align === 'right' ? space + text : text + space
}

/** As many whole characters as fit, some of which are two columns wide. */
function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  let kept = ''
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    if (widthOf(kept + segment) > width - 1) break
    kept += segment
  }
  return `${kept}…`
}
