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

/**
 * The prefixes of a request, the shortest first. Those of different scopes have different names: what is cached for one model is not for another.
 *
 * Long texts are hashed once for the object that holds them, so that a request which grew by a turn costs no more than that turn.
 */
export const prefixesOf = (request: Request, scope: ReadonlyArray<unknown>): ReadonlyArray<Prefix> => {
  const prefixes: Array<Prefix> = []
  const hash = new ContentHash()
  hash.add(scope)
  let length = 0
  const push = (part: Prefix["part"], message: number, index: number, block: unknown, add: () => void) => {
    const before = hash.length
    add()
    length += lengthOf(block, hash.length - before)
    prefixes.push({ part, message, block: index, name: hash.name, length, ttl: lastTtlIn(block) })
  }
  const pushAll = (part: Prefix["part"], message: number, holder: object, key: string, content: unknown) =>
    Predicate.isString(content)
      ? push(part, message, 0, undefined, () => hash.addTextBlock(holder, key, content))
      : listOf(content).forEach((block, index) => push(part, message, index, block, () => hash.add(block)))

  pushAll("tools", -1, request, "tools", listOf(request.tools))
  hash.add("system")
  pushAll("system", -1, request, "system", request.system)
  hash.add([request.tool_choice, request.thinking, request.output_config])
  listOf(request.messages).forEach((turn, index) => {
    if (!Predicate.isObject(turn)) return
    hash.add(turn["role"])
    pushAll("messages", index, turn, "content", turn["content"])
  })
  const last = prefixes.pop()
  if (last !== undefined) prefixes.push({ ...last, ttl: last.ttl ?? ttlOf(request) })
  return prefixes
}
