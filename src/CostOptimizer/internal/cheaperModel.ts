import type { ToolResultBlockParam } from "@anthropic-ai/sdk/resources/messages"
import * as Model from "../../Model.ts"
import type { Block, Request } from "../../Request.ts"
import type * as Usage from "../../Usage.ts"
import { incompatibility } from "./incompatibility.ts"
import type { Matcher, Rule, RuleContext } from "./Rule.ts"
import { blocksOf, breakpoints, expectedOutput, hasBreakpoints, matches, priceOf } from "./Rule.ts"

/**
 * Tasks that small models do well, by how they are asked for in English.
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
 * - `to`: the model or models to try. Of those that would accept the request the cheapest is taken.
 * - `when`: which calls are simple. Default {@link simpleTasks}.
 * - `maxInputTokens`: longer prompts are not simple. Default 4,000.
 * - `tools`: whether requests with tools may change their model. Default `false`.
 *
 * @category options
 * @since 0.1.0
 */
export interface CheaperModelOptions {
  readonly to: string | ReadonlyArray<string>
  readonly when?: Matcher | undefined
  readonly maxInputTokens?: number | undefined
  readonly tools?: boolean | undefined
}

/** What every model understands. Of other fields, betas among them, it is not known which models do. */
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

/** How many tokens the second model needs for what the first says in one. */
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
 * What a request costs, asked for as it is or moved to another model. A cache is taken to be warm for the model that was asked for, and cold
 * for any other: there the prompt is written, or costs full price where it is too short for that model's cache.
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
 * - It takes the cheapest of `to` that would accept the request, by {@link incompatibility}, and only if this request is expected to cost less
 *   with it than with the model asked for: with the tokens as each model counts them, and a cache that is warm for the one and cold
 *   for the other.
 * - It leaves alone what not every model is known to understand: requests and conversations with thinking, requests with tools (unless `tools`) or
 *   with tools of the API, structured output, an effort, fast mode, Priority Tier, beta headers, and fields that it does not know.
 * - `max_tokens` grows by 30 % where the tokenizer of the other model needs so many more for the same answer.
 * - Models without a price and models that the catalogue does not know are never chosen.
 *
 * @category rules
 * @since 0.1.0
 */
export const cheaperModel = (options: CheaperModelOptions): Rule => {
  const { maxInputTokens = 4_000, to, tools = false, when = simpleTasks } = options
  const candidates = typeof to === "string" ? [to] : to
  return {
    name: "cheaperModel",
    apply: (request, context) => {
      const { at, call, catalogue } = context
      const isBeta = Object.keys(call.headers).some((header) => header.toLowerCase() === "anthropic-beta")
      if (isBeta || !matches(when, request, call) || !isPortable(request, tools)) return undefined
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
