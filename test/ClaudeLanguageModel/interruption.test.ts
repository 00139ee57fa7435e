/** A streamed loop of tools that is interrupted anywhere goes on, and nothing of it is lost or done twice. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Ref, Schema, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import type * as Request from "effect-claude/Request"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { Chat, Tool, Toolkit } from "effect/ai"
import { TestClock } from "effect/testing"
import { modelId, ways } from "../utils/languageModel.ts"

const parameters = Schema.Struct({ n: Schema.Int })
const toolkit = Toolkit.make(
  Tool.make("one", { parameters, success: Schema.Int }),
  Tool.make("two", { parameters, success: Schema.Int }),
  Tool.make("three", { parameters, success: Schema.Int, failure: Schema.String, failureMode: "return" })
)

const answer = ({ messages }: Request.Request): ClaudeTest.Reply => {
  const content = messages.at(-1)?.content ?? ""
  return typeof content !== "string" && content.at(-1)?.type === "tool_result"
    ? { content: [ClaudeTest.text("It ", "is ", "done.")], every: "100 millis" }
    : {
      content: [
        ClaudeTest.thinking("Three ", "tools."),
        ClaudeTest.text("One ", "moment."),
        ClaudeTest.toolUse("one", { n: 1 }, { pieces: ["{\"n\"", ": 1}"] }),
        ClaudeTest.toolUse("two", { n: 2 }),
        ClaudeTest.toolUse("three", { n: 3 })
      ],
      every: "100 millis"
    }
}

/** Whether each call has its results in the turn after it, and no result stands alone. */
const isValid = ({ messages }: Request.Request): boolean =>
  messages.every(({ content, role }, index) => {
    const blocks = (of: typeof content | undefined) => typeof of === "string" || of === undefined ? [] : of
    const calls = blocks(content).flatMap((block) => block.type === "tool_use" ? [block.id] : [])
    const results = blocks(messages[index + 1]?.content)
      .flatMap((block) => block.type === "tool_result" ? [block.tool_use_id] : [])
    return role === "user" || (calls.length === results.length && calls.every((id) => results.includes(id)))
  })

describe("a streamed loop of three tools", () => {
  it.effect("interrupted at any of 200 instants, goes on", () =>
    Effect.gen(function*() {
      let seed = Date.now() % 1_000_003
      const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
      for (let run = 0; run < 200; run++) {
        const instant = Math.floor(random() * 2_000)
        const ran = new Map<string, number>()
        const handler = ({ n }: { readonly n: number }, { toolCallId }: { readonly toolCallId?: string | undefined }) =>
          Effect.gen(function*() {
            ran.set(toolCallId!, (ran.get(toolCallId!) ?? 0) + 1)
            yield* Effect.sleep(`${n * 150} millis`)
            return n
          })
        const api = ClaudeTest.layerApi(ClaudeTest.forever(answer))
        const budget = { budgets: [{ name: "all", limit: 1 }] }
        const model = ClaudeLanguageModel.layer({ model: modelId, maxTokens: 500 }).pipe(
          Layer.provideMerge(ClaudeService.layerWithParts({ api, keys: [ClaudeTest.key], budget })),
          Layer.merge(api)
        )
        yield* Effect.gen(function*() {
          const chat = yield* Chat.empty
          const loop = Effect.gen(function*() {
            yield* Stream.runDrain(chat.streamText({ prompt: "Do it.", toolkit }))
            yield* Stream.runDrain(chat.streamText({ prompt: [], toolkit }))
          })
          const first = yield* Effect.forkChild(loop)
          yield* TestClock.adjust(instant)
          yield* Fiber.interrupt(first)
          const second = yield* Effect.forkChild(loop)
          yield* TestClock.adjust("1 minute")
          yield* Fiber.join(second)

          const where = `interrupted after ${instant} ms`
          const history = yield* Ref.get(chat.history)
          assert.deepInclude(history.content.at(-1)?.content.at(-1), { type: "text", text: "It is done." }, where)
          for (const request of yield* ClaudeTest.requests) assert.isTrue(isValid(request), where)
          for (const times of ran.values()) assert.strictEqual(times, 1, where)
          const [account] = yield* (yield* Budget.Budget).snapshot
          assert.strictEqual(account?.reservedNanoUsd, 0, where)
          const ledger = yield* CostLedger.CostLedger
          const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: 1e15 }))
          assert.strictEqual(rows.length, (yield* ClaudeTest.calls).length, where)
        }).pipe(Effect.provide([model, toolkit.toLayer({ one: handler, two: handler, three: handler })]))
      }
    }))
})

it.effect.each(Object.entries(ways))("a key is in no error of effect/ai, %s", ([, ask]) =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(ask())
    const shown = `${JSON.stringify(error)} ${String(error)} ${String((error as Error).cause)} ${
      (error as Error).stack
    }`
    assert.include(shown, "AuthenticationError")
    assert.notInclude(shown, Simulator.apiKey)
  }).pipe(Effect.provide(Layer.provide(
    ClaudeLanguageModel.layer({ model: modelId, maxTokens: 500 }),
    Simulator.layerClaude({ faults: [{ fault: Simulator.Fault.Status({ status: 401 }) }] })
  ))))
