/**
 * Token usage of one attempt, normalized from what the API reports.
 *
 * - **Shape**: categories that never overlap; the prompt is the sum of the four input categories.
 * - **Units**: tokens, non-negative integers.
 * - **Source**: `usage` of a message; `message_start` and `message_delta` of a stream.
 *
 * **Example** (Totals of a stream overwrite, they never add up)
 *
 * ```ts
 * import { Usage } from "effect-claude"
 *
 * const start = Usage.make({ inputTokens: 12, outputTokens: 1 })
 *
 * Usage.merge(start, { output_tokens: 40 }).outputTokens // => 40
 * Usage.promptTokens(start) // => 12
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const Tokens = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const categories = {
  /** Input that no cache served and none stored. */
  inputTokens: Tokens,
  /** Output, thinking included. */
  outputTokens: Tokens,
  cacheReadTokens: Tokens,
  cacheWrite5mTokens: Tokens,
  cacheWrite1hTokens: Tokens,
  /** The part of `outputTokens` that was thinking. */
  thinkingTokens: Tokens,
  webSearchRequests: Tokens,
  /** What served the request, as reported: they decide the price. */
  serviceTier: Schema.optional(Schema.String),
  speed: Schema.optional(Schema.String),
  inferenceGeo: Schema.optional(Schema.String),
  /**
   * Some of it is an assumption: nobody said how long some cache writes live, and both times to live were asked for, so that they count as the longer one; or
   * one of the inferences that made the answer did not say all that it used.
   */
  isAssumed: Schema.optional(Schema.Boolean)
}

/**
 * Decodes and encodes a `Usage`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Usage = Schema.Struct({
  ...categories,
  /** What other models used for the same answer, such as advisors: each at its own price. It is in none of the other figures. */
  others: Schema.optional(Schema.Array(Schema.Struct({ model: Schema.String, usage: Schema.Struct(categories) })))
})

/**
 * Token usage of one attempt.
 *
 * @category models
 * @since 0.1.0
 */
export interface Usage extends Schema.Schema.Type<typeof Usage> {}

/**
 * No tokens at all.
 *
 * @category constructors
 * @since 0.1.0
 */
export const zero: Usage = {
  inputTokens: 0,
  outputTokens: 0,
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  thinkingTokens: 0,
  webSearchRequests: 0
}

/**
 * A usage with what is given, zero elsewhere.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (usage: Partial<Usage>): Usage => ({ ...zero, ...usage })

/**
 * What the API reports, each field of it optional and possibly null: fields come and go between versions.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reported {
  readonly input_tokens?: number | null | undefined
  readonly output_tokens?: number | null | undefined
  readonly cache_read_input_tokens?: number | null | undefined
  readonly cache_creation_input_tokens?: number | null | undefined
  readonly cache_creation?:
    | {
      readonly ephemeral_5m_input_tokens?: number | null | undefined
      readonly ephemeral_1h_input_tokens?: number | null | undefined
    }
    | null
    | undefined
  readonly output_tokens_details?: { readonly thinking_tokens?: number | null | undefined } | null | undefined
  readonly server_tool_use?: { readonly web_search_requests?: number | null | undefined } | null | undefined
  readonly service_tier?: string | null | undefined
  readonly speed?: string | null | undefined
  readonly inference_geo?: string | null | undefined
  readonly iterations?: ReadonlyArray<Iteration> | null | undefined
}

/**
 * One of the inferences that made an answer: `type` is `message`, `compaction`, `advisor_message`, `fallback_message` or one to come.
 *
 * @category models
 * @since 0.1.0
 */
export interface Iteration extends Omit<Reported, "iterations"> {
  readonly type: string
  readonly model?: string | null | undefined
}

const tokens = (reported: number | null | undefined, before: number): number =>
  typeof reported === "number" && Number.isSafeInteger(reported) && reported >= 0 ? reported : before

/**
 * Whether a report says how much of both input and output there was. Where it does not, a usage made of it is no more than what is known.
 *
 * @category guards
 * @since 0.1.0
 */
export const isWhole = (reported: Reported | null | undefined): boolean =>
  tokens(reported?.input_tokens, -1) >= 0 && tokens(reported?.output_tokens, -1) >= 0

const isNothing = (value: unknown): boolean => value === null || value === undefined

const name = (reported: unknown, before: string | undefined): string | undefined =>
  typeof reported === "string" ? reported : before

/** A name of the API for how it served a request. They are short; anything else may repeat what only the request should carry. */
const shortName = (reported: unknown, before: string | undefined): string | undefined =>
  typeof reported === "string" && /^[a-z][a-z0-9_-]{0,15}$/.test(reported) ? reported : before

/**
 * Takes over what `reported` says and keeps the rest of `self`.
 *
 * Totals overwrite, they never add: `message_delta` repeats the whole. Where only the total of cache writes is known, what came to it lives as long as was
 * asked for (`askedTtl`; without it as long as the first ones, or 5 minutes). Where an answer lists its `iterations`, what is billed is their sum: the totals
 * leave out compactions and advisors. What is not a token count is ignored.
 *
 * @category combinators
 * @since 0.1.0
 */
export const merge = (self: Usage, reported: Reported, askedTtl?: () => "5m" | "1h" | undefined): Usage => {
  const { cache_creation: split, iterations } = reported
  const written = tokens(reported.cache_creation_input_tokens, -1)
  const short = tokens(split?.ephemeral_5m_input_tokens, -1)
  const long = tokens(split?.ephemeral_1h_input_tokens, -1)
  const before = self.cacheWrite5mTokens + self.cacheWrite1hTokens
  const growth = short + long === -2 ? written - before : 0
  const isLong = growth > 0 &&
    (askedTtl?.() ?? (before > 0 && self.cacheWrite5mTokens === 0 ? "1h" : "5m")) === "1h"
  const kept1h = written < 0 ? self.cacheWrite1hTokens : Math.min(self.cacheWrite1hTokens, written)
  const cacheWrite1hTokens = isLong ? self.cacheWrite1hTokens + growth : long < 0 ? kept1h : long
  const serviceTier = shortName(reported.service_tier, self.serviceTier)
  const speed = shortName(reported.speed, self.speed)
  const inferenceGeo = shortName(reported.inference_geo, self.inferenceGeo)
  const isAssumed = (isLong && self.cacheWrite5mTokens > 0) || (short + long === -2 && self.isAssumed === true)
  const merged = {
    inputTokens: tokens(reported.input_tokens, self.inputTokens),
    outputTokens: tokens(reported.output_tokens, self.outputTokens),
    cacheReadTokens: tokens(reported.cache_read_input_tokens, self.cacheReadTokens),
    cacheWrite5mTokens: short >= 0
      ? short
      : written < 0
      ? self.cacheWrite5mTokens
      : Math.max(0, written - cacheWrite1hTokens),
    cacheWrite1hTokens,
    thinkingTokens: tokens(reported.output_tokens_details?.thinking_tokens, self.thinkingTokens),
    webSearchRequests: tokens(reported.server_tool_use?.web_search_requests, self.webSearchRequests),
    ...(serviceTier === undefined ? undefined : { serviceTier }),
    ...(speed === undefined ? undefined : { speed }),
    ...(inferenceGeo === undefined ? undefined : { inferenceGeo }),
    ...(isAssumed ? { isAssumed } : undefined),
    ...(self.others === undefined ? undefined : { others: self.others })
  }
  return Array.isArray(iterations) && iterations.length > 0 ? withIterations(merged, iterations, askedTtl) : merged
}

const counts = ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"] as const

/** Whether an iteration says anything of what it used. */
const saysSome = (one: unknown): one is Iteration =>
  typeof one === "object" && one !== null && counts.some((name) => tokens((one as Partial<Iteration>)[name], 0) > 0)

/** Whether the totals of the answer have it: they leave out compactions and advisors. */
const isTotalled = ({ type }: Iteration): boolean => type === "message" || type === "fallback_message"

/** Models are named shortly; anything else may repeat what only the request should carry. */
const isName = (model: unknown): model is string => typeof model === "string" && /^[\w.:@/+-]{1,128}$/.test(model)

/** The last iteration of the answer's own model made the answer; advisors and models that declined have theirs. */
const withIterations = (
  totals: Usage,
  reported: ReadonlyArray<unknown>,
  askedTtl: (() => "5m" | "1h" | undefined) | undefined
): Usage => {
  const all = reported.filter(saysSome)
  // Where one of those in the totals does not say all, the totals do.
  const isSplit = all.some(isTotalled) && all.filter(isTotalled).every(isWhole)
  const iterations = isSplit ? all : all.filter((one) => !isTotalled(one))
  const own = (one: Iteration) => isTotalled(one) || one.type === "compaction"
  let served: string | undefined
  for (const iteration of iterations) if (own(iteration)) served = name(iteration.model, served)
  let main = isSplit ? zero : totals
  let isAssumed = totals.isAssumed === true
  const others = new Map<string, Usage>()
  for (const iteration of iterations) {
    const { model } = iteration
    const usage = fromReported({ ...iteration, iterations: undefined }, askedTtl)
    isAssumed ||= !isWhole(iteration) || usage.isAssumed === true || !(isName(model) || isNothing(model))
    // What names no model counts as the answer's own.
    if (!isName(model) || (model === served && own(iteration))) main = sum(main, usage)
    else others.set(model, sum(others.get(model) ?? zero, usage))
  }
  const { cacheReadTokens, cacheWrite1hTokens, cacheWrite5mTokens, inputTokens, outputTokens } = main
  const { inferenceGeo, serviceTier } = totals
  const shared = {
    ...(serviceTier === undefined ? undefined : { serviceTier }),
    ...(inferenceGeo === undefined ? undefined : { inferenceGeo })
  }
  return {
    ...totals,
    inputTokens,
    outputTokens,
    cacheReadTokens,
    cacheWrite5mTokens,
    cacheWrite1hTokens,
    ...(isAssumed ? { isAssumed } : undefined),
    ...(others.size > 0 && {
      others: Array.from(others, ([model, usage]) => ({ model, usage: { ...shared, ...usage } }))
    })
  }
}

/**
 * Normalizes what a whole answer reports.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromReported = (reported: Reported, askedTtl?: () => "5m" | "1h" | undefined): Usage =>
  merge(zero, reported, askedTtl)

/**
 * All input of the request, cached or not. Haiku 5.5 picks its price band by it.
 *
 * @category getters
 * @since 0.1.0
 */
export const promptTokens = (self: Usage): number =>
  self.inputTokens + self.cacheReadTokens + self.cacheWrite5mTokens + self.cacheWrite1hTokens

/**
 * Adds up the tokens of two attempts; what served them is kept where both agree.
 *
 * @category combinators
 * @since 0.1.0
 */
export const sum = (self: Usage, that: Usage): Usage => ({
  inputTokens: self.inputTokens + that.inputTokens,
  outputTokens: self.outputTokens + that.outputTokens,
  cacheReadTokens: self.cacheReadTokens + that.cacheReadTokens,
  cacheWrite5mTokens: self.cacheWrite5mTokens + that.cacheWrite5mTokens,
  cacheWrite1hTokens: self.cacheWrite1hTokens + that.cacheWrite1hTokens,
  thinkingTokens: self.thinkingTokens + that.thinkingTokens,
  webSearchRequests: self.webSearchRequests + that.webSearchRequests,
  ...(self.serviceTier !== undefined && self.serviceTier === that.serviceTier
    ? { serviceTier: self.serviceTier }
    : undefined),
  ...(self.speed !== undefined && self.speed === that.speed ? { speed: self.speed } : undefined),
  ...(self.inferenceGeo !== undefined && self.inferenceGeo === that.inferenceGeo
    ? { inferenceGeo: self.inferenceGeo }
    : undefined),
  ...(self.isAssumed === true || that.isAssumed === true ? { isAssumed: true } : undefined),
  ...(self.others === undefined && that.others === undefined
    ? undefined
    : { others: [...self.others ?? [], ...that.others ?? []] })
})
