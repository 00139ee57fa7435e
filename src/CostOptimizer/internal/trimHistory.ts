import type * as Model from "../../Model.ts"
import type { Block, Request, Turn } from "../../Request.ts"
import type { Rule, RuleContext } from "./Rule.ts"
import { about, blocksOf, difference, hasBreakpoints, isThinking, priceOf } from "./Rule.ts"

/**
 * - `maxTokens`: what the whole prompt may have, by estimate.
 * - `step`: how many tokens are cut at least, and in multiples of which. A history that grows by a message a call is then cut at the same place
 *   for many calls, so that its cache stays warm. Default a quarter of `maxTokens`.
 *
 * @category options
 * @since 0.1.0
 */
export interface TrimHistoryOptions {
  readonly maxTokens: number
  readonly step?: number | undefined
}

const sources = new Set(["document", "search_result", "web_search_tool_result", "web_fetch_tool_result"])

const isSource = (block: Block): boolean =>
  sources.has(block.type) ||
  block.type === "tool_result" && Array.isArray(block.content) && block.content.some(({ type }) => sources.has(type))

/** What says which of the deferred tools are there. */
const isToolReference = (block: Block): boolean =>
  block.type === "tool_search_tool_result" ||
  block.type === "tool_result" && Array.isArray(block.content) &&
    block.content.some(({ type }) => type === "tool_reference")

const isCited = (block: Block): boolean =>
  block.type === "text" && Array.isArray(block.citations) && block.citations.length > 0

const lastIndex = <A>(items: ReadonlyArray<A>, is: (item: A) => boolean): number =>
  items.reduce((last, item, index) => is(item) ? index : last, -1)

/** Older models take thinking blocks whatever came before them. */
const bindsThinking = ({ find }: Model.Catalogue, id: string): boolean => {
  const model = find(id)
  return model === undefined || model.rejects.includes("editedThinking") || model.unverified.includes("rejects")
}

/**
 * Where a conversation may begin: at a turn of the user that answers no tool, behind everything that what is kept rests on. System
 * messages within the conversation are not cut, nor are the tools that it found, nor a history that the API compacted.
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
 * Cuts the oldest turns of a conversation whose prompt is larger than `maxTokens`.
 *
 * - It keeps the system prompt, the tools and the newest turns; a tool use stays with its result, and what is kept begins with the user.
 * - Thinking blocks are never altered. Models that bind them to the turns before (Fable 5.1, Opus 5.5, Sonnet 5.5, Haiku 5.5 and newer) get a
 *   history that is cut behind the last of them, or the whole one.
 * - Citations keep their sources, system messages within the conversation and tools that it found stay, and a history that the API compacted is left alone.
 * - Where the bound cannot be met, the report says what is left.
 *
 * The saving is priced as cache reads where the request has breakpoints, else as plain input.
 *
 * @category rules
 * @since 0.1.0
 */
export const trimHistory = (options: TrimHistoryOptions): Rule => ({
  name: "trimHistory",
  apply: (request, context) => {
    const { maxTokens } = options
    const step = Math.max(1, options.step ?? Math.ceil(maxTokens / 4))
    const total = context.inputTokens(request)
    if (!(total > maxTokens)) return undefined
    const { messages } = request
    const head = headOf(messages)
    const wanted = Math.ceil((total - maxTokens) / step) * step
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
      cuts.find(({ tokens }) => total - tokens <= maxTokens) ??
      cuts.at(-1)
    if (cut === undefined) {
      return {
        what: `the prompt has ${about(total)}, more than ${maxTokens}, and no part of its history can be cut`,
        savedNanoUsd: undefined
      }
    }
    const left = total - cut.tokens
    const category = hasBreakpoints(request) ? "cacheReadTokens" : "inputTokens"
    const rest = left > maxTokens ? `; ${about(left)} are left, more than ${maxTokens}` : ""
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
