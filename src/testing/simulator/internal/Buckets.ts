/**
 * Token buckets with continuous refill for each organization and model group, and the headers that report them. There is
 * one group of buckets for each organization of the options and each model group.
 */
import * as DateTime from "effect/DateTime"
import * as Model from "../../../Model.ts"
import type { Refusal } from "./Wire.ts"

/**
 * The rates that an organization has for a model group, per minute. Undefined rates are unlimited. Requests in fast mode have
 * separate buckets of the same size.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Messages, plain and streamed. */
  readonly requestsPerMinute?: number | undefined
  /** Uncached input and cache writes. Cache reads are free. */
  readonly inputTokensPerMinute?: number | undefined
  /** Admission asks only that this bucket is not below zero; running answers are never cut, so it can be overdrawn by far. */
  readonly outputTokensPerMinute?: number | undefined
  /** Requests to count tokens, which have one bucket for each organization, with the limit of the group `other`. */
  readonly countTokensPerMinute?: number | undefined
  /**
   * How full a bucket can get, in minutes of its rate. `1 / 60` makes 60 requests a minute act like one a second. Default 1. A request
   * with more input than fits a full bucket never passes and gets no `retry-after`.
   */
  readonly burstMinutes?: number | undefined
}

/**
 * Limits as a function of the model group and the organization.
 *
 * @category models
 * @since 0.1.0
 */
export type LimitsOf = (group: Model.Group, organization: string) => Limits

/**
 * How fast an organization may grow: so many requests in its first minute of a model group, then at most `growth` times what the
 * minute before admitted, and never less than the first minute. More is refused with 429 and the code `ramp_limit_exceeded`.
 *
 * - `requestsPerMinute`: requests of the first minute.
 * - `growth`: the factor from one minute to the next.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ramp {
  readonly requestsPerMinute: number
  readonly growth: number
}

const minute = 60_000

/**
 * Levels are counted in tokens times the milliseconds of a minute, so that refill adds `perMinute` for each millisecond and all
 * arithmetic is exact in integers.
 */
interface Bucket {
  perMinute: number
  capacity: number
  level: number
  at: number
}

const bucket = (perMinute: number, burstMinutes: number, now: number): Bucket => {
  const capacity = perMinute === 0 ? 0 : Math.max(1, Math.round(perMinute * burstMinutes)) * minute
  return { perMinute, capacity, level: capacity, at: now }
}

const refill = (self: Bucket, now: number): void => {
  if (now > self.at) {
    self.level = Math.min(self.capacity, self.level + (now - self.at) * self.perMinute)
    self.at = now
  }
}

const millisUntil = (self: Bucket, level: number): number =>
  self.level >= level ? 0 : Math.ceil((level - self.level) / self.perMinute)

type Speed = "standard" | "fast"

const dimensions = ["requests", "input-tokens", "output-tokens"] as const
type Dimension = typeof dimensions[number]

interface Group {
  readonly model: Model.Group
  readonly organization: string
  readonly speed: Speed
  readonly buckets: Record<Dimension, Bucket | undefined>
  readonly window: { start: number; admitted: number; allowed: number }
  /** Output that admitted requests will produce and have not yet. */
  pending: number
}

const whole = (bucket: Bucket) => Math.max(0, Math.floor(bucket.level / minute))
const thousands = (tokens: number) => Math.round(tokens / 1_000) * 1_000

const describe = (dimension: Dimension | "count", perMinute: number): string => {
  const what = {
    "requests": "requests",
    "input-tokens": "input tokens",
    "output-tokens": "output tokens",
    "count": "token counting requests"
  }[dimension]
  return `This request would exceed the rate limit for your organization of ${perMinute} ${what} per minute.`
}

const limited = (message: string, waitMillis: number | undefined, code?: string): Refusal => ({
  status: 429,
  type: "rate_limit_error",
  message,
  code,
  headers: waitMillis === undefined
    ? undefined
    : { "retry-after": String(Math.max(1, Math.ceil(waitMillis / 1_000))) }
})

/** What stands between an accepted request and the buckets it draws on. */
export interface Account {
  /** Takes output as it is produced; the level may go below zero. */
  readonly output: (tokens: number, now: number) => void
  /** Announces how much output will come; the returned function takes back the part that did not. */
  readonly expect: (tokens: number) => () => void
  readonly headers: (now: number) => Record<string, string>
}

const unlimited: Account = { output: () => {}, expect: () => () => {}, headers: () => ({}) }

/** A bucket with a new rate, at the level that the old one has now. */
const renew = (old: Bucket | undefined, perMinute: number | undefined, burst: number, now: number) => {
  if (perMinute === undefined) return undefined
  const fresh = bucket(perMinute, burst, now)
  if (old !== undefined) {
    refill(old, now)
    fresh.level = Math.min(fresh.capacity, old.level)
  }
  return fresh
}

const bucketsOf = (limits: Limits, old: Group["buckets"] | undefined, now: number): Group["buckets"] => {
  const burst = limits.burstMinutes ?? 1
  return {
    "requests": renew(old?.requests, limits.requestsPerMinute, burst, now),
    "input-tokens": renew(old?.["input-tokens"], limits.inputTokensPerMinute, burst, now),
    "output-tokens": renew(old?.["output-tokens"], limits.outputTokensPerMinute, burst, now)
  }
}

/** The wait until the ramp allows another request; 0 where it allows one now. */
const ramped = (ramp: Ramp | undefined, window: Group["window"], now: number): number => {
  if (ramp === undefined) return 0
  if (now >= window.start + minute) {
    const idle = now >= window.start + 2 * minute
    window.allowed = Math.max(ramp.requestsPerMinute, idle ? 0 : Math.floor(window.admitted * ramp.growth))
    window.start += Math.floor((now - window.start) / minute) * minute
    window.admitted = 0
  }
  return window.admitted < window.allowed ? 0 : window.start + minute - now
}

/** The rate-limit headers of a response. */
const headersOf = (group: Group, now: number): Record<string, string> => {
  const out: Record<string, string> = {}
  const write = (name: string, buckets: ReadonlyArray<Bucket>, round: (tokens: number) => number) => {
    if (buckets.length === 0) return
    const wait = Math.max(...buckets.map((bucket) => millisUntil(bucket, bucket.capacity)))
    out[`${name}-limit`] = String(buckets.reduce((sum, bucket) => sum + bucket.perMinute, 0))
    out[`${name}-remaining`] = String(round(buckets.reduce((sum, _) => sum + whole(_), 0)))
    if (!Number.isFinite(wait)) return
    const full = DateTime.makeUnsafe(Math.ceil((now + wait) / 1_000) * 1_000)
    out[`${name}-reset`] = DateTime.formatIso(full).replace(".000Z", "Z")
  }
  const present = (dimension: Dimension): ReadonlyArray<Bucket> => {
    const bucket = group.buckets[dimension]
    if (bucket === undefined) return []
    refill(bucket, now)
    return [bucket]
  }
  const input = present("input-tokens")
  const output = present("output-tokens")
  const family = group.speed === "fast" ? "anthropic-fast" : "anthropic-ratelimit"
  if (group.speed === "standard") {
    write(`${family}-requests`, present("requests"), (_) => _)
    write(`${family}-tokens`, [...input, ...output], thousands)
  }
  write(`${family}-input-tokens`, input, thousands)
  write(`${family}-output-tokens`, output, thousands)
  return out
}

/** The account of one admitted request. */
const accountOf = (group: Group): Account => {
  let mine = 0
  return {
    expect: (tokens) => {
      mine = tokens
      group.pending += tokens
      return () => {
        group.pending -= mine
        mine = 0
      }
    },
    output: (tokens, now) => {
      const known = Math.min(tokens, mine)
      mine -= known
      group.pending -= known
      const bucket = group.buckets["output-tokens"]
      if (bucket === undefined) return
      refill(bucket, now)
      bucket.level -= tokens * minute
    },
    headers: (now) => headersOf(group, now)
  }
}

/** Takes one request and its input from the buckets of a group, all or nothing. */
const admitTo = (group: Group, ramp: Ramp | undefined, input: number, now: number): Refusal | Account => {
  const need: Record<Dimension, number> = { "requests": 1, "input-tokens": input, "output-tokens": 0 }
  let worst: Dimension | undefined
  let wait = 0
  for (const dimension of dimensions) {
    const bucket = group.buckets[dimension]
    if (bucket === undefined) continue
    refill(bucket, now)
    const level = need[dimension] * minute
    const millis = level > bucket.capacity ? Infinity : millisUntil(bucket, level)
    if (millis > wait) {
      wait = millis
      worst = dimension
    }
  }
  const rampWait = ramped(ramp, group.window, now)
  // a refused caller must find room when it returns, also after the output of others until then
  const outputs = group.buckets["output-tokens"]
  const outputWait = outputs === undefined ? 0 : millisUntil(outputs, group.pending * minute)
  if (worst !== undefined) {
    const enough = Math.max(wait, rampWait, outputWait)
    const refusal = limited(
      describe(worst, group.buckets[worst]!.perMinute),
      Number.isFinite(enough) ? enough : undefined
    )
    return { ...refusal, headers: { ...headersOf(group, now), ...refusal.headers } }
  }
  if (rampWait > 0) {
    const refusal = limited(
      "This request would exceed your organization's acceleration limit: usage grows too fast. Ramp up gradually.",
      Math.max(rampWait, outputWait),
      "ramp_limit_exceeded"
    )
    return { ...refusal, headers: { ...headersOf(group, now), ...refusal.headers } }
  }
  group.window.admitted++
  const { buckets } = group
  if (!buckets.requests && !buckets["input-tokens"] && !buckets["output-tokens"]) return unlimited
  for (const dimension of dimensions) {
    const bucket = group.buckets[dimension]
    if (bucket !== undefined) bucket.level -= need[dimension] * minute
  }
  return accountOf(group)
}

export const make = (initial: LimitsOf, ramp: Ramp | undefined) => {
  let limitsOf = initial
  const groups = new Map<string, Group>()
  const counters = new Map<string, Bucket | undefined>()

  const groupOf = (organization: string, model: Model.Group, speed: Speed, now: number): Group => {
    const key = `${model} ${speed} ${organization}`
    let found = groups.get(key)
    if (found === undefined) {
      found = {
        model,
        organization,
        speed,
        buckets: bucketsOf(limitsOf(model, organization), undefined, now),
        window: { start: now, admitted: 0, allowed: ramp?.requestsPerMinute ?? Infinity },
        pending: 0
      }
      groups.set(key, found)
    }
    return found
  }

  /** Takes one request and its input, all or nothing. */
  const admit = (
    organization: string,
    model: Model.Group,
    speed: Speed,
    input: number,
    now: number
  ): Refusal | Account => admitTo(groupOf(organization, model, speed, now), ramp, input, now)

  const counter = (organization: string, now: number): Bucket | undefined => {
    const limits = limitsOf("other", organization)
    return renew(counters.get(organization), limits.countTokensPerMinute, limits.burstMinutes ?? 1, now)
  }

  /** Takes one request to count tokens. */
  const count = (organization: string, now: number): Refusal | undefined => {
    if (!counters.has(organization)) counters.set(organization, counter(organization, now))
    const bucket = counters.get(organization)
    if (bucket === undefined) return undefined
    refill(bucket, now)
    const wait = millisUntil(bucket, minute)
    if (wait > 0) return limited(describe("count", bucket.perMinute), wait)
    bucket.level -= minute
    return undefined
  }

  /** Replaces the limits. A bucket keeps its level, cut to the new capacity; one that had no limit begins full. */
  const setLimits = (next: LimitsOf, now: number): void => {
    limitsOf = next
    for (const organization of counters.keys()) counters.set(organization, counter(organization, now))
    for (const group of groups.values()) {
      Object.assign(group.buckets, bucketsOf(next(group.model, group.organization), group.buckets, now))
    }
  }

  return { admit, count, setLimits }
}

/**
 * The limits of an organization on a usage tier, as `Model.tierLimits` has them: groups without published limits have none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tier = (name: Model.Tier): LimitsOf => Model.tierLimits(name)
