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

/**
 * Decodes and encodes a `Usage`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Usage = Schema.Struct({
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
  inferenceGeo: Schema.optional(Schema.String)
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

const name = (reported: unknown, before: string | undefined): string | undefined =>
  typeof reported === "string" ? reported : before

/**
 * Takes over what `reported` says and keeps the rest of `self`.
 *
 * Totals overwrite, they never add: `message_delta` repeats the whole. Where only the total of cache writes is known,
 * all of it lives as long as was asked for (`askedTtl`, by default 5 minutes); later totals are split as the first one was. What is not a token
 * count is ignored.
 *
 * @category combinators
 * @since 0.1.0
 */
export const merge = (self: Usage, reported: Reported, askedTtl?: () => "5m" | "1h" | undefined): Usage => {
  const split = reported.cache_creation
  const written = tokens(reported.cache_creation_input_tokens, -1)
  const isUnsplit = written > 0 && self.cacheWrite5mTokens + self.cacheWrite1hTokens === 0 &&
    tokens(split?.ephemeral_5m_input_tokens, -1) + tokens(split?.ephemeral_1h_input_tokens, -1) === -2
  const cacheWrite1hTokens = isUnsplit && askedTtl?.() === "1h"
    ? written
    : tokens(split?.ephemeral_1h_input_tokens, self.cacheWrite1hTokens)
  const serviceTier = name(reported.service_tier, self.serviceTier)
  const speed = name(reported.speed, self.speed)
  const inferenceGeo = name(reported.inference_geo, self.inferenceGeo)
  return {
    inputTokens: tokens(reported.input_tokens, self.inputTokens),
    outputTokens: tokens(reported.output_tokens, self.outputTokens),
    cacheReadTokens: tokens(reported.cache_read_input_tokens, self.cacheReadTokens),
    cacheWrite5mTokens: tokens(
      split?.ephemeral_5m_input_tokens,
      written < 0 ? self.cacheWrite5mTokens : Math.max(0, written - cacheWrite1hTokens)
    ),
    cacheWrite1hTokens,
    thinkingTokens: tokens(reported.output_tokens_details?.thinking_tokens, self.thinkingTokens),
    webSearchRequests: tokens(reported.server_tool_use?.web_search_requests, self.webSearchRequests),
    ...(serviceTier === undefined ? undefined : { serviceTier }),
    ...(speed === undefined ? undefined : { speed }),
    ...(inferenceGeo === undefined ? undefined : { inferenceGeo })
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
    : undefined)
})
