/** What an attempt is charged, beside the simulator's bill of the same request. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { Attempt, ClaudeApi, PriceBook } from "effect-claude"
import { TestClock } from "effect/testing"
import * as Simulator from "../src/testing/Simulator.ts"
import { toSend } from "./utils/attempts.ts"

const Call = Schema.Struct({
  model: Schema.Literals([
    "claude-fable-5-2",
    "claude-opus-5-5",
    "claude-opus-4-8",
    "claude-opus-4-6",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "claude-haiku-4-5",
    "in-house"
  ]),
  stream: Schema.Boolean,
  fast: Schema.Boolean,
  us: Schema.Boolean,
  cache: Schema.Literals(["none", "5m", "1h"]),
  prompt: Schema.Literals([20, 5_000, 40_000, 320_000]),
  answer: Schema.Literals(["Yes.", "refuse cyber", "refuse bio", "begin and refuse bio", "refuse"])
})
type Call = Schema.Schema.Type<typeof Call>

const Day = Schema.Literals(["2026-09-23", "2026-09-24", "2026-10-06", "2026-10-07", "2026-11-29", "2026-11-30"])

const answers: Record<Call["answer"], Simulator.Answer> = {
  "Yes.": { content: "Yes.", outputTokens: 37 },
  "refuse cyber": {
    content: "",
    stopReason: "refusal",
    stopDetails: { type: "refusal", category: "cyber", explanation: null }
  },
  "refuse bio": {
    content: "",
    stopReason: "refusal",
    stopDetails: { type: "refusal", category: "bio", explanation: null }
  },
  "begin and refuse bio": {
    content: "Take",
    stopReason: "refusal",
    stopDetails: { type: "refusal", category: "bio", explanation: null },
    outputTokens: 3
  },
  refuse: { content: "", stopReason: "refusal" }
}

const fastModels = new Set(["claude-fable-5-2", "claude-opus-5-5", "claude-opus-4-8", "claude-opus-4-6"])

const requestOf = (call: Call): Attempt.Request => ({
  model: call.model,
  max_tokens: 100,
  messages: [{ role: "user", content: "x".repeat(call.prompt) }],
  metadata: { user_id: call.answer },
  ...(call.fast && fastModels.has(call.model) ? { speed: "fast" } : {}),
  ...(call.us && call.model !== "claude-haiku-4-5" ? { inference_geo: "us" } : {}),
  ...(call.cache === "none" ? {} : { cache_control: { type: "ephemeral", ttl: call.cache } })
})

describe("charges and the simulator's bill", () => {
  it.effect.prop(
    "agree to the nano-dollar",
    { calls: Schema.Array(Call).check(Schema.isMaxLength(8)), day: Day },
    ({ calls, day }) =>
      Effect.gen(function*() {
        const at = Date.parse(day)
        yield* TestClock.setTime(at)
        const { bill, fetch } = yield* Simulator.Simulator
        const api = ClaudeApi.make({ fetch, headers: { "anthropic-beta": "fast-mode-2026-02-01" } })
        const book = PriceBook.make()
        for (const call of calls) {
          const attempt = toSend(requestOf(call))
          yield* call.stream ? Stream.runDrain(api.stream(attempt)) : api.send(attempt)
          const row = (yield* bill).rows.at(-1)
          const charge = Attempt.costOf(book, attempt, at)!
          assert.strictEqual(charge.confidence, "exact")
          assert.strictEqual(charge.model, row?.model)
          assert.strictEqual(charge.cost?.nanoUsd, row?.nanoUsd)
          const most = book.ceiling(attempt.request, {
            inputTokens: row!.usage.input + row!.usage.cacheRead + row!.usage.cacheWrite5m + row!.usage.cacheWrite1h,
            outputTokens: attempt.request.max_tokens,
            at
          })
          if (row?.nanoUsd === undefined) assert.isUndefined(most)
          else assert.isAtLeast(most!, row.nanoUsd)
        }
        const { rows, totals } = yield* bill
        assert.strictEqual(totals.nanoUsd, rows.reduce((sum, row) => sum + (row.nanoUsd ?? 0), 0))
        assert.strictEqual(totals.unpriced, rows.filter((row) => row.nanoUsd === undefined).length)
      }).pipe(Effect.provide(Simulator.layer({
        models: ["in-house"],
        answer: (request) => answers[request.metadata?.user_id as Call["answer"]]
      }))),
    { arbitrary: { runs: 80 } }
  )
})
