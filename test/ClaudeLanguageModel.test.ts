/** Calls of a language model are calls of `ClaudeService`: what is around them holds for them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { type AiError, LanguageModel, Model, Prompt, ResponseIdTracker, Telemetry, Tokenizer } from "effect/ai"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"
import { modelId, plain, ways, whole } from "./utils/languageModel.ts"
import { tracing } from "./utils/tracing.ts"

const ledgerRows = Effect.flatMap(
  CostLedger.CostLedger,
  (ledger) => Stream.runCollect(ledger.rows({ from: 0, to: 1e15 }))
)

const model = ClaudeLanguageModel.layer({ model: modelId, maxTokens: 500 })

describe.each(Object.entries(ways))("a call, %s", (way, ask) => {
  const over = (...script: ReadonlyArray<ClaudeTest.Answer<ClaudeError.ApiError>>) =>
    Layer.provideMerge(
      model,
      ClaudeService.layerWithParts({
        api: ClaudeTest.layerApi(...script),
        keys: [ClaudeTest.key],
        retry: { base: "1 second", throttledBase: "1 second" },
        budget: { budgets: [{ name: "acme", per: "tenant", limit: 1 }] }
      })
    )

  it.effect("is in the ledger and the budget under its context, with its retries", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        ask().pipe(CallContext.annotate({ tenant: "acme", requestType: "greeting", tags: { a: "b" } }))
      )
      yield* TestClock.adjust("1 minute")
      const parts = yield* Fiber.join(fiber)
      const rows = yield* ledgerRows
      assert.deepStrictEqual(rows.map(({ outcome }) => outcome), ["failed", "completed"])
      const row = rows[1]!
      assert.deepInclude(row, { tenant: "acme", requestType: "greeting" })
      const { anthropic } = plain(parts.at(-1)!)["metadata"] as { anthropic: Record<string, unknown> }
      assert.strictEqual(anthropic["attempts"], 2)
      assert.strictEqual(anthropic["costNanoUsd"], row.nanoUsd)
      const [account] = yield* (yield* Budget.Budget).snapshot
      assert.deepStrictEqual([account?.spentNanoUsd, account?.reservedNanoUsd], [row.nanoUsd, 0])
    }).pipe(Effect.provide(over(Effect.fail(new ClaudeError.ServerError({ overloaded: true })), "Hello."))))

  it.effect("is refused where its budget has no room, and nothing is sent", () =>
    Effect.gen(function*() {
      const error = (yield* Effect.flip(
        ask().pipe(ClaudeLanguageModel.withOptions({ maxTokens: 120_000 }), CallContext.annotate({ tenant: "acme" }))
      )) as AiError.AiError
      assert.strictEqual(error.reason._tag, "QuotaExhaustedError")
    }).pipe(Effect.provide(over())))

  it.effect("ends with the deadline of its caller", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(ask().pipe(CallContext.withDeadline("2 seconds"))))
      yield* TestClock.adjust("3 seconds")
      const error = (yield* Fiber.join(fiber)) as AiError.AiError
      assert.strictEqual((ClaudeLanguageModel.original(error) as { _tag: string })._tag, "DeadlineExceededError")
    }).pipe(Effect.provide(over(Effect.delay(Effect.succeed("Late."), "1 minute")))))

  it.effect("that is interrupted gives everything back", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(ask().pipe(CallContext.annotate({ tenant: "acme" })))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      const [account] = yield* (yield* Budget.Budget).snapshot
      assert.strictEqual(account?.reservedNanoUsd, 0)
      assert.lengthOf(yield* ledgerRows, 1)
    }).pipe(Effect.provide(over({ content: ["Long."], every: "1 minute" }))))

  it.effect("says in the span of effect/ai what it took", () =>
    Effect.gen(function*() {
      const { spans, tracer } = tracing()
      const usage = {
        input_tokens: 10,
        cache_read_input_tokens: 200,
        cache_creation_input_tokens: 30,
        output_tokens: 5
      }
      yield* ask().pipe(
        Effect.provide(Layer.provide(model, ClaudeTest.layer({ content: ["Hi."], usage }))),
        Effect.withTracer(tracer)
      )
      const name = way === "whole" ? "LanguageModel.generateText" : "LanguageModel.streamText"
      const attributes = Object.fromEntries(spans.find((span) => span.name === name)?.attributes ?? [])
      assert.deepInclude(attributes, {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": modelId,
        "gen_ai.request.max_tokens": 500,
        "gen_ai.response.id": "msg_test_1",
        "gen_ai.response.model": modelId,
        "gen_ai.usage.input_tokens": 240,
        "gen_ai.usage.cache_read.input_tokens": 200,
        "gen_ai.usage.cache_creation.input_tokens": 30,
        "gen_ai.usage.output_tokens": 5,
        "claude.attempts": 1
      })
      assert.deepStrictEqual(attributes["gen_ai.response.finish_reasons"], ["end_turn"])
      assert.isAbove(attributes["claude.cost_usd"] as number, 0)
      if (way === "streamed") assert.strictEqual(attributes["gen_ai.response.time_to_first_chunk"], 0)
    }))

  it.effect("tells a span transformer its cost, its caches and its first chunk", () =>
    Effect.gen(function*() {
      const told: Array<Telemetry.SpanTransformer extends (options: infer O) => void ? O : never> = []
      yield* ask().pipe(
        Effect.provideService(Telemetry.CurrentSpanTransformer, (options) => void told.push(options)),
        Effect.provide(Layer.provide(model, ClaudeTest.layer("Hi.")))
      )
      const finish = told[0]?.response.find((part) => part.type === "finish")
      assert.isAbove(finish?.metadata.anthropic?.costNanoUsd ?? 0, 0)
      assert.strictEqual(finish?.usage.inputTokens.cacheRead, 0)
      if (way === "streamed") assert.strictEqual(finish?.metadata.anthropic?.timeToFirstChunkMillis, 0)
    }))

  it.effect("sends the whole prompt where a tracker would leave some of it out", () =>
    Effect.gen(function*() {
      const first = yield* ask({ prompt: "One." })
      const prompt = Prompt.concat(
        Prompt.concat(Prompt.make("One."), Prompt.fromResponseParts(first as never)),
        Prompt.make("Two.")
      )
      yield* ask({ prompt })
      assert.lengthOf((yield* ClaudeTest.requests)[1]!.messages, 3)
    }).pipe(
      Effect.provideServiceEffect(ResponseIdTracker.ResponseIdTracker, ResponseIdTracker.make),
      Effect.provide(Layer.provideMerge(model, ClaudeTest.layer("1", "2")))
    ))
})

describe("a stream", () => {
  it.effect("arrives piece by piece, its end when the call has settled", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(LanguageModel.streamText({ prompt: "Hi." }), (part) =>
          Effect.sync(() => {
            seen.push(part.type === "text-delta" ? part.delta : part.type)
          }))
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen, ["response-metadata", "text-start", "Good "])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen.slice(3), ["day!", "text-end", "finish"])
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide(
      Layer.provide(model, ClaudeTest.layer({ content: [ClaudeTest.text("Good ", "day!")], every: "1 second" }))
    )))

  it.effect("that its reader leaves ends the request", () =>
    Effect.gen(function*() {
      const { requests } = yield* Simulator.Simulator
      const fiber = yield* Effect.forkChild(
        LanguageModel.streamText({ prompt: "Hi." }).pipe(
          Stream.filter((part) => part.type === "text-delta"),
          Stream.take(1),
          Stream.runDrain
        )
      )
      for (let i = 0; i < 20; i++) {
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        yield* TestClock.adjust("1 second")
      }
      yield* Fiber.join(fiber)
      assert.deepInclude(yield* requests, { total: 1, open: 0 })
    }).pipe(Effect.provide(Layer.provideMerge(model, Simulator.layerClaude({ latency: { perToken: "1 second" } })))))
})

describe("a tokenizer", () => {
  const tokenizer = Layer.provideMerge(ClaudeLanguageModel.layerTokenizer({ model: modelId }), ClaudeTest.layer())
  const turns: Prompt.RawInput = [
    { role: "system", content: "Be brief." },
    ...Array.from({ length: 16 }, (_, i) => [
      { role: "user" as const, content: `Question ${i}: ${"why ".repeat(20)}` },
      { role: "assistant" as const, content: [{ type: "tool-call" as const, id: `t${i}`, name: "look", params: {} }] },
      {
        role: "tool" as const,
        content: [{ type: "tool-result" as const, id: `t${i}`, name: "look", isFailure: false, result: "so" }]
      },
      { role: "assistant" as const, content: `Because ${i}.` }
    ]).flat()
  ]

  it.effect("counts as the API does", () =>
    Effect.gen(function*() {
      const count = yield* ClaudeLanguageModel.countTokens("Why is the sky blue?")
      const api = yield* ClaudeService.countTokens({
        model: modelId,
        messages: [{ role: "user", content: [{ type: "text", text: "Why is the sky blue?" }] }]
      })
      assert.strictEqual(count, api.input_tokens)
    }).pipe(Effect.provide(tokenizer)))

  it.effect("keeps the longest end that fits, the system prompt and whole turns, with few counts", () =>
    Effect.gen(function*() {
      const { truncate } = yield* Tokenizer.Tokenizer
      const all = yield* ClaudeLanguageModel.countTokens(turns)
      const half = yield* truncate(turns, Math.floor(all / 2))
      const counted = (yield* ClaudeTest.calls).length - 1
      assert.isAtMost(counted, 5)
      assert.strictEqual(half.content[0]?.role, "system")
      assert.strictEqual(half.content[1]?.role, "user")
      assert.strictEqual((half.content.length - 1) % 4, 0)
      assert.isAtMost(yield* ClaudeLanguageModel.countTokens(half), Math.floor(all / 2))
      const kept = (half.content.length - 1) / 4
      const longer = Prompt.fromMessages([half.content[0]!, ...Prompt.make(turns).content.slice(-4 * (kept + 1))])
      assert.isAbove(yield* ClaudeLanguageModel.countTokens(longer), Math.floor(all / 2))
      assert.lengthOf((yield* truncate(turns, all)).content, 65)
      assert.lengthOf((yield* truncate(turns, 3)).content, 0)
    }).pipe(Effect.provide(tokenizer)))

  it.effect("fails as calls do", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ClaudeLanguageModel.countTokens([]))
      assert.strictEqual(error.reason._tag, "InvalidUserInputError")
    }).pipe(Effect.provide(tokenizer)))
})

it.effect("a model of effect/ai names itself", () =>
  Effect.gen(function*() {
    assert.strictEqual(yield* Model.ProviderName, "anthropic")
    assert.strictEqual(yield* Model.ModelName, modelId)
    const [text] = yield* whole()
    assert.isDefined(text)
  }).pipe(
    Effect.provide(Layer.provide(ClaudeLanguageModel.model(modelId, { maxTokens: 500 }), ClaudeTest.layer("Hi.")))
  ))

it("is loaded by those alone who import it", () => {
  const index = readFileSync(new URL("../src/index.ts", import.meta.url), "utf8")
  assert.notInclude(index, "ClaudeLanguageModel")
})
