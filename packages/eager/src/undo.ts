/** Ends what the call that answered it began. Call it, or let `using` do so; a second call does nothing. */
export interface Undo extends Disposable {
  (): void
}

export function undoOnce(undo: () => void): Undo {
  let done = false
  const once = () => {
    if (!done) undo()
    done = true
  }
  return Object.assign(once, { [Symbol.dispose]: once })
}
