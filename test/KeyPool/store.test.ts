/** Pools whose keys come from a store that changes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Redacted, Stream } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import { type ApiError, AuthError, BudgetExceededError } from "effect-claude/ClaudeError"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { completed, failed } from "../utils/attempts.ts"
import { settle } from "../utils/http.ts"

const key = (label: string, more: Partial<Attempt.Key> = {}): Attempt.Key => ({
  label,
  group: "g",
  secret: Redacted.make(`sk-ant-${label}`),
  ...more
})

/** An attempt with its key, and how it is settled. */
const begin = Effect.fnUntraced(function*() {
  const pool = yield* KeyPool.KeyPool
  const attempt = ClaudeTest.attempt({ key: null })
  const settle = yield* Effect.uninterruptible(pool.admit(attempt))
  return {
    attempt,
    end: (outcome: Attempt.Outcome, sentAt = 0) =>
      Effect.suspend(() => {
        attempt.sentAt = sentAt
        attempt.outcome = outcome
        return settle
      })
  }
})

const states = Effect.map(
  Effect.flatMap(KeyPool.KeyPool, ({ snapshot }) => snapshot),
  (keys) => keys.map(({ label, state }) => `${label} ${state}`)
)

describe("the store", () => {
  const storing = Effect.gen(function*() {
    const changes = yield* Queue.unbounded<ReadonlyArray<Attempt.Key>>()
    let now = [key("a"), key("b")]
    const store = Layer.mock(KeyStore.KeyStore, {
      keys: Effect.sync(() => now),
      changes: Stream.fromQueue(changes)
    })
    const layer = KeyPool.layer().pipe(Layer.provide(store), Layer.provideMerge(ClaudeTest.layerApi()))
    return {
      change: (...keys: Array<Attempt.Key>) => Effect.andThen(Queue.offer(changes, keys), settle),
      become: (...keys: Array<Attempt.Key>) =>
        Effect.sync(() => {
          now = keys
        }),
      using: Effect.provide(layer)
    }
  })

  it.effect("rotates keys by itself, and attempts that run keep theirs", () =>
    Effect.gen(function*() {
      const { change, using } = yield* storing
      yield* Effect.gen(function*() {
        const pool = yield* KeyPool.KeyPool
        yield* pool.setWeight("b", 3)
        const { attempt, end } = yield* begin()
        yield* change(key("b"), key("c"))
        assert.strictEqual(attempt.key?.label, "b")
        assert.deepStrictEqual(yield* states, ["b usable", "c usable"])
        // What the store says for the first time replaces what was set; what it repeats does not.
        assert.deepStrictEqual((yield* pool.snapshot).map(({ inFlight, weight }) => [weight, inFlight]), [[3, 1], [
          1,
          0
        ]])
        yield* change(key("b", { weight: 2 }), key("c"))
        assert.deepStrictEqual((yield* pool.snapshot).map(({ weight }) => weight), [2, 1])
        // Another lifetime makes another key of it, since the port reads it from there.
        yield* change(key("b", { weight: 2, expiresAt: 1_000 }), key("c"))
        assert.deepStrictEqual((yield* pool.snapshot).map(({ inFlight, label }) => [label, inFlight]), [["c", 0], [
          "b",
          0
        ]])
        yield* end(completed)
        yield* pool.add(key("mine"))
        yield* change(key("d"))
        assert.deepStrictEqual(yield* states, ["mine usable", "d usable"])
      }).pipe(using)
    }))

  it.effect("that gives no keys, or wrong ones, changes nothing", () =>
    Effect.gen(function*() {
      const { change, using } = yield* storing
      yield* Effect.gen(function*() {
        yield* change()
        yield* change(key("x", { weight: -1 }))
        yield* change(key("x", { weight: 0 }))
        assert.deepStrictEqual(yield* states, ["a usable", "b usable"])
      }).pipe(using)
    }))

  it.effect("is read again when a key is quarantined", () =>
    Effect.gen(function*() {
      const { become, using } = yield* storing
      yield* Effect.gen(function*() {
        yield* become(key("a", { secret: Redacted.make("sk-ant-next") }), key("b"))
        const { attempt, end } = yield* begin()
        yield* end(failed(new AuthError({ kind: "authentication" })))
        assert.strictEqual(attempt.key?.label, "a")
        yield* settle
        assert.deepStrictEqual(yield* states, ["b usable", "a usable"])
        // Nothing was asked with the old one.
        assert.lengthOf(yield* ClaudeTest.calls, 0)
      }).pipe(using)
    }))
})

describe("news of the store", () => {
  const oneKey = (changes?: Stream.Stream<never>) => {
    let reads = 0
    const store = Layer.mock(KeyStore.KeyStore, {
      keys: Effect.sync(() => {
        reads++
        return [key("a")]
      }),
      changes
    })
    const layer = KeyPool.layer().pipe(Layer.provide(store), Layer.provideMerge(ClaudeTest.layerApi()))
    return { reads: Effect.sync(() => reads), using: Effect.provide(layer) }
  }

  /** Whether a call goes on after an attempt that was sent at some time ended like this. */
  const ended = Effect.fnUntraced(function*(error: ApiError, sentAt: number) {
    const pool = yield* KeyPool.KeyPool
    const { attempt, end } = yield* begin()
    yield* end(failed(error), sentAt)
    return yield* pool.mayMove(attempt, error)
  })

  const rejected = new AuthError({ kind: "authentication" })

  it.effect("are asked for where the last key is rejected, and not again for what was sent before the answer", () =>
    Effect.gen(function*() {
      const { reads, using } = oneKey(Stream.never)
      yield* Effect.gen(function*() {
        const pool = yield* KeyPool.KeyPool
        const late = yield* begin()
        yield* TestClock.adjust("1 second")
        assert.isFalse(yield* ended(rejected, 500))
        assert.strictEqual(yield* reads, 2)
        yield* late.end(failed(rejected), 900)
        assert.isFalse(yield* pool.mayMove(late.attempt, rejected))
        assert.strictEqual(yield* reads, 2)
      }).pipe(using)
    }))

  it.effect("are waited for by calls that find no key, and no longer than until the store has failed", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      const open = yield* Effect.replicateEffect(begin(), 2)
      yield* open[0]!.end(failed(rejected), 100)
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* open[1]!.end(failed(rejected), 500)
      yield* Effect.forkChild(pool.mayMove(open[1]!.attempt, rejected))
      const waiting = yield* Effect.forkChild(Effect.flip(begin()))
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "NoUsableKeyError")
    }).pipe(Effect.provide(
      KeyPool.layer({ checkAfter: "1 hour" }).pipe(
        Layer.provide(Layer.effect(
          KeyStore.KeyStore,
          Effect.sync(() => {
            let reads = 0
            return KeyStore.KeyStore.of({
              ...({} as KeyStore.KeyStore["Service"]),
              keys: Effect.suspend(() =>
                reads++ === 0
                  ? Effect.succeed([key("a")])
                  : Effect.delay(
                    Effect.fail(new KeyStore.KeyStoreError({ store: "s", kind: "unreachable", reason: "down" })),
                    "3 seconds"
                  )
              ),
              changes: Stream.never
            })
          })
        )),
        Layer.provide(ClaudeTest.layerApi())
      )
    )))

  it.effect("are not asked for because an account cannot pay", () =>
    Effect.gen(function*() {
      const { reads, using } = oneKey(Stream.never)
      yield* Effect.gen(function*() {
        assert.isFalse(yield* ended(new AuthError({ kind: "billing" }), 500))
        assert.strictEqual(yield* reads, 1)
      }).pipe(using)
    }))

  it.effect("are not asked for where the store never changes", () =>
    Effect.gen(function*() {
      const { reads, using } = oneKey()
      yield* Effect.gen(function*() {
        assert.isFalse(yield* ended(rejected, 500))
        assert.strictEqual(yield* reads, 1)
      }).pipe(using)
    }))
})

describe("a budget", () => {
  const error = (isOfKey?: boolean) =>
    new BudgetExceededError({
      budget: "b",
      limitNanoUsd: 0,
      spentNanoUsd: 0,
      reservedNanoUsd: 0,
      neededNanoUsd: 1,
      isOfKey,
      attempts: 0
    })

  it.effect("is a reason to move only where it counts by keys", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      const { attempt, end } = yield* begin()
      yield* end(attempt.outcome)
      assert.isFalse(yield* pool.mayMove(attempt, error()))
      assert.isFalse(yield* pool.mayMove(attempt, error(false)))
      assert.isTrue(yield* pool.mayMove(attempt, error(true)))
    }).pipe(Effect.provide(
      KeyPool.layer().pipe(
        Layer.provide(KeyStore.layerKeys([key("a"), key("b", { group: "other" })])),
        Layer.provide(ClaudeTest.layerApi())
      )
    )))
})
