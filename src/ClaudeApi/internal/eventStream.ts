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
 * - `end` returns the event that lacks its end, once the body has ended. An answer that said why it stopped is whole then, without `message_stop` too.
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

/** What a delta brings in the field that we read of its type. */
const broughtBy = (delta: Record<string, unknown>): unknown => {
  switch (delta["type"]) {
    case "text_delta":
      return delta["text"]
    case "input_json_delta":
      return delta["partial_json"]
    case "signature_delta":
      return delta["signature"]
    default:
      return ""
  }
}

const isNothing = (value: unknown): boolean => value === null || value === undefined

/** The types that are known, and whether an event of them has the fields that we read. */
const known: ReadonlyMap<string, (event: Record<string, unknown>) => boolean> = new Map([
  ["message_start", (event) => isObject(event["message"])],
  ["content_block_start", (event) => typeof event["index"] === "number" && isObject(event["content_block"])],
  [
    "content_block_delta",
    (event) =>
      typeof event["index"] === "number" && isObject(event["delta"]) && typeof broughtBy(event["delta"]) === "string"
  ],
  ["content_block_stop", (event) => typeof event["index"] === "number"],
  ["message_delta", (event) => isObject(event["delta"])],
  ["message_stop", () => true]
])

const none = new Uint8Array()

/** How many bytes at the end begin a character without ending it. */
const begunCharacter = (bytes: Uint8Array): number => {
  for (let length = 1; length <= Math.min(3, bytes.length); length++) {
    const byte = bytes[bytes.length - length] ?? 0
    if (byte < 0x80) break
    if (byte < 0xc0) continue
    const isBegun = (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > length
    return isBegun && canBegin(bytes.subarray(-length)) ? length : 0
  }
  return 0
}

/** Whether a character may begin so: some bytes begin none, and some may not follow those that do. */
const canBegin = (bytes: Uint8Array): boolean =>
  Result.isSuccess(Result.try(() => new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true })))

const joined = (first: Uint8Array, second: Uint8Array): Uint8Array => {
  const all = new Uint8Array(first.length + second.length)
  all.set(first)
  all.set(second, first.length)
  return all
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

/** Whether an event says nothing: some servers send `null` for a delta, or for its text, that is empty. */
const saysNothing = ({ content_block, delta }: Record<string, unknown>, type: string): boolean =>
  type === "content_block_delta"
    ? isNothing(delta) || (isObject(delta) && isNothing(broughtBy(delta)))
    : type === "content_block_start" && isNothing(content_block)

/** Blocks that a message has at its start already, as events of their own. */
const eventsOf = (content: ReadonlyArray<unknown>): ReadonlyArray<Record<string, unknown>> =>
  content.filter(isObject).flatMap((content_block, index) => [
    { type: "content_block_start", index, content_block },
    { type: "content_block_stop", index }
  ])

/** The events of one answer, in their order. */
class Sequence {
  events: Array<Event> = []
  begun = false
  whole = false
  broken: Broken | undefined
  private id: unknown
  /** The block that was begun last; undefined before the first one. */
  private index: number | undefined
  /** The answer said why it stopped: all of its content has come. */
  private hasStopped = false
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
    if (data === "") {
      // The two that mean something without any data.
      if (name === "error") this.broken = { _tag: "Refused", body: "" }
      else if (name === "message_stop") this.add({ type: name }, name)
      return
    }
    const parsed = parse(data)
    if (name === "error") this.broken = { _tag: "Refused", body: Result.getOrElse(parsed, () => data) }
    else if (Result.isSuccess(parsed) && isObject(parsed.success)) {
      const { type } = parsed.success
      if (typeof type === "string") this.add(parsed.success, type)
      else this.add(known.has(name) ? { ...parsed.success, type: name } : parsed.success, name)
      // What keeps a connection alive may be anything, but an object that cannot be read was an event.
    } else if (name === "message_stop") this.add({ type: name }, name)
    else if (known.has(name) || (name === "" && Result.isFailure(parsed) && data.startsWith("{"))) this.malformed()
  }

  /** An event with what some servers leave out; undefined where it says nothing, or is none. */
  private mended(event: Record<string, unknown>, type: string): Record<string, unknown> | undefined {
    if (saysNothing(event, type)) return undefined
    const { delta, index } = event
    if (type === "message_delta" && isNothing(delta)) return { ...event, delta: {} }
    const place = isNothing(index)
      ? type === "content_block_start" ? (this.index ?? -1) + 1 : this.index
      : typeof index === "string" && /^\d{1,9}$/.test(index)
      ? Number(index)
      : undefined
    const mended = place === undefined ? event : { ...event, index: place }
    if (known.get(type)?.(mended) === true) return mended
    this.malformed()
    return undefined
  }

  private add(given: Record<string, unknown>, type: string): void {
    const isWellFormed = known.get(type)
    if (isWellFormed === undefined) {
      if (isError(given)) this.broken = { _tag: "Refused", body: given }
      // Of types to come, save what has no type at all.
      else if (type !== "" && (type !== "ping" || this.pings)) this.events.push(given as unknown as Event)
      return
    }
    const event = isWellFormed(given) ? given : this.mended(given, type)
    if (event === undefined) return
    if (type === "message_start") return this.start(event)
    if (!this.begun) return this.malformed()
    if (type === "content_block_start") this.index = Number(event["index"])
    else if (type === "message_delta") {
      this.hasStopped ||= !isNothing((event["delta"] as Record<string, unknown>)["stop_reason"]) // it is well formed
    }
    this.events.push(event as unknown as Event) // it is well formed
    this.whole = type === "message_stop"
  }

  private start(event: Record<string, unknown>): void {
    const message = event["message"] as Record<string, unknown> // it is well formed
    const { content, id } = message
    if (this.begun) {
      // A start that is repeated says nothing new; without a name, one amid content may be of any answer.
      const isSame = id === this.id && (!isNothing(id) || this.index === undefined)
      return isSame ? undefined : this.malformed("another answer began before this one was complete")
    }
    this.begun = true
    this.id = id
    const has = Array.isArray(content) && content.length > 0
    this.events.push((has ? { ...event, message: { ...message, content: [] } } : event) as unknown as Event) // as above
    if (has) { for (const block of eventsOf(content)) this.add(block, String(block["type"])) }
  }

  /** The body has ended. What cannot be read at its end was cut; what had stopped before is whole. */
  end(): void {
    if (this.broken?._tag === "Malformed") this.broken = undefined
    if (this.hasStopped && !this.isOver) this.add({ type: "message_stop" }, "message_stop")
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
  // Not as a stream: then Node takes twice as long, and makes each character of two bytes.
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  const sequence = new Sequence(pings)
  /** The unfinished line, and the part of its event before it. */
  let unfinished: Array<string> = []
  let size = 0
  let name = ""
  let data = ""
  let afterReturn = false
  /** The bytes of a character that has begun. */
  let begun: Uint8Array = none
  let isFirst = true

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
      const all = begun.length === 0 ? bytes : joined(begun, bytes)
      const end = all.length - begunCharacter(all)
      const text = Result.try(() => utf8.decode(all.subarray(0, end)))
      if (Result.isFailure(text)) lines(validPrefix(all))
      else {
        lines(isFirst && text.success.startsWith("\ufeff") ? text.success.slice(1) : text.success)
        isFirst &&= text.success === ""
        begun = end === all.length ? none : all.slice(end)
      }
      if (!sequence.whole && (Result.isFailure(text) || size + data.length > maxEventSize)) sequence.malformed()
      return sequence.taken()
    },
    end: () => {
      if (sequence.isOver) return []
      whole(unfinished.join(""))
      whole("")
      unfinished = []
      sequence.end()
      return sequence.taken()
    },
    begun: () => sequence.begun,
    whole: () => sequence.whole,
    broken: () => sequence.broken
  }
}
