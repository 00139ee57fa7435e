import type * as Model from "../../Model.ts"
import type { Block, Request, Turn } from "../../Request.ts"
import type { Rule, RuleContext } from "./Rule.ts"
import { about, blocksOf, difference, hasBreakpoints, isThinking, priceOf } from "./Rule.ts"

/**
 * - `maxInputTokens`: the estimated tokens that the whole prompt may have.
 * - `step`: history is cut in multiples of this many tokens. A conversation that grows with each call is then cut at the same place for many
 *   calls, so that its cache stays warm. Default a quarter of `maxInputTokens`.
 *
 * @category options
 * @since 0.1.0
 */
export interface TrimHistoryOptions {
  readonly maxInputTokens: number
  readonly step?: number | undefined
}

const sources = new Set(["document", "search_result", "web_search_tool_result", "web_fetch_tool_result"])

const isSource = (block: Block): boolean =>
  sources.has(block.type) ||
  block.type === "tool_result" && Array.isArray(block.content) && block.content.some(({ type }) => sources.has(type))

/** Tool references load deferred tools. */
const isToolReference = (block: Block): boolean =>
  block.type === "tool_search_tool_result" ||
  block.type === "tool_result" && Array.isArray(block.content) &&
    block.content.some(({ type }) => type === "tool_reference")

const isCited = (block: Block): boolean =>
  block.type === "text" && Array.isArray(block.citations) && block.citations.length > 0

const lastIndex = <A>(items: ReadonlyArray<A>, is: (item: A) => boolean): number =>
  items.reduce((last, item, index) => is(item) ? index : last, -1)

/** Older models accept thinking blocks after other turns than those that they were made for. */
const bindsThinking = ({ find }: Model.Catalogue, id: string): boolean => {
  const model = find(id)
  return model === undefined || model.rejects.includes("editedThinking") || model.unverified.includes("rejects")
}

/**
 * Where a conversation may begin: at a user turn without tool results, after everything that the rest depends on. System messages within the
 * conversation, loaded tools and histories that the API compacted are never cut.
 */
const beginnings = (context: RuleContext, { messages, model }: Request): ReadonlyArray<number> => {
  const some = (is: (block: Block) => boolean) => (message: Turn) => blocksOf(message).some(is)
  if (messages.some(some(({ type }) => (type as string) === "compaction"))) return []
  const head = headOf(messages)
  const barrier = messages.findIndex((message, index) =>
    index >= head && (message.role === "system" || some(isToolReference)(message))
  )
  const thinking = bindsThinking(context.catalogue, model) ? lastIndex(messages, some(isThinking)) : -1
  const cited = lastIndex(messages, some(isCited))
  const source = messages.findIndex(some(isSource))
  const found: Array<number> = []
  let isToolFree = true
  for (let at = messages.length - 1; at > head; at--) {
    const { role } = messages[at]!
    isToolFree = role === "user" && isToolFree && !some(({ type }) => type === "tool_result")(messages[at]!)
    const begins = role === "user" && isToolFree && messages[at - 1]!.role === "assistant"
    if (role !== "user") isToolFree = true
    if (!begins || at <= thinking || (barrier >= 0 && at > barrier)) continue
    if (cited >= at && source >= 0 && source < at) continue
    found.unshift(at)
  }
  return found
}

/** System messages at the very front stay. */
const headOf = (messages: ReadonlyArray<Turn>): number =>
  Math.max(0, messages.findIndex(({ role }) => role !== "system"))

const tokensOf = (context: RuleContext, request: Request, messages: Array<Turn>): number => {
  const empty: Request = { model: request.model, max_tokens: request.max_tokens, messages: [] }
  return context.inputTokens({ ...empty, messages }) - context.inputTokens(empty)
}

/**
 * Cuts the oldest turns of a conversation whose prompt is larger than `maxInputTokens`.
 *
 * - It keeps the system prompt, the tools and the newest turns; a tool use stays with its result, and the rest begins with a user turn.
 * - Thinking blocks are never altered. For models that bind them to earlier turns (Fable 5.1, Opus 5.5, Sonnet 5.5, Haiku 5.5 and newer), history is
 *   cut only after the last of them.
 * - Citations keep their sources; system messages within the conversation and loaded tools stay; a history that the API compacted is left alone.
 * - If the prompt is still too large, the report says how many tokens are left.
 *
 * The saving is priced as cache reads if the request has breakpoints, else as plain input.
 *
 * @category rules
 * @since 0.1.0
 */
export const trimHistory = (options: TrimHistoryOptions): Rule => ({
  name: "trimHistory",
  apply: (request, context) => {
    const { maxInputTokens } = options
    const step = Math.max(1, options.step ?? Math.ceil(maxInputTokens / 4))
    const total = context.inputTokens(request)
    if (!(total > maxInputTokens)) return undefined
    const { messages } = request
    const head = headOf(messages)
    const wanted = Math.ceil((total - maxInputTokens) / step) * step
    const cuts: Array<{ readonly at: number; readonly tokens: number }> = []
    let from = head
    let tokens = 0
    for (const at of beginnings(context, request)) {
      tokens += tokensOf(context, request, messages.slice(from, at))
      cuts.push({ at, tokens })
      from = at
      if (tokens >= wanted) break
    }
    const cut = cuts.find(({ tokens }) => tokens >= wanted) ??
      cuts.find(({ tokens }) => total - tokens <= maxInputTokens) ??
      cuts.at(-1)
    if (cut === undefined) {
      return {
        what: `the prompt has ${about(total)}, more than ${maxInputTokens}, and no part of its history can be cut`,
        savedNanoUsd: undefined
      }
    }
    const left = total - cut.tokens
    const category = hasBreakpoints(request) ? "cacheReadTokens" : "inputTokens"
    const rest = left > maxInputTokens ? `; ${about(left)} are left, more than ${maxInputTokens}` : ""
    return {
      request: { ...request, messages: [...messages.slice(0, head), ...messages.slice(cut.at)] },
      what: `cut the ${cut.at - head} oldest messages, ${about(cut.tokens)}${rest}`,
      savedNanoUsd: difference(
        priceOf(context, request, { [category]: total }),
        priceOf(context, request, { [category]: left })
      )
    }
  }
})
