/**
 * The facts about one model. `Model` exports them, and the catalogue holds those of the API's models.
 */
import type { ModelLine } from "@anthropic-ai/sdk/resources/models"
import type { Price } from "../../internal/price.ts"

/**
 * The line a model belongs to.
 *
 * @category models
 * @since 0.1.0
 */
export type Line = ModelLine

/**
 * How a model splits text into tokens. `"dense"` (Opus 4.7 and everything newer) counts about 30 % more tokens than `"classic"`
 * (Sonnet 4.6 and older) for the same text, so a count made for one says nothing about the other.
 *
 * @category models
 * @since 0.1.0
 */
export type Tokenizer = "classic" | "dense"

/**
 * Where a model stands in its life.
 *
 * @category models
 * @since 0.1.0
 */
export type Lifecycle = "active" | "deprecated" | "retired"

/**
 * A usage tier of the API with published limits.
 *
 * @category models
 * @since 0.1.0
 */
export type Tier = "start" | "build" | "scale"

/**
 * Rate limits per minute. An omitted one is not limited.
 *
 * - `inputTokensPerMinute`: uncached input and cache writes; cache reads only for models that count them.
 * - `tokensPerMinute`: input and output together.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  readonly requestsPerMinute?: number | undefined
  readonly inputTokensPerMinute?: number | undefined
  readonly outputTokensPerMinute?: number | undefined
  readonly tokensPerMinute?: number | undefined
}

/**
 * What a model answers with status 400.
 *
 * - `forcedToolChoice`: `tool_choice` of type `any` or `tool`, also when counting tokens.
 * - `disabledThinking`: `thinking` of type `disabled`.
 * - `thinkingBudget`: `thinking` with `budget_tokens`.
 * - `prefill`: an assistant message at the end of the conversation.
 * - `sampling`: `temperature`, `top_p` or `top_k` other than the default, under any API version.
 * - `inferenceGeo`: the field `inference_geo`.
 * - `highEffortBetweenTools`: `thinking` of type `between_tools` at an effort above `high`.
 * - `fastModeWithoutBeta`: `speed: "fast"` without the beta `fast-mode-2026-02-01`.
 * - `editedThinking`: thinking blocks after turns that were edited since, or from another line of models.
 *
 * @category models
 * @since 0.1.0
 */
export type Rejection =
  | "forcedToolChoice"
  | "disabledThinking"
  | "thinkingBudget"
  | "prefill"
  | "sampling"
  | "inferenceGeo"
  | "highEffortBetweenTools"
  | "fastModeWithoutBeta"
  | "editedThinking"

/**
 * What `speed: "fast"` does: it runs fast at the fast price, is answered at the standard speed and price, or is refused with status 400.
 *
 * @category models
 * @since 0.1.0
 */
export type FastMode = "available" | "ignored" | "refused"

/**
 * A price of one model: a `PriceBook.Price` without its `model`.
 *
 * @category models
 * @since 0.1.0
 */
export type ModelPrice = Omit<Price, "model">

/**
 * One model. Days are ISO dates in UTC, sizes are tokens. An unknown fact is `undefined`; a fact that the documentation does not
 * confirm has its field's name in `unverified`, as does an unknown one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Model {
  readonly id: string
  readonly aliases: ReadonlyArray<string>
  readonly name: string
  readonly line: Line | undefined
  /** The rate-limit group: models of one group share one set of limits and one circuit. */
  readonly group: string
  readonly tokenizer: Tokenizer
  /** Input and output together. */
  readonly contextTokens: number | undefined
  /** The largest `max_tokens`. */
  readonly maxOutputTokens: number | undefined
  /** A shorter prefix is silently not cached. */
  readonly minCacheableTokens: number | undefined
  /** The hidden prompt of a request with tools, when the model decides (`auto`) and when it must use one (`forced`). */
  readonly toolPromptTokens: { readonly auto: number; readonly forced: number } | undefined
  readonly releasedOn: string | undefined
  readonly deprecatedOn: string | undefined
  /** Calls fail from 00:00 UTC of this day. Set only when a day was announced. */
  readonly retiresOn: string | undefined
  /** The vendor's promise for a model without an announced day. */
  readonly retiresNotBefore: string | undefined
  /** Whether it may think when a request says nothing about thinking. */
  readonly thinksByDefault: boolean
  readonly rejects: ReadonlyArray<Rejection>
  readonly fastMode: FastMode
  /** Whether input read from a cache counts towards the input limit. */
  readonly countsCacheReads: boolean
  readonly prices: ReadonlyArray<ModelPrice>
  /** Limits of its group that hold whatever the tier. Models of the API have none: theirs depend on the tier. */
  readonly limits: Limits | undefined
  readonly unverified: ReadonlyArray<Exclude<keyof Model, "unverified">>
}

/**
 * Builds a model from its id and whatever else is known about it. By default it has a group of its own, named like its id, the dense tokenizer,
 * no prices, no fast mode and no restrictions, and its sizes are unknown.
 *
 * **Example** (A model behind your own gateway)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * const ours = Model.make({
 *   id: "claude-ours",
 *   prices: [{ input: 1, output: 5 }],
 *   limits: { requestsPerMinute: 60, outputTokensPerMinute: 20_000 }
 * })
 *
 * ours.group // => "claude-ours"
 * ours.tokenizer // => "dense"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (fields: Pick<Model, "id"> & Partial<Model>): Model => ({
  aliases: [],
  name: fields.id,
  line: undefined,
  group: fields.id,
  tokenizer: "dense",
  contextTokens: undefined,
  maxOutputTokens: undefined,
  minCacheableTokens: undefined,
  toolPromptTokens: undefined,
  releasedOn: undefined,
  deprecatedOn: undefined,
  retiresOn: undefined,
  retiresNotBefore: undefined,
  thinksByDefault: true,
  rejects: [],
  fastMode: "refused",
  countsCacheReads: false,
  prices: [],
  limits: undefined,
  unverified: [],
  ...fields
})
