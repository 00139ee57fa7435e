/** The series of the metrics of calls: those of one model together, each looked up once. */
import type * as Context from "effect/Context"
import type * as Metric from "effect/Metric"
import { counter, type Definition, gauge, histogram, labels, metrics } from "../../internal/metrics.ts"
import type { Usage } from "../../Usage.ts"

type Counters = { readonly [Value in string]: Metric.Counter<number> }

/** One counter for each value of its second label. */
const each = <D extends Definition>(
  definition: D,
  name: string,
  values: ReadonlyArray<string>,
  model: string
): Counters =>
  Object.fromEntries(
    values.map((value) => [value, counter<Definition>(definition, { model, [name]: value })])
  )

export class ModelSeries {
  readonly model: string
  readonly requests: Counters
  readonly attempts: Counters
  readonly retries: Counters
  readonly giveUps: Counters
  readonly tokens: Counters
  readonly latency: Metric.Histogram<number>
  readonly firstToken: Metric.Histogram<number>
  readonly cost: Metric.Counter<number>
  readonly unpriced: Metric.Counter<number>
  private readonly errors = new Map<string, Metric.Counter<number>>()

  constructor(model: string) {
    this.model = model
    this.requests = each(metrics.requests, "status", labels.status, model)
    this.attempts = each(metrics.attempts, "outcome", labels.outcome, model)
    this.retries = each(metrics.retries, "reason", labels.retry, model)
    this.giveUps = each(metrics.giveUps, "reason", labels.giveUp, model)
    this.tokens = each(metrics.tokens, "type", labels.type, model)
    this.latency = histogram(metrics.latency, { model })
    this.firstToken = histogram(metrics.firstToken, { model })
    this.cost = counter(metrics.cost, { model })
    this.unpriced = counter(metrics.unpriced, { model })
  }

  error(error: string, fault: string): Metric.Counter<number> {
    const key = `${error} ${fault}`
    const series = this.errors.get(key) ?? counter(metrics.errors, { model: this.model, error, fault })
    this.errors.set(key, series)
    return series
  }

  addUsage(usage: Usage, services: Context.Context<never>): void {
    const { tokens } = this
    if (usage.inputTokens > 0) tokens["input"]!.updateUnsafe(usage.inputTokens, services)
    if (usage.outputTokens > 0) tokens["output"]!.updateUnsafe(usage.outputTokens, services)
    if (usage.cacheReadTokens > 0) tokens["cache_read"]!.updateUnsafe(usage.cacheReadTokens, services)
    if (usage.cacheWrite5mTokens > 0) tokens["cache_write_5m"]!.updateUnsafe(usage.cacheWrite5mTokens, services)
    if (usage.cacheWrite1hTokens > 0) tokens["cache_write_1h"]!.updateUnsafe(usage.cacheWrite1hTokens, services)
  }
}

/** The series of all calls together. */
export class Series {
  readonly active = gauge(metrics.active, {})
  readonly overhead = histogram(metrics.overhead, {})
  private readonly models = new Map<string, ModelSeries>()
  private readonly isKnown: (model: string) => boolean

  constructor(isKnown: (model: string) => boolean) {
    this.isKnown = isKnown
  }

  /** Of a model of the catalogue by its id; any other is `other`. */
  of(id: string): ModelSeries {
    const known = this.models.get(id)
    if (known !== undefined) return known
    const label = this.isKnown(id) ? id : "other"
    const series = this.models.get(label) ?? new ModelSeries(label)
    this.models.set(label, series)
    return series
  }
}
