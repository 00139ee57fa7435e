/** The series of the metrics of calls, ours and those of the conventions: those of one model together, each looked up once. */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { AttemptCost } from "../../Attempt.ts"
import { counter, type Definition, gauge, histogram, labels, metrics } from "../../internal/metrics.ts"
import type { Catalogue } from "../../Model.ts"
import { promptTokens } from "../../Usage.ts"
import type { CallRecord, WaitReason } from "./events.ts"
import { boundaries, type Conventions, conventions, type Instrument, serverOf } from "./genAi.ts"
import { History } from "./totals.ts"

type Attributes = Readonly<Record<string, string>>

/** Effect's exporters take the unit from an attribute of this name. */
const seriesOf = (
  { description, name, type, unit }: Instrument,
  attributes: Attributes
): Metric.Metric<number, unknown> =>
  type === "counter"
    ? Metric.counter(name, { description, incremental: true, attributes: { ...attributes, unit } })
    : Metric.histogram(name, { description, boundaries: boundaries[unit], attributes: { ...attributes, unit } })

/** What a call for a message adds to the metrics of the conventions. */
type Recording = (record: CallRecord, services: Context.Context<never>) => void

const byVersion: Readonly<Record<Conventions, (attributes: Attributes, ended: Attributes) => Recording>> = {
  current: (attributes, ended) => {
    const { metrics } = conventions.current
    const seconds = seriesOf(metrics.duration, ended)
    const chunk = seriesOf(metrics.firstChunk, attributes)
    const input = seriesOf(metrics.usage, { ...attributes, "gen_ai.token.type": "input" })
    const output = seriesOf(metrics.usage, { ...attributes, "gen_ai.token.type": "output" })
    return ({ attempts, firstTokenMillis, latencyMillis, usage }, services) => {
      seconds.updateUnsafe(latencyMillis / 1_000, services)
      if (firstTokenMillis !== undefined) chunk.updateUnsafe(firstTokenMillis / 1_000, services)
      if (attempts === 0) return
      const prompt = promptTokens(usage)
      if (prompt + usage.outputTokens === 0) return
      input.updateUnsafe(prompt, services)
      output.updateUnsafe(usage.outputTokens, services)
    }
  },
  latest: (attributes, ended) => {
    const { metrics } = conventions.latest
    const seconds = seriesOf(metrics.duration, ended)
    const chunk = seriesOf(metrics.firstChunk, attributes)
    // The API does not say what each kind of content took.
    const counted = { ...attributes, "gen_ai.token.modality": "unknown" }
    const input = seriesOf(metrics.input, counted)
    const output = seriesOf(metrics.output, counted)
    const cacheRead = seriesOf(metrics.cacheRead, counted)
    const cacheWrite = seriesOf(metrics.cacheWrite, counted)
    const reasoning = seriesOf(metrics.reasoning, counted)
    const inputSize = seriesOf(metrics.inputSize, attributes)
    const outputSize = seriesOf(metrics.outputSize, attributes)
    return ({ firstTokenMillis, latencyMillis, usage }, services) => {
      seconds.updateUnsafe(latencyMillis / 1_000, services)
      if (firstTokenMillis !== undefined) chunk.updateUnsafe(firstTokenMillis / 1_000, services)
      // Failed operations are recorded with 0.
      input.updateUnsafe(promptTokens(usage), services)
      output.updateUnsafe(usage.outputTokens, services)
      cacheRead.updateUnsafe(usage.cacheReadTokens, services)
      cacheWrite.updateUnsafe(usage.cacheWrite5mTokens + usage.cacheWrite1hTokens, services)
      reasoning.updateUnsafe(usage.thinkingTokens, services)
      inputSize.updateUnsafe(promptTokens(usage), services)
      outputSize.updateUnsafe(usage.outputTokens, services)
    }
  }
}

/** The most sets of attributes; a call beyond them counts as one of other models. */
const maxSets = 500

/** The series of the conventions, by the labels of the model that was asked and of the one that served, and by the error. */
class GenAi {
  private readonly version: Conventions
  private readonly server: Attributes
  private readonly sets = new Map<string, Recording>()

  constructor(version: Conventions, baseUrl: string) {
    this.version = version
    const server = serverOf(baseUrl)
    this.server = server === undefined
      ? {}
      : { "server.address": server.address, "server.port": String(server.port) }
  }

  of(model: string, served: string | undefined, error: string | undefined): Recording {
    const known = this.sets.get(`${model} ${served} ${error}`)
    if (known !== undefined) return known
    return this.sets.size < maxSets || (model === "other" && served === "other")
      ? this.add(model, served, error)
      : this.of("other", "other", error && "other")
  }

  private add(model: string, served: string | undefined, error: string | undefined): Recording {
    const attributes: Attributes = {
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "anthropic",
      "gen_ai.request.model": model,
      ...(served === undefined ? undefined : { "gen_ai.response.model": served }),
      ...this.server
    }
    const recording = byVersion[this.version](
      attributes,
      error === undefined ? attributes : { ...attributes, "error.type": error === "other" ? "_OTHER" : error }
    )
    this.sets.set(`${model} ${served} ${error}`, recording)
    return recording
  }
}

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
  /** From the first time on that a call left the model for another. */
  private left: Counters | undefined
  /** From the first second attempt on. */
  private raced: Counters | undefined
  readonly firstToken: Metric.Histogram<number>
  private readonly requests: Counters
  private readonly tokens: Counters
  private readonly latency: Metric.Histogram<number>
  private readonly cost: Metric.Counter<number>
  private readonly unpriced: Metric.Counter<number>
  private readonly cacheSaved: Metric.Counter<number>
  private readonly cacheMissed: Metric.Counter<number>
  private readonly errors = new Map<string, Metric.Counter<number>>()
  private readonly recordingOf: (served: string | undefined, error: string | undefined) => Recording
  /** That of the last call for a message: most are alike. */
  private last:
    | { readonly served: string | undefined; readonly error: string | undefined; readonly record: Recording }
    | undefined
  /** What its calls added up to, from the first one on that ended. */
  history: History | undefined

  constructor(model: string, recordingOf: ModelSeries["recordingOf"]) {
    this.model = model
    this.recordingOf = recordingOf
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

  get hedges(): Counters {
    return this.raced ??= each(metrics.hedges, "outcome", labels.hedge, this.model)
  }

  get fallbacks(): Counters {
    return this.left ??= each(metrics.fallbacks, "reason", labels.fallback, this.model)
  }

  /** A call has ended. */
  ended(call: CallRecord, now: number, services: Context.Context<never>): void {
    const { error, fault, latencyMillis, servedModel: served, status } = call
    this.history ??= new History()
    this.history.add(call, now)
    this.requests[status]!.updateUnsafe(1, services)
    this.latency.updateUnsafe(latencyMillis / 1_000, services)
    if (call.operation === "chat") {
      if (this.last === undefined || this.last.served !== served || this.last.error !== error) {
        this.last = { served, error, record: this.recordingOf(served, error) }
      }
      this.last.record(call, services)
    }
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
const maxLength = 100

/** The series of all calls together, and those of each model. */
export class Series {
  readonly active = gauge(metrics.active, {})
  readonly overhead = histogram(metrics.overhead, {})
  private readonly waits = new Map<string, Metric.Histogram<number>>()
  private readonly names = new Map<string, ModelSeries>()
  private readonly find: Catalogue["find"]
  private readonly services: Context.Context<never>
  private readonly genAi: GenAi
  private readonly tenantLabel: (tenant: string | undefined) => string

  constructor(
    find: Catalogue["find"],
    tenantLabel: (tenant: string | undefined) => string,
    services: Context.Context<never>,
    version: Conventions,
    baseUrl: string
  ) {
    this.find = find
    this.tenantLabel = tenantLabel
    this.services = services
    this.genAi = new GenAi(version, baseUrl)
  }

  /** Of each model with a call that has ended, by its label. */
  get histories(): ReadonlyMap<string, History> {
    const all = [...this.names.values()].flatMap(({ history, model }) =>
      history === undefined ? [] : [[model, history] as const]
    )
    return new Map(all)
  }

  wait(reason: WaitReason, priority: string, of: string | undefined): Metric.Histogram<number> {
    const tenant = this.tenantLabel(of)
    const key = `${reason} ${priority} ${tenant}`
    const series = this.waits.get(key) ?? histogram(metrics.waits, { for: reason, priority, tenant })
    this.waits.set(key, series)
    return series
  }

  /** Of a model by its id or an alias. */
  of(name: string): ModelSeries {
    const known = this.names.get(name)
    if (known !== undefined) return known
    const label = this.labelOf(name)
    const series = this.names.get(label) ?? this.add(label)
    if (this.names.size < maxNames && name.length <= maxLength) this.names.set(name, series)
    return series
  }

  /** The label of a model: one of the catalogue by its id, else `other`. */
  private labelOf(model: string): string {
    return this.find(model)?.id ?? "other"
  }

  private add(model: string): ModelSeries {
    const series = new ModelSeries(
      model,
      (served, error) => this.genAi.of(model, served === undefined ? undefined : this.labelOf(served), error)
    )
    const { retiresOn } = this.find(model) ?? {}
    if (retiresOn !== undefined) {
      gauge(metrics.retirement, { model }).updateUnsafe(Date.parse(retiresOn) / 1_000, this.services)
    }
    this.names.set(model, series)
    return series
  }
}
