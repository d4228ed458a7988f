import type { WorkerEvents } from '@pgq/worker'
import type { ObservedEvents, ObservedJob, ObservedWorker } from '../src/prometheus.js'

/** Emits what a worker would emit. */
export class FakeWorker implements ObservedWorker {
  running: ObservedJob[] = []
  readonly #observers: { readonly name: string; readonly observer: (event: never) => void }[] = []

  on<Name extends keyof ObservedEvents>(name: Name, observer: (event: ObservedEvents[Name]) => void): () => void {
    this.#observers.push({ name, observer })
    return () => {}
  }

  emit<Name extends keyof ObservedEvents>(name: Name, event: ObservedEvents[Name] & Partial<WorkerEvents[Name]>): void {
    for (const one of this.#observers) if (one.name === name) one.observer(event as never)
  }
}
