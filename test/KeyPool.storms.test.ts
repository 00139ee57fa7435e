/** Calls over several organizations while everything goes wrong at once. */
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Clock, Duration, Effect, Fiber, Random, Redacted, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { hello, settle } from "./utils/http.ts"
import { a, b, c, inFlight, keyOf, patiently, question, retry, states, total, value } from "./utils/organizations.ts"

const { Fault } = Simulator

describe("bad weather", () => {
  const hit = (share: number, fault: Simulator.Fault): Simulator.Rule => ({
    fault,
    when: { probability: share, until: "1 minute" }
  })

  const storm = [
    hit(0.3, Fault.Status({ status: 429, headers: { "retry-after-ms": "700" } })),
    hit(0.1, Fault.Status({ status: 429, headers: { "retry-after": "3" } })),
    hit(0.05, Fault.Status({ status: 401 })),
    hit(0.05, Fault.Status({ status: 403 })),
    hit(0.05, Fault.Status({ status: 500 })),
    hit(0.05, Fault.ResetBeforeHeaders()),
    hit(0.05, Fault.ErrorEvent({ type: "overloaded_error", after: { events: 3 } }))
  ]

  for (const seed of ["hail", "fog", "gale"]) {
    it.effect(
      `leaves nothing in flight, whenever calls are interrupted, and passes (${seed})`,
      () =>
        Effect.gen(function*() {
          const claude = yield* ClaudeService.ClaudeService
          const limiter = yield* RateLimiter.RateLimiter
          const budget = yield* Budget.Budget
          const call = Effect.fnUntraced(function*(i: number) {
            const run: Effect.Effect<unknown, unknown> = i % 3 === 0
              ? Stream.runDrain(claude.stream(question(i)))
              : claude.create(question(i))
            const [start, patience] = [yield* Random.nextBetween(0, 30_000), yield* Random.nextBetween(1, 20_000)]
            yield* Effect.sleep(start)
            const within = i % 2 === 0 ? CallContext.withDeadline(run, patience) : Effect.timeoutOption(run, patience)
            return (yield* Effect.exit(within))._tag
          })
          const ends = yield* value(Effect.forEach(Arr.makeBy(300, (i) => i), call, { concurrency: "unbounded" }))
          assert.includeMembers(ends, ["Success", "Failure"])
          assert.strictEqual(yield* inFlight, 0)
          for (const { inFlight, waiting } of yield* limiter.snapshot) {
            assert.deepStrictEqual([inFlight, waiting], [0, 0])
          }
          for (const { reservedNanoUsd } of yield* budget.snapshot) assert.strictEqual(reservedNanoUsd, 0)
          yield* TestClock.adjust("10 minutes")
          yield* settle
          assert.deepStrictEqual([...new Set(Object.values(yield* states))], ["usable"])
          const after = yield* value(Effect.replicateEffect(ClaudeService.create(hello), 20))
          assert.lengthOf(after, 20)
        }).pipe(
          Effect.provide(Simulator.layerClaude({
            seed,
            keys: [a, keyOf("a-2", "org-a"), b, keyOf("b-2", "org-b")],
            faults: storm,
            latency: { firstToken: { median: "800 millis", sigma: 1 }, perToken: "5 millis" }
          }, {
            breaker: { mode: "observe" },
            budget: { budgets: [{ name: "all", limit: 1_000, window: { calendar: "month" } }] }
          })),
          Random.withSeed(seed)
        )
    )
  }

  it.effect("of two groups that refuse in turn never sends more than a call may", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ClaudeService.create(hello))
      assert.strictEqual(error._tag, "RateLimitError")
      // Each group once: the hints are over before the other group has refused, and that is no reason to ask again.
      assert.strictEqual(yield* total, 2)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [a, keyOf("a-2", "org-a"), b, keyOf("b-2", "org-b")],
      faults: [{ fault: Fault.Status({ status: 429, headers: { "retry-after-ms": "0" } }) }]
    }, { retry }))))

  it.effect("is met by each retry on both groups again", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* value(Effect.flip(ClaudeService.create(hello))))._tag, "RateLimitError")
      assert.strictEqual(yield* total, 4)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [a, b],
      faults: [{ fault: Fault.Status({ status: 429, headers: { "retry-after": "1" } }) }]
    }, { retry: { retries: 1 }, limiter: RateLimiter.layerOff }))))

  it.effect("counts the same 500 on two keys once", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* value(Effect.flip(ClaudeService.create(hello)))
      assert.strictEqual(yield* total, 4)
      assert.deepInclude(yield* breaker.state("opus-4"), { failures: 1, phase: "closed" })
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [a, b],
      faults: [{ fault: Fault.Status({ status: 500 }) }]
    }, { keys: { strategy: "roundRobin" } }))))
})

describe("a store that changes", () => {
  /** What a secret manager holds: it is polled, and its answers take a while. */
  const managerOf = (first: Simulator.Key) => {
    const state = { key: first, reads: 0, millis: 0 }
    const source: KeyStore.Source = {
      name: "manager",
      read: () =>
        Effect.delay(
          Effect.sync(() => {
            state.reads++
            const { key, organization } = state.key
            return { secret: Redacted.make(JSON.stringify([{ label: "a", group: organization, secret: key }])) }
          }),
          state.millis
        ),
      changes: KeyStore.every("1 second")
    }
    return { state, layer: KeyStore.layer(source) }
  }

  for (const [when, isRevokedFirst] of [["after", false], ["before", true]] as const) {
    it.effect(
      `rotates its only key under 64 callers, the old one revoked ${when} it names the new one, and no call fails`,
      () => {
        const manager = managerOf(a)
        const rotations = 5
        return Effect.gen(function*() {
          const simulator = yield* Simulator.Simulator
          manager.state.millis = 30
          const rotate = Effect.gen(function*() {
            for (let generation = 1; generation <= rotations; generation++) {
              yield* Effect.sleep("2500 millis")
              const last = manager.state.key
              const next = keyOf(`a-${generation}`, "org-a")
              yield* simulator.addKey(next)
              // With polls a second apart and no more than one attempt, nothing but the question after a 401 can help.
              if (isRevokedFirst) yield* simulator.revoke(last.key)
              manager.state.key = next
              if (isRevokedFirst) continue
              yield* Effect.sleep("1500 millis")
              yield* simulator.revoke(last.key)
            }
          })
          const rotating = yield* Effect.forkChild(rotate)
          const claude = yield* ClaudeService.ClaudeService
          let calls = 0
          const caller: Effect.Effect<void, unknown> = Effect.suspend(() => {
            if (rotating.pollUnsafe() !== undefined) return Effect.void
            const i = calls++
            const call: Effect.Effect<unknown, unknown> = i % 3 === 0
              ? Stream.runDrain(claude.stream(question(i)))
              : claude.create(question(i))
            return Effect.andThen(call, caller)
          })
          const callers = yield* Effect.forkChild(Effect.replicateEffect(caller, 64, { concurrency: "unbounded" }))
          for (let i = 0; i < 2_000 && callers.pollUnsafe() === undefined; i++) {
            yield* settle
            yield* TestClock.adjust("100 millis")
          }
          yield* Fiber.join(callers)
          assert.isAbove(calls, 1_000)
          // Once for each poll and each rotation, whatever the number of callers; and for each key that was checked.
          assert.isBelow(manager.state.reads, 2 * 4 * rotations)
          assert.strictEqual(yield* inFlight, 0)
        }).pipe(Effect.provide(Simulator.layerClaude({
          keys: [a],
          latency: { firstToken: { median: "300 millis", sigma: 0.5 } }
        }, { retry, limiter: RateLimiter.layerOff, keys: manager.layer })))
      }
    )
  }
})

describe("a cold start", () => {
  it.effect("lets no call wait longer than a second beside an idle group, whatever it tried before", () =>
    Effect.gen(function*() {
      const calls = Arr.makeBy(200, (i) => ClaudeService.createWithReport(question(i)))
      const answers = yield* patiently(Effect.all(calls, { concurrency: 64 }))
      assert.isAtMost(Math.max(...answers.map(({ latency }) => Duration.toSeconds(latency))), 1.5)
    }).pipe(Effect.provide(Simulator.layerClaude({
      keys: [keyOf("a", "org-a", { revoked: true }), b, c],
      latency: { firstToken: "200 millis" },
      limits: (_, organization) => ({ requestsPerMinute: organization === "org-b" ? 5 : 5_000 })
    }, { retry }))))
})

describe("a quarantined key", () => {
  it.effect("is checked though the clock is set back", () =>
    Effect.gen(function*() {
      const { addKey } = yield* Simulator.Simulator
      yield* Effect.replicateEffect(ClaudeService.create(hello), 2)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "quarantined", b: "usable" })
      yield* addKey(a)
      yield* TestClock.setTime((yield* Clock.currentTimeMillis) - 3_600_000)
      // The keeper sleeps until something happens, or the time is over.
      yield* (yield* KeyPool.KeyPool).setWeight("b", 2)
      yield* settle
      assert.deepStrictEqual(yield* states, { a: "usable", b: "usable" })
    }).pipe(Effect.provide(Simulator.layerClaude(
      { keys: [{ ...a, revoked: true }, b] },
      { retry, keys: { strategy: "roundRobin" } }
    ))))
})
