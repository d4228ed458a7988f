import { MultiBar, Presets } from 'cli-progress'

const BAR_EVERY_MS = 100
const LINE_EVERY_MS = 2_000

/** Something that is counted up to a total. */
export interface Quantity {
  readonly name: string
  readonly total: number
  done(): number
}

type Output = NodeJS.WritableStream & { readonly isTTY?: boolean }

/** A bar for each on a terminal; elsewhere a line every two seconds. Answers how to end it, with the last figures. */
export function showProgress(quantities: readonly Quantity[], output: Output = process.stdout): () => void {
  const { show, stop } = output.isTTY ? bars(quantities, output) : lines(quantities, output)
  const timer = setInterval(show, output.isTTY ? BAR_EVERY_MS : LINE_EVERY_MS)
  return () => {
    clearInterval(timer)
    show()
    stop()
  }
}

const soFar = ({ total, done }: Quantity) => Math.min(total, done())

function bars(quantities: readonly Quantity[], stream: Output) {
  const format = '{name} {bar} {percentage}%  {value}/{total}  {duration_formatted}'
  const all = new MultiBar({ format, hideCursor: true, stream }, Presets.shades_classic)
  const own = quantities.map(({ name, total }) => all.create(total, 0, { name: name.padEnd(6) }))
  return {
    show: () => quantities.forEach((quantity, index) => void own[index]!.update(soFar(quantity))),
    stop: () => all.stop(),
  }
}

function lines(quantities: readonly Quantity[], output: Output) {
  const figures = () => quantities.map((quantity) => `${quantity.name} ${soFar(quantity)}/${quantity.total}`)
  return {
    show: () => void output.write(`${figures().join('   ')}\n`),
    stop: () => {},
  }
}
