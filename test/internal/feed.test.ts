import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Stream } from "effect"
import * as Feed from "../../src/internal/feed.ts"

describe("feed", () => {
  it.effect("has what is published from the moment of subscribing, for each subscriber, and ends with its scope", () =>
    Effect.gen(function*() {
      const fibers = yield* Effect.gen(function*() {
        const feed = yield* Feed.make<number>()
        assert.strictEqual(feed.subscribers, 0)
        yield* feed.publish(1)
        const fibers = yield* Effect.forEach(
          [1, 2],
          () => Effect.forkDetach(Stream.runCollect(feed.stream), { startImmediately: true })
        )
        assert.strictEqual(feed.subscribers, 2)
        yield* feed.publish(2)
        yield* feed.publish(3)
        yield* Stream.runDrain(Stream.take(Stream.merge(feed.stream, Stream.make(0)), 1))
        assert.strictEqual(feed.subscribers, 2)
        return fibers
      }).pipe(Effect.scoped)
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), [[2, 3], [2, 3]])
    }))

  it.effect("keeps the last 256 for a subscriber that is slower", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const open = yield* Latch.make()
      const fiber = yield* Effect.gen(function*() {
        const feed = yield* Feed.make<number>()
        const fiber = yield* Stream.runForEach(
          feed.stream,
          (value) => Effect.andThen(open.await, Effect.sync(() => seen.push(value)))
        ).pipe(Effect.forkDetach({ startImmediately: true }))
        for (let n = 1; n <= 300; n++) yield* feed.publish(n)
        yield* open.open
        return fiber
      }).pipe(Effect.scoped)
      yield* Fiber.join(fiber)
      const last = Array.from({ length: 256 }, (_, index) => 45 + index)
      assert.deepStrictEqual(seen.filter((value) => value > 44), last)
      assert.isAtMost(seen.length, 257) // and the one that it was at
    }))
})
