/** An overloaded model, calls of every kind in virtual time, and the simulator's bill. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Random, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import type * as Fallback from "effect-claude/Fallback"
import * as KeyPool from "effect-claude/KeyPool"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { settle } from "./utils/http.ts"

const opus = "claude-opus-5-5"
const sonnet = "claude-sonnet-5-5"

const isOf = (...models: ReadonlyArray<string>) => ({ model }: Simulator.Seen): boolean =>
  model !== undefined && models.includes(model)

const fallback: Fallback.Options = [{ to: sonnet }]

const budget: Budget.Options = { budgets: [{ name: "all", limit: 1_000 }] }

/** Half of them are streams. */
const ask = (n: number): Effect.Effect<unknown, unknown, ClaudeService.ClaudeService> => {
  const request = { ...ClaudeTest.hello, model: opus, messages: [{ role: "user" as const, content: `Question ${n}` }] }
  return n % 2 === 0 ? ClaudeService.create(request) : Stream.runDrain(ClaudeService.stream(request))
}

const accounted = Effect.gen(function*() {
  const { rows: billed } = yield* (yield* Simulator.Simulator).bill
  const ledger = yield* CostLedger.CostLedger
  const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
  const [account] = yield* Effect.flatMap(Budget.Budget, (budget) => budget.snapshot)
  const sum = (amounts: ReadonlyArray<number | null | undefined>) =>
    amounts.reduce<number>((all, nano) => all + (nano ?? 0), 0)
  return {
    rows,
    billed: sum(billed.map(({ nanoUsd }) => nanoUsd)),
    recorded: sum(rows.map(({ nanoUsd }) => nanoUsd)),
    budgeted: account?.spentNanoUsd ?? 0,
    reserved: account?.reservedNanoUsd ?? 0
  }
})

describe("a model that is overloaded for a minute", () => {
  it.effect("leaves 99 of 100 calls answered within two seconds, none twice, and their costs are the bill", () =>
    Effect.gen(function*() {
      const began = yield* Clock.currentTimeMillis
      const times: Array<number> = []
      const calls: Array<Fiber.Fiber<void>> = []
      for (let n = 0; n < 200; n++) {
        const call = Effect.gen(function*() {
          const at = yield* Clock.currentTimeMillis
          const exit = yield* Effect.exit(ask(n))
          times.push(Exit.isSuccess(exit) ? (yield* Clock.currentTimeMillis) - at : Infinity)
        })
        calls.push(yield* Effect.forkChild(call, { startImmediately: true }))
        yield* settle
        yield* TestClock.adjust("400 millis")
      }
      for (let n = 0; n < 20; n++) {
        yield* settle
        yield* TestClock.adjust("500 millis")
      }
      yield* Effect.forEach(calls, Fiber.join)
      assert.isAbove((yield* Clock.currentTimeMillis) - began, 80_000)
      assert.isAtLeast(times.filter((millis) => millis <= 2_000).length, 198)
      const { billed, budgeted, recorded, reserved, rows } = yield* accounted
      const answered = rows.filter(({ outcome }) => outcome === "completed")
      assert.strictEqual(answered.length, 200)
      assert.strictEqual(new Set(answered.map(({ callId }) => callId)).size, 200)
      assert.isAbove(answered.filter(({ model }) => model === sonnet).length, 125)
      assert.isAbove(answered.filter(({ model }) => model === opus).length, 30)
      assert.deepStrictEqual([recorded, budgeted, reserved], [billed, billed, 0])
    }).pipe(Effect.provide(Simulator.layerClaude({
      latency: { firstToken: "300 millis", perToken: "1 millis" },
      faults: [Simulator.overload({ until: "1 minute", request: isOf(opus) })]
    }, { fallback, budget }))))

  it.effect("and the others too, is what calls fail with", () =>
    Effect.gen(function*() {
      const call = yield* Effect.forkChild(Effect.flip(ask(0)), { startImmediately: true })
      for (let n = 0; n < 40; n++) {
        yield* settle
        yield* TestClock.adjust("1 second")
      }
      assert.deepInclude(yield* Fiber.join(call), { _tag: "ServerError", overloaded: true, attempts: 8 })
      const { rows } = yield* accounted
      assert.deepStrictEqual(rows.map(({ model }) => model), Array.from({ length: 8 }, (_, n) => n % 2 ? sonnet : opus))
    }).pipe(Effect.provide(Simulator.layerClaude({
      faults: [
        Simulator.overload({ request: isOf(opus) }),
        { fault: Simulator.Fault.Status({ status: 500 }), when: { request: isOf(sonnet) } }
      ]
    }, { fallback, budget }))))
})

describe("an interruption", () => {
  it.effect("at any instant of a move leaves no key, no room and no reservation taken", () =>
    Effect.gen(function*() {
      for (let n = 0; n < 100; n++) {
        const call = yield* Effect.forkChild(ask(n), { startImmediately: true })
        const steps = yield* Random.nextIntBetween(0, 12)
        for (let step = 0; step < steps; step++) {
          yield* settle
          yield* TestClock.adjust(10)
        }
        yield* Fiber.interrupt(call)
        yield* settle
      }
      const keys = yield* Effect.flatMap(KeyPool.KeyPool, (pool) => pool.snapshot)
      assert.deepStrictEqual(keys.map(({ inFlight }) => inFlight), [0])
      const groups = yield* Effect.flatMap(RateLimiter.RateLimiter, (limiter) => limiter.snapshot)
      assert.deepStrictEqual(groups.map(({ inFlight, waiting }) => inFlight + waiting), [0, 0])
      const { budgeted, recorded, reserved, rows } = yield* accounted
      assert.deepStrictEqual([reserved, budgeted], [0, recorded])
      assert.isAbove(rows.filter(({ model }) => model === sonnet).length, 20)
      assert.isAbove(rows.filter(({ outcome }) => outcome === "aborted").length, 20)
    }).pipe(Effect.provide(Simulator.layerClaude({
      latency: { firstToken: "30 millis", perToken: "1 millis" },
      faults: [Simulator.overload({ request: isOf(opus) })]
    }, { fallback, budget, breaker: { mode: "observe" }, limiter: { limits: { requestsPerMinute: 1_000_000 } } }))))
})
