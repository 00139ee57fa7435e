/** Bills in the reports of the Admin API. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { attoOf, attoPerNano, BillFormatError, type Category, isDay, type Line, Sums } from "./lines.ts"

const Tokens = Schema.optional(Schema.NullOr(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))))

const UsageResult = Schema.Struct({
  model: Schema.String,
  uncached_input_tokens: Tokens,
  output_tokens: Tokens,
  cache_read_input_tokens: Tokens,
  cache_creation: Schema.optional(Schema.NullOr(Schema.Struct({
    ephemeral_5m_input_tokens: Tokens,
    ephemeral_1h_input_tokens: Tokens
  }))),
  server_tool_use: Schema.optional(Schema.NullOr(Schema.Struct({ web_search_requests: Tokens })))
})

/** Cents as a decimal text, such as `"123.78912"`. */
const CostResult = Schema.Struct({
  model: Schema.optional(Schema.NullOr(Schema.String)),
  cost_type: Schema.optional(Schema.NullOr(Schema.String)),
  amount: Schema.Union([Schema.String, Schema.Finite]),
  currency: Schema.optional(Schema.NullOr(Schema.String))
})

const attoPerCent = attoPerNano * attoPerNano / 100n

/** A report: buckets of a day or less, in pages. */
const Page = Schema.Struct({
  data: Schema.Array(Schema.Struct({ starting_at: Schema.String, results: Schema.Array(Schema.Unknown) })),
  has_more: Schema.optional(Schema.NullOr(Schema.Boolean)),
  next_page: Schema.optional(Schema.NullOr(Schema.String))
})

const wrong = (detail: string): Effect.Effect<never, BillFormatError> => Effect.fail(new BillFormatError({ detail }))

const decode = <S extends Schema.Codec<unknown, unknown>>(schema: S, input: unknown) =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(input),
    (error) => new BillFormatError({ detail: error.message })
  )

/** The results of all pages, each with its day. */
const resultsOf = (json: unknown): Effect.Effect<ReadonlyArray<readonly [string, unknown]>, BillFormatError> =>
  Effect.gen(function*() {
    const pages = yield* decode(Schema.Array(Page), Array.isArray(json) ? json : [json])
    const last = pages.at(-1)
    if (last === undefined) return yield* wrong("the report has no pages")
    if (last.has_more === true) {
      const next = last.next_page === null || last.next_page === undefined ? "" : ` (page=${last.next_page})`
      return yield* wrong(`the report has more pages: read the next one${next} too, and give all of them as an array`)
    }
    const buckets = pages.flatMap(({ data }) => data)
    for (const { starting_at } of buckets) {
      if (!isDay(starting_at.slice(0, 10))) return yield* wrong(`starting_at ${JSON.stringify(starting_at)} is no date`)
    }
    return buckets.flatMap(({ results, starting_at }) => results.map((result) => [starting_at.slice(0, 10), result]))
  })

const isCost = (result: unknown): boolean => typeof result === "object" && result !== null && "amount" in result

/**
 * The bill in the usage report of the Admin API (`/v1/organizations/usage_report/messages`), grouped by model: the body, or an array of all pages where
 * there are several. It has tokens, no money. A cost report, which has money, is read as one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromUsageReport = (json: unknown): Effect.Effect<ReadonlyArray<Line>, BillFormatError> =>
  Effect.gen(function*() {
    const sums = new Sums()
    for (const [day, result] of yield* resultsOf(json)) {
      yield* isCost(result) ? addCost(sums, day, result) : addUsage(sums, day, result)
    }
    return sums.all
  })

/**
 * The bill in the cost report of the Admin API (`/v1/organizations/cost_report`), grouped by description, so that each result names its model: the body, or
 * an array of all pages where there are several. It has money, no tokens. Costs of no model, such as web searches, are a line of the model `""`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromCostReport = (json: unknown): Effect.Effect<ReadonlyArray<Line>, BillFormatError> =>
  Effect.gen(function*() {
    const sums = new Sums()
    for (const [day, result] of yield* resultsOf(json)) yield* addCost(sums, day, result)
    return sums.all
  })

const addUsage = Effect.fnUntraced(function*(sums: Sums, day: string, result: unknown) {
  const usage = yield* decode(UsageResult, result)
  const amounts: ReadonlyArray<readonly [Category, number | null | undefined]> = [
    ["inputTokens", usage.uncached_input_tokens],
    ["outputTokens", usage.output_tokens],
    ["cacheReadTokens", usage.cache_read_input_tokens],
    ["cacheWrite5mTokens", usage.cache_creation?.ephemeral_5m_input_tokens],
    ["cacheWrite1hTokens", usage.cache_creation?.ephemeral_1h_input_tokens],
    ["webSearchRequests", usage.server_tool_use?.web_search_requests]
  ]
  sums.add(day, usage.model, amounts.map(([name, amount]) => [name, BigInt(amount ?? 0)] as const))
})

const addCost = Effect.fnUntraced(function*(sums: Sums, day: string, result: unknown) {
  const { amount, cost_type: type, currency, model } = yield* decode(CostResult, result)
  if ((model ?? "") === "" && (type ?? "tokens") === "tokens") {
    return yield* wrong("a cost names no model: ask for the report with group_by[]=description")
  }
  if ((currency ?? "USD").toUpperCase() !== "USD") return yield* wrong(`its currency is ${currency}, not USD`)
  const atto = attoOf(String(amount), attoPerCent)
  if (atto === undefined) return yield* wrong(`amount ${JSON.stringify(amount)} is no decimal number of cents`)
  sums.add(day, model ?? "", [["nanoUsd", atto]])
})
