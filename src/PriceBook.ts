/**
 * What a call costs, in integer nano-dollars, by prices that are dated.
 *
 * - **What counts** is what the answer reports: the model that served it, its speed, service tier and region, and when it was sent. Without a
 *   price for these the cost is `undefined`, never zero. What other models used for the same answer, such as advisors, is charged at their own prices.
 * - **Units**: prices are in USD for a million tokens. Batch, region and discount multiply the price of one token, which is rounded once to whole
 *   pico-dollars (half up); every published price is whole in each combination. The sum over all tokens is exact, and rounded once to
 *   nano-dollars (1 USD = 1_000_000_000), half up. Exact means up to 2^53: 9,007 USD for one category of a call, 9 million USD for sums.
 * - **Time**: a price holds from 00:00 UTC of its day; the first one also before that.
 * - **Refusals** by the model before any output cost no tokens, except in three categories (`bio`, `frontier_llm`, `reasoning_extraction`) since
 *   2026-09-24. Later refusals cost what they used.
 * - **Priority Tier** is priced by contract: it has no price until `serviceTiers` gives its factor.
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
import type { ModelRefusal } from "./internal/modelRefusal.ts"
import { categories, type Category, Price } from "./internal/price.ts"
import * as Model from "./Model.ts"
import { type Band, booksOf, type Factors, idOf, type Period, speedOf, startOf } from "./PriceBook/internal/rates.ts"
import type { Request } from "./Request.ts"
import * as Usage from "./Usage.ts"

export { categories, type Category, Price, Trust } from "./internal/price.ts"

/**
 * The prices of the first-party API, as of `Model.asOf`: every model that a price was published for, retired ones too.
 *
 * @category constants
 * @since 0.1.0
 */
export const table: ReadonlyArray<Price> = Model.catalogue.prices

/**
 * An answer as it was served. `usage` includes the service tier, speed and region; `at` is when it was sent, in milliseconds since 1970.
 * `isEstimated`: nobody reported how it was served, so that a region that `usage` does not name is the default one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Served {
  readonly model: string
  readonly usage: Usage.Usage
  readonly at: number
  readonly refusal?: ModelRefusal | undefined
  readonly isEstimated?: boolean | undefined
}

/**
 * What an answer costs.
 *
 * - `nanoUsd`: the sum, rounded once.
 * - `picoUsd`: the exact share of each category, in thousandths of a nano-dollar.
 * - `cacheSavedNanoUsd`: how much more the same prompt would have cost without a cache; negative if writing cost more than reading saved.
 * - `isVerified`: whether every price involved is documented, follows from documented ones, or is your own.
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
 * - `cost`: of an answer; undefined if the model has no price at that time.
 * - `ceiling`: the most that a request can cost with these token counts, in nano-dollars (rounded up). Input counts in the most expensive
 *   category that the request allows (a cache write if it sets a breakpoint) and the most expensive band that 1.3 times the estimate
 *   reaches; web searches count as often as they are allowed. Undefined without a price for the model, or for the speed or region requested.
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
  /** Replace the prices of `table` for their model and speed, from the first day on that one of them holds. */
  prices: Schema.optional(Schema.Array(Price)),
  /** The prices to begin with. Default those of `Model.Catalogue`; with an empty list only `prices` remain. */
  table: Schema.optional(Schema.Array(Price)),
  /** The share of every price that your contract takes off, web searches included: for all models, or by model. Default 0. */
  discount: Schema.optional(Schema.Union([Share, Schema.Record(Schema.String, Share)])),
  /** Factors of service tiers beside `standard` (1) and `batch` (0.5), for token prices. */
  serviceTiers: Schema.optional(Schema.Record(Schema.String, Factor)),
  /** Factors of regions beside `global` (1), `not_available` (1) and `us` (1.1), for token prices. */
  inferenceGeos: Schema.optional(Schema.Record(Schema.String, Factor)),
  /**
   * Factors of other platforms: the prices of the API times this hold for models by the names of that platform (`Model.platformOf`), unless they have prices
   * of their own. Without one, such a name has no price.
   */
  platforms: Schema.optional(Schema.Struct({
    bedrock: Schema.optional(Factor),
    vertex: Schema.optional(Factor),
    foundry: Schema.optional(Factor),
    other: Schema.optional(Factor)
  })),
  /** The region in which your workspace serves requests that name none, for ceilings and estimates. Default `global`. */
  defaultInferenceGeo: Schema.optional(Schema.String),
  /** The searches that a ceiling counts for a web search tool without `max_uses`. Default 10. */
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
 * The prices that hold under these options: those of the catalogue with `prices` in their place, without discounts and factors.
 *
 * @category getters
 * @since 0.1.0
 */
export const prices = (options: Options = {}, catalogue: Model.Catalogue = Model.catalogue): ReadonlyArray<Price> => {
  const own = options.prices ?? []
  const keyOf = (price: Price) => `${speedOf(price)} ${idOf(price.model, catalogue)}`
  const starts = new Map<string, number>()
  for (const price of own) {
    starts.set(keyOf(price), Math.min(starts.get(keyOf(price)) ?? Infinity, startOf(price)))
  }
  return [
    ...(options.table ?? catalogue.prices).filter((price) => startOf(price) < (starts.get(keyOf(price)) ?? Infinity)),
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

/** The cost of two models for one answer, rounded as a whole. */
const together = (one: Cost, other: Cost): Cost => {
  const picoUsd = { ...one.picoUsd }
  for (const category of categories) picoUsd[category] += other.picoUsd[category]
  return {
    nanoUsd: rounded(Object.values(picoUsd).reduce((sum, share) => sum + share, 0)),
    picoUsd,
    cacheSavedNanoUsd: one.cacheSavedNanoUsd + other.cacheSavedNanoUsd,
    isVerified: one.isVerified && other.isVerified
  }
}

/** To nano-dollars, half up; exact below 2^53. */
const rounded = (picoUsd: number): number => {
  const rest = ((picoUsd % 1000) + 1000) % 1000
  return (picoUsd - rest) / 1000 + (rest >= 500 ? 1 : 0)
}

/**
 * The longest time to live among the cache breakpoints of a request, which decides what a cache write costs; undefined if it has none.
 *
 * @category getters
 * @since 0.1.0
 */
export const cacheTtl = (request: Request): "5m" | "1h" | undefined => {
  const { cache_control, messages, system, tools } = request
  let ttl: "5m" | undefined
  // A set visits what is added to it meanwhile, each value once.
  const values = new Set<unknown>([{ cache_control }, tools, system, messages])
  for (const value of values) {
    if (typeof value !== "object" || value === null) continue
    if (Array.isArray(value)) { for (const item of value) values.add(item) }
    else {
      const control = "cache_control" in value ? value.cache_control : undefined
      if (typeof control === "object" && control !== null) {
        if ("ttl" in control && control.ttl === "1h") return "1h"
        ttl = "5m"
      }
      if ("content" in value) values.add(value.content)
      if ("source" in value) values.add(value.source)
    }
  }
  return ttl
}

/** How many times its estimate a prompt may have. */
const maxUnderestimate = 1.3

/** The region that answers report when their model or account has no choice of regions. */
const unstatedGeos = { not_available: 1, "": 1 }

const factorsOf = ({ discount = 0, inferenceGeos, serviceTiers }: Options): Factors => ({
  discount,
  tiers: { standard: 1, batch: 0.5, ...serviceTiers },
  geos: { global: 1, us: 1.1, ...unstatedGeos, ...inferenceGeos }
})

/**
 * Builds a price book. Throws for invalid options.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {},
  catalogue: Model.Catalogue = Model.catalogue
): PriceBook["Service"] => {
  Schema.decodeUnknownSync(Options)(options)
  const { defaultInferenceGeo = "global", maxWebSearches = 10 } = options
  const { book, elsewhere } = booksOf(
    prices(options, catalogue),
    factorsOf(options),
    options.platforms ?? {},
    catalogue
  )

  const periodOf = (model: string, speed: string, at: number): Period | undefined => {
    const periods = (book.get(model) ?? elsewhere(model))?.get(speed)
    let period = periods?.[0]
    for (const next of periods ?? []) if (next.from <= at) period = next
    return period === undefined || at >= period.until ? undefined : period
  }

  const cost: PriceBook["Service"]["cost"] = ({ at, isEstimated, model, refusal, usage }) => {
    const { serviceTier = "standard", speed = "standard" } = usage
    const { inferenceGeo = isEstimated === true ? defaultInferenceGeo : "global" } = usage
    const prompt = Usage.promptTokens(usage)
    let band: Band | undefined
    for (const next of periodOf(model, speed, at)?.bands ?? []) {
      if (prompt <= next.above && next.above > 0) continue
      band = next
      break
    }
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
    const own = {
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
    return usage.others === undefined ? own : usage.others.reduce(
      (sum: Cost | undefined, other) => {
        const more = cost({ ...other, at, isEstimated })
        return sum === undefined || more === undefined ? undefined : together(sum, more)
      },
      own
    )
  }

  return PriceBook.of({
    cost,

    ceiling: (request, { at, inputTokens, outputTokens }) => {
      const period = periodOf(request.model, request.speed ?? "standard", at)
      const ttl = cacheTtl(request)
      let searches = 0
      for (const tool of request.tools ?? []) {
        if (tool.type?.startsWith("web_search_") !== true) continue
        searches += "max_uses" in tool ? tool.max_uses ?? maxWebSearches : maxWebSearches
      }
      let highest: number | undefined
      for (const { above, rates: byTier } of period?.bands ?? []) {
        const rates = byTier.get("standard")?.get(request.inference_geo ?? defaultInferenceGeo)
        if (rates === undefined || (above > 0 && inputTokens * maxUnderestimate <= above)) continue
        const input = Math.max(
          rates.input,
          ttl === undefined ? 0 : rates.cacheRead,
          ttl === undefined ? 0 : rates.cacheWrite5m,
          ttl === "1h" ? rates.cacheWrite1h : 0
        )
        const picoUsd = inputTokens * input + outputTokens * rates.output + searches * rates.webSearch
        highest = Math.max(highest ?? 0, picoUsd)
      }
      // Exact below 2^53, like `rounded`.
      return highest === undefined ? undefined : Math.ceil(highest / 1000)
    }
  })
}

/**
 * The prices of `Model.Catalogue`, changed by `options`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<PriceBook> =>
  Layer.effect(PriceBook, Effect.map(Model.Catalogue, (catalogue) => make(options, catalogue)))

/**
 * Reads options from JSON text. Unknown fields are refused, so that no price is lost to a typo.
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
 * Reads options from a JSON file when the layer is built, as {@link fromJson} does.
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
      Effect.zipWith(Model.Catalogue, make)
    )
  )
