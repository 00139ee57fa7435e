/** What a limiter is told of its limits, and the published ones. */
import * as Model from "../../Model.ts"

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
 * Limits as a function of the model group and the key group.
 *
 * @category models
 * @since 0.1.0
 */
export type LimitsOf = (group: Model.Group, keyGroup: string) => Limits

const none: Limits = {}

const names = [
  "requestsPerMinute",
  "inputTokensPerMinute",
  "outputTokensPerMinute",
  "tokensPerMinute",
  "countTokensPerMinute"
] as const

const tiers: ReadonlySet<Model.Tier> = new Set(["start", "build", "scale"])

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
export const from = (limits: Limits | Model.Tier | LimitsOf | undefined): LimitsOf => {
  if (limits === undefined) return () => none
  if (typeof limits === "function") return (group, keyGroup) => checked(limits(group, keyGroup))
  if (typeof limits !== "string") {
    const own = checked(limits)
    return () => own
  }
  if (!tiers.has(limits)) throw new RangeError(`RateLimiter: there is no tier ${limits}`)
  return Model.tierLimits(limits)
}
