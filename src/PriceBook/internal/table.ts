/**
 * What a price is, and those of the first-party API.
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
 * What is charged apart.
 *
 * @category models
 * @since 0.1.0
 */
export type Category = (typeof categories)[number]

/**
 * Where a figure comes from.
 *
 * - `documented`: read on a page of the vendor.
 * - `computed`: follows from documented figures and factors.
 * - `secondary`: third parties say that they copied it from the vendor's page.
 * - `unverified`: nobody vouches for it.
 * - `own`: given by you, for instance from your contract.
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

/** Up to 1,000,000 USD, so that whatever is computed from it is finite. */
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
  /** The first day (UTC) or instant; before the first price of a model that one holds too. */
  from: Schema.optional(Instant),
  /** From this day (UTC) or instant on there is no price, unless another begins. */
  until: Schema.optional(Instant),
  /** Default `standard`. */
  speed: Schema.optional(Schema.Literals(["standard", "fast"])),
  /** It holds for requests whose whole prompt has more tokens than this. Default 0, together with the empty prompt. */
  abovePromptTokens: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
  input: Usd,
  output: Usd,
  /** Default 0.1 times `input`. */
  cacheRead: Schema.optional(Usd),
  /** Default 1.25 times `input`. */
  cacheWrite5m: Schema.optional(Usd),
  /** Default 2 times `input`. */
  cacheWrite1h: Schema.optional(Usd),
  /** USD for 1,000 searches. Default 10. */
  webSearch: Schema.optional(Usd),
  /** Where its figures come from. Default `own`. */
  trust: Schema.optional(Trust),
  /** Figures that come from elsewhere than the others. */
  trustOf: Schema.optional(Schema.Struct({
    input: Schema.optional(Trust),
    output: Schema.optional(Trust),
    cacheRead: Schema.optional(Trust),
    cacheWrite5m: Schema.optional(Trust),
    cacheWrite1h: Schema.optional(Trust),
    webSearch: Schema.optional(Trust)
  })),
  /** The page and the day on which its text was current. */
  source: Schema.optional(Schema.String)
})

/**
 * What a model costs from some day on, in USD for a million tokens, up to six decimals.
 *
 * @category models
 * @since 0.1.0
 */
export interface Price extends Schema.Schema.Type<typeof Price> {}

const page = (day: string): string => `https://platform.claude.com/docs/en/about-claude/pricing, ${day}`

const price = (model: string, from: string | undefined, readOn: string, price: Omit<Price, "model">): Price => ({
  model,
  ...(from === undefined ? undefined : { from }),
  webSearch: 10,
  trust: "documented",
  source: page(readOn),
  ...price
})

const cacheOf = (trust: Trust) => ({ cacheRead: trust, cacheWrite5m: trust, cacheWrite1h: trust })

const fable52 = { input: 8, output: 40, cacheWrite5m: 10, cacheWrite1h: 16, cacheRead: 0.2 }
const fable51 = { input: 10, output: 50, cacheWrite5m: 12.5, cacheWrite1h: 20, cacheRead: 0.25 }
const fable5 = { input: 10, output: 50, cacheWrite5m: 12.5, cacheWrite1h: 20, cacheRead: 1 }
const opus55 = { input: 4, output: 20, cacheWrite5m: 5, cacheWrite1h: 8, cacheRead: 0.2 }
const opus5 = { input: 5, output: 25, cacheWrite5m: 6.25, cacheWrite1h: 10, cacheRead: 0.5 }
const opus4 = { input: 15, output: 75, cacheWrite5m: 18.75, cacheWrite1h: 30, cacheRead: 1.5 }
const sonnet5 = { input: 2, output: 10, cacheWrite5m: 2.5, cacheWrite1h: 4, cacheRead: 0.2 }
const sonnet4 = { input: 3, output: 15, cacheWrite5m: 3.75, cacheWrite1h: 6, cacheRead: 0.3 }

/** Twice the standard price: the page gives input and output, the factors of caching do the rest. */
const fastOpus5 = {
  speed: "fast",
  input: 10,
  output: 50,
  cacheWrite5m: 12.5,
  cacheWrite1h: 20,
  cacheRead: 1,
  trustOf: cacheOf("computed")
} as const

/**
 * The prices of the first-party API, as of `Model.asOf`: every model that a price was published for, retired ones too.
 *
 * @category constants
 * @since 0.1.0
 */
export const table: ReadonlyArray<Price> = [
  price("claude-fable-5-2", "2026-11-09", "2026-11", { ...fable52, trustOf: cacheOf("secondary") }),
  price("claude-fable-5-2", "2026-11-09", "2026-11", {
    speed: "fast",
    input: 16,
    output: 80,
    cacheWrite5m: 20,
    cacheWrite1h: 32,
    cacheRead: 0.4,
    trust: "secondary",
    trustOf: { webSearch: "documented" }
  }),
  price("claude-mythos-5-2", "2026-11-09", "2026-11", { ...fable52, trustOf: cacheOf("secondary") }),
  price("claude-fable-5-1", "2026-09-01", "2026-10-08", fable51),
  price("claude-mythos-5-1", "2026-09-01", "2026-10-08", fable51),
  price("claude-fable-5", "2026-06-09", "2026-10-09", fable5),
  price("claude-mythos-5", undefined, "2026-10-09", fable5),
  price("claude-opus-5-5", "2026-09-22", "2026-10-09", opus55),
  price("claude-opus-5-5", "2026-09-22", "2026-10-09", {
    speed: "fast",
    input: 8,
    output: 40,
    cacheWrite5m: 10,
    cacheWrite1h: 16,
    cacheRead: 0.4,
    trust: "secondary",
    trustOf: { webSearch: "documented" }
  }),
  price("claude-opus-5", "2026-07-24", "2026-10-09", opus5),
  price("claude-opus-5", "2026-07-24", "2026-10-09", fastOpus5),
  price("claude-opus-4-8", "2026-05-28", "2026-10-09", opus5),
  price("claude-opus-4-8", "2026-05-28", "2026-10-09", { ...fastOpus5, until: "2026-11-30" }),
  price("claude-opus-4-7", "2026-04-16", "2026-10-09", opus5),
  price("claude-opus-4-6", "2026-02-05", "2026-09", opus5),
  // it answers at the standard speed and price, whatever was asked
  price("claude-opus-4-6", "2026-02-05", "2026-09", { ...opus5, speed: "fast" }),
  price("claude-opus-4-5-20251101", "2025-11-24", "2026-09", opus5),
  price("claude-opus-4-1-20250805", "2025-08-05", "2026-09", opus4),
  price("claude-opus-4-20250514", undefined, "2026-09", opus4),
  price("claude-sonnet-5-5", "2026-09-28", "2026-10-09", sonnet5),
  price("claude-sonnet-5-5", "2026-10-07", "2026-10-09", { ...sonnet5, cacheRead: 0.1 }),
  price("claude-sonnet-5", "2026-06-30", "2026-09", sonnet5),
  price("claude-sonnet-4-6", "2026-02-17", "2026-09", sonnet4),
  price("claude-sonnet-4-5-20250929", "2025-09-29", "2026-09", sonnet4),
  price("claude-sonnet-4-20250514", undefined, "2026-09", sonnet4),
  price("claude-haiku-5-5", "2026-10-07", "2026-10-09", {
    input: 0.1,
    output: 0.5,
    cacheWrite5m: 0.125,
    cacheWrite1h: 0.2,
    cacheRead: 0.01
  }),
  price("claude-haiku-5-5", "2026-10-07", "2026-10-09", {
    abovePromptTokens: 100_000,
    input: 0.5,
    output: 2.5,
    cacheWrite5m: 0.625,
    cacheWrite1h: 1,
    cacheRead: 0.05
  }),
  price("claude-haiku-4-5-20251001", "2025-10-15", "2026-09", {
    input: 1,
    output: 5,
    cacheWrite5m: 1.25,
    cacheWrite1h: 2,
    cacheRead: 0.1
  }),
  price("claude-3-5-haiku-20241022", undefined, "2026-09", {
    input: 0.8,
    output: 4,
    cacheWrite5m: 1,
    cacheWrite1h: 1.6,
    cacheRead: 0.08
  })
]
