/**
 * Precomputed prices: the pico-dollars of one token by model, speed, period and prompt length.
 */
import type { Category, Price } from "../../internal/price.ts"
import { type Catalogue, platformOf } from "../../Model.ts"

const perMillion = 1_000_000

/** `units` of a millionth, times millionths, half up. */
const times = (units: bigint, ...factors: ReadonlyArray<bigint>): number => {
  const scale = BigInt(perMillion) ** BigInt(factors.length)
  return Number((2n * factors.reduce((product, factor) => product * factor, units) + scale) / (2n * scale))
}

const millionths = (value: number): bigint => BigInt(Math.round(value * perMillion))

/** Pico-dollars for one token, or for one search. */
export type Rates = Readonly<Record<Category, number>>

/** The prices of one prompt length: `rates` by service tier, then by region. */
export interface Band {
  readonly above: number
  readonly rates: ReadonlyMap<string, ReadonlyMap<string, Rates>>
  readonly isVerified: Readonly<Record<Category, boolean>>
}

/** The longest prompts first. */
export interface Period {
  readonly from: number
  readonly until: number
  readonly bands: Array<Band>
}

/** The name of a model on another platform stands for that platform alone. */
export const idOf = (model: string, { find }: Catalogue): string => find(model)?.id ?? model

export const startOf = (price: Price): number => price.from === undefined ? -Infinity : Date.parse(price.from)

export const speedOf = (price: Price): string => price.speed ?? "standard"

const bandOf = (
  price: Price,
  discount: number,
  tiers: Readonly<Record<string, number>>,
  geos: Readonly<Record<string, number>>
): Band => {
  const left = BigInt(perMillion) - millionths(discount)
  const usd = {
    input: price.input,
    output: price.output,
    cacheRead: price.cacheRead ?? price.input * 0.1,
    cacheWrite5m: price.cacheWrite5m ?? price.input * 1.25,
    cacheWrite1h: price.cacheWrite1h ?? price.input * 2
  }
  // 1,000 searches are a thousandth of a million tokens
  const webSearch = times(millionths((price.webSearch ?? 10) * 1000), left)
  const ratesOf = (tier: number, geo: number): Rates => {
    const rate = (category: keyof typeof usd) =>
      times(millionths(usd[category]), left, millionths(tier), millionths(geo))
    return {
      input: rate("input"),
      output: rate("output"),
      cacheRead: rate("cacheRead"),
      cacheWrite5m: rate("cacheWrite5m"),
      cacheWrite1h: rate("cacheWrite1h"),
      webSearch
    }
  }
  const isVerified = (category: Category): boolean => {
    const trust = price.trustOf?.[category] ?? price.trust ?? "own"
    return trust !== "secondary" && trust !== "unverified"
  }
  return {
    above: price.abovePromptTokens ?? 0,
    rates: new Map(
      Object.entries(tiers).filter(([tier]) => tier !== "batch" || price.speed !== "fast").map(([name, tier]) => [
        name,
        new Map(Object.entries(geos).map(([name, geo]) => [name, ratesOf(tier, geo)]))
      ])
    ),
    isVerified: {
      input: isVerified("input"),
      output: isVerified("output"),
      cacheRead: isVerified("cacheRead"),
      cacheWrite5m: isVerified("cacheWrite5m"),
      cacheWrite1h: isVerified("cacheWrite1h"),
      webSearch: isVerified("webSearch")
    }
  }
}

/** The periods of each speed of each model, by id and by alias, oldest first. */
export type Book = ReadonlyMap<string, ReadonlyMap<string, ReadonlyArray<Period>>>

/** The factors on all prices. */
export interface Factors {
  readonly discount: number | Readonly<Record<string, number>>
  readonly tiers: Readonly<Record<string, number>>
  readonly geos: Readonly<Record<string, number>>
}

const bookOf = (
  prices: ReadonlyArray<Price>,
  { discount, geos, tiers }: Factors,
  catalogue: Catalogue
): Book => {
  const discounts = new Map(
    typeof discount === "number"
      ? []
      : Object.entries(discount).map(([model, share]) => [idOf(model, catalogue), share])
  )
  const book = new Map<string, Map<string, Array<Period>>>()
  for (const price of prices) {
    const model = idOf(price.model, catalogue)
    const speeds = book.get(model) ?? new Map<string, Array<Period>>()
    const periods = speeds.get(speedOf(price)) ?? []
    const from = startOf(price)
    const until = price.until === undefined ? Infinity : Date.parse(price.until)
    let period = periods.find((period) => period.from === from)
    if (period === undefined) {
      period = { from, until, bands: [] }
      periods.push(period)
      periods.sort((a, b) => a.from - b.from)
    }
    const band = bandOf(price, typeof discount === "number" ? discount : discounts.get(model) ?? 0, tiers, geos)
    const same = period.bands.findIndex(({ above }) => above === band.above)
    if (same >= 0) period.bands[same] = band
    else period.bands.push(band)
    period.bands.sort((a, b) => b.above - a.above)
    book.set(model, speeds.set(speedOf(price), periods))
  }
  for (const { aliases, fastMode, id } of catalogue.models) {
    const speeds = book.get(id)
    if (speeds === undefined) continue
    const standard = speeds.get("standard")
    if (fastMode === "ignored" && standard !== undefined && !speeds.has("fast")) speeds.set("fast", standard)
    for (const alias of aliases) book.set(alias, speeds)
  }
  return book
}

/** The prices of the API, and how to find those of a model by its name on another platform: the prices of the API times the factor of the platform. */
export const booksOf = (
  prices: ReadonlyArray<Price>,
  factors: Factors,
  platforms: Readonly<Record<string, number | undefined>>,
  catalogue: Catalogue
): { readonly book: Book; readonly elsewhere: (model: string) => ReturnType<Book["get"]> } => {
  const books = new Map(
    Object.entries(platforms).flatMap(([name, factor]) => {
      if (factor === undefined) return []
      const geos = Object.fromEntries(Object.entries(factors.geos).map(([geo, own]) => [geo, own * factor]))
      return [[name, bookOf(prices, { ...factors, geos }, catalogue)] as const]
    })
  )
  return {
    book: bookOf(prices, factors, catalogue),
    elsewhere: (model) => {
      const platform = books.size === 0 ? undefined : platformOf(model, catalogue)
      return platform === undefined ? undefined : books.get(platform)?.get(catalogue.lookup(model).id)
    }
  }
}
