/**
 * What is known about each model: ids, rate-limit group, sizes, lifecycle, tokenizer and what it refuses.
 *
 * The catalogue is advice, as of {@link asOf}. A model that is not in it still works everywhere: its group is `"other"` and every
 * other fact is unknown.
 *
 * **Example** (Looking a model up by its alias)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * Model.find("claude-haiku-4-5")?.id // => "claude-haiku-4-5-20251001"
 * Model.group("claude-opus-4-8") // => "opus-4"
 * Model.group("a-model-of-tomorrow") // => "other"
 * ```
 *
 * @since 0.1.0
 */
import type { Request } from "./Request.ts"

/**
 * The day (UTC) on which the catalogue was last compared with the API's documentation.
 *
 * @category constants
 * @since 0.1.0
 */
export const asOf = "2026-11-22"

/**
 * The rate-limit groups of the Messages API. Models of one group share one set of limits. `"other"` stands for every model that is
 * not in the catalogue, so that the set of groups, and of metric labels made from it, stays closed.
 *
 * @category models
 * @since 0.1.0
 */
export type Group = (typeof groups)[number]

/**
 * Every {@link Group}, `"other"` last.
 *
 * @category constants
 * @since 0.1.0
 */
export const groups = [
  "fable-5",
  "mythos-5",
  "mythos-preview",
  "opus-5-5",
  "opus-5",
  "opus-4",
  "sonnet-5-5",
  "sonnet-5",
  "sonnet-4",
  "haiku-5-5",
  "haiku-4-5",
  "haiku-3-5",
  "other"
] as const

/**
 * The line a model belongs to.
 *
 * @category models
 * @since 0.1.0
 */
export type Line = "fable" | "mythos" | "opus" | "sonnet" | "haiku"

/**
 * How a model cuts text into tokens. `"dense"` (Opus 4.7 and everything newer) counts about 30 % more tokens than `"classic"`
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
 * What a model answers with status 400.
 *
 * - `forcedToolChoice`: `tool_choice` of type `any` or `tool`, also when counting tokens.
 * - `disabledThinking`: `thinking` of type `disabled`.
 * - `thinkingBudget`: `thinking` with `budget_tokens`.
 * - `prefill`: an assistant message at the end of the conversation.
 * - `sampling`: `temperature`, `top_p` or `top_k` other than the default, under any API version.
 * - `inferenceGeo`: the field `inference_geo`.
 * - `strenuousBetweenTools`: `thinking` of type `between_tools` at an effort above `high`.
 * - `editedThinking`: thinking blocks after turns that were changed since, or of another line of models.
 *
 * @category models
 * @since 0.1.0
 */
export type Quirk =
  | "forcedToolChoice"
  | "disabledThinking"
  | "thinkingBudget"
  | "prefill"
  | "sampling"
  | "inferenceGeo"
  | "strenuousBetweenTools"
  | "editedThinking"

/**
 * What `speed: "fast"` does: it is honoured at the fast price, answered at the standard speed and price, or refused with status 400.
 *
 * @category models
 * @since 0.1.0
 */
export type FastMode = "available" | "ignored" | "refused"

/**
 * A model. Days are ISO dates in UTC, sizes are tokens. A fact that is not known is `undefined`; a fact that is given but was not
 * confirmed by the documentation has its field's name in `unverified`, as has one that is unknown.
 *
 * @category models
 * @since 0.1.0
 */
export interface Model {
  readonly id: string
  readonly aliases: ReadonlyArray<string>
  readonly name: string
  readonly line: Line
  readonly group: Group
  readonly tokenizer: Tokenizer
  /** Input and output together. */
  readonly contextTokens: number | undefined
  /** The largest `max_tokens`. */
  readonly maxOutputTokens: number | undefined
  /** A shorter prefix is not cached, without any error. */
  readonly minCacheableTokens: number | undefined
  readonly releasedOn: string | undefined
  readonly deprecatedOn: string | undefined
  /** The last day has passed: calls fail from 00:00 UTC of this day. Only set when a day was announced. */
  readonly retiresOn: string | undefined
  /** The vendor's promise for a model without an announced day. */
  readonly retiresNotBefore: string | undefined
  readonly rejects: ReadonlyArray<Quirk>
  readonly fastMode: FastMode
  readonly unverified: ReadonlyArray<Exclude<keyof Model, "unverified">>
}

const model = (
  fields: Pick<Model, "id" | "name" | "line" | "group" | "tokenizer"> & Partial<Model>
): Model => ({
  aliases: [],
  contextTokens: 1_000_000,
  maxOutputTokens: 128_000,
  minCacheableTokens: 512,
  releasedOn: undefined,
  deprecatedOn: undefined,
  retiresOn: undefined,
  retiresNotBefore: undefined,
  rejects: [],
  fastMode: "refused",
  unverified: [],
  ...fields
})

/**
 * Every known model, the newest of each line first.
 *
 * @category constants
 * @since 0.1.0
 */
export const catalogue: ReadonlyArray<Model> = [
  model({
    id: "claude-fable-5-2",
    name: "Claude Fable 5.2",
    line: "fable",
    group: "fable-5",
    tokenizer: "dense",
    releasedOn: "2026-11-09",
    retiresNotBefore: "2027-11-09",
    rejects: ["forcedToolChoice", "disabledThinking", "thinkingBudget", "prefill", "sampling", "editedThinking"],
    fastMode: "available",
    unverified: ["fastMode", "group", "minCacheableTokens", "retiresNotBefore"]
  }),
  model({
    id: "claude-fable-5-1",
    name: "Claude Fable 5.1",
    line: "fable",
    group: "fable-5",
    tokenizer: "dense",
    releasedOn: "2026-09-01",
    retiresNotBefore: "2027-09-01",
    rejects: ["forcedToolChoice", "disabledThinking", "thinkingBudget", "prefill", "sampling", "editedThinking"]
  }),
  model({
    id: "claude-fable-5",
    name: "Claude Fable 5",
    line: "fable",
    group: "fable-5",
    tokenizer: "dense",
    releasedOn: "2026-06-09",
    retiresNotBefore: "2027-06-09",
    rejects: ["disabledThinking", "thinkingBudget", "prefill", "sampling"],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-mythos-5-2",
    name: "Claude Mythos 5.2",
    line: "mythos",
    group: "mythos-5",
    tokenizer: "dense",
    releasedOn: "2026-11-09",
    // the documentation says it of Fable alone, its twin
    rejects: ["forcedToolChoice", "prefill", "sampling", "editedThinking"],
    unverified: ["group", "minCacheableTokens", "retiresNotBefore", "rejects"]
  }),
  model({
    id: "claude-mythos-5-1",
    name: "Claude Mythos 5.1",
    line: "mythos",
    group: "mythos-5",
    tokenizer: "dense",
    releasedOn: "2026-09-01",
    // the documentation says it of Fable alone, its twin
    rejects: ["forcedToolChoice", "prefill", "sampling", "editedThinking"],
    unverified: ["retiresNotBefore", "rejects"]
  }),
  model({
    id: "claude-mythos-5",
    name: "Claude Mythos 5",
    line: "mythos",
    group: "mythos-5",
    tokenizer: "dense",
    rejects: ["prefill", "sampling"],
    unverified: ["releasedOn", "retiresNotBefore"]
  }),
  model({
    id: "claude-mythos-preview",
    name: "Claude Mythos Preview",
    line: "mythos",
    group: "mythos-preview",
    tokenizer: "dense",
    contextTokens: undefined,
    maxOutputTokens: undefined,
    minCacheableTokens: 2_048,
    // the latest day on which it can have begun: the documentation of that day says so
    deprecatedOn: "2026-08-22",
    rejects: ["prefill", "sampling"],
    unverified: [
      "group",
      "contextTokens",
      "maxOutputTokens",
      "releasedOn",
      "deprecatedOn",
      "retiresOn",
      "retiresNotBefore",
      "rejects"
    ]
  }),
  model({
    id: "claude-opus-5-5",
    name: "Claude Opus 5.5",
    line: "opus",
    group: "opus-5-5",
    tokenizer: "dense",
    releasedOn: "2026-09-22",
    retiresNotBefore: "2027-09-22",
    rejects: ["forcedToolChoice", "disabledThinking", "thinkingBudget", "prefill", "sampling", "editedThinking"],
    fastMode: "available"
  }),
  model({
    id: "claude-opus-5",
    name: "Claude Opus 5",
    line: "opus",
    group: "opus-5",
    tokenizer: "dense",
    releasedOn: "2026-07-24",
    retiresNotBefore: "2027-07-24",
    rejects: ["prefill", "sampling"],
    fastMode: "available"
  }),
  model({
    id: "claude-opus-4-8",
    name: "Claude Opus 4.8",
    line: "opus",
    group: "opus-4",
    tokenizer: "dense",
    minCacheableTokens: 1_024,
    releasedOn: "2026-05-28",
    retiresNotBefore: "2027-05-28",
    rejects: ["prefill", "sampling"],
    fastMode: "available",
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-7",
    name: "Claude Opus 4.7",
    line: "opus",
    group: "opus-4",
    tokenizer: "dense",
    minCacheableTokens: 2_048,
    releasedOn: "2026-04-16",
    retiresNotBefore: "2027-04-16",
    rejects: ["prefill", "sampling"],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-6",
    name: "Claude Opus 4.6",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    minCacheableTokens: 4_096,
    releasedOn: "2026-02-05",
    retiresNotBefore: "2027-02-05",
    rejects: ["prefill"],
    fastMode: "ignored",
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-5-20251101",
    aliases: ["claude-opus-4-5"],
    name: "Claude Opus 4.5",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 64_000,
    minCacheableTokens: 4_096,
    releasedOn: "2025-11-24",
    retiresNotBefore: "2026-11-24",
    rejects: ["inferenceGeo"],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-opus-4-1-20250805",
    name: "Claude Opus 4.1",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 32_000,
    minCacheableTokens: 1_024,
    releasedOn: "2025-08-05",
    retiresOn: "2026-08-05",
    rejects: ["inferenceGeo"],
    unverified: ["group", "maxOutputTokens", "releasedOn"]
  }),
  model({
    id: "claude-opus-4-20250514",
    name: "Claude Opus 4",
    line: "opus",
    group: "opus-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: undefined,
    minCacheableTokens: 1_024,
    retiresOn: "2026-06-15",
    rejects: ["inferenceGeo"],
    unverified: ["group", "contextTokens", "maxOutputTokens", "releasedOn"]
  }),
  model({
    id: "claude-sonnet-5-5",
    name: "Claude Sonnet 5.5",
    line: "sonnet",
    group: "sonnet-5-5",
    tokenizer: "dense",
    releasedOn: "2026-09-28",
    retiresNotBefore: "2027-09-28",
    rejects: ["forcedToolChoice", "disabledThinking", "prefill", "sampling", "strenuousBetweenTools", "editedThinking"]
  }),
  model({
    id: "claude-sonnet-5",
    name: "Claude Sonnet 5",
    line: "sonnet",
    group: "sonnet-5",
    tokenizer: "dense",
    minCacheableTokens: 1_024,
    releasedOn: "2026-06-30",
    retiresNotBefore: "2027-06-30",
    rejects: ["prefill", "sampling"],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-sonnet-4-6",
    name: "Claude Sonnet 4.6",
    line: "sonnet",
    group: "sonnet-4",
    tokenizer: "classic",
    minCacheableTokens: 1_024,
    releasedOn: "2026-02-17",
    retiresNotBefore: "2027-02-17",
    rejects: ["prefill"],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-sonnet-4-5-20250929",
    aliases: ["claude-sonnet-4-5"],
    name: "Claude Sonnet 4.5",
    line: "sonnet",
    group: "sonnet-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 64_000,
    minCacheableTokens: 1_024,
    releasedOn: "2025-09-29",
    deprecatedOn: "2026-09-30",
    retiresOn: "2026-11-30",
    rejects: ["inferenceGeo"],
    unverified: ["releasedOn", "deprecatedOn"]
  }),
  model({
    id: "claude-sonnet-4-20250514",
    name: "Claude Sonnet 4",
    line: "sonnet",
    group: "sonnet-4",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: undefined,
    minCacheableTokens: 1_024,
    retiresOn: "2026-06-15",
    rejects: ["inferenceGeo"],
    unverified: ["group", "contextTokens", "maxOutputTokens", "releasedOn"]
  }),
  model({
    id: "claude-haiku-5-5",
    name: "Claude Haiku 5.5",
    line: "haiku",
    group: "haiku-5-5",
    tokenizer: "dense",
    releasedOn: "2026-10-07",
    retiresNotBefore: "2027-10-07",
    rejects: ["prefill", "sampling", "editedThinking"]
  }),
  model({
    id: "claude-haiku-4-5-20251001",
    aliases: ["claude-haiku-4-5"],
    name: "Claude Haiku 4.5",
    line: "haiku",
    group: "haiku-4-5",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 64_000,
    minCacheableTokens: 4_096,
    releasedOn: "2025-10-15",
    retiresNotBefore: "2026-10-15",
    rejects: ["inferenceGeo"],
    unverified: ["releasedOn"]
  }),
  model({
    id: "claude-3-5-haiku-20241022",
    name: "Claude Haiku 3.5",
    line: "haiku",
    group: "haiku-3-5",
    tokenizer: "classic",
    contextTokens: 200_000,
    maxOutputTokens: 8_192,
    minCacheableTokens: 2_048,
    retiresOn: "2026-02-19",
    rejects: ["inferenceGeo"],
    unverified: ["contextTokens", "maxOutputTokens", "releasedOn"]
  })
]

const byName = new Map(catalogue.flatMap((model) => [model.id, ...model.aliases].map((name) => [name, model] as const)))

/**
 * The model with this id or alias, or `undefined` when the catalogue does not know it.
 *
 * @category getters
 * @since 0.1.0
 */
export const find = (id: string): Model | undefined => byName.get(id)

/**
 * What is taken for true of a model that the catalogue does not know.
 *
 * @category constants
 * @since 0.1.0
 */
export const unknown: Model = model({
  id: "unknown",
  name: "Unknown",
  line: "opus",
  group: "other",
  tokenizer: "dense",
  contextTokens: undefined,
  maxOutputTokens: undefined,
  minCacheableTokens: undefined,
  fastMode: "available"
})

/**
 * The model with this id or alias, or {@link unknown}.
 *
 * @category getters
 * @since 0.1.0
 */
export const lookup = (id: string): Model => byName.get(id) ?? unknown

/**
 * Whether a request for this speed is served in fast mode.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isFast = (model: Model, speed: string | null | undefined): boolean =>
  speed === "fast" && model.fastMode === "available"

/**
 * Whether input that a cache served counts towards rate limits.
 *
 * @category predicates
 * @since 0.1.0
 */
export const countsCacheReads = (model: Model): boolean => model.group === "haiku-3-5"

/**
 * The rate-limit group of a model, by id or alias; `"other"` when the catalogue does not know it.
 *
 * @category getters
 * @since 0.1.0
 */
export const group = (id: string): Group => byName.get(id)?.group ?? "other"

/**
 * The tokenizer of a model, by id or alias. A model that the catalogue does not know is taken for a new one: `"dense"`, which
 * counts more.
 *
 * @category getters
 * @since 0.1.0
 */
export const tokenizer = (id: string): Tokenizer => byName.get(id)?.tokenizer ?? "dense"

const reached = (day: string | undefined, epochMillis: number): boolean =>
  day !== undefined && Date.parse(day) <= epochMillis

/**
 * Where a model stands in its life at an instant (milliseconds since 1970), as far as it was announced on {@link asOf}.
 *
 * **Example** (A model with an announced end)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * const model = Model.find("claude-sonnet-4-5")!
 * Model.lifecycleAt(model, Date.parse("2026-09-29")) // => "active"
 * Model.lifecycleAt(model, Date.parse("2026-10-01")) // => "deprecated"
 * Model.lifecycleAt(model, Date.parse("2026-11-30")) // => "retired"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const lifecycleAt = (model: Model, epochMillis: number): Lifecycle =>
  reached(model.retiresOn, epochMillis) ? "retired" : reached(model.deprecatedOn, epochMillis) ? "deprecated" : "active"

/**
 * Whether calls to a model, by id or alias, fail at an instant (milliseconds since 1970) because it was retired. `false` for a model
 * that the catalogue does not know.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isRetiredAt = (id: string, epochMillis: number): boolean => reached(find(id)?.retiresOn, epochMillis)

const isGiven = (value: unknown): boolean => value !== undefined && value !== null

/**
 * Why the API would refuse a request if it were for this model, in a few words; `undefined` where nothing that is known speaks
 * against it. The `model` of the request is not looked at.
 *
 * - `at`: milliseconds since 1970; a retired model refuses everything.
 * - `inputTokens`: the prompt as this model counts it. Without it the context window is not checked.
 *
 * Sampling parameters are refused here only for models that refuse them under any API version. Whether thinking blocks were made by
 * another model cannot be seen, and neither can beta features that a model does not have.
 *
 * **Example** (A forced tool)
 *
 * ```ts
 * import { Model } from "effect-claude"
 *
 * const request = {
 *   model: "claude-opus-5",
 *   max_tokens: 1_024,
 *   tool_choice: { type: "any" as const },
 *   messages: [{ role: "user" as const, content: "How deep is the river?" }]
 * }
 * const at = Date.parse("2026-11-22")
 *
 * Model.refusal(Model.find("claude-opus-5")!, request, { at }) // => undefined
 * Model.refusal(Model.find("claude-opus-5-5")!, request, { at }) // => "refuses a forced tool_choice"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const refusal = (
  model: Model,
  request: Request,
  options: { readonly at: number; readonly inputTokens?: number | undefined }
): string | undefined => {
  const { inference_geo, max_tokens, messages, output_config, speed, thinking, tool_choice } = request
  const { inputTokens = 0 } = options
  const rejects = (quirk: Quirk): boolean => model.rejects.includes(quirk)
  const fields: Readonly<Record<string, unknown>> = { ...request }
  const isStrenuous = output_config?.effort === "xhigh" || output_config?.effort === "max"
  const budget = thinking?.type === "enabled" ? thinking.budget_tokens : undefined
  if (lifecycleAt(model, options.at) === "retired") return "was retired"
  if (model.maxOutputTokens !== undefined && max_tokens > model.maxOutputTokens) {
    return `answers with at most ${model.maxOutputTokens} tokens`
  }
  if (model.contextTokens !== undefined && inputTokens + max_tokens > model.contextTokens) {
    return `has a context of ${model.contextTokens} tokens`
  }
  if (budget !== undefined && (budget < 1_024 || budget >= max_tokens)) {
    return "needs a thinking budget of at least 1024 and below max_tokens"
  }
  if ((tool_choice?.type === "any" || tool_choice?.type === "tool") && rejects("forcedToolChoice")) {
    return "refuses a forced tool_choice"
  }
  if (thinking?.type === "disabled" && rejects("disabledThinking")) return "cannot go without thinking"
  if (budget !== undefined && rejects("thinkingBudget")) return "refuses a thinking budget"
  if (thinking?.type === "between_tools" && isStrenuous && rejects("strenuousBetweenTools")) {
    return "thinks between tools up to effort high only"
  }
  if (messages.at(-1)?.role === "assistant" && rejects("prefill")) return "refuses a prefill"
  if (["temperature", "top_p", "top_k"].some((field) => isGiven(fields[field])) && rejects("sampling")) {
    return "refuses sampling parameters"
  }
  if (isGiven(inference_geo) && rejects("inferenceGeo")) return "refuses inference_geo"
  return speed === "fast" && model.fastMode === "refused" ? "has no fast mode" : undefined
}
