import Anthropic, { APIError } from "@anthropic-ai/sdk"
import type { MessageParam, ThinkingBlockParam } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Simulator from "../../src/testing/Simulator.ts"

const first: MessageParam = { role: "user", content: "How many stones are in the river?" }
const then: MessageParam = { role: "user", content: "And fish?" }

/** What a conversation gets: the message of the error, or undefined. */
const send = Effect.fnUntraced(function*(model: string, messages: ReadonlyArray<MessageParam>) {
  const { fetch } = yield* Simulator.Simulator
  const client = new Anthropic({ apiKey: Simulator.apiKey, fetch, maxRetries: 0 })
  return yield* Effect.promise(() =>
    client.messages.create({ model, max_tokens: 100, messages: [...messages] }).then(
      (message) => ({ message, error: undefined }),
      (error: unknown) => ({ message: undefined, error: error instanceof APIError ? error.apiMessage : String(error) })
    )
  )
})

/** A first answer with thinking, as a turn. */
const answered = Effect.fnUntraced(function*(model: string) {
  const { message } = yield* send(model, [first])
  return { role: "assistant", content: message!.content } satisfies MessageParam
})

const using = Effect.provide(Simulator.layer({
  answer: () => ({ content: [{ type: "thinking", thinking: "Many." }, { type: "text", text: "Seven." }] })
}))

describe("thinking blocks", () => {
  const bound = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-1"]

  for (const model of [...bound, "claude-opus-4-6"]) {
    it.effect(`come back unchanged to ${model}, with or without a breakpoint before them, and however often`, () =>
      Effect.gen(function*() {
        const answer = yield* answered(model)
        assert.isUndefined((yield* send(model, [first, answer, then])).error)
        const block = {
          type: "text" as const,
          text: String(first.content),
          cache_control: { type: "ephemeral" as const }
        }
        const marked: MessageParam = { role: "user", content: [block] }
        const second = yield* send(model, [marked, answer, then])
        assert.isUndefined(second.error)
        const next: MessageParam = { role: "assistant", content: second.message!.content }
        assert.isUndefined((yield* send(model, [first, answer, then, next, then])).error)
      }).pipe(using))

    it.effect(`are refused by ${model} when they were modified`, () =>
      Effect.gen(function*() {
        const [thinking, text] = (yield* answered(model)).content
        const modified = { ...thinking as ThinkingBlockParam, thinking: "Few." }
        const { error } = yield* send(model, [first, { role: "assistant", content: [modified, text!] }, then])
        assert.match(error ?? "", /modified/)
      }).pipe(using))
  }

  for (const model of bound) {
    it.effect(`are refused by ${model} after turns that were changed or cut, and from another line of models`, () =>
      Effect.gen(function*() {
        const answer = yield* answered(model)
        const changed: MessageParam = { role: "user", content: "How many stones are in the lake?" }
        assert.match((yield* send(model, [changed, answer, then])).error ?? "", /before a thinking block/)
        const next: MessageParam = {
          role: "assistant",
          content: (yield* send(model, [first, answer, then])).message!.content
        }
        assert.match((yield* send(model, [then, next, then])).error ?? "", /before a thinking block/)
        const foreign = yield* answered("claude-sonnet-4-6")
        const { error } = yield* send(model, [first, foreign, then])
        if (model === "claude-sonnet-5-5") assert.isUndefined(error)
        else assert.match(error ?? "", /another line/)
      }).pipe(using))
  }

  it.effect("may stand after changed turns for an older model, and those of others are not judged", () =>
    Effect.gen(function*() {
      const answer = yield* answered("claude-opus-4-6")
      assert.isUndefined((yield* send("claude-opus-4-6", [then, answer, then])).error)
      const own: MessageParam = { role: "assistant", content: [{ type: "thinking", thinking: "x", signature: "sig" }] }
      assert.isUndefined((yield* send("claude-opus-5-5", [first, own, then])).error)
    }).pipe(using))
})
