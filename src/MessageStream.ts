/**
 * What to make of the events of a streamed message: its text as it comes, or the message they add up to.
 *
 * **Example** (The text of a stream)
 *
 * ```ts
 * import { MessageStream } from "effect-claude"
 * import { Effect, Stream } from "effect"
 *
 * const events = Stream.make<Array<MessageStream.Event>>(
 *   { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello, " } },
 *   { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "world" } }
 * )
 *
 * await Effect.runPromise(Stream.mkString(MessageStream.text(events))) // => "Hello, world"
 * ```
 *
 * @since 0.1.0
 */
import type { ContentBlock, Message, RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"

/**
 * An event of a streamed message: the SDK's own type. Pings are not among them.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = RawMessageStreamEvent

/**
 * The text of a stream as it arrives; thinking, tool calls and all else are left out.
 *
 * @category combinators
 * @since 0.1.0
 */
export const text = <E, R>(self: Stream.Stream<Event, E, R>): Stream.Stream<string, E, R> =>
  Stream.map(Stream.filter(self, isText), (event) => event.delta.text)

const isText = (event: Event): event is TextEvent =>
  event.type === "content_block_delta" && event.delta.type === "text_delta"

interface TextEvent {
  readonly type: "content_block_delta"
  readonly index: number
  readonly delta: { readonly type: "text_delta"; readonly text: string }
}

/**
 * Whether an event brings its reader something: a delta, or a block that arrives complete (a server tool's result, a
 * redacted thought). Before the first of these a failed stream can be begun again unseen.
 *
 * @category guards
 * @since 0.1.0
 */
export const isContent = (event: Event): boolean =>
  event.type === "content_block_delta" ||
  (event.type === "content_block_start" && !emptyAtStart.has(event.content_block.type))

/** Blocks that start empty and grow by deltas. */
const emptyAtStart: ReadonlySet<string> = new Set(["text", "thinking", "tool_use", "server_tool_use", "fallback"])

/**
 * The joined text of a message.
 *
 * @category getters
 * @since 0.1.0
 */
export const textOf = (message: Message): string =>
  message.content.map((block) => block.type === "text" ? block.text : "").join("")

/**
 * The message that a stream adds up to: content blocks joined, tool input parsed, totals of usage overwritten.
 *
 * A stream without `message_start` is a defect: `ClaudeService.stream` never gives one.
 *
 * @category destructors
 * @since 0.1.0
 */
export const message = <E, R>(self: Stream.Stream<Event, E, R>): Effect.Effect<Message, E, R> =>
  Effect.suspend(() => {
    const accumulator = accumulate()
    return Stream.runForEachArray(self, (events) =>
      Effect.sync(() => {
        for (const event of events) accumulator.add(event)
      })).pipe(
        Effect.flatMap(() => {
          const whole = accumulator.message()
          return whole === undefined
            ? Effect.die(new Error("a stream of events without message_start"))
            : Effect.succeed(whole)
        })
      )
  })

/**
 * Adds up events one by one. `message` is what they have come to so far, undefined before `message_start`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Accumulator {
  readonly add: (event: Event) => void
  readonly message: () => Message | undefined
}

/** A content block while it is being received. */
interface Open {
  readonly block: ContentBlock
  /** The pieces of a tool's input. */
  json: string
  done: boolean
}

/** Blocks that mean something before they are whole; half a tool call or an unsigned thought does not. */
const usefulUnfinished = (block: ContentBlock): boolean =>
  block.type !== "tool_use" && block.type !== "server_tool_use" && block.type !== "thinking"

/** A block of our own to grow: the events stay as they were. */
const owned = (block: ContentBlock): ContentBlock =>
  block.type === "text"
    ? { ...block, text: block.text ?? "", citations: block.citations && [...block.citations] }
    : { ...block }

/** The input of a tool; a text that is no JSON (cut at `max_tokens`) stays a text, so that it is not lost. */
const parsed = (json: string): unknown => Result.getOrElse(Result.try((): unknown => JSON.parse(json)), () => json)

const finish = (open: Open): void => {
  if (open.done) return
  open.done = true
  if ((open.block.type === "tool_use" || open.block.type === "server_tool_use") && open.json !== "") {
    // The SDK types the input of a server tool more narrowly than the JSON that arrives.
    open.block.input = parsed(open.json) as Record<string, unknown>
  }
}

const extend = (open: Open, delta: Extract<Event, { type: "content_block_delta" }>["delta"]): void => {
  const { block } = open
  switch (delta.type) {
    case "text_delta":
      if (block.type === "text") block.text += delta.text
      break
    case "input_json_delta":
      open.json += delta.partial_json
      break
    case "thinking_delta":
      if (block.type === "thinking") block.thinking += delta.thinking ?? ""
      break
    case "signature_delta":
      if (block.type === "thinking") block.signature = delta.signature
      break
    case "citations_delta":
      if (block.type === "text") (block.citations ??= []).push(delta.citation)
      break
  }
}

/**
 * Starts adding up the events of one message. Unknown events, deltas and indexes are ignored, as the API asks. Blocks
 * that are not finished are in the message while they mean something alone: text does, a tool call or a thinking block
 * does not. Tool input that is no JSON (an answer that ended at `max_tokens`) is given as the text that came.
 *
 * @category constructors
 * @since 0.1.0
 */
export const accumulate = (): Accumulator => {
  let start: Message | undefined
  const blocks = new Map<number, Open>()
  return {
    add: (event) => {
      switch (event.type) {
        case "message_start":
          start = { ...event.message }
          break
        case "content_block_start":
          blocks.set(event.index, { block: owned(event.content_block), json: "", done: false })
          break
        case "content_block_delta": {
          const open = blocks.get(event.index)
          if (open !== undefined) extend(open, event.delta)
          break
        }
        case "content_block_stop": {
          const open = blocks.get(event.index)
          if (open !== undefined) finish(open)
          break
        }
        case "message_stop":
          // A block whose end was not announced is as whole as it will be.
          for (const open of blocks.values()) finish(open)
          break
        case "message_delta": {
          if (start === undefined) break
          const known = Object.entries(event.usage).filter(([, value]) => value !== null && value !== undefined)
          start = { ...start, ...event.delta, usage: { ...start.usage, ...Object.fromEntries(known) } }
          break
        }
      }
    },
    message: () =>
      start && {
        ...start,
        content: [...blocks.values()].filter((open) => open.done || usefulUnfinished(open.block)).map((open) => ({
          ...open.block
        }))
      }
  }
}
