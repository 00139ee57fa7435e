/** What calls added up to: since the start, and over the last minute and hour, with quantiles in constant memory. */
import type { CallRecord } from "./events.ts"

/**
 * Times of calls in milliseconds; undefined where there were none. Quantiles are off by at most 2.5 % of themselves.
 *
 * @category models
 * @since 0.1.0
 */
export interface Times {
  readonly average: number | undefined
  readonly p50: number | undefined
  readonly p95: number | undefined
  readonly p99: number | undefined
}

/**
 * What calls added up to.
 *
 * - `total`: calls that have ended, those that were given up included.
 * - `successRate`: successes divided by successes and errors, from 0 to 1; undefined before the first of them.
 * - `averageLatencyMillis`, `latency`: of successes and errors, from start to end.
 * - `firstToken`: of streams, from the start of the call to the first content.
 * - `tokens`: of all attempts. `cacheHitRate` is the share of the input that the cache served.
 * - `costNanoUsd`: integer nano-dollars; `unpriced` calls are not in it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Totals {
  readonly total: number
  readonly success: number
  readonly error: number
  readonly cancelled: number
  readonly successRate: number | undefined
  readonly averageLatencyMillis: number | undefined
  readonly latency: Times
  readonly firstToken: Times
  readonly attempts: number
  readonly retries: number
  readonly tokens: {
    readonly input: number
    readonly output: number
    readonly cacheRead: number
    readonly cacheWrite5m: number
    readonly cacheWrite1h: number
  }
  readonly cacheHitRate: number | undefined
  readonly costNanoUsd: number
  readonly unpriced: number
}

/**
 * What calls added up to, of all models and of each: those of the catalogue by their ids, all others as `other`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Period extends Totals {
  readonly models: Readonly<Record<string, Totals>>
}

/**
 * Quantiles come from a histogram whose buckets grow by this factor, so that they are off by at most 2.5 % of themselves. Values from 1 ms to an hour
 * have buckets of their own; smaller and larger ones count in the first and the last.
 */
const factor = 1.05

const maxMillis = 3_600_000

const logFactor = Math.log(factor)

const size = Math.ceil(Math.log(maxMillis) / logFactor) + 2

class Sketch {
  private readonly counts = new Uint32Array(size)
  private count = 0
  private sum = 0

  /** `value` in milliseconds. */
  add(value: number): void {
    const index = value <= 1 ? 0 : Math.min(size - 1, Math.ceil(Math.log(value) / logFactor))
    this.counts[index]!++
    this.count++
    this.sum += value
  }

  merge(that: Sketch): void {
    for (let index = 0; index < size; index++) this.counts[index]! += that.counts[index]!
    this.count += that.count
    this.sum += that.sum
  }

  clear(): void {
    this.counts.fill(0)
    this.count = 0
    this.sum = 0
  }

  get mean(): number | undefined {
    return this.count === 0 ? undefined : this.sum / this.count
  }

  /** The value that a part of all values does not exceed, such as 0.95. */
  quantile(part: number): number | undefined {
    if (this.count === 0) return undefined
    let left = Math.max(1, Math.ceil(part * this.count))
    let index = 0
    while (index < size - 1 && (left -= this.counts[index]!) > 0) index++
    // The middle of its bucket.
    return index === 0 ? 1 : factor ** index * 2 / (1 + factor)
  }
}

/** Sums that can be added up; of one span of time, or of all. */
class Sum {
  success = 0
  error = 0
  cancelled = 0
  attempts = 0
  retries = 0
  costNanoUsd = 0
  unpriced = 0
  input = 0
  output = 0
  cacheRead = 0
  cacheWrite5m = 0
  cacheWrite1h = 0
  readonly latency = new Sketch()
  readonly firstToken = new Sketch()

  add(record: CallRecord): void {
    const { costNanoUsd, firstTokenMillis, status, usage } = record
    this[status]++
    this.attempts += record.attempts
    this.retries += record.retries
    if (costNanoUsd === undefined) this.unpriced++
    else this.costNanoUsd += costNanoUsd
    this.input += usage.inputTokens
    this.output += usage.outputTokens
    this.cacheRead += usage.cacheReadTokens
    this.cacheWrite5m += usage.cacheWrite5mTokens
    this.cacheWrite1h += usage.cacheWrite1hTokens
    if (status !== "cancelled") this.latency.add(record.latencyMillis)
    if (firstTokenMillis !== undefined) this.firstToken.add(firstTokenMillis)
  }

  merge(that: Sum): void {
    this.success += that.success
    this.error += that.error
    this.cancelled += that.cancelled
    this.attempts += that.attempts
    this.retries += that.retries
    this.costNanoUsd += that.costNanoUsd
    this.unpriced += that.unpriced
    this.input += that.input
    this.output += that.output
    this.cacheRead += that.cacheRead
    this.cacheWrite5m += that.cacheWrite5m
    this.cacheWrite1h += that.cacheWrite1h
    this.latency.merge(that.latency)
    this.firstToken.merge(that.firstToken)
  }

  get totals(): Totals {
    const { cacheRead, cacheWrite1h, cacheWrite5m, cancelled, error, input, output, success } = this
    const prompt = input + cacheRead + cacheWrite5m + cacheWrite1h
    const latency = timesOf(this.latency)
    return {
      total: success + error + cancelled,
      success,
      error,
      cancelled,
      successRate: success + error === 0 ? undefined : success / (success + error),
      averageLatencyMillis: latency.average,
      latency,
      firstToken: timesOf(this.firstToken),
      attempts: this.attempts,
      retries: this.retries,
      tokens: { input, output, cacheRead, cacheWrite5m, cacheWrite1h },
      cacheHitRate: prompt === 0 ? undefined : cacheRead / prompt,
      costNanoUsd: this.costNanoUsd,
      unpriced: this.unpriced
    }
  }
}

const timesOf = (sketch: Sketch): Times => ({
  average: sketch.mean,
  p50: sketch.quantile(0.5),
  p95: sketch.quantile(0.95),
  p99: sketch.quantile(0.99)
})

/** So many slots make up a minute, and an hour. */
const slots = 12

/** The sums of the last while, in slots of a twelfth of it; the current one is not over. */
class Window {
  private readonly slotMillis: number
  private readonly ring: Array<{ number: number; readonly sum: Sum }> = []

  constructor(millis: number) {
    this.slotMillis = millis / slots
  }

  add(record: CallRecord, now: number): void {
    const number = Math.floor(now / this.slotMillis)
    const index = number % slots
    const slot = this.ring[index]
    if (slot?.number === number) return slot.sum.add(record)
    const sum = new Sum()
    sum.add(record)
    this.ring[index] = { number, sum }
  }

  sum(now: number): Sum {
    const newest = Math.floor(now / this.slotMillis)
    const sum = new Sum()
    for (const slot of this.ring) if (slot !== undefined && slot.number > newest - slots) sum.merge(slot.sum)
    return sum
  }
}

/** Everything about one model, or about all. */
export class History {
  private readonly all = new Sum()
  private readonly minute = new Window(60_000)
  private readonly hour = new Window(3_600_000)

  add(record: CallRecord, now: number): void {
    this.all.add(record)
    this.minute.add(record, now)
    this.hour.add(record, now)
  }

  /** Since the start, over the last minute, and over the last hour. */
  sums(now: number): readonly [Sum, Sum, Sum] {
    return [this.all, this.minute.sum(now), this.hour.sum(now)]
  }
}

/** Of all models: since the start, over the last minute, and over the last hour. */
export const periodsOf = (histories: ReadonlyMap<string, History>, now: number): readonly [Period, Period, Period] => {
  const sums = [...histories].map(([model, history]) => [model, history.sums(now)] as const)
  const period = (index: 0 | 1 | 2): Period => {
    const all = new Sum()
    for (const [, each] of sums) all.merge(each[index])
    return { ...all.totals, models: Object.fromEntries(sums.map(([model, each]) => [model, each[index].totals])) }
  }
  return [period(0), period(1), period(2)]
}

export const noPeriod: Period = { ...new Sum().totals, models: {} }
