import type { ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages"
import { incompatibility } from "../../internal/incompatibility.ts"
import * as Model from "../../Model.ts"
import type { Block, Request } from "../../Request.ts"
import type * as Usage from "../../Usage.ts"
import type { Matcher, Rule, RuleContext } from "./Rule.ts"
import { blocksOf, breakpoints, expectedOutput, hasBreakpoints, matches, priceOf } from "./Rule.ts"

/**
 * Tasks that small models do well, recognized by their wording in English.
 *
 * @category constants
 * @since 0.1.0
 */
export const simpleTasks: ReadonlyArray<RegExp> = [
  /^\s*(please\s+)?(classify|categori[sz]e|label|tag|translate|extract|proofread)\b/i,
  /^\s*(please\s+)?(correct|fix)\s+(the\s+)?(spelling|grammar|punctuation|typos)\b/i,
  /^\s*(what|which) language is\b/i,
  /\b(answer|reply|respond)\s+(only\s+)?(with\s+)?(yes or no|true or false|one word|a single word)\b/i
]

/**
 * - `to`: the model or models to try. The cheapest that accepts the request is used.
 * - `when`: which calls are simple. Default {@link simpleTasks}.
 * - `maxInputTokens`: longer prompts are not simple. Default 4,000.
 * - `allowTools`: whether requests with tools may change their model. Default `false`.
 *
 * @category options
 * @since 0.1.0
 */
export interface CheaperModelOptions {
  readonly to: string | ReadonlyArray<string>
  readonly when?: Matcher | undefined
  readonly maxInputTokens?: number | undefined
  readonly allowTools?: boolean | undefined
}

/** Fields that every model accepts. For others, betas among them, support differs. */
const portableFields = new Set([
  "model",
  "max_tokens",
  "messages",
  "system",
  "stop_sequences",
  "metadata",
  "cache_control",
  "inference_geo",
  "thinking",
  "stream"
])
const portableBlocks = new Set(["text", "image", "document", "tool_use", "tool_result"])

type ToolResultContent = Exclude<ToolResultBlockParam["content"], string | undefined>[number]

const isPortableBlock = (block: Block | ToolResultContent): boolean =>
  portableBlocks.has(block.type) &&
  (block.type !== "tool_result" || !Array.isArray(block.content) || block.content.every(isPortableBlock))

const isPortableField = (request: Request, field: string, withTools: boolean): boolean => {
  if (portableFields.has(field)) return true
  if (field === "speed") return request.speed !== "fast"
  if (field === "service_tier") return request.service_tier === "standard_only"
  return withTools && (field === "tool_choice" || field === "tools")
}

const isPortable = (request: Request, withTools: boolean): boolean => {
  const { messages, thinking, tools = [] } = request
  const values: Readonly<Record<string, unknown>> = { ...request }
  const fields = Object.keys(values).filter((field) => values[field] !== undefined && values[field] !== null)
  return fields.every((field) => isPortableField(request, field, withTools)) &&
    (thinking === undefined || thinking.type === "disabled") &&
    tools.every((tool) => tool.type === undefined || tool.type === null || tool.type === "custom") &&
    messages.every((message) => message.role !== "system" && blocksOf(message).every(isPortableBlock))
}

/** How many tokens the second model needs for one of the first. */
const growth = ({ catalogue }: RuleContext, from: string, to: string): number => {
  const density = (model: string) => Model.tokenizers[catalogue.lookup(model).tokenizer].density
  return density(to) / density(from)
}

/** The request for another model, with room for an answer of the same length. */
const moved = (context: RuleContext, request: Request, to: string): Request => ({
  ...request,
  model: to,
  max_tokens: Math.ceil(request.max_tokens * Math.max(1, growth(context, request.model, to)))
})

/**
 * The cost of a request as it is, or moved to another model. The cache is assumed to be warm for the model asked for and cold for any other:
 * there the prompt is written, or costs full price if it is too short for that model's cache.
 */
const costOf = (context: RuleContext, asked: Request, request: Request): number | undefined => {
  const prompt = context.inputTokens(request)
  const outputTokens = Math.ceil(expectedOutput(context, asked) * growth(context, asked.model, request.model))
  const minimum = context.catalogue.lookup(request.model).minCacheableTokens ?? Infinity
  const isLong = Object.values(breakpoints(asked)).flat().includes("1h")
  const category: keyof Usage.Usage = !hasBreakpoints(asked)
    ? "inputTokens"
    : request === asked
    ? "cacheReadTokens"
    : prompt < minimum
    ? "inputTokens"
    : isLong
    ? "cacheWrite1hTokens"
    : "cacheWrite5mTokens"
  return priceOf(context, request, { [category]: prompt, outputTokens })
}

/**
 * Sends simple tasks to a cheaper model.
 *
 * - It uses the cheapest of `to` that accepts the request, by {@link incompatibility}, and only if the request is expected to cost less than with
 *   the model asked for: with the tokens as each model counts them, and a cache that is warm for the model asked for and cold for the other.
 * - It skips requests that not every model is known to accept: with thinking in the request or the conversation, with tools (unless `allowTools`) or
 *   tools of the API, structured output, an effort, fast mode, Priority Tier, beta headers, or unknown fields.
 * - `max_tokens` grows by 30 % if the other model's tokenizer needs that many more for the same answer.
 * - Models without a price and models that are not in the catalogue are never chosen.
 *
 * @category rules
 * @since 0.1.0
 */
export const cheaperModel = (options: CheaperModelOptions): Rule => {
  const { allowTools = false, maxInputTokens = 4_000, to, when = simpleTasks } = options
  const candidates = typeof to === "string" ? [to] : to
  return {
    name: "cheaperModel",
    apply: (request, context) => {
      const { at, call, catalogue } = context
      const isBeta = Object.keys(call.headers).some((header) => header.toLowerCase() === "anthropic-beta")
      if (isBeta || !matches(when, request, call) || !isPortable(request, allowTools)) return undefined
      if (context.inputTokens(request) > maxInputTokens) return undefined
      const asked = costOf(context, request, request)
      if (asked === undefined) return undefined
      const [best] = candidates.flatMap((name) => {
        const model = catalogue.find(name)
        if (model === undefined || model.id === catalogue.lookup(request.model).id) return []
        const candidate = moved(context, request, name)
        const inputTokens = context.inputTokens(candidate)
        if (incompatibility(model, candidate, { at, inputTokens }) !== undefined) return []
        const cost = costOf(context, request, candidate)
        return cost === undefined || cost >= asked ? [] : [{ candidate, cost }]
      }).sort((a, b) => a.cost - b.cost)
      if (best === undefined) return undefined
      const { max_tokens, model } = best.candidate
      const room = max_tokens === request.max_tokens ? "" : `, max_tokens ${request.max_tokens} -> ${max_tokens}`
      return {
        request: best.candidate,
        what: `${request.model} -> ${model}${room}`,
        savedNanoUsd: asked - best.cost
      }
    }
  }
}
