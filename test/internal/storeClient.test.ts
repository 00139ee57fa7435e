import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Logger, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Outbox, StoreClient, worker } from "../../src/internal/storeClient.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Runs under a logger that keeps what is logged. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => {
      lines.push(String(Array.isArray(message) ? message[0] : message))
    })
    return Effect.as(Effect.provide(effect, Logger.layer([logger])), lines)
  })

const clientOf = (step: (n: number) => Effect.Effect<number, unknown>) =>
  new StoreClient({
    name: "Policy",
    step,
    timeoutMillis: 100,
    whileLost: "Until it does, it is dark.",
    onFound: () => "It is light."
  })

const waitOf = (client: StoreClient<number, number>) =>
  Effect.map(Clock.currentTimeMillis, (now) => client.waitMillis(now))

describe("StoreClient", () => {
  it.effect("warns once, backs off up to a bound, and says once that the store answers again", () =>
    Effect.gen(function*() {
      let answers = false
      const client = clientOf((n) => answers ? Effect.succeed(n) : Effect.fail("away"))
      const lines = yield* logged(Effect.gen(function*() {
        for (const wait of [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
          assert.isUndefined(yield* client.step(1))
          assert.isTrue(client.isLost)
          assert.strictEqual(yield* waitOf(client), wait)
          yield* TestClock.adjust(wait)
          assert.strictEqual(yield* waitOf(client), 0)
        }
        answers = true
        assert.strictEqual(yield* client.step(2), 2)
        assert.strictEqual(yield* client.step(3), 3)
      }))
      assert.isFalse(client.isLost)
      assert.strictEqual(client.losses, 6)
      assert.deepStrictEqual(lines, [
        "Policy: the store does not answer. Until it does, it is dark.",
        "Policy: the store answers again. It is light."
      ])
    }))

  it.effect("gives up a step that takes too long, and takes a defect for a failure", () =>
    logged(Effect.gen(function*() {
      const slow = yield* Effect.forkChild(clientOf(() => Effect.never).step(1), { startImmediately: true })
      yield* TestClock.adjust(99)
      assert.isUndefined(slow.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.isUndefined(yield* Fiber.join(slow))
      assert.isUndefined(yield* clientOf(() => Effect.die("broken")).step(1))
    })))

  it.effect("does not wait for a step that cannot be interrupted", () =>
    logged(Effect.gen(function*() {
      const client = clientOf(() => Effect.uninterruptible(Effect.never))
      const stuck = yield* Effect.forkChild(client.step(1), { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(stuck.pollUnsafe(), Exit.succeed(undefined))
      const given = yield* Effect.forkChild(client.step(1), { startImmediately: true })
      yield* Fiber.interrupt(given)
    })))

  it.effect("takes what is no reply for a loss", () =>
    logged(Effect.gen(function*() {
      for (const reply of [undefined, null]) {
        const client = clientOf(() => Effect.succeed(reply as never)) // a store written without types
        assert.isUndefined(yield* client.step(1))
        assert.strictEqual(client.losses, 1)
      }
    })))

  it.effect("counts steps that fail together as one loss", () =>
    logged(Effect.gen(function*() {
      const client = clientOf(() => Effect.never)
      const steps = yield* Effect.forkChild(Effect.all([client.step(1), client.step(2)], { concurrency: 2 }), {
        startImmediately: true
      })
      yield* TestClock.adjust(100)
      yield* Fiber.join(steps)
      assert.strictEqual(client.losses, 1)
      assert.strictEqual(yield* waitOf(client), 1_000)
    })))

  it.effect("waits no longer than its back-off when the clock is set back", () =>
    logged(Effect.gen(function*() {
      yield* TestClock.adjust("1 hour")
      const client = clientOf(() => Effect.fail("away"))
      yield* client.step(1)
      yield* TestClock.setTime(0)
      assert.strictEqual(yield* waitOf(client), 1_000)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* waitOf(client), 0)
    })))
})

describe("Outbox", () => {
  const Step = Schema.Union([
    Schema.Struct({ do: Schema.Literal("push"), n: between(1, 9) }),
    Schema.Struct({ do: Schema.Literal("take"), max: between(1, 4) }),
    Schema.Struct({ do: Schema.Literal("made"), part: between(0, 4) }),
    Schema.Struct({ do: Schema.Literal("acknowledged") })
  ])

  it.effect.prop(
    "lets a store make each item once, whatever is lost on the way, and loses nothing by merging",
    { capacity: between(1, 5), steps: Schema.Array(Step) },
    ({ capacity, steps }) =>
      Effect.sync(() => {
        const outbox = new Outbox<number>(capacity, (last, next) => last + next)
        let pushed = 0
        /** The store: the number of the last item that it made, and the sum of all. */
        let last = 0
        let sum = 0
        const make = (max: number) => {
          const { items, number } = outbox.take(max)
          items.forEach((item, index) => {
            if (number + index !== last + 1) return
            last++
            sum += item
          })
        }
        for (const step of steps) {
          if (step.do === "push") {
            outbox.push(step.n)
            pushed += step.n
          } else if (step.do === "take") outbox.take(step.max)
          else if (step.do === "made") make(step.part)
          else outbox.acknowledge(last)
          assert.isAtMost(outbox.size, capacity)
        }
        const dropped = outbox.dropped
        while (outbox.size > 0) {
          make(3)
          outbox.acknowledge(last)
        }
        // An item is dropped only where all that are kept were sent and may have been made.
        if (dropped === 0) assert.strictEqual(sum, pushed)
        else assert.isBelow(sum, pushed)
      })
  )

  it("drops the oldest that was never sent where nothing merges, and counts it", () => {
    const outbox = new Outbox<string>(3)
    outbox.push("a")
    outbox.take(1)
    for (const item of ["b", "c", "d"]) outbox.push(item)
    assert.deepStrictEqual(outbox.take(9), { number: 1, items: ["a", "c", "d"] })
    assert.strictEqual(outbox.dropped, 1)
    outbox.push("e")
    assert.strictEqual(outbox.dropped, 2)
    outbox.acknowledge(2)
    assert.deepStrictEqual(outbox.take(9), { number: 3, items: ["d"] })
  })
})

describe("worker", () => {
  it.effect("works while something is left, waits for the back-off, and works once more at the end", () =>
    Effect.gen(function*() {
      const done: Array<string> = []
      let left = 0
      let tryAt = 0
      yield* Effect.scoped(Effect.gen(function*() {
        const { wake } = yield* worker({ waitMillis: (now) => Math.max(0, tryAt - now) }, {
          isLeft: () => left > 0,
          work: Effect.sync(() => {
            done.push(`work ${left--}`)
          }),
          timeoutMillis: 1_000,
          atEnd: Effect.sync(() => done.push("end"))
        })
        left = 2
        wake()
        wake()
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(done, ["work 2", "work 1"])
        left = 1
        tryAt = 500
        wake()
        yield* TestClock.adjust(499)
        assert.lengthOf(done, 2)
        yield* TestClock.adjust(1)
        assert.lengthOf(done, 3)
        left = 1
      }))
      assert.deepStrictEqual(done.slice(3), ["work 1", "end"])
    }))

  it.effect("is waited for no longer than its bound", () =>
    Effect.gen(function*() {
      const ended = yield* Deferred.make<void>()
      const scoped = Effect.scoped(Effect.asVoid(worker({ waitMillis: () => 0 }, {
        isLeft: () => true,
        work: Effect.never,
        timeoutMillis: 1_000,
        atEnd: Effect.asVoid(Deferred.succeed(ended, undefined))
      })))
      const fiber = yield* Effect.forkChild(scoped, { startImmediately: true })
      yield* TestClock.adjust(999)
      assert.isFalse(yield* Deferred.isDone(ended))
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      assert.isTrue(yield* Deferred.isDone(ended))
    }))
})
