/** What becomes of a pool that changes while it is used. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Redacted, Schedule, Stream } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { driven, hello } from "../utils/http.ts"

const keyOf = (label: string, weight = 1): Attempt.Key => ({ label, group: "g", weight, secret: Redacted.make(label) })

const poolOf = (...keys: ReadonlyArray<Attempt.Key>) =>
  KeyPool.layer().pipe(Layer.provide(ClaudeTest.layerApi()), Layer.provide(KeyStore.layerKeys(keys)))

/** How often each key is given to so many attempts. */
const picks = Effect.fnUntraced(function*(count: number) {
  const pool = yield* KeyPool.KeyPool
  const given: Record<string, number> = {}
  for (let i = 0; i < count; i++) {
    const attempt = ClaudeTest.attempt({ key: null })
    yield* yield* pool.admit(attempt)
    const label = attempt.key?.label ?? ""
    given[label] = (given[label] ?? 0) + 1
  }
  return given
})

describe("a key that was drained", () => {
  it.effect("and is used again lets nobody wait for good", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      const settle = yield* pool.admit(ClaudeTest.attempt({ key: null }))
      const draining = yield* Effect.forkChild(pool.drain("a"), { startImmediately: true })
      yield* pool.add(keyOf("a"))
      yield* settle
      yield* Effect.yieldNow
      assert.isDefined(draining.pollUnsafe())
      yield* Fiber.interrupt(draining)
    }).pipe(Effect.provide(poolOf(keyOf("a")))))
})

describe("keys that were replaced or removed", () => {
  it.effect("do not come back from the store, until it has others under their labels", () =>
    Effect.gen(function*() {
      const stored = [keyOf("a"), keyOf("b"), keyOf("c")]
      const changes = yield* Queue.unbounded<ReadonlyArray<Attempt.Key>>()
      const used = Effect.gen(function*() {
        const pool = yield* KeyPool.KeyPool
        const seen = new Set<string>()
        for (let i = 0; i < 12; i++) {
          const attempt = ClaudeTest.attempt({ key: null })
          yield* yield* pool.admit(attempt)
          seen.add(Redacted.value(attempt.key!.secret))
        }
        return [...seen].sort()
      })
      yield* Effect.gen(function*() {
        const pool = yield* KeyPool.KeyPool
        yield* pool.add({ ...keyOf("a"), secret: Redacted.make("a2") })
        yield* pool.remove("b")
        yield* Queue.offer(changes, stored)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* used, ["a2", "c"])
        yield* Queue.offer(changes, [keyOf("a"), { ...keyOf("b"), secret: Redacted.make("b2") }])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* used, ["a2", "b2"])
        yield* Queue.offer(changes, [keyOf("c")])
        yield* Queue.offer(changes, stored)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* used, ["a", "b", "c"])
      }).pipe(Effect.provide(
        KeyPool.layer().pipe(
          Layer.provide(ClaudeTest.layerApi()),
          Layer.provide(KeyStore.layerKeys(stored, Stream.fromQueue(changes)))
        )
      ))
    }))
})

describe("weights", () => {
  it.effect("that are changed hold from then on", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      yield* picks(500)
      yield* pool.setWeight("a", 1)
      const { a = 0, b = 0 } = yield* picks(20)
      assert.approximately(a, 10, 2)
      assert.approximately(b, 10, 2)
    }).pipe(Effect.provide(poolOf(keyOf("a", 1_000), keyOf("b")))))

  it.effect("stay exact where the keys are put in again and again", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      let b = 0
      for (let i = 0; i < 100; i++) {
        b += (yield* picks(1))["b"] ?? 0
        yield* pool.add(keyOf("c", 0))
      }
      assert.strictEqual(b, 25)
    }).pipe(Effect.provide(poolOf(keyOf("a", 3), keyOf("b"), keyOf("c", 0)))))
})

describe("endless retries", () => {
  const depths: Array<number> = []
  const watch: Attempt.Policy = {
    admit: (attempt) =>
      Effect.sync(() => {
        let depth = 0
        for (let one = attempt.previous; one !== undefined; one = one.previous) depth++
        depths.push(depth)
        return Effect.void
      })
  }

  it.effect("keep no endless chain of attempts", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      yield* simulator.inject(Simulator.Fault.Status({ status: 500 }), { times: 50 })
      yield* driven(ClaudeService.create(hello), 60)
      assert.lengthOf(depths, 51)
      assert.isAtMost(Math.max(...depths), 2)
    }).pipe(Effect.provide(Simulator.layerClaude({}, {
      limiter: RateLimiter.layerOff,
      breaker: CircuitBreaker.layerOff,
      policies: [watch],
      retry: { schedule: Schedule.spaced("100 millis"), budget: false }
    }))))
})
