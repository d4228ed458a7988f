import Table from 'cli-table3'
import stringWidth from 'string-width'

/** A column: its title, and how it is laid out. */
export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
  /** May be cut to fit the terminal, with an ellipsis. Others are always shown whole. */
  readonly shrinks?: boolean
}

const GAP = 2
const NARROWEST = 8

/** A table without lines. Cells are safe texts on one line each; the rows fit `width` when there is one. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width?: number): string {
  const colWidths = widthsOf(columns, rows)
  if (width) fit(columns, colWidths, width)
  const drawn = new Table({
    head: columns.map(({ title }) => title),
    colAligns: columns.map(({ align = 'left' }) => align),
    colWidths,
    chars: NO_LINES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  })
  drawn.push(...rows.map((row) => [...row]))
  return drawn.toString().replaceAll(/ +$/gm, '')
}

/** The width of the terminal that stdout is, if it is one. */
export const terminalWidth = (): number | undefined => (process.stdout.isTTY ? process.stdout.columns : undefined)

const widthsOf = (columns: readonly Column[], rows: readonly (readonly string[])[]): number[] =>
  columns.map(({ title }, index) =>
    rows.reduce((widest, row) => Math.max(widest, stringWidth(row[index] ?? '')), stringWidth(title)),
  )

/** Takes what is too much from the columns that may shrink, always from the widest. */
function fit(columns: readonly Column[], widths: number[], most: number): void {
  let excess = widths.reduce((sum, width) => sum + width, GAP * (widths.length - 1)) - most
  for (; excess > 0; excess -= 1) {
    const widest = widths.reduce(
      (best, width, index) => (columns[index]!.shrinks && width > (widths[best] ?? NARROWEST) ? index : best),
      -1,
    )
    if (widest === -1) return
    widths[widest]! -= 1
  }
}

const NO_LINES = {
  ...{ top: '', 'top-mid': '', 'top-left': '', 'top-right': '' },
  ...{ bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' },
  ...{ left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '' },
  middle: ' '.repeat(GAP),
}
