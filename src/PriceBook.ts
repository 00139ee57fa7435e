/**
 * What a call costs, in integer nano-dollars: prices of every model by the day from which they hold.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type { Attempt, Refusal, Request } from "./Attempt.ts"
import * as Usage from "./Usage.ts"

/**
 * What is charged apart.
 *
 * @category models
 * @since 0.1.0
 */
export type Category = "input" | "output" | "cacheRead" | "cacheWrite5m" | "cacheWrite1h" | "webSearch"

/**
 * An answer as it was served. `usage` also says how (`serviceTier`, `speed`, `inferenceGeo`); `at` is when, in milliseconds since the
 * epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Served {
  readonly model: string
  readonly usage: Usage.Usage
  readonly at: number
  readonly refusal?: Refusal | undefined
}

/**
 * What an answer costs.
 *
 * - `nanoUsd`: the sum, rounded once.
 * - `picoUsd`: what each category adds to it, exact, in thousandths of a nano-dollar.
 * - `cacheSavedNanoUsd`: what the same prompt would have cost more without a cache; negative where its writes cost more than its
 *   reads saved.
 * - `isVerified`: whether every price in it was read in an official document.
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
 * - `ceiling`: what a request costs at most, in nano-dollars, should it use so many tokens: its input is charged in the dearest category that
 *   the request allows. Undefined where the model has no price.
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

/**
 * How far a charge can be trusted.
 *
 * - `exact`: the API reported what was used, or said that it charges nothing.
 * - `derived`: the answer was cut short: input as the API reported it, output counted from what arrived.
 * - `estimated`: it was sent and nothing came back.
 *
 * @category models
 * @since 0.1.0
 */
export type Confidence = "exact" | "derived" | "estimated"

/**
 * What an attempt used and costs. `cost` is undefined where its model has no price.
 *
 * @category models
 * @since 0.1.0
 */
export interface Charge {
  readonly model: string
  readonly usage: Usage.Usage
  readonly cost: Cost | undefined
  readonly confidence: Confidence
}

const free: Cost = {
  nanoUsd: 0,
  picoUsd: { input: 0, output: 0, cacheRead: 0, cacheWrite5m: 0, cacheWrite1h: 0, webSearch: 0 },
  cacheSavedNanoUsd: 0,
  isVerified: true
}

/**
 * What an attempt is charged, by its outcome; undefined where nothing was sent or what was asked for is free for everybody.
 *
 * `expectedOutputTokens` is what such calls usually produce, at most `max_tokens`: it is counted where nothing came back.
 *
 * @category getters
 * @since 0.1.0
 */
export const chargeOf = (
  book: PriceBook["Service"],
  attempt: Attempt,
  at: number,
  expectedOutputTokens: number = attempt.estimate.maxOutputTokens
): Charge | undefined => {
  const { endpoint, estimate, outcome } = attempt
  if (endpoint !== "messages" || outcome._tag === "NotSent") return undefined
  if (outcome._tag === "Completed") {
    const model = outcome.model ?? attempt.model
    const { refusal, usage } = outcome
    return { model, usage, cost: book.cost({ model, usage, at, refusal }), confidence: "exact" }
  }
  const { model } = attempt
  if (outcome._tag === "Failed" && outcome.error.billed === "no") {
    return { model, usage: Usage.zero, cost: free, confidence: "exact" }
  }
  const isKnown = Usage.promptTokens(outcome.usage) > 0
  const usage = isKnown
    ? outcome.usage
    : Usage.make({
      inputTokens: estimate.inputTokens,
      outputTokens: Math.min(expectedOutputTokens, estimate.maxOutputTokens)
    })
  return { model, usage, cost: book.cost({ model, usage, at }), confidence: isKnown ? "derived" : "estimated" }
}
