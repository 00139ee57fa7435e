/** What the API, or HTTP itself, refuses for certain: repaired where nothing is lost by it, else refused before anything is sent. */
import * as Predicate from "effect/Predicate"
import type { CountTokensRequest, Request } from "../../Request.ts"

/** A request that cannot be sent as it is. The message says why, without its content. */
export class Unsendable extends Error {}

/** Escapes in JSON; the group is half a character. Whole ones are not escaped. */
const escapes = /\\(?:u(d[89a-f][0-9a-f]{2})|.)/gs

/** JSON in which half a character, which the API refuses and nobody can read, is the replacement character. */
export const wellFormed = (json: string): string =>
  json.includes("\\ud")
    ? json.replace(escapes, (escape, half: string | undefined) => half === undefined ? escape : "\ufffd")
    : json

const blocksOf = (content: unknown): ReadonlyArray<unknown> => Array.isArray(content) ? content : []

/** The field of a block of this type that names a tool use. */
const idOf = (block: unknown, type: string, field: "id" | "tool_use_id"): string | undefined => {
  if (!Predicate.hasProperty(block, "type") || block.type !== type || !Predicate.hasProperty(block, field)) {
    return undefined
  }
  const id: unknown = block[field]
  return Predicate.isString(id) ? id : undefined
}

/**
 * Refuses a history in which a tool use lacks its result, or a result its tool use: results stand in the turn after the use. Messages of one role
 * in a row are one turn. A request that continues a thread has only part of its history.
 */
export const checkHistory = (request: Request | CountTokensRequest): void => {
  if (!Array.isArray(request.messages) || request.messages.every(({ content }) => !Array.isArray(content))) return
  if ("thread" in request) return
  /** Where the tool uses of the last turn of the assistant stand that have no result yet. */
  const open = new Map<string, string>()
  const check = () => {
    for (const place of open.values()) {
      throw new Unsendable(`${place} is a tool_use without a tool_result in the next message`)
    }
  }
  let last: unknown
  request.messages.forEach(({ content, role }, message) => {
    if (role === "assistant" && last !== "assistant") check()
    blocksOf(content).forEach((block, index) => {
      const place = `messages.${message}.content.${index}`
      const use = role === "assistant" ? idOf(block, "tool_use", "id") : undefined
      if (use !== undefined) open.set(use, place)
      const result = role === "user" ? idOf(block, "tool_result", "tool_use_id") : undefined
      if (result !== undefined && !open.delete(result)) {
        throw new Unsendable(`${place} is a tool_result without a tool_use in the message before`)
      }
    })
    if (role === "assistant" || role === "user") last = role
  })
  check()
}

/** Headers that belong to the connection, which HTTP lets nobody set. */
const ofConnection: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

/** What is wrong with headers; undefined where nothing is. Values are not repeated. */
export const wrongHeader = (headers: Readonly<Record<string, unknown>>): string | undefined => {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[\w!#$%&'*+.^`|~-]{1,256}$/.test(name)) return "a header has a name that HTTP does not allow"
    if (ofConnection.has(name.toLowerCase())) return `the header ${name} belongs to the connection: remove it`
    if (typeof value !== "string" || /[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      return `the header ${name} has a value that HTTP cannot carry`
    }
  }
  return undefined
}

/** Refuses headers that no request can carry. */
export const checkHeaders = (headers: Readonly<Record<string, string>>): void => {
  const wrong = wrongHeader(headers)
  if (wrong !== undefined) throw new Unsendable(wrong)
}
