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
  data: Schema.Array(Schema.Struct({
    starting_at: Schema.String,
    ending_at: Schema.optional(Schema.NullOr(Schema.String)),
    results: Schema.Array(Schema.Unknown)
  })),
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
    const named = last.next_page ?? ""
    if (last.has_more === true || named !== "") {
      const next = named === "" ? "" : ` (page=${named})`
      return yield* wrong(`the report has more pages: read the next one${next} too, and give all of them as an array`)
    }
    const results: Array<readonly [string, unknown]> = []
    for (const bucket of pages.flatMap(({ data }) => data)) {
      const day = dayOf(bucket.starting_at)
      if (day === undefined) return yield* wrong(`starting_at ${JSON.stringify(bucket.starting_at)} is no date`)
      const end = Date.parse(bucket.ending_at ?? "")
      if (end - Date.parse(day) > dayMillis) {
        return yield* wrong(`a bucket goes from ${bucket.starting_at} to ${bucket.ending_at}: ask for bucket_width=1d`)
      }
      for (const result of bucket.results) results.push([day, result])
    }
    return results
  })

const dayMillis = 86_400_000

/** The day (UTC) of an instant; undefined where it is none. */
const dayOf = (instant: string): string | undefined => {
  if (!isDay(instant.slice(0, 10))) return undefined
  const at = Date.parse(instant)
  return instant.length === 10 || Number.isNaN(at) ? instant.slice(0, 10) : new Date(at).toISOString().slice(0, 10)
}

const isCost = (result: unknown): boolean => typeof result === "object" && result !== null && "amount" in result

/**
 * The bill in the usage report of the Admin API (`/v1/organizations/usage_report/messages`), grouped by model: the body, or an array of all pages where
 * there are several. It has tokens, no money; counts that it leaves out are not compared. A cost report, which has money, is read as one.
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
  const stated = amounts.flatMap(([name, amount]) =>
    amount === undefined || amount === null ? [] : [[name, BigInt(amount)] as const]
  )
  if (stated.length === 0) return yield* wrong("a result has no tokens: is it of a usage report of messages?")
  sums.add(day, usage.model, stated)
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
