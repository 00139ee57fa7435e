/** Models of your own, added by the public API: their facts hold in every service, and nothing else has to know them. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import {
  Budget,
  CircuitBreaker,
  ClaudeApi,
  ClaudeService,
  CostLedger,
  CostOptimizer,
  Estimate,
  Fallback,
  Hedge,
  InputSanitizer,
  Model,
  Monitor,
  PriceBook,
  RateLimiter,
  RetryPolicy
} from "effect-claude"
import * as Simulator from "effect-claude/testing/Simulator"
import { driven, keysOf } from "./utils/http.ts"

const ours = Model.make({
  id: "claude-ours",
  aliases: ["ours"],
  group: "ours",
  tokenizer: "classic",
  prices: [{ input: 1, output: 5 }],
  limits: { requestsPerMinute: 60 }
})

const policies = Layer.mergeAll(
  RetryPolicy.layer({ retries: 0 }),
  RateLimiter.layer({ limits: "start", burst: "1 second" }),
  CircuitBreaker.layer({ consecutiveFailures: 1, jitter: 0 }),
  CostLedger.layer(),
  Budget.layer({ budgets: [{ name: "all", limit: 1, window: { calendar: "day" } }] }),
  CostOptimizer.layerOff,
  Fallback.layerOff,
  Hedge.layerOff,
  InputSanitizer.layerOff,
  Monitor.layerOff
).pipe(Layer.provideMerge(PriceBook.layer()))

/** The service with its policies over a simulated API, and a catalogue with our model. */
const layer = ClaudeService.layerNoDeps.pipe(
  Layer.provideMerge(policies),
  Layer.provide(keysOf(Simulator.apiKey)),
  Layer.provide(Layer.unwrap(Effect.map(Simulator.Simulator, ({ fetch }) => ClaudeApi.layer({ fetch })))),
  Layer.provideMerge(Simulator.layer({ answer: () => ({ content: "Fine.", outputTokens: 1_000 }) })),
  Layer.provide(Model.layerCatalogue([ours]))
)

const request = {
  model: "ours",
  max_tokens: 2_000,
  messages: [{ role: "user" as const, content: "x".repeat(350_000) }]
}

describe("a model of your own", () => {
  it.effect("is priced, as the simulator prices it", () =>
    Effect.gen(function*() {
      const { costNanoUsd, message } = yield* ClaudeService.createWithReport(request)
      const { rows } = yield* (yield* Simulator.Simulator).bill
      assert.strictEqual(message.model, "claude-ours")
      assert.strictEqual(costNanoUsd, message.usage.input_tokens * 1_000 + 1_000 * 5_000)
      assert.deepStrictEqual(rows.map(({ nanoUsd }) => nanoUsd), [costNanoUsd])
      const report = yield* (yield* CostLedger.CostLedger).report({ by: "model" })
      assert.deepStrictEqual(report.groups.map(({ key, nanoUsd }) => [key, nanoUsd]), [[
        "claude-ours",
        costNanoUsd ?? 0
      ]])
    }).pipe(Effect.provide(layer)))

  it.effect("is refused by a budget that its price does not fit into", () =>
    Effect.gen(function*() {
      const { max_tokens } = request
      const error = yield* Effect.flip(ClaudeService.create({ ...request, max_tokens: 100 * max_tokens }))
      assert.strictEqual(error._tag, "BudgetExceededError")
    }).pipe(Effect.provide(layer)))

  it.effect("waits for its own limits, whatever the tier", () =>
    driven(
      Effect.gen(function*() {
        const small = { ...request, messages: [{ role: "user" as const, content: "Hi" }] }
        yield* Effect.all(Array.from({ length: 11 }, () => ClaudeService.create(small)), { concurrency: "unbounded" })
        const groups = yield* (yield* RateLimiter.RateLimiter).snapshot
        assert.deepStrictEqual(groups.map(({ group }) => group), ["ours"])
        assert.isAtLeast(yield* Clock.currentTimeMillis, 9_000)
      }).pipe(Effect.provide(layer))
    ).pipe(Effect.flatMap((exit) => exit)))

  it.effect("has a circuit of its own", () =>
    Effect.gen(function*() {
      const { inject } = yield* Simulator.Simulator
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* inject(Simulator.Fault.Status({ status: 500 }))
      yield* Effect.exit(ClaudeService.create(request))
      assert.strictEqual((yield* breaker.state("ours")).phase, "open")
      assert.strictEqual((yield* breaker.state("other")).phase, "closed")
    }).pipe(Effect.provide(layer)))

  it("is counted by its tokenizer", () => {
    const { lookup } = Model.extend([ours])
    const estimate = Estimate.make(request, lookup(request.model)).inputTokens
    assert.strictEqual(estimate, Estimate.make({ ...request, model: "claude-sonnet-4-6" }).inputTokens)
    assert.isBelow(estimate, Estimate.make(request).inputTokens)
  })
})
