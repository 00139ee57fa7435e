/**
 * The arithmetic of one bucket set: what may be sent when, as a function of time. It decides nothing about queues and holds no clock, so
 * a store in memory runs it as it is and a store elsewhere is tested against it.
 *
 * Each dimension is a bucket with continuous refill. `level` follows what the server's bucket holds: requests and input are
 * charged when an attempt is admitted, output as it is produced. Until then predicted output is `held`: what is free is
 * `level - held`.
 */
import type * as Attempt from "../../Attempt.ts"
import type { Limits } from "./Limits.ts"

/** The dimensions, named like the header families in `Attempt.Limits`; `tokens` is input and output together. */
export const dimensions = ["requests", "inputTokens", "outputTokens", "tokens"] as const

export type Dimension = typeof dimensions[number]

/**
 * Requests or tokens in each dimension.
 *
 * @category models
 * @since 0.1.0
 */
export interface Amounts {
  readonly requests: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly tokens: number
}

/**
 * What an attempt asks for before it is sent.
 *
 * - `limits`: as configured now, the same object as long as they are the same.
 * - `charge`: taken for good; `hold`: kept free for what is predicted to be produced. All dimensions or none.
 * - `withinMillis`: a slot that begins later is not taken.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ask {
  readonly limits: Limits
  readonly charge: Amounts
  readonly hold: Amounts
  readonly withinMillis: number
}

/**
 * Where an attempt stands among all that were admitted: its place in the order of sending, and what had been charged up to
 * and including it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ticket {
  readonly sequence: number
  readonly charged: Amounts
}

/**
 * The answer to an `Ask`: from `waitMillis` on, counted from now, the attempt may be sent. Without a `ticket` nothing was
 * taken, and the wait is what it would have been, as far as that can be known: `Infinity` for a request that is larger than
 * a whole bucket. `closed` says that it is a wait for money.
 *
 * @category models
 * @since 0.1.0
 */
export interface Slot {
  readonly ticket: Ticket | undefined
  readonly waitMillis: number
  readonly closed: boolean
}

/**
 * What became of an attempt that was admitted. Each part is told at most once.
 *
 * - `charge`: to charge beyond what was charged on admission; negative gives back.
 * - `release`: of what was held, how much is held no longer.
 * - `observed`: the rate-limit headers of its response, and `now` in milliseconds since the epoch on the clock that read
 *   them.
 * - `pause`: the API refused it for its limits.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly ticket: Ticket
  readonly charge: Amounts
  readonly release: Amounts
  readonly observed: { readonly limits: Attempt.Limits; readonly now: number } | undefined
  readonly pause: Pause | undefined
}

/**
 * Nothing is sent for `millis`. Then traffic ramps up: after `throttle` it doubles each second, after `acceleration` each
 * minute. `spend` closes: who asks meanwhile is refused instead of kept waiting.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pause {
  readonly reason: "throttle" | "acceleration" | "spend"
  readonly millis: number
}

/**
 * One dimension as it stands: its rate per minute, the most it holds, what is free now (below zero after an
 * overdraft) and what of its level is kept for predicted output.
 *
 * @category models
 * @since 0.1.0
 */
export interface Level {
  readonly perMinute: number
  readonly capacity: number
  readonly free: number
  readonly held: number
}

/**
 * A bucket set as it stands. A dimension that is neither configured nor known from headers is undefined. `share` is the part of the limits that
 * these are: less than 1 while a store of several processes is out of reach.
 *
 * @category models
 * @since 0.1.0
 */
export interface Levels {
  readonly requests: Level | undefined
  readonly inputTokens: Level | undefined
  readonly outputTokens: Level | undefined
  readonly tokens: Level | undefined
  readonly pausedMillis: number
  readonly closed: boolean
  readonly share: number
}

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

interface Bucket {
  perMinute: number
  capacity: number
  level: number
  /** As headers told it; undefined where none did lately. */
  heard: number | undefined
}

/** A limit on requests that grows exponentially and then goes away. */
export interface Ramp {
  from: number
  perMinute: number
  level: number
  readonly doublingMillis: number
  readonly until: number
}

export interface State {
  at: number
  limits: Limits
  /** A bucket holds at most what this long refills. */
  readonly burstMillis: number
  sequence: number
  readonly buckets: { -readonly [K in Dimension]: Bucket | undefined }
  readonly charged: Mutable<Amounts>
  readonly held: Mutable<Amounts>
  heardSequence: number
  heardAt: number
  pausedUntil: number
  closed: boolean
  ramp: Ramp | undefined
  /** Requests admitted in this minute and in the one before. */
  readonly recent: { start: number; count: number; before: number }
}

export const minute = 60_000

/** What floating point may lose; a thousandth of the smallest step of a bucket. */
export const epsilon = 1e-8

/** Token families are rounded to the nearest 1,000. */
export const rounding = 500

/** Headers older than this teach nothing any more, so that no limit that was once heard can shut a group for ever. */
export const forgetMillis = 10 * minute

/** A ramp that has grown by this factor has done its work. */
export const rampGrowth = 64

export const zero: Amounts = { requests: 0, inputTokens: 0, outputTokens: 0, tokens: 0 }

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

export const make = (burstMillis: number, now: number): State => ({
  at: now,
  limits: {},
  burstMillis,
  sequence: 0,
  buckets: { requests: undefined, inputTokens: undefined, outputTokens: undefined, tokens: undefined },
  charged: { ...zero },
  held: { ...zero },
  heardSequence: 0,
  heardAt: now,
  pausedUntil: 0,
  closed: false,
  ramp: undefined,
  recent: { start: now, count: 0, before: 0 }
})

const capacityOf = (perMinute: number, burstMillis: number): number => Math.max(1, perMinute * burstMillis / minute)

/** Gives a dimension the rate that the configuration and the headers allow together. */
const rate = (self: State, dimension: Dimension, heard: number | undefined): void => {
  const limit = configured(self.limits, dimension)
  if (limit === undefined && heard === undefined) {
    self.buckets[dimension] = undefined
    return
  }
  const perMinute = Math.min(limit ?? Infinity, heard ?? Infinity)
  const capacity = capacityOf(perMinute, self.burstMillis)
  const bucket = self.buckets[dimension]
  if (bucket === undefined) {
    self.buckets[dimension] = { perMinute, capacity, level: capacity, heard }
    return
  }
  bucket.heard = heard
  // A capacity below what the rate gives was heard, and stands as long as headers do.
  if (bucket.perMinute === perMinute && heard !== undefined) return
  bucket.perMinute = perMinute
  bucket.capacity = capacity
  bucket.level = Math.min(bucket.level, capacity)
}

/** Holds new limits from now on. */
export const configure = (self: State, limits: Limits): void => {
  self.limits = limits
  for (const dimension of dimensions) rate(self, dimension, self.buckets[dimension]?.heard)
}

const fill = (bucket: Bucket, millis: number): void => {
  bucket.level = Math.min(bucket.capacity, bucket.level + millis * bucket.perMinute / minute)
}

const climb = (self: State, ramp: Ramp, now: number): void => {
  if (now <= ramp.from) return
  const growth = 2 ** ((now - ramp.from) / ramp.doublingMillis)
  const gained = ramp.perMinute / minute * ramp.doublingMillis / Math.LN2 * (growth - 1)
  ramp.perMinute *= growth
  ramp.level = Math.min(Math.max(1, ramp.perMinute / 60), ramp.level + gained)
  ramp.from = now
  const requests = self.buckets.requests?.perMinute ?? Infinity
  if (ramp.perMinute >= Math.min(ramp.until, requests)) self.ramp = undefined
}

/** How far an estimate of input may be too high. */
export const estimateSlack = 1.3

/**
 * Whether a request is larger than a whole bucket, so that no wait would help. Estimates of input err on the high side, so what is only just
 * larger gets the whole bucket and is sent.
 */
export const isTooLarge = (
  { inputTokens, tokens }: Record<"inputTokens" | "tokens", { readonly perMinute: number } | undefined>,
  burstMillis: number,
  charge: Amounts
): boolean =>
  exceeds(inputTokens?.perMinute, burstMillis, charge.inputTokens) ||
  exceeds(tokens?.perMinute, burstMillis, charge.tokens)

const exceeds = (perMinute: number | undefined, burstMillis: number, input: number): boolean =>
  perMinute !== undefined && input > estimateSlack * capacityOf(perMinute, burstMillis)

/** The most input that there is ever room for at once; undefined where there is no limit. */
export const mostInput = ({ inputTokens, share, tokens }: Levels, burstMillis: number): number | undefined => {
  const perMinute = Math.min(inputTokens?.perMinute ?? Infinity, tokens?.perMinute ?? Infinity)
  return perMinute === Infinity ? undefined : Math.floor(capacityOf(perMinute / share, burstMillis))
}

/** Brings all levels up to `now`. */
export const advance = (self: State, now: number): void => {
  const millis = now - self.at
  if (millis === 0) return
  self.at = now
  if (millis < 0) {
    // The clock was set back. Nothing that waits for an instant may wait the longer for it.
    self.pausedUntil += millis
    self.heardAt += millis
    self.recent.start += millis
    if (self.ramp !== undefined) self.ramp.from += millis
    return
  }
  const { inputTokens, outputTokens, requests, tokens } = self.buckets
  if (requests !== undefined) fill(requests, millis)
  if (inputTokens !== undefined) fill(inputTokens, millis)
  if (outputTokens !== undefined) fill(outputTokens, millis)
  if (tokens !== undefined) fill(tokens, millis)
  if (self.ramp !== undefined) climb(self, self.ramp, now)
  if (now >= self.pausedUntil) self.closed = false
  const minutes = Math.floor((now - self.recent.start) / minute)
  if (minutes > 0) {
    self.recent.before = minutes === 1 ? self.recent.count : 0
    self.recent.count = 0
    self.recent.start += minutes * minute
  }
  if (now - self.heardAt > forgetMillis) {
    self.heardAt = now
    for (const dimension of dimensions) {
      if (self.buckets[dimension]?.heard !== undefined) rate(self, dimension, undefined)
    }
  }
}

const waitFor = (bucket: Bucket | undefined, held: number, need: number): number => {
  if (bucket === undefined || need === 0) return 0
  const short = Math.min(need, bucket.capacity) - (bucket.level - held)
  return short <= epsilon ? 0 : short * minute / bucket.perMinute
}

/** When the ramp, which grows meanwhile, has gained what it lacks. */
const rampWait = (ramp: Ramp, now: number): number => {
  const short = Math.max(0, 1 - ramp.level) * minute / ramp.perMinute
  return Math.max(0, ramp.from - now) +
    Math.log(1 + short * Math.LN2 / ramp.doublingMillis) / Math.LN2 * ramp.doublingMillis
}

/**
 * Takes what is asked for when its slot begins in time, in all dimensions or in none. A slot that is booked is charged now, so a dimension that is
 * full and does not bind may be ahead of the server's by what that one needs until it is sent.
 */
export const reserve = (self: State, ask: Ask, now: number): Slot => {
  const { charge, hold } = ask
  if (ask.limits !== self.limits) configure(self, ask.limits)
  advance(self, now)
  const { buckets, burstMillis, charged, held } = self
  if (isTooLarge(buckets, burstMillis, charge)) return { ticket: undefined, waitMillis: Infinity, closed: self.closed }
  const wait = Math.ceil(Math.max(
    self.pausedUntil - now,
    waitFor(buckets.requests, held.requests, charge.requests + hold.requests),
    waitFor(buckets.inputTokens, held.inputTokens, charge.inputTokens + hold.inputTokens),
    waitFor(buckets.outputTokens, held.outputTokens, charge.outputTokens + hold.outputTokens),
    waitFor(buckets.tokens, held.tokens, charge.tokens + hold.tokens),
    self.ramp === undefined ? 0 : rampWait(self.ramp, now),
    0
  ))
  if (wait > ask.withinMillis) return { ticket: undefined, waitMillis: wait, closed: self.closed }
  take(self, charge)
  charged.requests += charge.requests
  charged.inputTokens += charge.inputTokens
  charged.outputTokens += charge.outputTokens
  charged.tokens += charge.tokens
  held.requests += hold.requests
  held.inputTokens += hold.inputTokens
  held.outputTokens += hold.outputTokens
  held.tokens += hold.tokens
  if (self.ramp !== undefined) self.ramp.level -= charge.requests
  self.recent.count += charge.requests
  self.sequence++
  const ticket = {
    sequence: self.sequence,
    charged: {
      requests: charged.requests,
      inputTokens: charged.inputTokens,
      outputTokens: charged.outputTokens,
      tokens: charged.tokens
    }
  }
  return { ticket, waitMillis: wait, closed: false }
}

const taken = (bucket: Bucket | undefined, amount: number): void => {
  if (bucket !== undefined) bucket.level = Math.min(bucket.capacity, bucket.level - amount)
}

const take = ({ buckets }: State, amounts: Amounts): void => {
  taken(buckets.requests, amounts.requests)
  taken(buckets.inputTokens, amounts.inputTokens)
  taken(buckets.outputTokens, amounts.outputTokens)
  taken(buckets.tokens, amounts.tokens)
}

/**
 * Corrects one dimension. When the server wrote the header, some of what was charged here may not have arrived there, and some of what is
 * held here may have been produced there: so the true level lies in an interval, and ours is moved into it.
 */
const observe = (self: State, dimension: Dimension, seen: Attempt.Limit, ticket: Ticket, now: number): void => {
  if (!(seen.limit > 0)) return
  const unknown = self.buckets[dimension] === undefined
  rate(self, dimension, seen.limit)
  const bucket = self.buckets[dimension]
  if (bucket === undefined) return
  const slack = dimension !== "requests" && seen.limit >= 1_000 && seen.remaining % 1_000 === 0 ? rounding : 1
  const underway = self.charged[dimension] - ticket.charged[dimension]
  const nominal = capacityOf(bucket.perMinute, self.burstMillis)
  const fullInMillis = (seen.resetAt ?? 0) - now
  if (fullInMillis > 0) {
    // Full again much sooner than a bucket of this rate could be: it is a smaller one.
    const told = seen.remaining + fullInMillis * bucket.perMinute / minute
    if (told <= nominal / 2) bucket.capacity = Math.max(1, Math.min(bucket.capacity, told))
  }
  bucket.capacity = Math.min(nominal, Math.max(bucket.capacity, seen.remaining))
  const high = seen.remaining + slack + self.held[dimension]
  // A remaining of zero hides a debt, and one of a larger bucket than ours is no room for us: they bound the level from above alone.
  const low = seen.remaining === 0 || seen.limit > bucket.perMinute ? -Infinity : seen.remaining - slack - underway
  bucket.level = unknown
    ? Math.min(bucket.capacity, seen.remaining - slack - underway)
    : Math.min(bucket.capacity, Math.max(low, Math.min(high, bucket.level)))
}

/** The tokens family repeats the sum of the others, unless a narrower limit binds. */
const isSum = ({ inputTokens, outputTokens, tokens }: Attempt.Limits): boolean =>
  tokens !== undefined && tokens.limit === (inputTokens?.limit ?? 0) + (outputTokens?.limit ?? 0)

const rampFrom = (self: State, pause: Pause, now: number): Ramp => {
  const { before, count, start } = self.recent
  const lately = count + before * Math.max(0, 1 - (now - start) / minute)
  const slow = pause.reason === "acceleration"
  const perMinute = Math.max(minute / 1_000, slow ? lately : lately / 4)
  return {
    from: self.pausedUntil,
    perMinute,
    level: 1,
    doublingMillis: slow ? minute : 1_000,
    until: perMinute * rampGrowth
  }
}

/** Takes in what became of an attempt. */
export const report = (self: State, { charge, observed, pause, release, ticket }: Report, now: number): void => {
  advance(self, now)
  take(self, charge)
  const { held } = self
  held.requests -= release.requests
  held.inputTokens -= release.inputTokens
  held.outputTokens -= release.outputTokens
  held.tokens -= release.tokens
  if (observed !== undefined && ticket.sequence > self.heardSequence) {
    self.heardSequence = ticket.sequence
    self.heardAt = now
    for (const dimension of dimensions) {
      const seen = observed.limits[dimension]
      if (seen === undefined) continue
      if (dimension === "tokens" && self.limits.tokensPerMinute === undefined && isSum(observed.limits)) continue
      observe(self, dimension, seen, ticket, observed.now)
    }
  }
  if (pause !== undefined) {
    self.pausedUntil = Math.max(self.pausedUntil, now + pause.millis)
    self.closed ||= pause.reason === "spend"
    self.ramp = rampFrom(self, pause, now)
  }
}

const levelOf = (bucket: Bucket | undefined, held: number): Level | undefined =>
  bucket === undefined
    ? undefined
    : { perMinute: bucket.perMinute, capacity: bucket.capacity, free: bucket.level - held, held }

/** When room for `need` comes, in milliseconds from now, if a part `share` of the refill goes to it. */
export const waitAt = (levels: Levels, need: Amounts, share: number): number => {
  let wait = 0
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level === undefined || need[dimension] === 0) continue
    wait = Math.max(wait, (need[dimension] - level.free) * minute / (level.perMinute * share))
  }
  return Math.ceil(wait)
}

/** The buckets as they stand at `now`. */
export const levels = (self: State, now: number): Levels => {
  advance(self, now)
  const { buckets, held } = self
  return {
    requests: levelOf(buckets.requests, held.requests),
    inputTokens: levelOf(buckets.inputTokens, held.inputTokens),
    outputTokens: levelOf(buckets.outputTokens, held.outputTokens),
    tokens: levelOf(buckets.tokens, held.tokens),
    pausedMillis: Math.max(0, self.pausedUntil - now),
    closed: self.closed,
    share: 1
  }
}

/** How many minutes of refill a need takes, in the dimension that is the scarcest for it. */
export const minutesOf = (levels: Levels, need: Amounts): number => {
  let minutes = 0
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level !== undefined) minutes = Math.max(minutes, need[dimension] / level.perMinute)
  }
  return minutes
}
