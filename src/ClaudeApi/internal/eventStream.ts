/** Decodes the body of a streamed answer into events, and checks that it is complete. */
import * as Result from "effect/Result"
import type { Event } from "../../MessageStream.ts"

/** Why a body is not a stream of events. */
export type Broken =
  | { readonly _tag: "Malformed"; readonly detail?: string }
  /** An `error` event, with its decoded body. */
  | { readonly _tag: "Refused"; readonly body: unknown }

/**
 * - `feed` takes bytes as they arrive and returns the events that are complete.
 * - `end` returns the event that lacks its end, once the body has ended.
 * - `begun` and `whole` are true once `message_start` and `message_stop` were among them; what follows is ignored.
 * - `broken` says what is wrong, once something is; `feed` still returned the events before it.
 */
export interface Decoder {
  readonly feed: (bytes: Uint8Array) => Array<Event>
  readonly end: () => Array<Event>
  readonly begun: () => boolean
  readonly whole: () => boolean
  readonly broken: () => Broken | undefined
}

const parse = (data: string): Result.Result<unknown, unknown> => Result.try((): unknown => JSON.parse(data))

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

/** Whether a delta has the fields that we read. */
const isDelta = (delta: Record<string, unknown>): boolean => {
  switch (delta["type"]) {
    case "text_delta":
      return typeof delta["text"] === "string"
    case "input_json_delta":
      return typeof delta["partial_json"] === "string"
    case "signature_delta":
      return typeof delta["signature"] === "string"
    default:
      return true
  }
}

/** The types that are known, and whether an event of them has the fields that we read. */
const known: ReadonlyMap<string, (event: Record<string, unknown>) => boolean> = new Map([
  ["message_start", (event) => isObject(event["message"])],
  ["content_block_start", (event) => typeof event["index"] === "number" && isObject(event["content_block"])],
  [
    "content_block_delta",
    (event) => typeof event["index"] === "number" && isObject(event["delta"]) && isDelta(event["delta"])
  ],
  ["content_block_stop", (event) => typeof event["index"] === "number"],
  ["message_delta", (event) => isObject(event["delta"])],
  ["message_stop", () => true]
])

const none = new Uint8Array()

/** The bytes at the end of a chunk that begin a character without ending it; `before` are those of the chunk before. */
const begunCharacter = (before: Uint8Array, chunk: Uint8Array): Uint8Array => {
  const bytes = chunk.length < 4 ? Uint8Array.of(...before, ...chunk) : chunk
  for (let length = 1; length <= Math.min(3, bytes.length); length++) {
    const byte = bytes[bytes.length - length] ?? 0
    if (byte < 0x80) break
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > length ? bytes.slice(-length) : none
  }
  return none
}

/** Whether an event of an unknown type is an error of whoever sent it. */
const isError = (event: Record<string, unknown>): boolean => {
  const { error, type } = event
  return typeof type === "string" ? type.endsWith("error") : error !== undefined && error !== null
}

/** The text before the first byte that is none. */
const validPrefix = (bytes: Iterable<number>): string => {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  let text = ""
  for (const byte of bytes) {
    const more = Result.try(() => utf8.decode(Uint8Array.of(byte), { stream: true }))
    if (Result.isFailure(more)) break
    text += more.success
  }
  return text
}

/** The events of one answer, in their order. */
class Sequence {
  events: Array<Event> = []
  begun = false
  whole = false
  broken: Broken | undefined
  private id: unknown
  private readonly pings: boolean

  constructor(pings: boolean) {
    this.pings = pings
  }

  get isOver(): boolean {
    return this.whole || this.broken !== undefined
  }

  malformed(detail?: string): void {
    this.broken ??= { _tag: "Malformed", ...(detail === undefined ? undefined : { detail }) }
  }

  /** Takes one event as it came; the type inside its data decides what it is, and its name where there is none. */
  take(name: string, data: string): void {
    if (data === "" && name !== "error") return
    const parsed = parse(data)
    if (name === "error") this.broken = { _tag: "Refused", body: Result.getOrElse(parsed, () => data) }
    else if (Result.isSuccess(parsed) && isObject(parsed.success)) {
      const { type } = parsed.success
      if (typeof type === "string") this.add(parsed.success, type)
      else this.add(known.has(name) ? { ...parsed.success, type: name } : parsed.success, name)
    } else if (known.has(name) || (name === "" && data !== "[DONE]")) this.malformed()
  }

  private add(event: Record<string, unknown>, type: string): void {
    const isWellFormed = known.get(type)
    if (isWellFormed === undefined) {
      if (isError(event)) this.broken = { _tag: "Refused", body: event }
      else if (type === "") this.malformed()
      else if (type !== "ping" || this.pings) this.events.push(event as unknown as Event) // types to come
      return
    }
    if (!isWellFormed(event)) return this.malformed()
    if (type === "message_start") {
      const { id } = event["message"] as Record<string, unknown> // it is well formed
      if (this.begun && id !== this.id) return this.malformed("another answer began before this one was complete")
      // A start that is repeated says nothing new.
      if (this.begun) return
      this.begun = true
      this.id = id
    } else if (!this.begun) return this.malformed()
    this.events.push(event as unknown as Event) // it is well formed
    this.whole = type === "message_stop"
  }

  taken(): Array<Event> {
    const { events } = this
    this.events = []
    return events
  }
}

/** The value of a field, without the space that may stand before it. */
const valueOf = (text: string, from: number, to: number): string =>
  text.slice(text.charCodeAt(from) === 0x20 ? from + 1 : from, to)

/**
 * - `maxEventSize`: in characters.
 * - `pings`: gives them as events too.
 */
export const decoder = (maxEventSize: number, pings = false): Decoder => {
  const utf8 = new TextDecoder("utf-8", { fatal: true })
  const sequence = new Sequence(pings)
  /** The unfinished line, and the part of its event before it. */
  let unfinished: Array<string> = []
  let size = 0
  let name = ""
  let data = ""
  let afterReturn = false
  let lastBytes: Uint8Array = none

  /** The line between two places, without its end. This decoder costs a third of the one in `effect`. */
  const line = (text: string, from: number, to: number): void => {
    if (from === to) {
      sequence.take(name, data)
      name = ""
      data = ""
      size = 0
      return
    }
    if (text.startsWith("data:", from)) {
      const value = valueOf(text, from + 5, to)
      data = data === "" ? value : `${data}\n${value}`
    } else if (text.startsWith("event:", from)) name = valueOf(text, from + 6, to)
    else if (to - from === 5 && text.startsWith("event", from)) name = ""
  }

  const whole = (text: string): void => line(text, 0, text.length)

  const lines = (text: string): void => {
    if (text === "") return
    // Lines may end in LF, CR or both, and a chunk may end between the two.
    const unified = afterReturn && text.startsWith("\n") ? text.slice(1) : text
    afterReturn = text.endsWith("\r")
    const all = unified.includes("\r") ? unified.replace(/\r\n?/g, "\n") : unified
    let from = 0
    for (let to = all.indexOf("\n"); to !== -1; to = all.indexOf("\n", from)) {
      if (unfinished.length === 0) line(all, from, to)
      else {
        unfinished.push(all.slice(from, to))
        whole(unfinished.join(""))
        unfinished = []
      }
      from = to + 1
      if (sequence.isOver) return
    }
    if (from < all.length) unfinished.push(all.slice(from))
    size += all.length - from
  }

  return {
    feed: (bytes) => {
      if (sequence.isOver) return []
      const text = Result.try(() => utf8.decode(bytes, { stream: true }))
      if (Result.isFailure(text)) lines(validPrefix([...lastBytes, ...bytes]))
      else {
        lines(text.success)
        lastBytes = (bytes.at(-1) ?? 0x80) < 0x80 ? none : begunCharacter(lastBytes, bytes)
      }
      if (!sequence.whole && (Result.isFailure(text) || size + data.length > maxEventSize)) sequence.malformed()
      return sequence.taken()
    },
    end: () => {
      if (sequence.isOver) return []
      whole(unfinished.join(""))
      whole("")
      unfinished = []
      // What cannot be read was cut.
      if (sequence.broken?._tag === "Malformed") sequence.broken = undefined
      return sequence.taken()
    },
    begun: () => sequence.begun,
    whole: () => sequence.whole,
    broken: () => sequence.broken
  }
}
