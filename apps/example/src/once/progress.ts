import { MultiBar, Presets } from 'cli-progress'

const BAR_EVERY_MS = 100
const LINE_EVERY_MS = 2_000

/** Something that is counted up to a total. */
export interface Quantity {
  readonly name: string
  readonly total: number
  done(): number
}

/** A bar for each on a terminal; elsewhere a line every two seconds. Answers how to end it, with the last figures. */
export function showProgress(quantities: readonly Quantity[]): () => void {
  const { show, stop } = process.stdout.isTTY ? bars(quantities) : lines(quantities)
  const timer = setInterval(show, process.stdout.isTTY ? BAR_EVERY_MS : LINE_EVERY_MS)
  return () => {
    clearInterval(timer)
    show()
    stop()
  }
}

const soFar = ({ total, done }: Quantity) => Math.min(total, done())

function bars(quantities: readonly Quantity[]) {
  const format = '{name} {bar} {percentage}%  {value}/{total}  {duration_formatted}'
  const all = new MultiBar({ format, hideCursor: true, stream: process.stdout }, Presets.shades_classic)
  const own = quantities.map(({ name, total }) => all.create(total, 0, { name: name.padEnd(6) }))
  return {
    show: () => quantities.forEach((quantity, index) => void own[index]!.update(soFar(quantity))),
    stop: () => all.stop(),
  }
}

const lines = (quantities: readonly Quantity[]) => ({
  show: () =>
    console.log(quantities.map((quantity) => `${quantity.name} ${soFar(quantity)}/${quantity.total}`).join('   ')),
  stop: () => {},
})
