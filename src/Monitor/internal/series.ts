/** The series of the metrics of calls: those of one model together, each looked up once. */
import type * as Context from "effect/Context"
import type * as Metric from "effect/Metric"
import type { AttemptCost } from "../../Attempt.ts"
import { counter, type Definition, gauge, histogram, labels, metrics } from "../../internal/metrics.ts"
import type { Catalogue } from "../../Model.ts"
import type { CallRecord, WaitReason } from "./events.ts"

type Counters = Readonly<Record<string, Metric.Counter<number>>>

/** One counter for each value of its second label. */
const each = (definition: Definition, name: string, values: ReadonlyArray<string>, model: string): Counters =>
  Object.fromEntries(values.map((value) => [value, counter<Definition>(definition, { model, [name]: value })]))

export class ModelSeries {
  /** The label: a model of the catalogue by its id, else `other`. */
  readonly model: string
  readonly attempts: Counters
  readonly retries: Counters
  readonly giveUps: Counters
  readonly firstToken: Metric.Histogram<number>
  private readonly requests: Counters
  private readonly tokens: Counters
  private readonly latency: Metric.Histogram<number>
  private readonly cost: Metric.Counter<number>
  private readonly unpriced: Metric.Counter<number>
  private readonly cacheSaved: Metric.Counter<number>
  private readonly cacheMissed: Metric.Counter<number>
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
    this.cacheSaved = counter(metrics.cacheSaved, { model })
    this.cacheMissed = counter(metrics.cacheMissed, { model })
  }

  /** A call has ended. */
  ended({ error, fault, latencyMillis, status }: CallRecord, services: Context.Context<never>): void {
    this.requests[status]!.updateUnsafe(1, services)
    this.latency.updateUnsafe(latencyMillis / 1_000, services)
    if (error === undefined || fault === undefined) return
    const key = `${error} ${fault}`
    const series = this.errors.get(key) ?? counter(metrics.errors, { model: this.model, error, fault })
    this.errors.set(key, series)
    series.updateUnsafe(1, services)
  }

  /** An attempt that was sent has ended. */
  add({ cost, usage }: AttemptCost, services: Context.Context<never>): void {
    const { tokens } = this
    const { cacheReadTokens, cacheWrite1hTokens, cacheWrite5mTokens, inputTokens, outputTokens } = usage
    if (inputTokens > 0) tokens["input"]!.updateUnsafe(inputTokens, services)
    if (outputTokens > 0) tokens["output"]!.updateUnsafe(outputTokens, services)
    if (cacheReadTokens > 0) tokens["cache_read"]!.updateUnsafe(cacheReadTokens, services)
    if (cacheWrite5mTokens > 0) tokens["cache_write_5m"]!.updateUnsafe(cacheWrite5mTokens, services)
    if (cacheWrite1hTokens > 0) tokens["cache_write_1h"]!.updateUnsafe(cacheWrite1hTokens, services)
    if (cost === undefined) return this.unpriced.updateUnsafe(1, services)
    this.cost.updateUnsafe(cost.nanoUsd / 1e9, services)
    if (cost.cacheSavedNanoUsd > 0) this.cacheSaved.updateUnsafe(cost.cacheSavedNanoUsd / 1e9, services)
    if (cacheReadTokens + cacheWrite5mTokens + cacheWrite1hTokens === 0) return
    const { cacheWrite1h, cacheWrite5m, input } = cost.picoUsd
    this.cacheMissed.updateUnsafe((input + cacheWrite5m + cacheWrite1h) / 1e12, services)
  }
}

/** The most models that are remembered by the names that were asked for; series are fewer, since those that nobody knows share one. */
const maxNames = 1_000

/** The series of all calls together, and those of each model. */
export class Series {
  readonly active = gauge(metrics.active, {})
  readonly overhead = histogram(metrics.overhead, {})
  private readonly waits = new Map<string, Metric.Histogram<number>>()
  private readonly names = new Map<string, ModelSeries>()
  private readonly find: Catalogue["find"]
  private readonly services: Context.Context<never>

  constructor(find: Catalogue["find"], services: Context.Context<never>) {
    this.find = find
    this.services = services
  }

  wait(reason: WaitReason, priority: string): Metric.Histogram<number> {
    const key = `${reason} ${priority}`
    const series = this.waits.get(key) ?? histogram(metrics.waits, { for: reason, priority })
    this.waits.set(key, series)
    return series
  }

  /** Of a model by its id or an alias. */
  of(name: string): ModelSeries {
    const known = this.names.get(name)
    if (known !== undefined) return known
    const label = this.labelOf(name)
    const series = this.names.get(label) ?? this.add(label)
    if (this.names.size < maxNames) this.names.set(name, series)
    return series
  }

  /** The label of a model: one of the catalogue by its id, else `other`. */
  labelOf(model: string): string {
    return this.find(model)?.id ?? "other"
  }

  private add(model: string): ModelSeries {
    const series = new ModelSeries(model)
    const { retiresOn } = this.find(model) ?? {}
    if (retiresOn !== undefined) {
      gauge(metrics.retirement, { model }).updateUnsafe(Date.parse(retiresOn) / 1_000, this.services)
    }
    this.names.set(model, series)
    return series
  }
}
