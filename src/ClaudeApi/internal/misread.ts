/** Answers that are not what was asked for, and yet answers: events for a plain call, one JSON value for a stream, and what follows either. */
import type { ContentBlock, Message } from "@anthropic-ai/sdk/resources/messages"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { MessageAttempt } from "../../Attempt.ts"
import * as Estimate from "../../Estimate.ts"
import { accumulate, type Event } from "../../MessageStream.ts"
import type * as Usage from "../../Usage.ts"
import * as EventStream from "./eventStream.ts"

const parsed: (text: string) => Option.Option<unknown> = Option.liftThrowable(JSON.parse)

/** The end of the object at the start of a text; 0 where there is none. */
const endOfObject = (text: string): number => {
  let depth = 0
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (token === "{" || token === "[") depth++
    else if (token === "}" || token === "]") {
      depth--
      if (depth === 0) return index + 1
    } else if (depth === 0) return 0
  }
  return 0
}

/** What events add up to: a message or the error among them where they are whole. */
const ofEvents = (text: string): { readonly begun: boolean; readonly body: Option.Option<unknown> } => {
  const decoder = EventStream.decoder(Infinity)
  const accumulator = accumulate()
  for (const event of [...decoder.feed(new TextEncoder().encode(text)), ...decoder.end()]) accumulator.add(event)
  const broken = decoder.broken()
  const body = decoder.whole()
    ? Option.fromUndefinedOr(accumulator.message())
    : broken?._tag === "Refused"
    ? Option.some({ error: {}, ...Object(broken.body) })
    : Option.none()
  return { begun: decoder.begun(), body }
}

/** Whether a text is a stream of events that was cut. */
export const isCut = (text: string): boolean => !/^\s*[{[<]/.test(text) && ofEvents(text).begun

/** The one value that a body is: JSON, whatever follows it, or what a stream of events adds up to. */
export const whole = (text: string): Option.Option<unknown> =>
  parsed(text).pipe(
    Option.orElse(() => /^\s*\{/.test(text) ? parsed(text.slice(0, endOfObject(text))) : ofEvents(text).body)
  )

/** What a body that starts like this is: no stream of events starts like JSON or a page. */
export const kindOf = (bytes: Uint8Array): "json" | "page" | "events" => {
  const first = bytes.find((byte) => byte > 0x20)
  return first === 0x7b || first === 0x5b ? "json" : first === 0x3c ? "page" : "events"
}

/** The text of a body. */
export const textOf = (chunks: ReadonlyArray<Uint8Array>): string => {
  const utf8 = new TextDecoder()
  return chunks.map((chunk) => utf8.decode(chunk, { stream: true })).join("") + utf8.decode()
}

/** What was not produced for the answer: marks of the API, and what its tools gave. */
const isAdded = ({ type }: ContentBlock): boolean => (type as string) === "fallback" || String(type).endsWith("_result")

/** What an answer used that does not report it: its output is counted from what is in it. */
export const counted = (
  { estimate, facts }: MessageAttempt,
  { content }: Message,
  reported: Usage.Usage
): Usage.Usage => {
  if (reported.outputTokens > 0) return reported
  const text = content.map((block) => isAdded(block) ? "" : block.type === "text" ? block.text : JSON.stringify(block))
    .join("")
  return { ...reported, outputTokens: Math.min(Estimate.textTokens(text, facts.tokenizer), estimate.maxOutputTokens) }
}

/** A block as it starts, and what its deltas bring. One that is not what its type says comes as it is. */
const growing = (block: ContentBlock): readonly [start: object, ...deltas: ReadonlyArray<object>] => {
  if (block.type === "text" && Predicate.isString(block.text)) {
    const { citations, text, ...start } = block
    const cited = Array.isArray(citations) ? citations : []
    return [
      { ...start, text: "", citations: citations && [] },
      { type: "text_delta", text },
      ...cited.map((citation) => ({ type: "citations_delta", citation }))
    ]
  }
  if (block.type === "thinking" && Predicate.isString(block.thinking) && Predicate.isString(block.signature)) {
    const { signature, thinking, ...start } = block
    return [
      { ...start, thinking: "", signature: "" },
      { type: "thinking_delta", thinking },
      { type: "signature_delta", signature }
    ]
  }
  if ((block.type === "tool_use" || block.type === "server_tool_use") && Predicate.isObject(block.input)) {
    return [{ ...block, input: {} }, { type: "input_json_delta", partial_json: JSON.stringify(block.input) }]
  }
  return [block]
}

/** A body without what some servers put where the API has nothing: `null` for content, or among it. */
export const cleaned = (body: object): object => {
  if (!("content" in body) || (body.content !== null && !Array.isArray(body.content))) return body
  const content: ReadonlyArray<unknown> = body.content ?? []
  return body.content !== null && !content.includes(null)
    ? body
    : { ...body, content: content.filter(Predicate.isNotNull) }
}

/** A message as the stream of events that adds up to it. */
export const asEvents = (
  { content, stop_details, stop_reason, stop_sequence, usage, ...start }: Message
): Uint8Array => {
  const events: Array<{ readonly type: Event["type"]; readonly [field: string]: unknown }> = [
    { type: "message_start", message: { ...start, content: [], stop_reason: null, stop_sequence: null, usage } },
    ...content.flatMap((block, index) => {
      const [content_block, ...deltas] = growing(block)
      return [
        { type: "content_block_start" as const, index, content_block },
        ...deltas.map((delta) => ({ type: "content_block_delta" as const, index, delta })),
        { type: "content_block_stop" as const, index }
      ]
    }),
    { type: "message_delta", delta: { stop_reason, stop_sequence, stop_details }, usage },
    { type: "message_stop" }
  ]
  return new TextEncoder().encode(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(""))
}
