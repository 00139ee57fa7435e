/**
 * What a rule is, and what the rules that come along share.
 */
import type { Lengths } from "../../Attempt.ts"
import type { CallContext } from "../../CallContext.ts"
import * as Model from "../../Model.ts"
import type { PriceBook } from "../../PriceBook.ts"
import type { Block, Request, Turn } from "../../Request.ts"
import * as Usage from "../../Usage.ts"

/**
 * What a rule may know.
 *
 * - `at`: now, in milliseconds since the epoch.
 * - `stream`: whether the answer will be streamed.
 * - `catalogue`: the facts about models.
 * - `inputTokens`: the estimate for a request, counted at the first use and remembered.
 * - `lengths`: of the answers to calls of this request type by this model; undefined where none is known.
 * - `isRecent`: whether a key was noted within so many milliseconds; `note` notes it now. All rules share the keys; beyond
 *   `memory` of them the least recently noted one is forgotten.
 *
 * @category models
 * @since 0.1.0
 */
export interface RuleContext {
  readonly call: CallContext
  readonly at: number
  readonly stream: boolean
  readonly book: PriceBook["Service"]
  readonly catalogue: Model.Catalogue
  readonly inputTokens: (request: Request) => number
  readonly lengths: (model: string) => Lengths | undefined
  readonly isRecent: (key: string, millis: number) => boolean
  readonly note: (key: string) => void
}

/**
 * What a rule proposes: another request, in words what is different, and the integer nano-dollars that it probably saves, undefined where
 * that is not known. Without a request it is advice.
 *
 * @category models
 * @since 0.1.0
 */
export interface Proposal {
  readonly request?: Request | undefined
  readonly what: string
  readonly savedNanoUsd: number | undefined
}

/**
 * Makes a request cheaper, or leaves it alone. `apply` never changes the request that it is given: it makes another one. What it says
 * goes into reports and logs, so it quotes nothing of the request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rule {
  readonly name: string
  readonly apply: (request: Request, context: RuleContext) => Proposal | undefined
}

/**
 * Which calls a rule is for: those of a request type (`CallContext.requestType`), those whose newest message matches an expression, those
 * that a function picks, or those that any of several picks.
 *
 * @category models
 * @since 0.1.0
 */
export type Matcher =
  | string
  | RegExp
  | ((request: Request, call: CallContext) => boolean)
  | ReadonlyArray<Matcher>

export const blocksOf = ({ content }: Turn): ReadonlyArray<Block> => Array.isArray(content) ? content : []

/** The text that the newest message says itself: no tool results and no documents. */
const newestText = ({ messages }: Request): string => {
  const newest = messages.at(-1)
  if (newest === undefined || newest.role !== "user") return ""
  return typeof newest.content === "string"
    ? newest.content
    : blocksOf(newest).map((block) => block.type === "text" ? block.text : "").join("\n")
}

export const matches = (matcher: Matcher, request: Request, call: CallContext): boolean =>
  typeof matcher === "string"
    ? call.requestType === matcher
    : typeof matcher === "function"
    ? matcher(request, call)
    : matcher instanceof RegExp
    ? newestText(request).search(matcher) >= 0 // unlike `test`, it keeps no place in a global expression
    : matcher.some((one) => matches(one, request, call))

/** What so much usage costs, served as the request asks, in nano-dollars; undefined where the model has no price. */
export const priceOf = (context: RuleContext, request: Request, usage: Partial<Usage.Usage>): number | undefined => {
  const isFast = Model.isFast(context.catalogue.lookup(request.model), request.speed)
  return context.book.cost({
    model: request.model,
    at: context.at,
    usage: Usage.make({
      ...(isFast ? { speed: "fast" } : undefined),
      ...(typeof request.inference_geo === "string" ? { inferenceGeo: request.inference_geo } : undefined),
      ...usage
    })
  })?.nanoUsd
}

export const difference = (before: number | undefined, after: number | undefined): number | undefined =>
  before === undefined || after === undefined ? undefined : before - after

/** What such an answer is expected to have: what others had, or at most 1,024 tokens where none is known. */
export const expectedOutput = (context: RuleContext, { max_tokens, model }: Request): number =>
  Math.min(max_tokens, Math.ceil(context.lengths(model)?.mean ?? 1_024))

type Ttl = "5m" | "1h"

const ttlOf = (part: object): ReadonlyArray<Ttl> => {
  const control = (part as { readonly cache_control?: { readonly ttl?: Ttl } | null }).cache_control
  return control === undefined || control === null ? [] : [control.ttl ?? "5m"]
}

const ttlsOf = (block: Block): ReadonlyArray<Ttl> =>
  block.type === "tool_result" && Array.isArray(block.content)
    ? [...block.content.flatMap(ttlOf), ...ttlOf(block)]
    : ttlOf(block)

/** The lives of the cache breakpoints that a request has, in their order. */
export const breakpoints = (request: Request) => ({
  tools: (request.tools ?? []).flatMap(ttlOf),
  system: (Array.isArray(request.system) ? request.system : []).flatMap(ttlOf),
  messages: request.messages.flatMap((message) => blocksOf(message).flatMap(ttlsOf)),
  whole: ttlOf(request)
})

export const hasBreakpoints = (request: Request): boolean =>
  Object.values(breakpoints(request)).some((ttls) => ttls.length > 0)

export const isThinking = ({ type }: Block): boolean => type === "thinking" || type === "redacted_thinking"

/** A count for people. */
export const about = (tokens: number): string => `about ${Math.round(tokens)} tokens`
