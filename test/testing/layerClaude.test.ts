import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { Budget, CircuitBreaker, ClaudeService, CostLedger, Model, RateLimiter } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { TestClock } from "effect/testing"

const requests = Simulator.Simulator.use((simulator) => simulator.requests)

/** The statuses of the attempts in the ledger. */
const recorded = Effect.gen(function*() {
  const ledger = yield* CostLedger.CostLedger
  yield* ledger.flush
  return yield* Stream.runCollect(Stream.map(ledger.rows({ from: 0, to: 2 ** 50 }), (row) => row.outcome))
})

const ours = Model.make({
  id: "claude-ours",
  group: "ours",
  tokenizer: "classic",
  prices: [{ input: 1, output: 5 }],
  limits: { requestsPerMinute: 60 }
})

describe("Simulator.layerClaude", () => {
  it.effect("is the service under all policies over a simulator in virtual time", () =>
    Effect.gen(function*() {
      const call = yield* Effect.forkChild(ClaudeService.createWithReport(ClaudeTest.hello))
      yield* TestClock.adjust("5 minutes")
      const { attempts, keyLabel, message } = yield* Fiber.join(call)
      assert.deepStrictEqual([attempts, keyLabel], [3, "default"])
      assert.deepEqual(message.content as ReadonlyArray<unknown>, [{ type: "text", text: "Hello." }])
      assert.deepInclude(yield* requests, { total: 3, byStatus: { 200: 1, 529: 2 } })
      assert.strictEqual((yield* recorded).length, 3)
    }).pipe(
      Effect.provide(Simulator.layerClaude({ answer: () => "Hello.", faults: [Simulator.overload({ times: 2 })] }))
    ))

  it.effect("has the keys of the simulator, whose organizations are their groups", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      yield* simulator.revoke("ours")
      const error = yield* Effect.flip(ClaudeService.create(ClaudeTest.hello))
      assert.deepInclude(error, { _tag: "AuthError", keyLabel: "ours", keyGroup: "org_ours" })
    }).pipe(
      Effect.provide(
        Simulator.layerClaude({
          keys: [{ key: "sk-ant-ours", label: "ours", organization: "org_ours", workspace: "wrkspc" }]
        })
      )
    ))

  it.effect("takes the parts of the service: options, layers and models", () =>
    Effect.gen(function*() {
      const request = { ...ClaudeTest.hello, model: "claude-ours" }
      const { costNanoUsd } = yield* ClaudeService.createWithReport(request)
      const [row] = (yield* Simulator.Simulator.use((simulator) => simulator.bill)).rows
      assert.strictEqual(row?.nanoUsd, costNanoUsd)
      assert.strictEqual((yield* Effect.flip(ClaudeService.create(request)))._tag, "BudgetExceededError")
    }).pipe(
      Effect.provide(Simulator.layerClaude({ answer: () => "Hello." }, {
        models: [ours],
        limiter: RateLimiter.layerOff,
        budget: { budgets: [{ name: "all", limit: 0.000_52, window: { calendar: "month" } }] }
      }))
    ))

  it("has the errors and requirements of the layers that it is given", () => {
    const plain = Simulator.layerClaude()
    expectTypeOf<Layer.Error<typeof plain>>().toEqualTypeOf<never>()
    expectTypeOf<Layer.Services<typeof plain>>().toEqualTypeOf<never>()
    const breaker = Layer.effect(
      CircuitBreaker.CircuitBreaker,
      Effect.andThen(Budget.Budget, CircuitBreaker.CircuitBreaker)
    )
    const failing = Layer.effect(CostLedger.CostLedger, Effect.fail("no ledger" as const))
    const given = Simulator.layerClaude({}, { breaker, ledger: failing })
    expectTypeOf<Layer.Error<typeof given>>().toEqualTypeOf<"no ledger">()
    expectTypeOf<Layer.Services<typeof given>>().toEqualTypeOf<Budget.Budget | CircuitBreaker.CircuitBreaker>()
    // @ts-expect-error there is no such part
    Simulator.layerClaude({}, { limit: RateLimiter.layerOff })
  })
})

describe("SimulatorServer.layerClaude", () => {
  it.live("is the same over HTTP", () =>
    Effect.gen(function*() {
      const { url } = yield* SimulatorServer.SimulatorServer
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
      const { attempts, costNanoUsd } = yield* ClaudeService.createWithReport({
        ...ClaudeTest.hello,
        model: "claude-ours"
      })
      assert.strictEqual(attempts, 2)
      assert.isAbove(costNanoUsd ?? 0, 0)
      assert.deepInclude(yield* requests, { total: 2, byStatus: { 200: 1, 529: 1 } })
      assert.strictEqual((yield* recorded).length, 2)
    }).pipe(
      Effect.provide(SimulatorServer.layerClaude(
        { answer: () => "Hello.", faults: [Simulator.overload({ times: 1 })] },
        { models: [ours], retry: { throttledBase: "1 millis" } }
      ))
    ))
})
