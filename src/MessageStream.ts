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
import { type Billed, IncompleteAnswerError } from "./ClaudeError.ts"
import { fallbackModel } from "./internal/fallbackModel.ts"
import * as Usage from "./Usage.ts"

/**
 * An event of a streamed message: the SDK's own type. Pings are among them only where `ClaudeApi` is asked for them.
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
  Stream.map(Stream.filter(self, (event) => textIn(event) !== undefined), (event) => textIn(event) ?? "")

/** The text that an event adds; undefined where it is about something else. */
const textIn = (event: Event): string | undefined => {
  if (event.type === "content_block_delta") return event.delta.type === "text_delta" ? event.delta.text : undefined
  if (event.type !== "content_block_start" || event.content_block.type !== "text") return undefined
  return event.content_block.text || undefined
}

/**
 * Whether an event has content: a delta, or a block that arrives with it (a server tool's result, redacted thinking, a text
 * that is not empty). Until the first of these a failed stream can be retried transparently.
 *
 * @category guards
 * @since 0.1.0
 */
export const isContent = (event: Event): boolean =>
  event.type === "content_block_delta" || (event.type === "content_block_start" && !isEmptyAtStart(event.content_block))

/** Blocks without content of their own, and those of betas that start empty. */
const emptyAtStart: ReadonlySet<string> = new Set(["fallback", "compaction"])

/** Whether a block is yet to grow by deltas. */
const isEmptyAtStart = (block: ContentBlock): boolean => {
  if (block.type === "text") return !block.text
  if (block.type === "thinking") return !block.thinking
  if (isToolUse(block)) return Object.keys(block.input ?? {}).length === 0
  return emptyAtStart.has(block.type)
}

/** A call of a tool, whoever runs it. */
const isToolUse = (block: ContentBlock): block is Extract<ContentBlock, { readonly input: unknown }> =>
  String(block.type).endsWith("tool_use")

/**
 * The joined text of a message, whatever ended it: `""` where it has none. `completeText` fails instead.
 *
 * @category getters
 * @since 0.1.0
 */
export const textOf = (message: Message): string =>
  message.content.map((block) => block.type === "text" ? block.text ?? "" : "").join("")

/**
 * The joined text of a message that ended by itself (`end_turn`) or at one of the request's `stop_sequences`. Any other
 * end, and an answer without text, fails with `IncompleteAnswerError`, which carries the message, how many `attempts` it took, what the last one cost, and
 * whether those before it cost money.
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
export const completeText = (
  message: Message,
  attempts = 1,
  costNanoUsd?: number,
  billedBefore: Billed = "no"
): Effect.Effect<string, IncompleteAnswerError> => {
  const text = textOf(message)
  const reason = endings.get(message.stop_reason) ?? "unknown"
  if (reason === "complete" && text !== "") return Effect.succeed(text)
  return Effect.fail(
    new IncompleteAnswerError({
      reason: reason === "complete" ? "empty" : reason,
      text,
      stopReason: stringOf(message.stop_reason),
      category: stringOf(message.stop_details?.category),
      messageId: stringOf(message.id) ?? "",
      model: stringOf(message.model) ?? "",
      usage: Usage.fromReported(message.usage ?? {}),
      answer: message,
      costNanoUsd,
      attempts,
      billedBefore
    })
  )
}

/** What came over the wire may be anything. */
const stringOf = (value: unknown): string | undefined => typeof value === "string" ? value : undefined

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

/** A content block while it is being received: of any type, also one that is not known yet. */
interface Open {
  readonly block: Record<string, unknown>
  /** The pieces of a tool's input. */
  json: string
  done: boolean
}

/** Blocks that are useful before they are complete: half a tool call or unsigned thinking is not. */
const isUseful = ({ block, done, json }: Open): boolean =>
  done || (json === "" && block["type"] !== "thinking" && !String(block["type"]).endsWith("tool_use"))

/** A copy to append to, so that the events stay unchanged. */
const opened = (block: ContentBlock): Open => ({
  block: block.type === "text" ? { ...block, text: block.text ?? "" } : { ...block },
  json: "",
  done: false
})

/** The input of a tool. Text that is not JSON (cut at `max_tokens`) is kept as a string, so that it is not lost. */
const parsed = (json: string): unknown => Result.getOrElse(Result.try((): unknown => JSON.parse(json)), () => json)

const finish = (open: Open): void => {
  if (open.done) return
  open.done = true
  if (open.json !== "") open.block["input"] = parsed(open.json)
}

const append = (block: Record<string, unknown>, field: string, value: unknown): void => {
  const before = block[field]
  if (typeof value === "string") block[field] = typeof before === "string" ? before + value : value
  else if (Array.isArray(value) && Array.isArray(before)) block[field] = [...before, ...value]
  else if (value !== undefined && value !== null) block[field] = value
}

const extend = (open: Open, delta: Extract<Event, { type: "content_block_delta" }>["delta"]): void => {
  const { block } = open
  switch (delta.type) {
    case "text_delta":
      append(block, "text", delta.text)
      break
    case "input_json_delta":
      open.json += delta.partial_json
      break
    case "thinking_delta":
      append(block, "thinking", delta.thinking)
      break
    case "signature_delta":
      block["signature"] = delta.signature
      break
    case "citations_delta":
      if (delta.citation !== undefined) append(block, "citations", [delta.citation])
      break
    default: {
      const { type, ...fields } = delta as { readonly type: string } // of types to come
      // The deltas of a compaction bring what it is in the end; those of other types are pieces.
      if (type === "compaction_delta") Object.assign(block, fields)
      else for (const [field, value] of Object.entries(fields)) if (field !== "__proto__") append(block, field, value)
    }
  }
}

const isKnown = ([, value]: readonly [string, unknown]): boolean => value !== null && value !== undefined

/**
 * Starts adding up the events of one message. Unknown events and indexes are ignored, as the API asks, and a block of an unknown
 * type grows by its deltas field by field. An unfinished text block is part of the message so far; an unfinished tool call or
 * thinking block is not. Tool input that is not JSON (an answer that ended at `max_tokens`) is given as the string that arrived.
 *
 * A start with another id begins another message: nothing of the one before is kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const accumulate = (): Accumulator => {
  let start: Message | undefined
  let blocks: Array<Open> = []
  /** The blocks that may grow, by their index. */
  const growing = new Map<number, Open>()
  const begin = (message: Message): void => {
    // A start that is repeated says nothing new.
    if (start !== undefined && start.id === message.id) return
    start = { ...message }
    blocks = []
    growing.clear()
  }
  const grow = (index: number, block: ContentBlock): Open => {
    const open = opened(block)
    growing.set(index, open)
    blocks.push(open)
    return open
  }
  /** A block whose start was lost: what its text is shows it. */
  const begunBy = ({ delta, index }: Extract<Event, { type: "content_block_delta" }>): Open | undefined =>
    delta.type === "text_delta" ? grow(index, { type: "text", text: "", citations: null }) : undefined
  return {
    add: (event) => {
      switch (event.type) {
        case "message_start":
          begin(event.message)
          break
        case "content_block_start": {
          // A block without content_block_stop is as complete as it will be.
          const before = growing.get(event.index)
          if (before !== undefined) finish(before)
          grow(event.index, event.content_block)
          const model = fallbackModel(event.content_block)
          if (model !== undefined && start !== undefined) start = { ...start, model }
          break
        }
        case "content_block_delta": {
          const open = growing.get(event.index) ?? begunBy(event)
          if (open !== undefined) extend(open, event.delta)
          break
        }
        case "content_block_stop": {
          const open = growing.get(event.index)
          if (open !== undefined) finish(open)
          break
        }
        case "message_stop":
          blocks.forEach(finish)
          break
        case "message_delta": {
          if (start === undefined) break
          const usage = Object.fromEntries(Object.entries(event.usage ?? {}).filter(isKnown))
          // There may be several, and one does not take back what another said.
          const before = new Map<string, unknown>(Object.entries(start))
          const said = Object.entries(event.delta).filter(([name, value]) =>
            isKnown([name, value]) || !isKnown([name, before.get(name)])
          )
          start = { ...start, ...Object.fromEntries(said), usage: { ...start.usage, ...usage } }
          break
        }
      }
    },
    message: () =>
      start && {
        ...start,
        // They came as JSON of the SDK's types, or of types to come.
        content: blocks.filter(isUseful).map(({ block }) => ({ ...block })) as unknown as Array<ContentBlock>
      }
  }
}
