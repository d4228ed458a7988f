import { InvalidOptionError } from '@pgq/core'
import type { Metric, Registry, RegistryContentType } from 'prom-client'

/** One value of a metric. metricName: of the parts of a histogram, which have names of their own. */
export interface Sample {
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  readonly metricName?: string
}

export interface MetricDefinition {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  /** The values of this moment. */
  read(): readonly Sample[] | Promise<readonly Sample[]>
}

/**
 * A metric whose values are read when it is scraped. prom-client's own counters and histograms make a text of all labels with
 * every event, 2 us for each job; a plain number that is read later costs a tenth of that.
 */
class ScrapedMetric {
  name: string // the registry takes _total off for OpenMetrics
  readonly aggregator = 'sum'

  constructor(private readonly definition: MetricDefinition) {
    this.name = definition.name
  }

  get type(): string {
    return this.definition.type
  }

  async get() {
    const { type, help } = this.definition
    return { name: this.name, type, help, aggregator: this.aggregator, values: await this.definition.read() }
  }

  /** Its values are not the registry's to reset. */
  reset(): void {}
}

/** A prom-client registry, of either content type. */
export type MetricsRegistry = Registry<RegistryContentType>

/** Registers the metrics; throws InvalidOptionError for no registry, and for one that has one of these names. Answers how to take them out again. */
export function registerMetrics(registry: MetricsRegistry, definitions: readonly MetricDefinition[]): () => void {
  if (typeof registry?.getSingleMetric !== 'function') {
    throw new InvalidOptionError('registry must be one of prom-client: its register, or a new Registry().')
  }
  for (const { name } of definitions) {
    if (registry.getSingleMetric(name)) {
      throw new InvalidOptionError(`The registry has a metric ${name} already: give another registry.`)
    }
  }
  // A registry asks no more of a metric than this; its types name the classes of prom-client.
  for (const definition of definitions) {
    registry.registerMetric(new ScrapedMetric(definition) as unknown as Metric<string>)
  }
  return () => {
    for (const { name } of definitions) registry.removeSingleMetric(name)
  }
}
