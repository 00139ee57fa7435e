import type { CacheControlEphemeral } from "@anthropic-ai/sdk/resources/messages"
import * as Estimate from "../../Estimate.ts"
import * as Prefix from "../../internal/contentHash.ts"
import type { Block, Request, Turn } from "../../Request.ts"
import type { Rule, RuleContext } from "./Rule.ts"
import { about, blocksOf, breakpoints, difference, priceOf } from "./Rule.ts"

/**
 * - `ttl`: the time to live of the cache. Default `"5m"`, which pays off with the first read; `"1h"` pays off with the second.
 * - `eager`: whether to mark prefixes at first sight. Default `false`: a prefix is marked when it recurs within the time to live.
 *
 * @category options
 * @since 0.1.0
 */
export interface CacheBreakpointsOptions {
  readonly ttl?: "5m" | "1h" | undefined
  readonly eager?: boolean | undefined
}

const millisOf = { "5m": 300_000, "1h": 3_600_000 } as const
const maxBreakpoints = 4
/** The API looks for an earlier breakpoint this many blocks back. */
const lookBack = 20

const canBeMarked = (block: Block): boolean =>
  block.type === "text" ? block.text.trim() !== "" : ["image", "document", "tool_result"].includes(block.type)

const markLast = <A extends object>(items: ReadonlyArray<A>, cache_control: CacheControlEphemeral): Array<A> =>
  items.map((item, index) => index === items.length - 1 ? { ...item, cache_control } : item)

/** The blocks of a text or of a list of blocks, as the API reads both. */
const normal = (content: unknown): unknown => typeof content === "string" ? [{ type: "text", text: content }] : content

const markedTools = (request: Request, control: CacheControlEphemeral): Request | undefined => {
  const last = request.tools?.at(-1)
  if (last === undefined || ("defer_loading" in last && last.defer_loading === true)) return undefined
  if (last.type !== undefined && last.type !== null && last.type !== "custom") return undefined
  return { ...request, tools: markLast(request.tools!, control) } // `last` is one of them
}

const markedSystem = (request: Request, control: CacheControlEphemeral): Request | undefined => {
  const { system } = request
  if (typeof system === "string") {
    return system.trim() === ""
      ? undefined
      : { ...request, system: [{ type: "text", text: system, cache_control: control }] }
  }
  const last = system?.at(-1)
  return last === undefined || last.text.trim() === "" ? undefined : { ...request, system: markLast(system!, control) }
}

const markedMessages = (request: Request, control: CacheControlEphemeral): Request | undefined => {
  const last = request.messages.at(-1)
  if (last === undefined || last.role !== "user") return undefined
  const blocks = typeof last.content === "string" ? [{ type: "text" as const, text: last.content }] : last.content
  const end = blocks.at(-1)
  if (end === undefined || !canBeMarked(end)) return undefined
  return {
    ...request,
    messages: [...request.messages.slice(0, -1), { ...last, content: markLast(blocks, control) }]
  }
}

interface Piece {
  readonly key: string
  readonly tokens: number
}

/** The prefixes of a prompt: its tools, its system prompt, and its conversation up to the end of each of the newest messages. */
const piecesOf = (request: Request, context: RuleContext, total: number) => {
  const { call, catalogue, inputTokens } = context
  const { messages, model, output_config, speed, system, thinking, tool_choice, tools } = request
  const scope = [catalogue.lookup(model).id, speed ?? "standard", call.tenant ?? ""]
  const ofTools = Prefix.add(Prefix.add(Prefix.start, scope), tools ?? [])
  const ofSystem = Prefix.add(ofTools, normal(system ?? []))
  const empty: Request = { model, max_tokens: 0, messages: [] }
  const tokensOf = (message: Turn) => inputTokens({ ...empty, messages: [message] }) - inputTokens(empty)
  const ends: Array<Piece> = []
  let hash = Prefix.add(ofSystem, [tool_choice, thinking, output_config])
  const keys = messages.map(({ content, role }) => {
    hash = Prefix.add(Prefix.add(hash, role), normal(content))
    return Prefix.nameOf(hash)
  })
  let tokens = total
  let blocks = 0
  for (let at = messages.length - 1; at >= 0 && blocks < lookBack; at--) {
    ends.push({ key: `m${keys[at]!}`, tokens })
    tokens -= tokensOf(messages[at]!)
    blocks += Math.max(1, blocksOf(messages[at]!).length)
  }
  const withTools: Request = { ...request, messages: [] }
  const { system: _, ...withoutSystem } = withTools
  return {
    tools: { key: `t${Prefix.nameOf(ofTools)}`, tokens: () => inputTokens(withoutSystem) },
    system: { key: `s${Prefix.nameOf(ofSystem)}`, tokens: () => inputTokens(withTools) },
    ends
  }
}

/**
 * Marks long prefixes of prompts that recur, so that the API caches them.
 *
 * - **Where**: after the system prompt (after the tools, if there is none or if it differs each time), and after the newest message of a
 *   conversation that continues.
 * - **When**: a prefix is marked when it was seen within the time to live, for the same model and tenant: the second call writes the cache, the
 *   third reads it. Prefixes that are too short for the model's cache are left alone.
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
  const { eager = false, ttl = "5m" } = options
  const control: CacheControlEphemeral = ttl === "5m" ? { type: "ephemeral" } : { type: "ephemeral", ttl }
  return {
    name: "cacheBreakpoints",
    apply: (request, context) => {
      const minimum = context.catalogue.lookup(request.model).minCacheableTokens
      const total = context.inputTokens(request)
      const isLong = (tokens: number) => minimum !== undefined && tokens / Estimate.margin >= minimum
      if (!isLong(total) || request.messages.length === 0) return undefined

      const isSeen = (key: string) => context.isRecent(key, millisOf[ttl])
      const isWritten = (key: string) => isSeen(`w${key}`)
      const pieces = piecesOf(request, context, total)
      const present = breakpoints(request)
      const others = Object.values(present).flat()
      const [newest, ...earlier] = pieces.ends
      const isFixed = present.tools.length === 0 && present.system.length === 0
      const isOrdered = ttl === "1h" || !others.includes("1h")

      let changed = request
      const places: Array<string> = []
      const marked: Array<string> = []
      let read = 0
      let write = 0
      const place = (next: Request | undefined, key: string, tokens: number, where: string) => {
        if (next === undefined || others.length + marked.length >= maxBreakpoints) return
        changed = next
        places.push(`${where} (${about(tokens)})`)
        marked.push(key)
        if (isWritten(key)) read = tokens
        else write = tokens
      }

      if (isFixed && isOrdered) {
        const system = markedSystem(request, control)
        if (system !== undefined && (eager || isSeen(pieces.system.key)) && isLong(pieces.system.tokens())) {
          place(system, pieces.system.key, pieces.system.tokens(), "the system prompt")
        } else if ((eager || isSeen(pieces.tools.key)) && isLong(pieces.tools.tokens())) {
          place(markedTools(request, control), pieces.tools.key, pieces.tools.tokens(), "the tools")
        }
      }
      const goesOn = earlier.some(({ key }) => isSeen(key)) || isSeen(newest!.key)
      const isFree = present.messages.length === 0 && present.whole.length === 0
      if ((eager || goesOn) && isFree && (ttl === "5m" || !others.includes("5m"))) {
        const known = pieces.ends.find(({ key }) => isWritten(key))
        place(markedMessages(changed, control), newest!.key, total, "the newest message")
        if (known !== undefined && marked.includes(newest!.key)) read = Math.max(read, known.tokens)
      }

      const noted = [pieces.tools.key, pieces.system.key, newest!.key, ...marked.map((key) => `w${key}`)]
      noted.forEach(context.note)
      if (marked.length === 0) return undefined
      const written = Math.max(0, write - read)
      const category = ttl === "5m" ? "cacheWrite5mTokens" : "cacheWrite1hTokens"
      return {
        request: changed,
        what: `a cache breakpoint after ${places.join(" and after ")}`,
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
