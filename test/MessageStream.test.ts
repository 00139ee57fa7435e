import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as MessageStream from "effect-claude/MessageStream"
import { decoder } from "../src/ClaudeApi/internal/eventStream.ts"
import { answer, message as hello } from "./utils/http.ts"

const events = decoder(1e6).feed(answer)

describe("message", () => {
  it.effect("joins text, thinking with its signature, tool input and citations", () =>
    Effect.gen(function*() {
      const message = yield* MessageStream.message(Stream.fromIterable(events))
      assert.deepStrictEqual(message.content, [
        {
          type: "thinking",
          thinking: "The user asks about the weather — in Zürich.",
          signature: "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
        },
        {
          type: "text",
          text: "Let me look at the weather in Zürich — one moment… 🌦",
          citations: [{
            type: "char_location",
            cited_text: "Zürich",
            document_index: 0,
            document_title: null,
            end_char_index: 6,
            start_char_index: 0,
            file_id: null
          }]
        },
        { type: "tool_use", id: "toolu_01", name: "weather", input: { city: "Zürich", days: 3 } }
      ] as never)
      assert.strictEqual(message.stop_reason, "tool_use")
    }))

  it.effect("overwrites totals and keeps what only the start reports", () =>
    Effect.gen(function*() {
      const { usage } = yield* MessageStream.message(Stream.fromIterable(events))
      assert.deepInclude(usage, { input_tokens: 10_682, output_tokens: 510, service_tier: "standard" })
      assert.deepStrictEqual(usage.cache_creation, { ephemeral_5m_input_tokens: 100, ephemeral_1h_input_tokens: 200 })
    }))

  it.effect("does not change the events it was given", () =>
    Effect.gen(function*() {
      const before = JSON.stringify(events)
      yield* MessageStream.message(Stream.fromIterable(events))
      assert.strictEqual(JSON.stringify(events), before)
    }))

  it.effect("is a defect without a start", () =>
    Effect.gen(function*() {
      assert.isTrue(Exit.isFailure(yield* Effect.exit(MessageStream.message(Stream.fromIterable(events.slice(1))))))
    }))
})

describe("accumulate", () => {
  it("has only what means something alone while blocks are unfinished", () => {
    const partial = MessageStream.accumulate()
    const types = events.map((event) => {
      partial.add(event)
      return partial.message()?.content.map((block) => block.type).join(" ")
    })
    assert.deepStrictEqual([...new Set(types)], ["", "thinking", "thinking text", "thinking text tool_use"])
    assert.strictEqual(types[events.findIndex((event) => event.type === "content_block_stop")], "thinking")
  })

  it("takes any index for a block without counting up to it", () => {
    const accumulator = MessageStream.accumulate()
    for (const event of events) {
      accumulator.add("index" in event ? { ...event, index: event.index * 1_000_000_000 + 4_000_000_000 } : event)
    }
    assert.deepStrictEqual(accumulator.message()?.content.map((block) => block.type), ["thinking", "text", "tool_use"])
  })

  it("loses no block whose end was not announced", () => {
    const accumulator = MessageStream.accumulate()
    for (const event of events) if (event.type !== "content_block_stop") accumulator.add(event)
    assert.deepInclude(accumulator.message()?.content[2], { type: "tool_use", input: { city: "Zürich", days: 3 } })
  })

  it("gives tool input that was cut as the text that came", () => {
    const accumulator = MessageStream.accumulate()
    for (const event of events) {
      if (event.type === "content_block_delta" && JSON.stringify(event).includes("days")) continue
      accumulator.add(event)
    }
    assert.deepInclude(accumulator.message()?.content[2], { input: "{\"city\": \"Zür" })
  })
})

describe("text", () => {
  it.effect("is the text deltas and nothing else", () =>
    Effect.gen(function*() {
      const pieces = yield* Stream.runCollect(MessageStream.text(Stream.fromIterable(events)))
      assert.deepStrictEqual(pieces, ["Let me look at the weather in Zürich", " — one moment… 🌦"])
    }))
})

describe("completeText", () => {
  /** The text of an answer that ended so, or the reason why there is none. */
  const outcome = (stopReason: string | null, ...texts: ReadonlyArray<string>) => {
    const content = texts.map((text) => ({ type: "text", text, citations: null }))
    // The SDK's type asks for fields that a test does not need, and knows no stop reasons to come.
    const message = { ...hello, content, stop_reason: stopReason } as never
    return MessageStream.completeText(message).pipe(Effect.catch(({ reason }) => Effect.succeed({ reason })))
  }

  it.effect("gives the text of an answer that ended by itself or at a stop sequence", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* outcome("end_turn", "Hello, ", "world."), "Hello, world.")
      assert.strictEqual(yield* outcome("stop_sequence", "One, two"), "One, two")
    }))

  it.effect("fails with the reason for every other end, and where there is no text", () =>
    Effect.gen(function*() {
      const reasons = {
        refusal: "refusal",
        max_tokens: "maxTokens",
        tool_use: "toolUse",
        pause_turn: "pausedTurn",
        model_context_window_exceeded: "contextWindow",
        some_later_reason: "unknown",
        constructor: "unknown"
      } as const
      for (const [stopReason, reason] of Object.entries(reasons)) {
        assert.deepStrictEqual(yield* outcome(stopReason, "Half a"), { reason })
        assert.deepStrictEqual(yield* outcome(stopReason), { reason })
      }
      assert.deepStrictEqual(yield* outcome(null, "Half a"), { reason: "unknown" })
      assert.deepStrictEqual(yield* outcome("end_turn"), { reason: "empty" })
      assert.deepStrictEqual(yield* outcome("stop_sequence", ""), { reason: "empty" })
    }))

  it.effect("keeps what arrived, and shows none of it", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(MessageStream.completeText({
        ...hello,
        content: [{ type: "text", text: "Half a", citations: null }],
        stop_reason: "refusal",
        stop_details: { category: "cyber" }
      } as never)) // as above
      assert.instanceOf(error, ClaudeError.IncompleteAnswerError)
      assert.deepInclude(error, {
        reason: "refusal",
        stopReason: "refusal",
        text: "Half a",
        category: "cyber",
        messageId: "msg_1",
        model: "claude-opus-4-6"
      })
      assert.deepInclude(error.usage, { inputTokens: 9, outputTokens: 4 })
      assert.notInclude(error.message, "Half a")
    }))
})
