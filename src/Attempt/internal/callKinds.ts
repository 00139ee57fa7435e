/** What calls of one kind, a model and a request type, really use: learnt once for every policy from the calls that ended. */
import { BoundedMap } from "../../internal/boundedMap.ts"
import { nameOf } from "../../internal/text.ts"
import * as Model from "../../Model.ts"

/** `typicalOutput` is what this part of the calls stays within, and `highOutput` what nearly all do. */
const typicalPart = 0.7
const highPart = 0.98

/** Before so many answers, `highOutput` is `max_tokens`. */
const minimumCalls = 50

/** The server books input at once and a settlement gives back what was too much, so this quantile and its margin are careful. */
const inputPart = 0.95
const inputMargin = 1.05

/** The part of calls that produce a token in at most the time that is assumed. */
const pacePart = 0.9

/** Only this part of the longer answers is produced faster than what may have been produced in some time. Short ones take their time to begin. */
const fastPart = 0.1
const longOutput = 64

/** Where nothing is known: most answers are shorter, most models faster, and hardly any faster than the last. */
const firstOutput = 1_024
const firstMillisPerToken = 25
const firstFastMillisPerToken = 10

/** What one more answer weighs in the mean at least. */
const minimumWeight = 0.02

/** How many of the newest answers `longest` looks at. */
const recentCalls = 64

/** How much longer an answer would have been that `max_tokens` cut off. */
const cutFactor = 4

/** The most kinds that are known at once. */
const maxKinds = 1_000

/** The longest names that are kept as they were given. */
const maxKept = 1_024

/**
 * How long the newest 64 answers of calls of one kind were, in tokens. An answer that `max_tokens` cut off counts four times its length,
 * since nobody knows how long it would have been.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lengths {
  readonly calls: number
  readonly mean: number
  readonly longest: number
}

/** One call that ended. */
export interface Ended {
  readonly estimatedInputTokens: number
  /** Input that counted towards the limits. */
  readonly inputTokens: number
  readonly outputTokens: number
  /** From sending to the end; undefined where the instant of sending is not known. */
  readonly millis: number | undefined
  /** `max_tokens` ended the answer. */
  readonly isCut: boolean
}

/** A quantile, followed online in constant memory, in the logarithm: short answers are learnt as fast as long ones. */
class Quantile {
  value: number
  private readonly part: number
  private log: number
  private seen = 0

  constructor(part: number, start: number) {
    this.value = start
    this.part = part
    this.log = Math.log(start)
  }

  add(value: number): void {
    this.seen++
    const step = Math.max(0.05, 1 / (1 + this.seen / 4))
    const next = Math.log(Math.max(value, 1e-3))
    if (next === this.log) return
    const move = next > this.log ? this.part * step : (this.part - 1) * step
    // Never past the value itself, so that calls that are all alike are learnt exactly.
    this.log = next > this.log ? Math.min(next, this.log + move) : Math.max(next, this.log + move)
    this.value = Math.exp(this.log)
  }
}

/** Starts from what is known of all calls of its model, and teaches that in turn. */
export class CallKind {
  /** What the catalogue knows about the model. */
  readonly facts: Model.Model
  private readonly typical: Quantile
  private high: Quantile | undefined
  /** Input that counted, as a part of what was estimated: what the cache serves, and how far the estimate is off. */
  private readonly inputs: Quantile
  private readonly pace: Quantile
  private readonly fastPace: Quantile
  private readonly model: CallKind | undefined
  private calls = 0
  private mean = 0
  private readonly recent: Array<number> = []
  private oldest = 0

  constructor(facts: Model.Model = Model.unknown, model?: CallKind) {
    this.facts = facts
    this.typical = new Quantile(typicalPart, model?.typical.value ?? firstOutput)
    this.inputs = new Quantile(inputPart, model?.inputs.value ?? 1)
    this.pace = new Quantile(pacePart, model?.pace.value ?? firstMillisPerToken)
    this.fastPace = new Quantile(fastPart, model?.fastPace.value ?? firstFastMillisPerToken)
    this.model = model
  }

  /** Output tokens that most such calls stay within. */
  typicalOutput(maxOutputTokens: number): number {
    return Math.min(maxOutputTokens, Math.ceil(this.typical.value))
  }

  /** Output tokens that 98 % of such calls stay within, once 50 were seen. */
  highOutput(maxOutputTokens: number): number {
    if (this.high === undefined || this.calls < minimumCalls) return maxOutputTokens
    return Math.min(maxOutputTokens, Math.ceil(this.high.value))
  }

  /** Output tokens of such calls on average, else of all calls of the model; undefined before the first. */
  get meanOutput(): number | undefined {
    return this.calls > 0 ? Math.ceil(this.mean) : this.model?.meanOutput
  }

  /** Input tokens that will count, of so many estimated ones. */
  input(estimatedTokens: number): number {
    const part = this.inputs.value
    return Math.ceil(estimatedTokens * Math.max(part, Math.min(1, part * inputMargin)))
  }

  /** Output tokens that were probably produced so long after the call was sent. */
  producedIn(millis: number): number {
    return Math.floor(millis / this.pace.value)
  }

  /** Output tokens that such a call hardly exceeds in so long. */
  producedAtMost(millis: number): number {
    return Math.ceil(millis / this.fastPace.value)
  }

  get lengths(): Lengths | undefined {
    const { recent } = this
    if (recent.length === 0) return undefined
    return {
      calls: recent.length,
      mean: recent.reduce((sum, tokens) => sum + tokens, 0) / recent.length,
      longest: Math.max(...recent)
    }
  }

  add(call: Ended): void {
    const { estimatedInputTokens, inputTokens, millis, outputTokens } = call
    if (estimatedInputTokens > 0) this.inputs.add(inputTokens / estimatedInputTokens)
    if (outputTokens > 0) {
      this.calls++
      this.mean += (outputTokens - this.mean) * Math.max(minimumWeight, 1 / this.calls)
      this.high ??= new Quantile(highPart, outputTokens)
      this.high.add(outputTokens)
      if (millis !== undefined) {
        this.pace.add(millis / outputTokens)
        if (outputTokens >= longOutput && millis > 0) this.fastPace.add(millis / outputTokens)
      }
    }
    this.typical.add(outputTokens)
    this.addLength(outputTokens, call.isCut)
    this.model?.add(call)
  }

  /** Only how long an answer was: also of a call that asked for this model and was served by another. */
  addLength(outputTokens: number, isCut: boolean): void {
    this.recent[this.oldest] = isCut ? outputTokens * cutFactor : outputTokens
    this.oldest = (this.oldest + 1) % recentCalls
  }
}

/** The kinds that are known; the least recently used one makes room for a new one. */
export class CallKinds {
  private readonly kinds = new BoundedMap<string, CallKind>(maxKinds)
  private readonly lookup: (model: string) => Model.Model
  /** Calls of one kind come in runs. */
  private last:
    | { readonly model: string; readonly requestType: string | undefined; readonly kind: CallKind }
    | undefined

  constructor(lookup: (model: string) => Model.Model = Model.lookup) {
    this.lookup = lookup
  }

  of(model: string, requestType: string | undefined): CallKind {
    const { last } = this
    if (last !== undefined && last.model === model && last.requestType === requestType) return last.kind
    const name = nameOf(model)
    const key = requestType === undefined ? `${name}\n` : `${name}\n${nameOf(requestType)}\n`
    const kind = this.kinds.get(key) ?? this.add(key, name)
    const isShort = model.length + (requestType?.length ?? 0) <= maxKept
    this.last = isShort ? { model, requestType, kind } : undefined
    return kind
  }

  private add(key: string, model: string): CallKind {
    const facts = this.lookup(model)
    const ofModel = this.kinds.get(model) ?? new CallKind(facts)
    this.kinds.set(model, ofModel)
    const kind = new CallKind(facts, ofModel)
    this.kinds.set(key, kind)
    return kind
  }
}
