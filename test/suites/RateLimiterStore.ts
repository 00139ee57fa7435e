/**
 * What every store of the rate limiter does. `sleep` lets time pass where the store keeps it: waits are short, so that a store with a clock of
 * its own can be asked too, and are compared with some tolerance.
 */
import { assert, describe, type it } from "@effect/vitest"
import { Effect, Fiber, type Layer } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as RateLimiter from "effect-claude/RateLimiter"

const { Store } = RateLimiter

export interface SuiteOptions {
  readonly name: string
  readonly layer: Layer.Layer<RateLimiter.Store, unknown>
  readonly sleep: (millis: number) => Effect.Effect<void>
  /** How far a wait may be off. */
  readonly toleranceMillis: number
  /** `it.effect` for a store on `Clock`, `it.live` for one with a clock of its own. */
  readonly test: typeof it.effect | typeof it.live
}

const amounts = (requests: number, inputTokens = 0, outputTokens = 0): RateLimiter.Amounts => ({
  requests,
  inputTokens,
  outputTokens,
  tokens: inputTokens + outputTokens
})

const nothing = amounts(0)

const headers = (limits: Partial<Attempt.Limits>): Attempt.Limits => ({
  requests: undefined,
  tokens: undefined,
  inputTokens: undefined,
  outputTokens: undefined,
  ...limits
})

let keys = 0

export const suite = ({ layer, name, sleep, test, toleranceMillis }: SuiteOptions) => {
  const open = (group = "opus-5") =>
    Effect.map(Store, (store) => store.open({ keyGroup: `${name}-${++keys}`, group, burstMillis: 60_000 }))

  /** Ten a second, and a bucket of 600. */
  const limits: RateLimiter.Limits = { requestsPerMinute: 600 }

  const ask = (
    charge: RateLimiter.Amounts,
    options: { limits?: RateLimiter.Limits; hold?: RateLimiter.Amounts; withinMillis?: number } = {}
  ): RateLimiter.Ask => ({
    limits: options.limits ?? limits,
    charge,
    hold: options.hold ?? nothing,
    withinMillis: options.withinMillis ?? 0
  })

  const take = (buckets: RateLimiter.BucketSet, ...args: Parameters<typeof ask>) =>
    Effect.flatMap(buckets.reserve(ask(...args)), ({ ticket, waitMillis }) => {
      assert.strictEqual(waitMillis, 0)
      return ticket === undefined ? Effect.die("not taken") : Effect.succeed(ticket)
    })

  const refused = (buckets: RateLimiter.BucketSet, ...args: Parameters<typeof ask>) =>
    Effect.map(buckets.reserve(ask(...args)), (slot) => {
      assert.isUndefined(slot.ticket)
      return slot
    })

  const report = (
    buckets: RateLimiter.BucketSet,
    ticket: RateLimiter.Ticket,
    change: Partial<RateLimiter.Report>
  ) =>
    buckets.report({
      ticket,
      charge: nothing,
      release: nothing,
      observed: undefined,
      pause: undefined,
      ...change
    })

  const near = (actual: number, expected: number) => assert.approximately(actual, expected, toleranceMillis)

  /** Until a report has arrived, which nobody waits for. */
  const eventually = <A>(look: Effect.Effect<A>, is: (value: A) => boolean) =>
    Effect.gen(function*() {
      for (let i = 0; i < 100; i++) {
        const value = yield* look
        if (is(value)) return value
        yield* sleep(20)
      }
      return yield* Effect.die("it never came to that")
    })

  describe(`RateLimiter.Store, ${name}`, () => {
    test("takes all dimensions or none", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const both = { limits: { requestsPerMinute: 2, inputTokensPerMinute: 100 } }
        yield* take(buckets, amounts(1, 80), both)
        near((yield* refused(buckets, amounts(1, 80), both)).waitMillis, 36_000)
        yield* take(buckets, amounts(1, 20), both)
        near((yield* refused(buckets, amounts(1, 0), both)).waitMillis, 30_000)
      }).pipe(Effect.provide(layer)))

    test("refills continuously", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        yield* take(buckets, amounts(600))
        near((yield* refused(buckets, amounts(10))).waitMillis, 1_000)
        yield* sleep(1_010)
        yield* take(buckets, amounts(10))
      }).pipe(Effect.provide(layer)))

    test("books a slot ahead when it is near enough, and the next one after it", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        yield* take(buckets, amounts(600))
        const first = yield* buckets.reserve(ask(amounts(10), { withinMillis: 5_000 }))
        const second = yield* buckets.reserve(ask(amounts(10), { withinMillis: 5_000 }))
        assert.isDefined(first.ticket)
        assert.isDefined(second.ticket)
        near(first.waitMillis, 1_000)
        near(second.waitMillis, 2_000)
        near((yield* refused(buckets, amounts(10), { withinMillis: 2_500 })).waitMillis, 3_000)
      }).pipe(Effect.provide(layer)))

    test("never gives out more than there is, however many ask at once", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const slow = { limits: { requestsPerMinute: 20 } }
        const slots = yield* Effect.all(Array.from({ length: 100 }, () => buckets.reserve(ask(amounts(1), slow))), {
          concurrency: "unbounded"
        })
        assert.strictEqual(slots.filter(({ ticket }) => ticket !== undefined).length, 20)
        const sequences = slots.flatMap(({ ticket }) => ticket === undefined ? [] : [ticket.sequence])
        assert.strictEqual(new Set(sequences).size, 20)
      }).pipe(Effect.provide(layer)))

    test("refuses for ever what is larger than a whole bucket", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const slot = yield* refused(buckets, amounts(1, 200), {
          limits: { inputTokensPerMinute: 100 },
          withinMillis: 1e9
        })
        assert.strictEqual(slot.waitMillis, Infinity)
      }).pipe(Effect.provide(layer)))

    test("gives back and charges what is reported, also to who opened the same buckets elsewhere", () =>
      Effect.gen(function*() {
        const store = yield* Store
        const options = { keyGroup: `${name}-${++keys}`, group: "opus-5", burstMillis: 60_000 }
        const here = store.open(options)
        const there = store.open(options)
        const ticket = yield* take(here, amounts(600))
        yield* refused(there, amounts(100))
        yield* report(here, ticket, { charge: amounts(-500) })
        const levels = eventually(
          Effect.andThen(there.reserve(ask(amounts(0))), there.levels),
          ({ requests }) => requests !== undefined && requests.free >= 500
        )
        assert.isAtMost((yield* levels).requests!.free, 560)
        yield* report(here, ticket, { charge: amounts(1_000) })
        const overdrawn = yield* eventually(there.reserve(ask(amounts(1))), ({ waitMillis }) => waitMillis > 0)
        assert.isAbove(overdrawn.waitMillis, 30_000)
      }).pipe(Effect.provide(layer)))

    test("keeps room for what is held until it is released", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const output = { limits: { outputTokensPerMinute: 1_000 }, hold: amounts(0, 0, 900) }
        const ticket = yield* take(buckets, amounts(1), output)
        yield* refused(buckets, amounts(1), output)
        yield* report(buckets, ticket, { charge: amounts(0, 0, 50), release: amounts(0, 0, 900) })
        const slot = yield* eventually(buckets.reserve(ask(amounts(1), output)), ({ ticket }) => ticket !== undefined)
        assert.strictEqual(slot.waitMillis, 0)
      }).pipe(Effect.provide(layer)))

    test("holds new limits from the next question on", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        yield* take(buckets, amounts(600))
        near((yield* refused(buckets, amounts(1), { limits: { requestsPerMinute: 60 } })).waitMillis, 1_000)
        near((yield* refused(buckets, amounts(1), { limits: { requestsPerMinute: 120 } })).waitMillis, 500)
      }).pipe(Effect.provide(layer)))

    test("lets headers lower a bucket, the attempt sent last winning and a missing family changing nothing", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const two = { limits: { requestsPerMinute: 600, inputTokensPerMinute: 60_000 } }
        const first = yield* take(buckets, amounts(1, 10), two)
        const second = yield* take(buckets, amounts(1, 10), two)
        const observe = (ticket: RateLimiter.Ticket, requests: Attempt.Limit) =>
          report(buckets, ticket, { observed: { limits: headers({ requests }), now: 0 } })
        yield* observe(second, { limit: 600, remaining: 0, resetAt: undefined })
        yield* observe(first, { limit: 600, remaining: 600, resetAt: undefined })
        const slot = yield* eventually(buckets.reserve(ask(amounts(50, 10), two)), ({ ticket }) => ticket === undefined)
        assert.isAbove(slot.waitMillis, 2_000)
        yield* take(buckets, amounts(0, 50_000), two)
      }).pipe(Effect.provide(layer)))

    test("learns limits that are not configured", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const unknown = { limits: {} }
        const ticket = yield* take(buckets, amounts(1, 10), unknown)
        yield* report(buckets, ticket, {
          observed: { limits: headers({ requests: { limit: 600, remaining: 1, resetAt: undefined } }), now: 0 }
        })
        const slot = yield* eventually(
          buckets.reserve(ask(amounts(100), unknown)),
          ({ ticket }) => ticket === undefined
        )
        assert.isBelow(slot.waitMillis, 10_100)
      }).pipe(Effect.provide(layer)))

    test("pauses for all, and says when it is a wait for money", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const ticket = yield* take(buckets, amounts(1))
        yield* report(buckets, ticket, { pause: { reason: "throttle", millis: 1_000 } })
        const paused = yield* eventually(buckets.reserve(ask(amounts(1))), ({ waitMillis }) => waitMillis > 0)
        assert.isFalse(paused.closed)
        assert.isAtMost(paused.waitMillis, 1_000)
        yield* sleep(1_020)
        yield* take(buckets, amounts(1))
        yield* report(buckets, ticket, { pause: { reason: "spend", millis: 10_000 } })
        const closed = yield* eventually(
          Effect.delay(buckets.reserve(ask(amounts(1))), 0),
          ({ waitMillis }) => waitMillis > 1_000
        )
        assert.isTrue(closed.closed)
      }).pipe(Effect.provide(layer)))

    test("gives back a slot that was booked, and the next one begins sooner", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        yield* take(buckets, amounts(600))
        const { ticket } = yield* buckets.reserve(ask(amounts(300), { withinMillis: 60_000 }))
        assert.isAbove((yield* refused(buckets, amounts(1))).waitMillis, 20_000)
        yield* report(buckets, ticket!, { charge: amounts(-300) })
        yield* eventually(buckets.reserve(ask(amounts(1))), ({ waitMillis }) => waitMillis < 1_000)
      }).pipe(Effect.provide(layer)))

    test("leaves nothing behind of who was interrupted while it asked", () =>
      Effect.gen(function*() {
        const buckets = yield* open()
        const slow = { limits: { requestsPerMinute: 6 } }
        yield* take(buckets, amounts(0), slow)
        for (let yields = 0; yields < 20; yields++) {
          const asking = yield* Effect.forkChild(buckets.reserve(ask(amounts(2), slow)), { startImmediately: true })
          for (let i = 0; i < yields * 3; i++) yield* Effect.yieldNow
          const exit = asking.pollUnsafe()
          yield* Fiber.interrupt(asking)
          const ticket = exit?._tag === "Success" ? exit.value.ticket : undefined
          if (ticket !== undefined) yield* report(buckets, ticket, { charge: amounts(-2) })
          yield* eventually(
            Effect.andThen(buckets.reserve(ask(amounts(0), slow)), buckets.levels),
            ({ requests }) => requests !== undefined && requests.free === requests.capacity
          )
        }
      }).pipe(Effect.provide(layer)))

    test("keeps the buckets of groups and key groups apart", () =>
      Effect.gen(function*() {
        const one = yield* open()
        const other = yield* open("opus-4")
        yield* take(one, amounts(600))
        yield* take(other, amounts(600))
      }).pipe(Effect.provide(layer)))
  })
}
