/**
 * What a served request costs by the rules of the API, worked out by itself: it shares the table of prices with `PriceBook` and nothing
 * else, so that one can be checked against the other.
 */
import { type Price, table } from "../prices.ts"
import type { BilledTokens } from "./Bill.ts"

/** How a request was served. */
export interface Manner {
  readonly speed: "standard" | "fast"
  readonly inferenceGeo: string
  /** The category of a refusal before any output, or `null` for one without; undefined where there was none. */
  readonly refusedAs: string | null | undefined
}

const pico = (tokens: number, usd: number): bigint => BigInt(tokens) * BigInt(Math.round(usd * 1e6))

const chargedRefusals = ["bio", "frontier_llm", "reasoning_extraction"]

/** The row of the table for a prompt of this length: the newest that has begun, or the first of all. */
const priceAt = (rows: ReadonlyArray<Price>, prompt: number, at: number): Price | undefined => {
  const fitting = rows.filter(({ abovePromptTokens = 0 }) => prompt > abovePromptTokens || abovePromptTokens === 0)
  const longest = Math.max(...fitting.map(({ abovePromptTokens = 0 }) => abovePromptTokens))
  const dated = fitting.filter(({ abovePromptTokens = 0 }) => abovePromptTokens === longest)
  let row = dated[0]
  for (const next of dated) if (next.from === undefined || Date.parse(next.from) <= at) row = next
  return row?.until !== undefined && at >= Date.parse(row.until) ? undefined : row
}

/** In nano-dollars, half up; undefined where there is no price. The rows of a model are in the order of their days. */
export const nanoUsd = (model: string, at: number, usage: BilledTokens, manner: Manner): number | undefined => {
  const { inferenceGeo, refusedAs, speed } = manner
  const rows = table.filter((price) => price.model === model && (price.speed ?? "standard") === speed)
  const price = priceAt(rows, usage.input + usage.cacheRead + usage.cacheWrite5m + usage.cacheWrite1h, at)
  if (price === undefined || (inferenceGeo !== "global" && inferenceGeo !== "us")) return undefined
  const charged = at >= Date.UTC(2026, 8, 24) && chargedRefusals.some((category) => category === refusedAs)
  if (refusedAs !== undefined && !charged) return 0
  const sum = pico(usage.input, price.input) + pico(usage.output, price.output) +
    pico(usage.cacheRead, price.cacheRead!) + pico(usage.cacheWrite5m, price.cacheWrite5m!) +
    pico(usage.cacheWrite1h, price.cacheWrite1h!)
  return Number((sum * (inferenceGeo === "us" ? 11n : 10n) + 5_000n) / 10_000n)
}
