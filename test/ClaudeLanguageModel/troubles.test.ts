/** Troubles that providers of `effect/ai` are known for, and that no other table of these tests has. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schema, Stream } from "effect"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { LanguageModel, Tool, Toolkit } from "effect/ai"
import { TestClock } from "effect/testing"
import { modelId, world } from "../utils/languageModel.ts"

const Ping = Tool.make("ping", { success: Schema.String })
const Wait = Tool.make("wait", { parameters: Schema.Struct({ n: Schema.Int }), success: Schema.Int })
const toolkit = Toolkit.make(Ping, Wait)

interface Asked {
  readonly prompt: string
  readonly toolkit: typeof toolkit
  readonly concurrency?: number
}

const ways = {
  whole: (asked: Asked) => Effect.map(LanguageModel.generateText(asked), ({ toolResults }) => toolResults.length),
  streamed: (asked: Asked) =>
    Effect.map(
      Stream.runCollect(LanguageModel.streamText(asked)),
      (parts) => parts.filter(({ type }) => type === "tool-result").length
    )
}

const over = (...script: ReadonlyArray<ClaudeTest.Answer>) =>
  Layer.provide(ClaudeLanguageModel.layer({ model: modelId, maxTokens: 500 }), ClaudeTest.layer(...script))

describe.each(Object.entries(ways))("tools, %s", (_, ask) => {
  it.effect("run without parameters, with no piece of input at all", () =>
    Effect.gen(function*() {
      const model = over({ content: [ClaudeTest.toolUse("ping", undefined, { pieces: [] })] })
      const handlers = toolkit.toLayer({ ping: () => Effect.succeed("pong"), wait: ({ n }) => Effect.succeed(n) })
      assert.strictEqual(yield* Effect.provide(ask({ prompt: "Ping.", toolkit }), [model, handlers]), 1)
    }))

  it.effect("run in parallel as far as they may", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const wait = ({ n }: { readonly n: number }) =>
        Effect.sync(() => most = Math.max(most, ++running)).pipe(
          Effect.andThen(Effect.sleep("1 second")),
          Effect.andThen(Effect.sync(() => running--)),
          Effect.as(n)
        )
      const model = over({ content: [1, 2, 3, 4, 5, 6].map((n) => ClaudeTest.toolUse("wait", { n })) })
      const handlers = toolkit.toLayer({ ping: () => Effect.succeed("pong"), wait })
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(ask({ prompt: "Wait.", toolkit, concurrency: 3 }))
        // A turn of the loop may begin between two of these.
        while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(fiber), 6)
      }).pipe(Effect.provide([model, handlers]))
      assert.strictEqual(most, 3)
    }))
})

it.effect("an object has records and tuples that may be absent", () =>
  Effect.gen(function*() {
    const schema = Schema.Struct({
      of: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int)),
      at: Schema.optionalKey(Schema.Tuple([Schema.Int, Schema.String])),
      no: Schema.optionalKey(Schema.Tuple([Schema.Int, Schema.String]))
    })
    const text = `{"of":[{"key":"a","value":1}],"at":{"0":1,"1":"x"},"no":null}`
    const { layer } = world({ content: [{ type: "text", text }] })
    const { value } = yield* Effect.provide(LanguageModel.generateObject({ prompt: "Which?", schema }), layer)
    assert.deepStrictEqual(value, { of: { a: 1 }, at: [1, "x"] })
  }))

it.effect("a model of which nothing is known gets the output that was asked for", () =>
  Effect.gen(function*() {
    const answers = ClaudeTest.layer("Fine.")
    const model = ClaudeLanguageModel.layer({ model: "claude-next-9", maxTokens: 900_000 })
    yield* Effect.gen(function*() {
      yield* LanguageModel.generateText({ prompt: "Hello?" })
      assert.deepInclude((yield* ClaudeTest.requests)[0], { model: "claude-next-9", max_tokens: 900_000 })
    }).pipe(Effect.provide(Layer.provideMerge(model, answers)))
  }))
