/**
 * What a call costs, in integer nano-dollars: prices of every model by the day from which they hold.
 *
 * - **What counts** is what the answer reports: the model that served it, its speed, service tier and region, at the time it was
 *   served. A model, or a way to serve it, that nobody gave a price for has none: `undefined`, never zero.
 * - **Units**: prices are in USD for a million tokens. Whatever multiplies (batch, region, discount) goes into the price of one token,
 *   exactly, and that is rounded once to whole pico-dollars (half up); every published price is whole in each combination. Tokens times
 *   that price is exact, and so is the sum of the categories. It is rounded once to nano-dollars (1 USD = 1_000_000_000), half up.
 *   Exact means up to 2^53: 9,007 USD a category of one call, and 9 million USD for sums of nano-dollars.
 * - **Time**: a price holds from 00:00 UTC of its day. Before its first price a model costs what that one says.
 * - **Refusals** by the model: one that comes before any output costs no tokens, save those of three categories (`bio`,
 *   `frontier_llm`, `reasoning_extraction`) since 2026-09-24. One that comes later costs what it used.
 * - **Priority Tier** is priced by contract: answers of it have no price until `tiers` gives its factor.
 *
 * **Example** (The price of an answer, under a contract with 15 % off)
 *
 * ```ts
 * import { PriceBook, Usage } from "effect-claude"
 *
 * const usage = Usage.make({ inputTokens: 1_000, cacheReadTokens: 50_000, outputTokens: 400 })
 * const served = { model: "claude-sonnet-5-5", usage, at: Date.parse("2026-11-22T12:00:00Z") }
 *
 * PriceBook.make().cost(served)?.nanoUsd // => 11_000_000
 * PriceBook.make().cost(served)?.cacheSavedNanoUsd // => 95_000_000
 * PriceBook.make({ discount: 0.15 }).cost(served)?.nanoUsd // => 9_350_000
 * PriceBook.make().cost({ ...served, model: "a-model-of-tomorrow" }) // => undefined
 * ```
 *
 * **Example** (A price of your own, and another from the new year on)
 *
 * ```ts
 * import { PriceBook } from "effect-claude"
 *
 * export const layer = PriceBook.layer({
 *   prices: [
 *     { model: "claude-opus-5-5", input: 3.6, output: 18, cacheRead: 0.18 },
 *     { model: "claude-opus-5-5", from: "2027-01-01", input: 3.2, output: 16, cacheRead: 0.16 }
 *   ]
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type { PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"
import { cacheTtl } from "./internal/cacheTtl.ts"
import type { ModelRefusal } from "./internal/modelRefusal.ts"
import {
  bandAt,
  bookOf,
  idOf,
  type Period,
  periodAt,
  rounded,
  roundedUp,
  speedOf,
  startOf
} from "./PriceBook/internal/rates.ts"
import { type Category, Price, table } from "./PriceBook/internal/table.ts"
import type { Request } from "./Request.ts"
import * as Usage from "./Usage.ts"

export { categories, type Category, Price, table, Trust } from "./PriceBook/internal/table.ts"

/**
 * An answer as it was served. `usage` also says how (`serviceTier`, `speed`, `inferenceGeo`); `at` is when it was sent, in milliseconds
 * since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Served {
  readonly model: string
  readonly usage: Usage.Usage
  readonly at: number
  readonly refusal?: ModelRefusal | undefined
}

/**
 * What an answer costs.
 *
 * - `nanoUsd`: the sum, rounded once.
 * - `picoUsd`: what each category adds to it, exact, in thousandths of a nano-dollar.
 * - `cacheSavedNanoUsd`: what the same prompt would have cost more without a cache; negative where its writes cost more than its
 *   reads saved.
 * - `isVerified`: whether every price in it was read in an official document, follows from one that was, or is your own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Cost {
  readonly nanoUsd: number
  readonly picoUsd: Readonly<Record<Category, number>>
  readonly cacheSavedNanoUsd: number
  readonly isVerified: boolean
}

/**
 * Knows prices.
 *
 * - `cost`: of an answer; undefined where the model has no price at that time.
 * - `ceiling`: what a request costs at most, in nano-dollars (rounded up), should it use so many tokens. Its input is charged in the dearest
 *   category that the request allows (a cache write where it sets a breakpoint) and in the dearest band that 1.3 times the estimate reaches;
 *   web searches as often as they are allowed. Undefined where the model has no price, or none for the speed or region asked for.
 *
 * @category services
 * @since 0.1.0
 */
export class PriceBook extends Context.Service<PriceBook, {
  readonly cost: (served: Served) => Cost | undefined
  readonly ceiling: (request: Request, tokens: {
    readonly inputTokens: number
    readonly outputTokens: number
    readonly at: number
  }) => number | undefined
}>()("effect-claude/PriceBook") {}

const Factor = Schema.Finite.check(
  Schema.isBetween({ minimum: 0, maximum: 100 }, { expected: "a factor from 0 to 100" })
)

const Share = Schema.Finite.check(
  Schema.isBetween({ minimum: 0, maximum: 1 }, { expected: "a share from 0 to 1, such as 0.15" })
)

/**
 * Decodes and encodes `Options`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Options = Schema.Struct({
  /** Prices that replace those of `table` for their model and speed, from the first day on that one of them holds. */
  prices: Schema.optional(Schema.Array(Price)),
  /** What there is without `prices`. Default {@link table}; an empty list leaves your own alone. */
  table: Schema.optional(Schema.Array(Price)),
  /** The share of every price that your contract takes off, web searches included: one for all, or one for each model. Default 0. */
  discount: Schema.optional(Schema.Union([Share, Schema.Record(Schema.String, Share)])),
  /** Factors of service tiers beside `standard` (1) and `batch` (0.5), for token prices. */
  tiers: Schema.optional(Schema.Record(Schema.String, Factor)),
  /** Factors of regions beside `global` (1), `not_available` (1) and `us` (1.1), for token prices. */
  geos: Schema.optional(Schema.Record(Schema.String, Factor)),
  /** The region of a request that names none, where your workspace sets one. Ceilings need it. Default `global`. */
  defaultGeo: Schema.optional(Schema.String),
  /** How many searches a ceiling counts for a web search tool without `max_uses`. Default 10. */
  maxWebSearches: Schema.optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
})

/**
 * What changes prices.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Schema.Schema.Type<typeof Options> {}

/**
 * The prices that hold under these options: {@link table} with `prices` in their place. Discounts and factors are not in them.
 *
 * @category getters
 * @since 0.1.0
 */
export const prices = (options: Options = {}): ReadonlyArray<Price> => {
  const own = options.prices ?? []
  const keyOf = (price: Price) => `${speedOf(price)} ${idOf(price.model)}`
  const starts = new Map<string, number>()
  for (const price of own) {
    starts.set(keyOf(price), Math.min(starts.get(keyOf(price)) ?? Infinity, startOf(price)))
  }
  return [
    ...(options.table ?? table).filter((price) => startOf(price) < (starts.get(keyOf(price)) ?? Infinity)),
    ...own
  ]
}

const nothing: Readonly<Record<Category, number>> = {
  input: 0,
  output: 0,
  cacheRead: 0,
  cacheWrite5m: 0,
  cacheWrite1h: 0,
  webSearch: 0
}

/**
 * The cost of what the API does not charge.
 *
 * @category constants
 * @since 0.1.0
 */
export const free: Cost = { nanoUsd: 0, picoUsd: nothing, cacheSavedNanoUsd: 0, isVerified: true }

/** Refusals before any output of these categories are charged, since `billedSince`. */
const billedCategories: ReadonlySet<string | undefined> = new Set(["bio", "frontier_llm", "reasoning_extraction"])
const billedSince = Date.parse("2026-09-24")

const isFree = (refusal: ModelRefusal, at: number): boolean =>
  refusal.beforeOutput && !(at >= billedSince && billedCategories.has(refusal.category))

/** How much longer than its estimate a prompt may turn out. */
const doubt = 1.3

const webSearches = (request: Request, unbounded: number): number => {
  let searches = 0
  for (const tool of request.tools ?? []) {
    if (tool.type?.startsWith("web_search_") === true) {
      searches += "max_uses" in tool ? tool.max_uses ?? unbounded : unbounded
    }
  }
  return searches
}

/** What answers report as region where their model or account has no choice of it. */
const unsaidGeos = { not_available: 1, "": 1 }

/**
 * Builds a price book. Options that make no sense are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): PriceBook["Service"] => {
  Schema.decodeUnknownSync(Options)(options)
  const { defaultGeo = "global", maxWebSearches = 10 } = options
  const book = bookOf(prices(options), {
    discount: options.discount ?? 0,
    tiers: { standard: 1, batch: 0.5, ...options.tiers },
    geos: { global: 1, us: 1.1, ...unsaidGeos, ...options.geos }
  })

  const periodOf = (model: string, speed: string, at: number): Period | undefined =>
    periodAt((book.get(model) ?? book.get(idOf(model)))?.get(speed), at)

  return PriceBook.of({
    cost: ({ at, model, refusal, usage }) => {
      const { inferenceGeo = "global", serviceTier = "standard", speed = "standard" } = usage
      const prompt = Usage.promptTokens(usage)
      const band = bandAt(periodOf(model, speed, at), prompt)
      const rates = band?.rates.get(serviceTier)?.get(inferenceGeo)
      if (band === undefined || rates === undefined) return undefined
      if (refusal !== undefined && isFree(refusal, at)) {
        const webSearch = usage.webSearchRequests * rates.webSearch
        return {
          nanoUsd: rounded(webSearch),
          picoUsd: { ...nothing, webSearch },
          cacheSavedNanoUsd: 0,
          isVerified: webSearch === 0 || band.isVerified.webSearch
        }
      }
      const picoUsd = {
        input: usage.inputTokens * rates.input,
        output: usage.outputTokens * rates.output,
        cacheRead: usage.cacheReadTokens * rates.cacheRead,
        cacheWrite5m: usage.cacheWrite5mTokens * rates.cacheWrite5m,
        cacheWrite1h: usage.cacheWrite1hTokens * rates.cacheWrite1h,
        webSearch: usage.webSearchRequests * rates.webSearch
      }
      const inputs = picoUsd.input + picoUsd.cacheRead + picoUsd.cacheWrite5m + picoUsd.cacheWrite1h
      const { isVerified } = band
      return {
        nanoUsd: rounded(inputs + picoUsd.output + picoUsd.webSearch),
        picoUsd,
        cacheSavedNanoUsd: rounded(prompt * rates.input - inputs),
        isVerified: (usage.inputTokens === 0 || isVerified.input) &&
          (usage.outputTokens === 0 || isVerified.output) &&
          (usage.cacheReadTokens === 0 || isVerified.cacheRead) &&
          (usage.cacheWrite5mTokens === 0 || isVerified.cacheWrite5m) &&
          (usage.cacheWrite1hTokens === 0 || isVerified.cacheWrite1h) &&
          (usage.webSearchRequests === 0 || isVerified.webSearch)
      }
    },

    ceiling: (request, { at, inputTokens, outputTokens }) => {
      const period = periodOf(request.model, request.speed ?? "standard", at)
      const ttl = cacheTtl(request)
      const searches = webSearches(request, maxWebSearches)
      let dearest: number | undefined
      for (const { above, rates: byTier } of period?.bands ?? []) {
        const rates = byTier.get("standard")?.get(request.inference_geo ?? defaultGeo)
        if (rates === undefined || (above > 0 && inputTokens * doubt <= above)) continue
        const input = Math.max(
          rates.input,
          ttl === undefined ? 0 : rates.cacheRead,
          ttl === undefined ? 0 : rates.cacheWrite5m,
          ttl === "1h" ? rates.cacheWrite1h : 0
        )
        const picoUsd = inputTokens * input + outputTokens * rates.output + searches * rates.webSearch
        dearest = Math.max(dearest ?? 0, picoUsd)
      }
      return dearest === undefined ? undefined : roundedUp(dearest)
    }
  })
}

/**
 * The prices of {@link table}, changed as `options` say.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<PriceBook> => Layer.sync(PriceBook, () => make(options))

/**
 * Reads options from JSON text. Fields that do not exist are refused, so that no price is lost to a slip of the pen.
 *
 * **Example** (A discount and a model of your own)
 *
 * ```ts
 * import { PriceBook } from "effect-claude"
 * import { Effect } from "effect"
 *
 * const text = `{ "discount": 0.1, "prices": [{ "model": "my-model", "input": 1, "output": 5 }] }`
 * const options = await Effect.runPromise(PriceBook.fromJson(text))
 *
 * options.prices?.[0]?.output // => 5
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromJson = (text: string): Effect.Effect<Options, Schema.SchemaError> =>
  Schema.decodeUnknownEffect(Schema.fromJsonString(Options), { onExcessProperty: "error", errors: "all" })(text)

/**
 * Reads options from a JSON file, as {@link fromJson} does, when the layer is built.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFile = (
  path: string
): Layer.Layer<PriceBook, PlatformError | Schema.SchemaError, FileSystem.FileSystem> =>
  Layer.effect(
    PriceBook,
    FileSystem.FileSystem.use((files) => files.readFileString(path)).pipe(
      Effect.flatMap(fromJson),
      Effect.map(make)
    )
  )
