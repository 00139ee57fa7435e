/** Decodes the body of a streamed answer into events, and checks that it is whole. */
import * as Sse from "effect/encoding/Sse"
import * as Result from "effect/Result"
import type { Event } from "../MessageStream.ts"

/** What stopped a body from being a stream of events. */
export type Broken =
  | { readonly _tag: "Malformed" }
  /** An `error` event, with its decoded body. */
  | { readonly _tag: "Refused"; readonly body: unknown }

/**
 * - `feed` takes bytes as they arrive and gives the events that are complete.
 * - `whole` is true once `message_stop` was among them; what follows is ignored.
 * - `broken` says what is wrong, once something is; events before it were still given.
 */
export interface Decoder {
  readonly feed: (bytes: Uint8Array) => Array<Event>
  readonly whole: () => boolean
  readonly broken: () => Broken | undefined
}

const parse = (data: string): Result.Result<unknown, unknown> => Result.try((): unknown => JSON.parse(data))

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

/** The text that a delta must bring to be what its type says. */
const deltaTexts: Readonly<Record<string, string>> = {
  text_delta: "text",
  input_json_delta: "partial_json",
  signature_delta: "signature"
}

/** Whether what we read of an event is there; types that we do not know pass. */
const isEvent = (value: unknown): value is Event => {
  if (!isObject(value)) return false
  switch (value["type"]) {
    case "message_start":
      return isObject(value["message"]) && isObject(value["message"]["usage"])
    case "content_block_start":
      return typeof value["index"] === "number" && isObject(value["content_block"])
    case "content_block_delta": {
      const delta = value["delta"]
      if (typeof value["index"] !== "number" || !isObject(delta)) return false
      const text = deltaTexts[String(delta["type"])]
      return text === undefined || typeof delta[text] === "string"
    }
    case "content_block_stop":
      return typeof value["index"] === "number"
    case "message_delta":
      return isObject(value["delta"]) && isObject(value["usage"])
    default:
      return typeof value["type"] === "string"
  }
}

export const decoder = (maxEventSize: number): Decoder => {
  const utf8 = new TextDecoder("utf-8", { fatal: true })
  let events: Array<Event> = []
  let begun = false
  let whole = false
  let broken: Broken | undefined
  const parser = Sse.makeParser((sse) => {
    if (whole || broken !== undefined || sse._tag !== "Event" || sse.event === "ping" || sse.event === "message") return
    const data = parse(sse.data)
    if (sse.event === "error") {
      broken = { _tag: "Refused", body: Result.getOrElse(data, () => undefined) }
      return
    }
    if (Result.isFailure(data) || !isEvent(data.success) || (data.success.type === "message_stop" && !begun)) {
      broken = { _tag: "Malformed" }
      return
    }
    events.push(data.success)
    begun ||= data.success.type === "message_start"
    whole = data.success.type === "message_stop"
  }, { maxEventSize })
  return {
    feed: (bytes) => {
      const text = Result.try(() => utf8.decode(bytes, { stream: true }))
      const fits = Result.isSuccess(text) && parser.feed(text.success) === undefined
      if (!fits && !whole) broken ??= { _tag: "Malformed" }
      const fed = events
      events = []
      return fed
    },
    whole: () => whole,
    broken: () => broken
  }
}
