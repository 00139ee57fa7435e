/** The state of one bucket set, and how limits become rates. */
import { type Dimension, type MutableAmounts, zero } from "./Amounts.ts"
import type { Priority } from "./classes.ts"
import type { Limits } from "./Limits.ts"
import type { Bucket, Process, Progress, Ramp, Saving } from "./Store.ts"

/**
 * The state of one bucket set. Plain data that survives JSON; only `step` looks inside.
 *
 * @category stores
 * @since 0.1.0
 */
export interface State {
  /** Tells these buckets from others that had the same key before. */
  readonly epoch: number
  at: number
  limits: Limits
  burstMillis: number
  sequence: number
  readonly buckets: { -readonly [K in Dimension]?: Bucket | undefined }
  readonly used: MutableAmounts
  reserved: MutableAmounts
  /** The attempt whose headers were taken in last, and when. */
  observedSequence: number
  observedAt: number
  pausedUntil: number
  closed: boolean
  ramp?: Ramp | undefined
  /** Requests admitted in this minute and in the one before. */
  readonly recent: { start: number; count: number; before: number }
  readonly processes: Record<string, Process>
  /** Those that stay in line, in the order in which they began. */
  savings: Array<Saving>
  /** When each class asked last. */
  readonly asked: Record<Priority, number>
  /** Of processes that share the buckets: by class, those that asked lately. */
  readonly flows: Record<Priority, Record<string, Progress>>
}

export const minute = 60_000

/** What floating point may lose; a thousandth of the smallest step of a bucket. */
export const epsilon = 1e-8

/** Headers older than this are forgotten, so that no limit that was once observed can shut a group forever. */
export const forgetMillis = 10 * minute

export const make = (burstMillis: number, now: number): State => {
  // No number is given twice, even if the data was lost in between.
  const epoch = Math.max(1, Math.floor(now * 1_000))
  return {
    epoch,
    at: now,
    limits: {},
    burstMillis,
    sequence: epoch,
    buckets: {},
    used: { ...zero },
    reserved: { ...zero },
    observedSequence: epoch,
    observedAt: now,
    pausedUntil: 0,
    closed: false,
    recent: { start: now, count: 0, before: 0 },
    processes: {},
    savings: [],
    asked: { interactive: now - minute, standard: now - minute, bulk: now - minute },
    flows: { interactive: {}, standard: {}, bulk: {} }
  }
}

export const configured = (limits: Limits, dimension: Dimension): number | undefined => {
  switch (dimension) {
    case "requests":
      return limits.requestsPerMinute
    case "inputTokens":
      return limits.inputTokensPerMinute
    case "outputTokens":
      return limits.outputTokensPerMinute
    case "tokens":
      return limits.tokensPerMinute
  }
}

export const capacityOf = (perMinute: number, burstMillis: number): number =>
  Math.max(1, perMinute * burstMillis / minute)

/** Gives a dimension the rate that the configuration and the headers allow together. */
export const setRate = (self: State, dimension: Dimension, observed: number | undefined): void => {
  const limit = configured(self.limits, dimension)
  if (limit === undefined && observed === undefined) {
    self.buckets[dimension] = undefined
    return
  }
  const perMinute = Math.min(limit ?? Infinity, observed ?? Infinity)
  const capacity = capacityOf(perMinute, self.burstMillis)
  const bucket = self.buckets[dimension]
  if (bucket === undefined) {
    self.buckets[dimension] = { perMinute, capacity, level: capacity, observed }
    return
  }
  bucket.observed = observed
  // A capacity below what the rate gives was observed, and stands as long as headers do.
  if (bucket.perMinute === perMinute && observed !== undefined) return
  bucket.perMinute = perMinute
  bucket.capacity = capacity
  bucket.level = Math.min(bucket.level, capacity)
}

/** How far an estimate of input may be too high. */
export const estimateSlack = 1.3

/** Whether input is larger than a whole bucket. Estimates err on the high side, so what is only just larger gets the whole bucket and is sent. */
export const exceeds = (perMinute: number | undefined, burstMillis: number, input: number): boolean =>
  perMinute !== undefined && input > estimateSlack * capacityOf(perMinute, burstMillis)

/** Whether a request with so much input is larger than a whole bucket, so that no wait would help. */
export const isTooLarge = ({ inputTokens, tokens }: State["buckets"], burstMillis: number, size: number): boolean =>
  exceeds(inputTokens?.perMinute, burstMillis, size) || exceeds(tokens?.perMinute, burstMillis, size)
