/**
 * The shape of a rule, and what the built-in rules share.
 */
import type { Lengths } from "../../Attempt.ts"
import type { CallContext } from "../../CallContext.ts"
import * as Model from "../../Model.ts"
import type { PriceBook } from "../../PriceBook.ts"
import type { Block, Request, Turn } from "../../Request.ts"
import * as Usage from "../../Usage.ts"

/**
 * What a rule knows about a call.
 *
 * - `at`: now, in milliseconds since the epoch.
 * - `stream`: whether the answer will be streamed.
 * - `catalogue`: the facts about models.
 * - `inputTokens`: the estimate for a request, counted at the first use and remembered.
 * - `lengths`: the lengths of this model's answers to calls of this request type; undefined before the first of them.
 * - `optimizer`: the same object for all calls of one optimizer. A rule that learns keeps what it knows in a `WeakMap` under it.
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
  readonly optimizer: object
}

/**
 * A proposal of a rule: another request, the change in words, and the estimated saving in integer nano-dollars (undefined if unknown).
 * Without a request it is advice.
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
 * Makes a request cheaper, or leaves it alone.
 *
 * - `name`: how reports, spans and logs name it.
 * - `apply`: returns another request with its changes, or nothing. It must not mutate the request, and its words must not quote it, since
 *   reports and logs show them.
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
 * that a predicate accepts, or those that match any of several.
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

/** The text of the newest message, without tool results and documents. */
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
    ? newestText(request).search(matcher) >= 0 // unlike `test`, it ignores the position of a global expression
    : matcher.some((one) => matches(one, request, call))

/** The cost of this usage at the speed and region of the request, in nano-dollars; undefined if the model has no price. */
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

/** The expected tokens of an answer: the mean of others, or at most 1,024 without any. */
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

/** The times to live of the cache breakpoints of a request, in order. */
export const breakpoints = (request: Request) => ({
  tools: (request.tools ?? []).flatMap(ttlOf),
  system: (Array.isArray(request.system) ? request.system : []).flatMap(ttlOf),
  messages: request.messages.flatMap((message) => blocksOf(message).flatMap(ttlsOf)),
  whole: ttlOf(request)
})

export const hasBreakpoints = (request: Request): boolean =>
  Object.values(breakpoints(request)).some((ttls) => ttls.length > 0)

export const isThinking = ({ type }: Block): boolean => type === "thinking" || type === "redacted_thinking"

/** A count for messages. */
export const about = (tokens: number): string => `about ${Math.round(tokens)} tokens`
