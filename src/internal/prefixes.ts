/**
 * The prefixes of a prompt that a cache may hold, in the order in which it reads them: tools, system prompt, messages.
 */
import * as Predicate from "effect/Predicate"
import type { Request } from "../Request.ts"
import { ContentHash } from "./contentHash.ts"

export type Ttl = "5m" | "1h"

export const millisOf = { "5m": 300_000, "1h": 3_600_000 } as const

/** The API looks for an earlier breakpoint this many blocks back from each breakpoint. */
export const lookBack = 20

/** The API takes no more breakpoints in a request. */
export const maxBreakpoints = 4

/**
 * A prompt up to the end of one of its blocks.
 *
 * - `message`, `block`: where that block stands in the messages.
 * - `name`: the same for the same content, cache breakpoints aside; a safe integer that says nothing about it.
 * - `length`: about how many characters of text it has.
 * - `ttl`: the time to live of the breakpoint at its end, if there is one.
 */
export interface Prefix {
  readonly part: "tools" | "system" | "messages"
  readonly message: number
  readonly block: number
  readonly name: number
  readonly length: number
  readonly ttl: Ttl | undefined
}

/** The breakpoint of a part of a request: none, or one with a time to live. */
export const ttlOf = (part: unknown): Ttl | undefined => {
  const control = Predicate.isObject(part) ? part["cache_control"] : undefined
  return Predicate.isObject(control) ? (control["ttl"] === "1h" ? "1h" : "5m") : undefined
}

const lastTtlIn = (block: unknown): Ttl | undefined =>
  ttlOf(block) ??
    (Predicate.isObject(block) && block["type"] === "tool_result" && Array.isArray(block["content"])
      ? block["content"].reduce((last: Ttl | undefined, part) => ttlOf(part) ?? last, undefined)
      : undefined)

/** About as many characters of text as an image, and as a character of a document in base64, have tokens for. */
const lengthOfImage = 6_000
const lengthOfBase64 = 1 / 6

const lengthOf = (block: unknown, hashed: number): number => {
  if (!Predicate.isObject(block)) return hashed
  if (block["type"] === "image") return lengthOfImage
  const source = block["type"] === "document" ? block["source"] : undefined
  return Predicate.isObject(source) && source["type"] === "base64" ? hashed * lengthOfBase64 : hashed
}

const listOf = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []

const plainKeys = new Set(["type", "text", "cache_control"])

/** A block that is nothing but a text, as the text of a message that is a string. */
const isPlain = (block: unknown): block is { readonly text: string } => {
  if (!Predicate.isObject(block) || block["type"] !== "text" || !Predicate.isString(block["text"])) return false
  for (const key in block) if (!plainKeys.has(key)) return false
  return true
}

class Walk {
  readonly prefixes: Array<Prefix> = []
  private readonly hash = new ContentHash()
  private length = 0

  add(value: unknown): void {
    this.hash.add(value)
  }

  role(role: string): void {
    this.hash.addText(role)
  }

  /** The content of a part: a text that its holder has, or blocks. */
  part(part: Prefix["part"], message: number, holder: object, key: string, content: unknown): void {
    if (Predicate.isString(content)) this.text(part, message, 0, holder, key, content, undefined)
    else listOf(content).forEach((block, index) => this.block(part, message, index, block))
  }

  private block(part: Prefix["part"], message: number, index: number, block: unknown): void {
    if (isPlain(block)) return this.text(part, message, index, block, "text", block.text, ttlOf(block))
    const before = this.hash.length
    this.hash.add(block)
    this.length += lengthOf(block, this.hash.length - before)
    this.push(part, message, index, lastTtlIn(block))
  }

  private text(
    part: Prefix["part"],
    message: number,
    block: number,
    holder: object,
    key: string,
    text: string,
    ttl: Ttl | undefined
  ): void {
    this.hash.addText("text")
    this.hash.addTextOf(holder, key, text)
    this.length += text.length
    this.push(part, message, block, ttl)
  }

  private push(part: Prefix["part"], message: number, block: number, ttl: Ttl | undefined): void {
    this.prefixes.push({ part, message, block, name: this.hash.name, length: this.length, ttl })
  }
}

const isMarked = (block: unknown): boolean => lastTtlIn(block) !== undefined

/** Whether a request uses the cache. */
export const hasBreakpoint = (request: Request): boolean =>
  ttlOf(request) !== undefined || listOf(request.tools).some(isMarked) || listOf(request.system).some(isMarked) ||
  listOf(request.messages).some((turn) => Predicate.isObject(turn) && listOf(turn["content"]).some(isMarked))

/**
 * The prefixes of a request, the shortest first. Those of different scopes have different names: what is cached for one model is not for another.
 *
 * Long texts are hashed once for the object that holds them, so that a request which grew by a turn costs little more than that turn.
 */
export const prefixesOf = (request: Request, scope: ReadonlyArray<unknown>): ReadonlyArray<Prefix> => {
  const walk = new Walk()
  walk.add(scope)
  walk.part("tools", -1, request, "tools", listOf(request.tools))
  walk.add("system")
  walk.part("system", -1, request, "system", request.system)
  walk.add([request.tool_choice, request.thinking, request.output_config])
  listOf(request.messages).forEach((turn, index) => {
    if (!Predicate.isObject(turn)) return
    walk.role(String(turn["role"]))
    walk.part("messages", index, turn, "content", turn["content"])
  })
  const last = walk.prefixes.pop()
  if (last !== undefined) walk.prefixes.push({ ...last, ttl: last.ttl ?? ttlOf(request) })
  return walk.prefixes
}
