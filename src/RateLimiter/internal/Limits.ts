/** The limits of a limiter, from its options and the catalogue. */
import * as Model from "../../Model.ts"

/**
 * The rates of one bucket set, per minute. An omitted rate is unlimited until the API's headers report it; a given one is never exceeded,
 * whatever the headers report.
 *
 * - `requestsPerMinute`: messages, plain and streamed.
 * - `inputTokensPerMinute`: uncached input and cache writes; cache reads only for models that count them.
 * - `outputTokensPerMinute`: output, thinking included.
 * - `tokensPerMinute`: input and output together.
 * - `countTokensPerMinute`: requests to count tokens. Each key group has one bucket for them, of the size given for the model group
 *   `"other"`.
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

const names = [
  "requestsPerMinute",
  "inputTokensPerMinute",
  "outputTokensPerMinute",
  "tokensPerMinute",
  "countTokensPerMinute"
] as const

const tiers: ReadonlySet<Model.Tier> = new Set(["start", "build", "scale"])

/** Invalid limits would admit everything, or nothing. */
const checked = (limits: Limits): Limits => {
  for (const name of names) {
    const value = limits[name]
    if (value === undefined || (value > 0 && value < Infinity)) continue
    throw new RangeError(`RateLimiter: ${name} must be a number above 0, and is ${value}. Leave out what has no limit.`)
  }
  return limits
}

/**
 * Where limits come from, in this order: the option; for a tier or without an option, the catalogue. Throws a `RangeError` for invalid limits;
 * for those of a function, when they are asked for.
 */
export const from = (limits: Limits | Model.Tier | LimitsOf | undefined, catalogue: Model.Catalogue): LimitsOf => {
  if (limits === undefined) return (group) => checked(catalogue.limits(group) ?? {})
  if (typeof limits === "function") return (group, keyGroup) => checked(limits(group, keyGroup))
  if (typeof limits !== "string") {
    const own = checked(limits)
    return () => own
  }
  if (!tiers.has(limits)) throw new RangeError(`RateLimiter: there is no tier ${limits}`)
  const ofTier = Model.tierLimits(limits, catalogue)
  return (group) => checked(ofTier(group))
}
