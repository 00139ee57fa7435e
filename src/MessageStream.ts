/**
 * Reads messages and their streams: the text as it arrives, the message that events add up to, and the text of a message.
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
import type { ContentBlock, Message, RawMessageStreamEvent, StopReason } from "@anthropic-ai/sdk/resources/messages"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { IncompleteAnswerError } from "./ClaudeError.ts"
import * as Usage from "./Usage.ts"

/**
 * An event of a streamed message: the SDK's own type. Pings are not among them.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = RawMessageStreamEvent

/**
 * The text of a stream as it arrives, without thinking, tool calls and other blocks.
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
 * Whether an event has content: a delta, or a block that arrives complete (a server tool's result, redacted thinking).
 * Until the first of these a failed stream can be retried transparently.
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
 * The joined text of a message, whatever ended it: `""` where it has none. `completeText` fails instead.
 *
 * @category getters
 * @since 0.1.0
 */
export const textOf = (message: Message): string =>
  message.content.map((block) => block.type === "text" ? block.text : "").join("")

/**
 * The joined text of a message that ended by itself (`end_turn`) or at one of the request's `stop_sequences`. Any other
 * end, and an answer without text, fails with `IncompleteAnswerError`, which carries the text so far, and how many `attempts` it took.
 *
 * **Example** (A refusal is no text)
 *
 * ```ts
 * import { ClaudeService, MessageStream } from "effect-claude"
 * import { Effect } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const reason = ClaudeService.create(ClaudeTest.hello).pipe(
 *   Effect.flatMap(MessageStream.completeText),
 *   Effect.catchTag("IncompleteAnswerError", (error) => Effect.succeed(error.reason)),
 *   Effect.provide(ClaudeTest.layer({ content: ["I cannot"], stopReason: "refusal" }))
 * )
 *
 * await Effect.runPromise(reason) // => "refusal"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const completeText = (message: Message, attempts = 1): Effect.Effect<string, IncompleteAnswerError> => {
  const text = textOf(message)
  const reason = endings.get(message.stop_reason) ?? "unknown"
  if (reason === "complete" && text !== "") return Effect.succeed(text)
  return Effect.fail(
    new IncompleteAnswerError({
      reason: reason === "complete" ? "empty" : reason,
      text,
      stopReason: message.stop_reason ?? undefined,
      category: message.stop_details?.category ?? undefined,
      messageId: message.id,
      model: message.model,
      usage: Usage.fromReported(message.usage),
      attempts
    })
  )
}

/** What each stop reason says about a text. The API may add reasons, so the lookup can miss. */
const endings: ReadonlyMap<StopReason | null, "complete" | IncompleteAnswerError["reason"]> = new Map([
  ["end_turn", "complete"],
  ["stop_sequence", "complete"],
  ["refusal", "refusal"],
  ["max_tokens", "maxTokens"],
  ["tool_use", "toolUse"],
  ["pause_turn", "pausedTurn"],
  ["model_context_window_exceeded", "contextWindow"]
])

/**
 * The message that a stream adds up to: content blocks joined, tool input parsed, totals of usage overwritten.
 *
 * A stream without `message_start` is a defect; `ClaudeService.stream` always has one.
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
          const complete = accumulator.message()
          return complete === undefined
            ? Effect.die(new Error("a stream of events without message_start"))
            : Effect.succeed(complete)
        })
      )
  })

/**
 * Adds up events one by one. `message` is the message so far, undefined before `message_start`.
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

/** Blocks that are useful before they are complete: half a tool call or unsigned thinking is not. */
const usefulUnfinished = (block: ContentBlock): boolean =>
  block.type !== "tool_use" && block.type !== "server_tool_use" && block.type !== "thinking"

/** A copy to append to, so that the events stay unchanged. */
const owned = (block: ContentBlock): ContentBlock =>
  block.type === "text"
    ? { ...block, text: block.text ?? "", citations: block.citations && [...block.citations] }
    : { ...block }

/** The input of a tool. Text that is not JSON (cut at `max_tokens`) is kept as a string, so that it is not lost. */
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
 * Starts adding up the events of one message. Unknown events, deltas and indexes are ignored, as the API asks. An
 * unfinished text block is part of the message so far; an unfinished tool call or thinking block is not. Tool input that
 * is not JSON (an answer that ended at `max_tokens`) is given as the string that arrived.
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
          // A block without content_block_stop is as complete as it will be.
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
