/** What the API teaches: headers correct the buckets, a refusal pauses them, and traffic ramps up after a pause. */
import type * as Attempt from "../../Attempt.ts"
import { type Dimension, dimensions } from "./Amounts.ts"
import { capacityOf, minute, setRate, type State } from "./State.ts"
import type { Known, Pause, Ramp, Report, Ticket } from "./Store.ts"

/** Token families are rounded to the nearest 1,000. */
export const rounding = 500

/** A ramp that has grown by this factor has done its work. */
export const rampGrowth = 64

/**
 * Corrects one dimension. When the server wrote the header, some of what was used here may not have arrived there, and some of what is reserved here may
 * have been produced there: so the true level lies in an interval, and ours is moved into it.
 */
const correct = (self: State, dimension: Dimension, seen: Attempt.Limit, ticket: Ticket, now: number): void => {
  if (!(seen.limit > 0)) return
  const isNew = self.buckets[dimension] === undefined
  setRate(self, dimension, seen.limit)
  const bucket = self.buckets[dimension]
  if (bucket === undefined) return
  const slack = dimension !== "requests" && seen.limit >= 1_000 && seen.remaining % 1_000 === 0 ? rounding : 1
  const usedSince = self.used[dimension] - ticket.used[dimension]
  const nominal = capacityOf(bucket.perMinute, self.burstMillis)
  const fullInMillis = (seen.resetAt ?? 0) - now
  if (fullInMillis > 0) {
    // Full again much sooner than a bucket of this rate could be: it is a smaller one.
    const whole = seen.remaining + fullInMillis * bucket.perMinute / minute
    if (whole <= nominal / 2) bucket.capacity = Math.max(1, Math.min(bucket.capacity, whole))
  }
  bucket.capacity = Math.min(nominal, Math.max(bucket.capacity, seen.remaining))
  const high = seen.remaining + slack + self.reserved[dimension]
  // A remaining of zero hides a debt, and one of a larger bucket than ours is no room for us: they bound the level from above only.
  const low = seen.remaining === 0 || seen.limit > bucket.perMinute ? -Infinity : seen.remaining - slack - usedSince
  bucket.level = isNew
    ? Math.min(bucket.capacity, seen.remaining - slack - usedSince)
    : Math.min(bucket.capacity, Math.max(low, Math.min(high, bucket.level)))
}

/** The tokens family repeats the sum of the others, unless a narrower limit binds. */
const isSum = ({ inputTokens, outputTokens, tokens }: Partial<Attempt.Limits>): boolean =>
  tokens !== undefined && tokens.limit === (inputTokens?.limit ?? 0) + (outputTokens?.limit ?? 0)

/** Takes in the headers of an answer. Those of the attempt that was sent last win. */
export const observe = (
  self: State,
  { limits, now: readAt }: NonNullable<Report["observed"]>,
  ticket: Ticket,
  now: number
): void => {
  if (ticket.sequence <= self.observedSequence) return
  self.observedSequence = ticket.sequence
  self.observedAt = now
  for (const dimension of dimensions) {
    const seen = limits[dimension]
    if (seen === undefined) continue
    if (dimension === "tokens" && self.limits.tokensPerMinute === undefined && isSum(limits)) continue
    correct(self, dimension, seen, ticket, readAt)
  }
}

export const pause = (self: State, { millis, reason }: Pause, now: number): void => {
  self.pausedUntil = Math.max(self.pausedUntil, now + millis)
  self.closed ||= reason === "spend"
  const { before, count, start } = self.recent
  const lately = count + before * Math.max(0, 1 - (now - start) / minute)
  const isSlow = reason === "acceleration"
  const perMinute = Math.max(minute / 1_000, isSlow ? lately : lately / 4)
  self.ramp = {
    from: self.pausedUntil,
    perMinute,
    level: 1,
    doublingMillis: isSlow ? minute : 1_000,
    until: perMinute * rampGrowth
  }
}

export const climb = (self: State, ramp: Ramp, now: number): void => {
  if (now <= ramp.from) return
  const growth = 2 ** ((now - ramp.from) / ramp.doublingMillis)
  const gained = ramp.perMinute / minute * ramp.doublingMillis / Math.LN2 * (growth - 1)
  ramp.perMinute *= growth
  ramp.level = Math.min(Math.max(1, ramp.perMinute / 60), ramp.level + gained)
  ramp.from = now
  const requests = self.buckets.requests?.perMinute ?? Infinity
  if (ramp.perMinute >= Math.min(ramp.until, requests)) self.ramp = undefined
}

/** When the ramp, which grows meanwhile, has gained what it lacks. */
export const rampWait = (ramp: Ramp, now: number): number => {
  const short = Math.max(0, 1 - ramp.level) * minute / ramp.perMinute
  return Math.max(0, ramp.from - now) +
    Math.log(1 + short * Math.LN2 / ramp.doublingMillis) / Math.LN2 * ramp.doublingMillis
}

/** Takes in what a process knows of buckets that were lost. The scarcer of both holds. */
export const recall = (self: State, known: Known, now: number): void => {
  // Numbers of tickets that were lost are not given again, and what is said of them counts on uses that were lost.
  self.sequence = Math.max(self.sequence, Math.floor(now * 1_000))
  self.observedSequence = self.sequence
  for (const dimension of dimensions) {
    const seen = known.buckets[dimension]
    if (seen === undefined) continue
    if (seen.observed !== undefined && self.buckets[dimension]?.observed === undefined) {
      setRate(self, dimension, seen.observed)
    }
    const bucket = self.buckets[dimension]
    if (bucket === undefined) continue
    if (bucket.observed !== undefined) bucket.capacity = Math.min(bucket.capacity, Math.max(1, seen.capacity))
    bucket.level = Math.min(bucket.level, bucket.capacity, seen.level)
  }
  if (known.pausedMillis > 0) self.pausedUntil = Math.max(self.pausedUntil, now + known.pausedMillis)
  self.closed ||= known.closed
  if (known.ramp !== undefined && self.ramp === undefined) {
    self.ramp = { ...known.ramp, from: now + known.ramp.from }
  }
}
