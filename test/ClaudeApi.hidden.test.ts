/** What a stream that is cut off is charged where its text cannot be the whole output. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random, Stream } from "effect"
import { Attempt, ClaudeApi, PriceBook } from "effect-claude"
import { TestClock } from "effect/testing"
import { toSend } from "./utils/attempts.ts"
import { fetchOf, settle, sse } from "./utils/http.ts"

const encode = (events: ReadonlyArray<object>) =>
  new TextEncoder().encode(
    events.map((data) => `event: ${"type" in data ? data.type : ""}\ndata: ${JSON.stringify(data)}\n\n`).join("")
  )

const request: Attempt.Request = {
  model: "claude-opus-5-5",
  max_tokens: 8_000,
  messages: [{ role: "user", content: "Prove it." }]
}

const start = (model = request.model) => ({
  type: "message_start",
  message: {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model,
    content: [],
    stop_reason: null,
    usage: { input_tokens: 25, output_tokens: 1 }
  }
})
const begin = (index: number, block: object) => ({ type: "content_block_start", index, content_block: block })
const delta = (index: number, delta: object) => ({ type: "content_block_delta", index, delta })
const stop = (index: number) => ({ type: "content_block_stop", index })

const thinking = begin(0, { type: "thinking", thinking: "", signature: "" })
const text = (index: number) => begin(index, { type: "text", text: "" })
const sentence = "The quick brown fox jumps over the lazy dog. "
const said = (index: number) => delta(index, { type: "text_delta", text: sentence })

type Script = ReadonlyArray<object | number>

/** Reads a stream whose events come with pauses (milliseconds) between them, until its reader leaves after the last. */
const cut = (script: Script, asked: Attempt.Request = request, kind?: Attempt.CallKind) =>
  Effect.gen(function*() {
    let send: ReadableStreamDefaultController<Uint8Array> | undefined
    const { fetch } = fetchOf(() => sse([], (controller) => void (send = controller)))
    const attempt = { ...toSend(asked), ...(kind === undefined ? {} : { kind }) }
    const fiber = yield* Effect.forkChild(Stream.runDrain(ClaudeApi.make({ fetch }).stream(attempt)), {
      startImmediately: true
    })
    yield* settle
    for (const step of script) {
      if (typeof step === "number") yield* TestClock.adjust(step)
      else send?.enqueue(encode([step]))
      yield* settle
    }
    yield* Fiber.interrupt(fiber)
    yield* TestClock.adjust("1 hour")
    const cost = Attempt.costOf(PriceBook.make(), attempt, 0)!
    return { output: cost.usage.outputTokens, confidence: cost.confidence, nanoUsd: cost.cost!.nanoUsd }
  })

/** Calls that took so many milliseconds for a token. */
const learnt = (millisPerToken: number) => {
  const kind = new Attempt.CallKinds().of(request.model, "proof")
  for (let i = 0; i < 100; i++) {
    kind.add({
      estimatedInputTokens: 25,
      inputTokens: 25,
      outputTokens: 2_000,
      millis: 2_000 * millisPerToken,
      isCut: false
    })
  }
  return kind
}

describe("a stream that is cut off", () => {
  it.effect("is charged what may have been produced in a minute of hidden thinking", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* cut([start(), thinking, 60_000]), {
        output: 6_000,
        confidence: "estimated",
        nanoUsd: 25 * 4_000 + 6_000 * 20_000
      })
      const slow = yield* cut([start(), thinking, 60_000], request, learnt(40))
      assert.approximately(slow.output, 1_600, 100)
      assert.strictEqual((yield* cut([start(), thinking, 600_000])).output, request.max_tokens)
    }))

  it.effect("is charged at least what was produced, at most max_tokens, and not wildly more, at any pace and moment", () =>
    Effect.forEach([1, 2, 3, 4, 5], (seed) =>
      Effect.gen(function*() {
        for (let i = 0; i < 10; i++) {
          const pace = yield* Random.nextIntBetween(8, 60)
          const millis = yield* Random.nextIntBetween(1_000, 110_000)
          const { confidence, output } = yield* cut([start(), thinking, millis], request, learnt(pace))
          const produced = Math.min(request.max_tokens, Math.floor(millis / pace))
          assert.strictEqual(confidence, "estimated")
          assert.isAtLeast(output, produced * 0.95)
          assert.isAtMost(output, Math.min(request.max_tokens, produced * 1.8 + 10))
        }
      }).pipe(Random.withSeed(seed)), { discard: true }))

  it.effect("counts hidden output wherever it is, and nothing but what arrived where all can be seen", () =>
    Effect.gen(function*() {
      const signed = [delta(0, { type: "signature_delta", signature: "x".repeat(4_000) }), stop(0)]
      const cases: ReadonlyArray<
        readonly [string, Script, Partial<Attempt.Request>, readonly [number, number], string]
      > = [
        [
          "thinking, then text",
          [start(), thinking, 20_000, ...signed, text(1), said(1)],
          {},
          [2_010, 2_040],
          "estimated"
        ],
        ["a signature alone", [start(), thinking, ...signed, text(1), said(1)], {}, [1_010, 1_040], "estimated"],
        [
          "thinking that is summed up",
          [start(), thinking, delta(0, { type: "thinking_delta", thinking: sentence }), 10_000],
          {},
          [1_000, 1_000],
          "estimated"
        ],
        [
          "redacted thinking, which comes whole",
          [start(), 10_000, begin(0, { type: "redacted_thinking", data: "x".repeat(40) }), stop(0)],
          {},
          [1_000, 1_000],
          "estimated"
        ],
        ["a block nobody knows", [start(), begin(0, { type: "dream" }), 5_000], {}, [500, 500], "estimated"],
        ["nothing yet, by a model that thinks", [start(), 5_000], {}, [500, 500], "estimated"],
        [
          "tool input that is held back",
          [start(), begin(0, { type: "tool_use", id: "t", name: "n", input: {} }), 5_000],
          {},
          [500, 500],
          "estimated"
        ],
        ["text alone", [start(), 30_000, text(0), said(0), 30_000], {}, [10, 40], "derived"],
        [
          "nothing yet, by a model that does not think",
          [start(), 5_000],
          { model: "claude-haiku-4-5" },
          [1, 1],
          "derived"
        ],
        [
          "a wait for a tool of the API",
          [
            start(),
            begin(0, { type: "server_tool_use", id: "t", name: "web_search", input: {} }),
            delta(0, { type: "input_json_delta", partial_json: "{\"query\":\"x\"}" }),
            stop(0),
            30_000
          ],
          {},
          [2, 20],
          "derived"
        ]
      ]
      for (const [name, script, asked, [least, most], confidence] of cases) {
        const found = yield* cut(script, { ...request, ...asked } as Attempt.Request)
        assert.isAtLeast(found.output, least, name)
        assert.isAtMost(found.output, most, name)
        assert.strictEqual(found.confidence, confidence, name)
      }
    }))

  it.effect("is never charged more output than max_tokens", () =>
    Effect.gen(function*() {
      const short = { ...request, max_tokens: 30 }
      const script = [start(), text(0), ...Array.from({ length: 40 }, () => said(0))]
      assert.deepInclude(yield* cut(script, short), { output: 30, confidence: "derived" })
      assert.deepInclude(yield* cut([start(), thinking, 60_000], short), { output: 30 })
    }))
})
