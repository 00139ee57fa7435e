/** What a limiter is told of its limits, and the published ones. */
import type * as Model from "../../Model.ts"

/**
 * The rates of one bucket set, per minute. What is left out is not limited until the API's headers say so; what is given is
 * never exceeded, whatever the headers say.
 *
 * - `inputTokensPerMinute`: uncached input and cache writes; cache reads only for models for which they count.
 * - `tokensPerMinute`: input and output together.
 * - `countTokensPerMinute`: requests to count tokens. They have a bucket of their own for each key group, with the figure
 *   of the model group `"other"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  readonly requestsPerMinute?: number | undefined
  readonly inputTokensPerMinute?: number | undefined
  readonly outputTokensPerMinute?: number | undefined
  readonly tokensPerMinute?: number | undefined
  readonly countTokensPerMinute?: number | undefined
}

/**
 * A usage tier of the API whose limits are published.
 *
 * @category models
 * @since 0.1.0
 */
export type Tier = "start" | "build" | "scale"

/**
 * Limits as a function of the model group and the key group.
 *
 * @category models
 * @since 0.1.0
 */
export type LimitsOf = (group: Model.Group, keyGroup: string) => Limits

const messages = (requests: number, input: number, output: number): Limits => ({
  requestsPerMinute: requests,
  inputTokensPerMinute: input,
  outputTokensPerMinute: output
})

interface TierLimits {
  readonly fable: Limits
  readonly retired: Limits
  readonly rest: Limits
  readonly count: number
}

const tiers: Record<Tier, TierLimits> = {
  start: {
    fable: messages(1_000, 500_000, 100_000),
    retired: messages(1_000, 100_000, 20_000),
    rest: messages(1_000, 2_000_000, 400_000),
    count: 5_000
  },
  build: {
    fable: messages(2_000, 1_500_000, 300_000),
    retired: messages(2_000, 200_000, 40_000),
    rest: messages(5_000, 5_000_000, 1_000_000),
    count: 10_000
  },
  scale: {
    fable: messages(4_000, 4_000_000, 800_000),
    retired: messages(4_000, 400_000, 80_000),
    rest: messages(10_000, 10_000_000, 2_000_000),
    count: 20_000
  }
}

const none: Limits = {}

/** The published limits of a model group. Groups without a published row are learnt from headers alone. */
const ofTier = (tier: Tier): LimitsOf => {
  const { count, fable, rest, retired } = tiers[tier]
  const counted: Limits = { countTokensPerMinute: count }
  return (group) => {
    switch (group) {
      case "other":
        return counted
      case "mythos-5":
      case "mythos-preview":
        return none
      case "fable-5":
        return fable
      case "haiku-3-5":
        return retired
      default:
        return rest
    }
  }
}

const names = [
  "requestsPerMinute",
  "inputTokensPerMinute",
  "outputTokensPerMinute",
  "tokensPerMinute",
  "countTokensPerMinute"
] as const

/** Limits that make no sense would let everything pass, or nothing. */
const checked = (limits: Limits): Limits => {
  for (const name of names) {
    const value = limits[name]
    if (value === undefined || (value > 0 && value < Infinity)) continue
    throw new RangeError(`RateLimiter: ${name} must be a number above 0, and is ${value}. Leave out what has no limit.`)
  }
  return limits
}

/** Throws a `RangeError` for limits that make no sense; those of a function when they are asked for. */
export const from = (limits: Limits | Tier | LimitsOf | undefined): LimitsOf => {
  if (limits === undefined) return () => none
  if (typeof limits === "function") return (group, keyGroup) => checked(limits(group, keyGroup))
  if (typeof limits !== "string") {
    const own = checked(limits)
    return () => own
  }
  if (!(limits in tiers)) throw new RangeError(`RateLimiter: there is no tier ${limits}`)
  return ofTier(limits)
}
