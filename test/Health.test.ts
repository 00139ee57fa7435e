/** Readiness under the whole service, over a simulated API in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer } from "effect"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as Health from "effect-claude/Health"
import type * as KeyPool from "effect-claude/KeyPool"
import * as Monitor from "effect-claude/Monitor"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"
import { reasonsOf } from "../src/Health/internal/readiness.ts"
import { version } from "../src/Health/internal/version.ts"
import { driven, hello, settle } from "./utils/http.ts"

const { Fault } = Simulator

const layer = <P extends Simulator.Parts = {}>(
  options: Simulator.Options = {},
  parts?: P & ClaudeService.Checked<P>,
  health: Health.Options = {}
) => Layer.provideMerge(Health.layer(health), Simulator.layerClaude<P>(options, parts))

const other = { ...hello, model: "claude-haiku-5-5" }

/** A call that is driven to its end; what the monitor tells of it has arrived. */
const call = (request = hello) => Effect.tap(driven(ClaudeService.create(request)), () => settle)

const times = (count: number, request = hello) => Effect.repeat(call(request), { times: count - 1 })

const reasons = Effect.map(
  Effect.flatMap(Health.Health, ({ ready }) => ready),
  ({ ready, reasons }) => {
    assert.strictEqual(ready, reasons.length === 0)
    return reasons.map(({ kind, subject }) => `${kind} ${subject}`.trim())
  }
)

const simulator = Simulator.Simulator

const once = { retry: { retries: 0 } } as const

const breaker = {
  consecutiveFailures: 3,
  openDuration: "10 seconds",
  maxOpenDuration: "10 seconds",
  jitter: 0
} as const

describe("Health", () => {
  it.effect("is ready before the first call", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer())))

  it.effect("is not ready while a circuit is open, ready when a call may probe the API, and after it has recovered", () =>
    Effect.gen(function*() {
      const { clearFaults, inject } = yield* simulator
      yield* inject(Fault.Status({ status: 500 }), {})
      yield* times(6)
      assert.deepStrictEqual(yield* reasons, ["circuit opus-4"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* reasons, [])
      yield* call()
      assert.deepStrictEqual(yield* reasons, ["circuit opus-4"])
      yield* clearFaults
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Exit.isSuccess(yield* call()))
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({}, { ...once, breaker: { ...breaker, consecutiveFailures: 6 } }))))

  it.effect("is ready while the circuit of one model group is open and calls of another succeed", () =>
    Effect.gen(function*() {
      const { inject } = yield* simulator
      yield* inject(Fault.Status({ status: 500 }), { times: 3 })
      yield* times(3)
      assert.deepStrictEqual(yield* reasons, ["circuit opus-4"])
      yield* TestClock.adjust("1 second")
      yield* call(other)
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({}, { ...once, breaker }))))

  it.effect("is not ready while the circuit of a group is open that the program needs, whatever else succeeds", () =>
    Effect.gen(function*() {
      const { inject } = yield* simulator
      yield* inject(Fault.Status({ status: 500 }), { times: 3 })
      yield* times(3)
      assert.deepStrictEqual(yield* reasons, ["circuit opus-4"])
      yield* TestClock.adjust("1 second")
      yield* call(other)
      assert.deepStrictEqual(yield* reasons, ["circuit opus-4"])
      yield* TestClock.adjust("9 seconds")
      yield* call()
      assert.deepStrictEqual(yield* reasons, [])
      yield* inject(Fault.Status({ status: 500 }), { times: 3 })
      yield* times(3, other)
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({}, { ...once, breaker }, { groups: ["opus-4"] }))))

  it.effect("is not ready while a circuit is held open, and ready while it only observes", () =>
    Effect.gen(function*() {
      const { setMode } = yield* CircuitBreaker.CircuitBreaker
      const { inject } = yield* simulator
      yield* setMode("forcedOpen", "opus-4")
      assert.deepStrictEqual(yield* reasons, ["circuit opus-4"])
      yield* setMode("observe")
      yield* inject(Fault.Status({ status: 500 }), { times: 3 })
      yield* times(3)
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({}, { ...once, breaker }))))

  it.effect("is not ready at a spend cap of the API, and ready when its pause is over", () =>
    Effect.gen(function*() {
      yield* times(2)
      assert.deepStrictEqual(yield* reasons, ["limits opus-4 of org_sim"])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({ spend: { kind: "enforced", limit: 10 } }, once))))

  it.effect("is not ready when every key is revoked, and ready when one is accepted again", () =>
    Effect.gen(function*() {
      const { addKey, revoke } = yield* simulator
      yield* call()
      yield* revoke(Simulator.apiKey)
      yield* call()
      assert.deepStrictEqual(yield* reasons, ["keys"])
      yield* addKey({ key: Simulator.apiKey, label: "default", organization: "org_sim", workspace: "wrkspc_sim" })
      yield* driven(Effect.sleep("10 minutes"), 600)
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({}, once))))

  it.effect("is not ready while a budget of all calls has no room, and ready when its limit is raised or its window begins anew", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.Budget
      while (Exit.isSuccess(yield* call())) yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* reasons, ["budget day"])
      yield* budget.overrideLimit("day", { limit: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* reasons, [])
      yield* budget.overrideLimit("day", { limit: undefined })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* reasons, ["budget day"])
      yield* TestClock.adjust("24 hours")
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(
      layer({}, { ...once, budget: { budgets: [{ name: "day", limit: 0.005, window: { calendar: "day" } }] } })
    )))

  it.effect("is ready while the budget of one tenant is exhausted", () =>
    Effect.gen(function*() {
      const acme = CallContext.annotate(call(), { tenant: "acme" })
      while (Exit.isSuccess(yield* acme)) yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* reasons, [])
      yield* (yield* Budget.Budget).overrideLimit("each", { account: "acme", limit: 0.000_001 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(
      layer({}, {
        ...once,
        budget: { budgets: [{ name: "each", per: "tenant", limit: 0.005, window: { calendar: "day" } }] }
      })
    )))

  const each = { name: "each", limit: 0.005, window: { calendar: "day" } } as const
  const spend = (tenant: string | undefined) =>
    Effect.repeat(CallContext.annotate(call(), { tenant }), { while: Exit.isSuccess }).pipe(
      Effect.andThen(TestClock.adjust("1 second"))
    )

  it.effect.each(
    [
      ["a budget by tenant has no room for calls without one", { ...each, per: "tenant" }, undefined],
      ["a budget with a filter has no room", { ...each, filter: { tenant: ["acme"] } }, "acme"]
    ] satisfies ReadonlyArray<[string, Budget.BudgetOptions, string | undefined]>
  )(
    "is ready while %s, and nobody else calls",
    ([, budget, tenant]) =>
      Effect.gen(function*() {
        yield* spend(tenant)
        assert.deepStrictEqual(yield* reasons, [])
      }).pipe(Effect.provide(layer({}, { ...once, budget: { budgets: [budget] } })))
  )

  it.effect("is not ready while any account of a budget has no room that the program cannot do without", () =>
    Effect.gen(function*() {
      yield* spend("acme")
      yield* CallContext.annotate(call(), { tenant: "globex" })
      assert.deepStrictEqual(yield* reasons, ["budget each"])
      yield* TestClock.adjust("24 hours")
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(
      layer({}, { ...once, budget: { budgets: [{ ...each, per: "tenant" }] } }, { budgets: ["each"] })
    )))

  it("is ready at the spend cap of one organization while a key of another can be used", () => {
    const limits = ["one", "two"].map((keyGroup) => ({
      keyGroup,
      group: "opus-4",
      waiting: 0,
      inFlight: 0,
      levels: {
        pausedMillis: 60_000,
        closed: keyGroup === "one",
        requests: undefined,
        inputTokens: undefined,
        outputTokens: undefined,
        tokens: undefined,
        burstMillis: 0,
        share: 1
      }
    }))
    const keys = ["one", "two"].map((group) => ({
      label: group,
      group,
      state: "usable" as const,
      weight: 1,
      inFlight: 0,
      reasons: [],
      retryAfter: undefined
    }))
    const subjects = (keys: ReadonlyArray<KeyPool.Snapshot>) =>
      reasonsOf({ circuits: [], keys, limits, budgets: [] }, { names: [], amounts: { peek: () => undefined } }, 0).map((
        { subject }
      ) => subject)
    assert.deepStrictEqual(subjects(keys), [])
    assert.deepStrictEqual(subjects(keys.slice(0, 1)), ["opus-4 of one"])
    assert.deepStrictEqual(subjects(keys.map((key) => ({ ...key, weight: key.group === "one" ? 1 : 0 }))), [
      "opus-4 of one"
    ])
  })

  it.effect("is not ready while the store of the budgets does not answer", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(reasons)
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["budgetStore"])
    }).pipe(Effect.provide(
      layer({}, {
        budget: Budget.layerNoDeps({ budgets: [{ name: "all", limit: 1, window: { calendar: "day" } }] }).pipe(
          Layer.provide(Layer.succeed(Budget.Store, { step: () => Effect.never }))
        )
      })
    )))

  it.effect("is not ready after five failures in a row of the API where there is no breaker, for a minute", () =>
    Effect.gen(function*() {
      const { inject } = yield* simulator
      yield* inject(Fault.Status({ status: 500 }), {})
      yield* times(4)
      assert.deepStrictEqual(yield* reasons, [])
      yield* call()
      assert.deepStrictEqual(yield* reasons, ["calls ServerError"])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({}, { ...once, breaker: CircuitBreaker.layerOff }))))

  it.effect("is ready whatever callers ask for that cannot be answered", () =>
    Effect.gen(function*() {
      yield* times(10, { ...hello, model: "no-such-model" })
      assert.deepStrictEqual(yield* reasons, [])
    }).pipe(Effect.provide(layer({}, { ...once, breaker: CircuitBreaker.layerOff }))))

  it.effect("probes without traffic only, at most so often, and is billed nothing", () =>
    Effect.gen(function*() {
      const { bill, clearFaults, inject, requests } = yield* simulator
      const total = Effect.map(requests, ({ total }) => total)
      const pass = (seconds: number) => driven(Effect.sleep(Duration.seconds(seconds)), seconds)
      yield* inject(Fault.Status({ status: 500 }), {})
      yield* pass(61)
      assert.strictEqual(yield* total, 2)
      assert.deepStrictEqual(yield* reasons, ["probe ServerError"])
      yield* clearFaults
      yield* pass(30)
      assert.strictEqual(yield* total, 3)
      assert.deepStrictEqual(yield* reasons, [])
      assert.deepStrictEqual((yield* bill).rows, [])
      for (let i = 0; i < 10; i++) {
        yield* call()
        yield* pass(10)
      }
      assert.strictEqual(yield* total, 13)
    }).pipe(Effect.provide(layer({}, once, { probe: { every: "30 seconds" } }))))

  it.effect("tells how each part stands, without a secret", () =>
    Effect.gen(function*() {
      const health = yield* Health.Health
      const { inject } = yield* simulator
      yield* call()
      yield* inject(Fault.Status({ status: 500 }), { times: 1 })
      yield* TestClock.adjust("1 second")
      yield* call()
      const detail = yield* health.detail
      assert.strictEqual(detail.lastSuccess?.model, "claude-opus-4-6")
      assert.strictEqual(detail.lastError?.error, "ServerError")
      assert.deepStrictEqual(detail.keys.map(({ label, state }) => [label, state]), [["default", "usable"]])
      assert.deepStrictEqual(detail.circuits.map(({ calls, failures, group }) => [group, calls, failures]), [[
        "opus-4",
        2,
        1
      ]])
      assert.deepStrictEqual(detail.budgets?.map(({ budget, limitNanoUsd }) => [budget, limitNanoUsd]), [["day", 1e9]])
      assert.strictEqual(detail.limits[0]?.group, "opus-4")
      assert.notInclude(JSON.stringify(detail), Simulator.apiKey)
    }).pipe(Effect.provide(
      layer({}, { ...once, budget: { budgets: [{ name: "day", limit: 1, window: { calendar: "day" } }] } })
    )))

  it("says the version of the package", () => {
    assert.strictEqual(version, JSON.parse(readFileSync("package.json", "utf8")).version)
  })
})

describe("Health.drained", () => {
  const slow = layer({ latency: { firstToken: "5 seconds" } }, once)

  /** Runs a program, and interrupts it a second later. */
  const interrupted = <E, R>(program: Effect.Effect<unknown, E, R>) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Health.drained(program, "20 seconds"))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* settle
      return fiber
    })

  const succeeded = Effect.map(Monitor.snapshot, ({ sinceStart }) => sinceStart.success)

  const pass = (seconds: number) => Effect.andThen(TestClock.adjust(Duration.seconds(seconds)), settle)

  it.effect("lets a call in flight end, not ready meanwhile, and then interrupts", () =>
    Effect.gen(function*() {
      const fiber = yield* interrupted(Effect.andThen(ClaudeService.create(hello), Effect.never))
      assert.deepStrictEqual(yield* reasons, ["stopping"])
      assert.isUndefined(fiber.pollUnsafe())
      yield* pass(3)
      assert.isUndefined(fiber.pollUnsafe())
      yield* pass(2)
      assert.strictEqual(yield* succeeded, 1)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }).pipe(Effect.provide(slow)))

  it.effect("interrupts a call that takes longer", () =>
    Effect.gen(function*() {
      const fiber = yield* interrupted(ClaudeService.create(hello))
      yield* pass(19)
      assert.isUndefined(fiber.pollUnsafe())
      yield* pass(2)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      assert.strictEqual((yield* Monitor.snapshot).sinceStart.cancelled, 1)
    }).pipe(Effect.provide(layer({ latency: { firstToken: "1 minute" } }, once))))

  it.effect("lets a loop end that takes no more work", () =>
    Effect.gen(function*() {
      const { isStopping } = yield* Health.Health
      const fiber = yield* interrupted(Effect.repeat(ClaudeService.create(hello), { until: () => isStopping }))
      yield* pass(5)
      yield* Fiber.await(fiber)
      assert.strictEqual(yield* succeeded, 1)
    }).pipe(Effect.provide(slow)))

  it.effect("is interrupted at once where nothing is in flight", () =>
    Effect.gen(function*() {
      const fiber = yield* interrupted(Effect.never)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }).pipe(Effect.provide(slow)))
})
