import type { CacheControlEphemeral } from "@anthropic-ai/sdk/resources/messages"
import * as Estimate from "../../Estimate.ts"
import { ContentHash, copied, copiedText } from "../../internal/contentHash.ts"
import { lookBack, maxBreakpoints, millisOf, prefixesOf } from "../../internal/prefixes.ts"
import type { Block, Request, Turn } from "../../Request.ts"
import { type Candidate, type Judged, lastIndex, type Rates, Recurrence, worthCaching } from "./recurrence.ts"
import type { Rule, RuleContext } from "./Rule.ts"
import { about, breakpoints, difference, priceOf } from "./Rule.ts"

/**
 * - `ttl`: the time to live of the cache. Default `"5m"`, which pays off with the first read; `"1h"` pays off with the second.
 * - `eager`: whether to mark prefixes whatever was learnt about them. Default `false`.
 * - `maxPrefixes`: how many prefixes are remembered; a call adds up to about 20, about 300 bytes each. Default 20,000.
 *
 * @category options
 * @since 0.1.0
 */
export interface CacheBreakpointsOptions {
  readonly ttl?: "5m" | "1h" | undefined
  readonly eager?: boolean | undefined
  readonly maxPrefixes?: number | undefined
}

/** A prefix at whose end a breakpoint can stand; `mark` sets it. */
interface Place extends Candidate {
  readonly what: string
  readonly mark: (request: Request, control: CacheControlEphemeral) => Request
}

const isHead = ({ part }: Candidate): boolean => part !== "messages"

const marked = <A extends object>(
  items: ReadonlyArray<A>,
  at: number,
  cache_control: CacheControlEphemeral
): Array<A> => items.map((item, index) => index === at ? copied(item, { ...item, cache_control }) : item)

const asBlocks = (holder: object, key: string, text: string) => [
  copiedText(holder, key, { type: "text" as const, text }, "text")
]

const isText = (text: unknown): boolean => typeof text === "string" && text.trim() !== ""

const canBeMarked = (block: Block): boolean =>
  block.type === "text" ? isText(block.text) : ["image", "document", "tool_result"].includes(block.type)

/** Whether a breakpoint can stand after the tools. */
const endsInOwnTool = ({ tools }: Request): boolean => {
  const last = tools?.at(-1)
  return last !== undefined && !("defer_loading" in last && last.defer_loading === true) &&
    (last.type === undefined || last.type === null || last.type === "custom")
}

const endsInText = ({ system }: Request): boolean =>
  typeof system === "string" ? isText(system) : system !== undefined && isText(system.at(-1)?.text)

const markTools = (request: Request, control: CacheControlEphemeral): Request =>
  request.tools === undefined
    ? request
    : { ...request, tools: marked(request.tools, request.tools.length - 1, control) }

const markSystem = (request: Request, control: CacheControlEphemeral): Request => {
  const { system = "" } = request
  const blocks = typeof system === "string" ? asBlocks(request, "system", system) : system
  return { ...request, system: marked(blocks, blocks.length - 1, control) }
}

const markBlock = (message: number, block: number) => (request: Request, control: CacheControlEphemeral): Request => ({
  ...request,
  messages: request.messages.map((turn, index): Turn => {
    if (index !== message || turn.role !== "user") return turn
    const { content } = turn
    const blocks: ReadonlyArray<Block> = typeof content === "string" ? asBlocks(turn, "content", content) : content
    return { ...turn, content: marked(blocks, block, control) }
  })
})

/** The places for breakpoints of a request: after its tools, after its system prompt, after blocks of users among the last ones. */
const placesOf = (request: Request, context: RuleContext, total: number): ReadonlyArray<Place> => {
  const { call, catalogue, inputTokens } = context
  const { messages, model, speed } = request
  const prefixes = prefixesOf(request, [catalogue.lookup(model).id, speed ?? "standard", call.tenant ?? ""])
  const places: Array<Place> = []

  const withTools: Request = { ...request, messages: [] }
  const { system: _, ...withoutSystem } = withTools
  const ofTools = prefixes[lastIndex(prefixes, ({ part }) => part === "tools")]
  const ofSystem = prefixes[lastIndex(prefixes, ({ part }) => part === "system")]
  if (ofTools !== undefined && endsInOwnTool(request)) {
    const tokens = inputTokens(withoutSystem)
    places.push({ ...ofTools, tokens, what: "the tools", mark: markTools })
  }
  if (ofSystem !== undefined && endsInText(request)) {
    const tokens = inputTokens(withTools)
    places.push({ ...ofSystem, tokens, what: "the system prompt", mark: markSystem })
  }

  const empty: Request = { model, max_tokens: 0, messages: [] }
  const nothing = inputTokens({ ...empty, messages: [{ role: "user", content: [] }] })
  const tokensOf = (content: Turn["content"]) =>
    inputTokens({ ...empty, messages: [{ role: "user", content }] }) - nothing
  const perMessage = nothing - inputTokens(empty)
  const ends: Array<Place> = []
  let tokens = total
  for (const prefix of prefixes.filter(({ part }) => part === "messages").slice(-lookBack).reverse()) {
    const { block: index, message } = prefix
    const { content, role } = messages[message]!
    const block = typeof content === "string" ? undefined : content[index]
    if (role === "user" && (block === undefined ? isText(content) : canBeMarked(block))) {
      const what = message === messages.length - 1 ? "the newest message" : "an earlier message"
      ends.unshift({ ...prefix, tokens, what, mark: markBlock(message, index) })
    }
    tokens -= tokensOf(block === undefined ? content : [block]) + (index === 0 ? perMessage : 0)
  }
  return [...places, ...ends]
}

const million = 1_000_000

/** What reading and writing the cache costs for this request. */
const ratesOf = (context: RuleContext, request: Request, write: "cacheWrite5mTokens" | "cacheWrite1hTokens"): Rates => {
  const input = priceOf(context, request, { inputTokens: million })
  const ofRead = priceOf(context, request, { cacheReadTokens: million })
  const ofWrite = priceOf(context, request, { [write]: million })
  return input === undefined || ofRead === undefined || ofWrite === undefined || input === 0
    ? { read: 0.1, write: write === "cacheWrite5mTokens" ? 1.25 : 2 }
    : { read: ofRead / input, write: ofWrite / input }
}

const kindOf = (what: ReadonlyArray<string>): number => {
  const hash = new ContentHash()
  hash.add(what)
  return hash.name
}

/**
 * Where breakpoints go, the most important first: as far as it is worth writing; where the prompt leaves others that were seen, which go on
 * differently; and after the head, which other prompts may share.
 */
const chosen = (
  places: ReadonlyArray<Place>,
  judged: ReadonlyArray<Judged>,
  stop: number,
  isLong: (place: Place) => boolean
): ReadonlyArray<Place> => {
  const target = places[stop - 1]
  if (target === undefined || !isLong(target)) return []
  const before = places.slice(0, stop - 1)
  const known = lastIndex(before.map((_, index) => judged[index]!), ({ isCached, isRecent }) => isCached || isRecent)
  const fork = judged[known]?.isCached === true ? [] : before.slice(Math.max(0, known), known + 1)
  return [
    target,
    ...fork.filter((place) => !isHead(place) && isLong(place)),
    ...before.filter((place) => isHead(place) && isLong(place)).reverse()
  ]
}

/**
 * Marks long prefixes of prompts that come again, so that the API caches them.
 *
 * - **Where**: after the tools, after the system prompt, after the last block of a user that is worth it, which is the newest message of a
 *   conversation, and where prompts begin to differ: after a document before the questions about it.
 * - **When**: as far as the reads to expect save more than writing costs. How likely a prefix comes again within the time to live is learnt from what
 *   became of others: of the same request type and model, seen as often, as long ago, as long. Until there is evidence, a prefix is marked when it was seen
 *   within the time to live: the second call writes the cache, the third reads it.
 * - Models and tenants are kept apart. Prefixes that are too short for the model's cache are left alone.
 * - Breakpoints of the caller stay, and a part of a prompt that has one gets no other. There are never more than four, and none of one hour
 *   after one of five minutes.
 * - Prefixes are remembered as hashes, never as text.
 *
 * The saving is negative for a call that writes.
 *
 * @category rules
 * @since 0.1.0
 */
export const cacheBreakpoints = (options: CacheBreakpointsOptions = {}): Rule => {
  const { eager = false, maxPrefixes = 20_000, ttl = "5m" } = options
  const control: CacheControlEphemeral = ttl === "5m" ? { type: "ephemeral" } : { type: "ephemeral", ttl }
  const category = ttl === "5m" ? "cacheWrite5mTokens" : "cacheWrite1hTokens"
  const memories = new WeakMap<object, Recurrence>()
  const memoryOf = ({ at, optimizer }: RuleContext): Recurrence => {
    const memory = memories.get(optimizer) ?? new Recurrence(millisOf[ttl], maxPrefixes, at)
    memories.set(optimizer, memory)
    return memory
  }
  return {
    name: "cacheBreakpoints",
    apply: (request, context) => {
      const { minCacheableTokens, id } = context.catalogue.lookup(request.model)
      const total = context.inputTokens(request)
      const isLong = ({ tokens }: { readonly tokens: number }) =>
        minCacheableTokens !== undefined && tokens / Estimate.margin >= minCacheableTokens
      if (!isLong({ tokens: total }) || request.messages.length === 0) return undefined

      const places = placesOf(request, context, total)
      const memory = memoryOf(context)
      const kind = kindOf([id, context.call.requestType ?? ""])
      const judged = memory.see(places, kind, context.at).map((one) => eager ? { ...one, likelihood: 1 } : one)

      const present = breakpoints(request)
      const others = Object.values(present).flat()
      const head = places.filter(isHead).length
      const isHeadFree = present.tools.length === 0 && present.system.length === 0 &&
        (ttl === "1h" || !others.includes("1h"))
      const isTailFree = present.messages.length === 0 && present.whole.length === 0 &&
        (ttl === "5m" || !others.includes("5m"))
      const from = Math.max(lastIndex(judged, ({ isCached }) => isCached) + 1, isHeadFree ? 0 : head)
      const open = isTailFree ? places : places.slice(0, head)
      const stop = worthCaching(open, judged, from, ratesOf(context, request, category))
      const marks = chosen(open, judged, stop, isLong)
        .filter((place) => isHeadFree || !isHead(place))
        .slice(0, Math.max(0, maxBreakpoints - others.length))
        .sort((one, other) => one.tokens - other.tokens)
      if (marks.length === 0) return undefined

      const cached = places.filter((_, index) => index < stop && judged[index]!.isCached)
      memory.cached([...cached, ...marks].map(({ name }) => name), context.at)
      const read = cached.at(-1)?.tokens ?? 0
      const written = Math.max(0, marks.at(-1)!.tokens - read)
      return {
        request: marks.reduce((marked, { mark }) => mark(marked, control), request),
        what: `a cache breakpoint after ${
          marks.map(({ tokens, what }) => `${what} (${about(tokens)})`).join(" and after ")
        }`,
        savedNanoUsd: others.length > 0 ? undefined : difference(
          priceOf(context, request, { inputTokens: total }),
          priceOf(context, request, {
            cacheReadTokens: read,
            [category]: written,
            inputTokens: Math.max(0, total - read - written)
          })
        )
      }
    }
  }
}
