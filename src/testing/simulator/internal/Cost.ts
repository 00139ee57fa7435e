/**
 * The cost of a served request by the rules of the API. It shares the prices of the catalogue with `PriceBook` and nothing else, so that one
 * can be checked against the other.
 */
import type * as Model from "../../../Model.ts"
import type { Price } from "../../../PriceBook.ts"
import type { BilledTokens } from "./Bill.ts"

/** How a request was served. */
export interface Manner {
  readonly speed: "standard" | "fast"
  readonly isBatch: boolean
  readonly inferenceGeo: string
  /** Searches of the web. */
  readonly searches: number
  /** The category of a refusal before any output, or `null` for one without; undefined where there was none. */
  readonly refusedAs: string | null | undefined
}

const pico = (tokens: number, usd: number): bigint => tokens === 0 ? 0n : BigInt(tokens) * BigInt(Math.round(usd * 1e6))

const chargedRefusals = ["bio", "frontier_llm", "reasoning_extraction"]

const chargedSince = Date.UTC(2026, 8, 24)

/** A price with its days as instants and the usual prices of caching. */
interface Dated {
  readonly price: Price & Readonly<Record<"cacheRead" | "cacheWrite5m" | "cacheWrite1h" | "webSearch", number>>
  readonly above: number
  readonly from: number
  readonly until: number
}

const dated = (price: Price): Dated => ({
  price: {
    ...price,
    cacheRead: price.cacheRead ?? price.input * 0.1,
    cacheWrite5m: price.cacheWrite5m ?? price.input * 1.25,
    cacheWrite1h: price.cacheWrite1h ?? price.input * 2,
    webSearch: price.webSearch ?? 10
  },
  above: price.abovePromptTokens ?? 0,
  from: price.from === undefined ? -Infinity : Date.parse(price.from),
  until: price.until === undefined ? Infinity : Date.parse(price.until)
})

/** The row for a prompt of this length: the newest of its band that has begun, or the first of all. The rows are in the order of their days. */
const priceAt = (rows: ReadonlyArray<Dated>, prompt: number, at: number): Dated["price"] | undefined => {
  let band = 0
  for (const { above } of rows) if (prompt > above && above > band) band = above
  let found: Dated | undefined
  for (const row of rows) if (row.above === band && (found === undefined || row.from <= at)) found = row
  return found !== undefined && at < found.until ? found.price : undefined
}

/** What requests cost in nano-dollars, half up; undefined where there is no price. */
export const make = (catalogue: Model.Catalogue) => {
  const known = new Map<string, ReadonlyArray<Dated>>()
  const rowsOf = (model: string, speed: Manner["speed"]): ReadonlyArray<Dated> => {
    const name = `${speed} ${model}`
    let rows = known.get(name)
    if (rows === undefined) {
      rows = catalogue.prices.filter((price) => price.model === model && (price.speed ?? "standard") === speed)
        .map(dated).sort((a, b) => a.from - b.from)
      if (rows.length > 0) known.set(name, rows)
    }
    return rows
  }
  return (model: string, at: number, usage: BilledTokens, manner: Manner): number | undefined => {
    const { inferenceGeo, isBatch, refusedAs, searches, speed } = manner
    const prompt = usage.input + usage.cacheRead + usage.cacheWrite5m + usage.cacheWrite1h
    const price = priceAt(rowsOf(model, speed), prompt, at)
    if (price === undefined || (inferenceGeo !== "global" && inferenceGeo !== "us")) return undefined
    const charged = at >= chargedSince && chargedRefusals.some((category) => category === refusedAs)
    if (refusedAs !== undefined && !charged) return 0
    const sum = pico(usage.input, price.input) + pico(usage.output, price.output) +
      pico(usage.cacheRead, price.cacheRead) + pico(usage.cacheWrite5m, price.cacheWrite5m) +
      pico(usage.cacheWrite1h, price.cacheWrite1h)
    const factor = (inferenceGeo === "us" ? 11n : 10n) * (isBatch ? 1n : 2n)
    // a search has one price, however it is served: USD for 1,000 of them
    return Number((sum * factor + pico(searches, price.webSearch * 1_000) * 20n + 10_000n) / 20_000n)
  }
}
