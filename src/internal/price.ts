/**
 * The price of a model. `PriceBook` exports it, and the catalogue holds the published ones.
 */
import * as Schema from "effect/Schema"

/**
 * Every {@link Category}.
 *
 * @category constants
 * @since 0.1.0
 */
export const categories = ["input", "output", "cacheRead", "cacheWrite5m", "cacheWrite1h", "webSearch"] as const

/**
 * A category of usage with a price of its own.
 *
 * @category models
 * @since 0.1.0
 */
export type Category = (typeof categories)[number]

/**
 * Where a figure comes from.
 *
 * - `documented`: on a page of the vendor.
 * - `computed`: follows from documented figures and factors.
 * - `secondary`: third parties report it from the vendor's page.
 * - `unverified`: without a reliable source.
 * - `own`: your own, for instance from a contract.
 *
 * @category models
 * @since 0.1.0
 */
export type Trust = Schema.Schema.Type<typeof Trust>

/**
 * Decodes and encodes a `Trust`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Trust = Schema.Literals(["documented", "computed", "secondary", "unverified", "own"])

/** Up to 1,000,000 USD, so that everything computed from it is finite. */
const Usd = Schema.Finite.check(
  Schema.isBetween({ minimum: 0, maximum: 1_000_000 }, { expected: "an amount of USD from 0 to 1000000" })
)

const Instant = Schema.String.check(
  Schema.makeFilter((text: string) => /^\d{4}-\d{2}-\d{2}(T.*Z)?$/.test(text) && !Number.isNaN(Date.parse(text)), {
    expected: "a day like 2026-10-07 (from 00:00 UTC) or an instant like 2026-10-07T12:00:00Z"
  })
)

/**
 * Decodes and encodes a `Price`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Price = Schema.Struct({
  /** Id or alias. */
  model: Schema.NonEmptyString,
  /** The first day (UTC) or instant. The first price of a model also holds before it. */
  from: Schema.optional(Instant),
  /** The day (UTC) or instant at which the price ends. */
  until: Schema.optional(Instant),
  /** The speed of serving that it is for. Default `standard`. */
  speed: Schema.optional(Schema.Literals(["standard", "fast"])),
  /** It holds for requests whose whole prompt has more tokens than this. Default 0, which includes the empty prompt. */
  abovePromptTokens: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
  /** Input that no cache served or stored. */
  input: Usd,
  /** Output, thinking included. */
  output: Usd,
  /** Input that a cache served. Default 0.1 times `input`. */
  cacheRead: Schema.optional(Usd),
  /** Input stored for five minutes. Default 1.25 times `input`. */
  cacheWrite5m: Schema.optional(Usd),
  /** Input stored for an hour. Default 2 times `input`. */
  cacheWrite1h: Schema.optional(Usd),
  /** USD for 1,000 searches. Default 10. */
  webSearch: Schema.optional(Usd),
  /** Where its figures come from. Default `own`. */
  trust: Schema.optional(Trust),
  /** Where single figures come from, if not from `trust`. */
  trustOf: Schema.optional(Schema.Struct({
    input: Schema.optional(Trust),
    output: Schema.optional(Trust),
    cacheRead: Schema.optional(Trust),
    cacheWrite5m: Schema.optional(Trust),
    cacheWrite1h: Schema.optional(Trust),
    webSearch: Schema.optional(Trust)
  })),
  /** The page, and the day on which it was read. */
  source: Schema.optional(Schema.String)
})

/**
 * What a model costs from a given day on, in USD for a million tokens, with up to six decimals.
 *
 * @category models
 * @since 0.1.0
 */
export interface Price extends Schema.Schema.Type<typeof Price> {}
