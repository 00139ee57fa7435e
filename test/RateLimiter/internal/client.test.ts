import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger, Schema } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import { type Amounts, zero } from "../../../src/RateLimiter/internal/Amounts.ts"
import type { BucketSet } from "../../../src/RateLimiter/internal/BucketSet.ts"
import * as Client from "../../../src/RateLimiter/internal/client.ts"
import * as Script from "../../../src/RateLimiter/internal/script.ts"
import type { Session } from "../../../src/RateLimiter/internal/Session.ts"
import type { Batch, Reply, Report, Sender, Ticket, View } from "../../../src/RateLimiter/internal/Store.ts"
import * as wire from "../../../src/RateLimiter/internal/wire.ts"
import { between } from "../../utils/between.ts"
import { amounts, type Asked, reportOf, reserve } from "../../utils/bucketSets.ts"
import * as TestRedis from "../../utils/redis.ts"

const limits = { requestsPerMinute: 60, inputTokensPerMinute: 6_000 }

const ask = (usage: Amounts, more: Partial<Asked> = {}): Asked => ({
  limits,
  usage,
  reserve: zero,
  withinMillis: 0,
  ...more
})

/** What a store of four processes shows whose bucket has forty of sixty. */
const view: View = {
  epoch: 1_000,
  processes: 4,
  reserved: zero,
  buckets: {
    requests: { perMinute: 60, capacity: 60, level: 40, observed: undefined },
    inputTokens: { perMinute: 6_000, capacity: 6_000, level: 6_000, observed: undefined },
    outputTokens: undefined,
    tokens: undefined
  },
  pausedMillis: 0,
  closed: false,
  ramp: undefined
}

const ticket: Ticket = { sequence: 1_001, used: amounts(20) }

/** A batch and its sender as one, to be looked at. */
type Message = Batch & Sender & { readonly reports: ReadonlyArray<Report> }

/** A store that answers as the test says, and the batches that it got. */
const make = Effect.gen(function*() {
  const messages: Array<Message> = []
  const lines: Array<unknown> = []
  const store = {
    answer: Effect.succeed(view) as Effect.Effect<View | undefined, string>,
    messages,
    lines
  }
  const logger = Logger.layer([Logger.make(({ message }) => void lines.push([message].flat()[0]))])
  const open = yield* Client.make({
    step: (batch) =>
      Effect.suspend(() => {
        messages.push({ ...batch, ...batch.sender!, reports: batch.reports! })
        return Effect.map(store.answer, (view): Reply =>
          view === undefined
            ? { _tag: "Rejected", reason: "otherEpoch" }
            : {
              _tag: "Done",
              reservation: batch.ask && { _tag: "Granted", ticket, waitMillis: 0 },
              view: structuredClone(view)
            })
      }),
    timeoutMillis: 250,
    flushMillis: 100,
    processes: 1
  }).pipe(Effect.provide(logger))
  // Time stands still when a test ends.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      store.answer = Effect.fail("gone")
    })
  )
  return { store, buckets: open("key", 60_000) }
})

/** What came of an effect that had no time to wait. */
const atOnce = <A>(effect: Effect.Effect<A>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* Effect.yieldNow
    yield* Effect.yieldNow
    const exit = fiber.pollUnsafe()
    assert.strictEqual(exit?._tag, "Success", "it waits")
    return yield* Fiber.join(fiber)
  })

const tick = TestClock.adjust(0)

const ticketOf = (buckets: BucketSet, asked = ask(amounts(1))) =>
  Effect.map(reserve(buckets, asked), ({ ticket }) => ticket!)

describe("the client of a shared store", () => {
  it.effect("reports with the next admission what became of others, and each once", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      const ticket = yield* ticketOf(buckets, ask(amounts(1), { reserve: amounts(0, 0, 50) }))
      yield* buckets.report(reportOf(ticket, { usage: amounts(0, 7), release: amounts(0, 0, 20) }))
      yield* buckets.report(reportOf(ticket, { usage: amounts(0, 0, 30), release: amounts(0, 0, 30) }))
      yield* reserve(buckets, ask(amounts(1)))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(store.messages.length, 2)
      const [first, second] = store.messages
      assert.deepInclude(first, { call: 1, acknowledged: 0, epoch: 0, firstReport: 1, reports: [], reserved: zero })
      assert.deepInclude(second, { call: 2, acknowledged: 1, epoch: 1_000, firstReport: 1, reserved: zero })
      assert.deepStrictEqual(second!.reports.map(({ usage }) => usage), [amounts(0, 7), amounts(0, 0, 30)])
    }).pipe(Effect.scoped))

  it.effect("reports soon without an admission, a pause and many at once", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      const ticket = yield* ticketOf(buckets)
      yield* buckets.report(reportOf(ticket, { usage: amounts(0, 7) }))
      yield* TestClock.adjust(99)
      assert.strictEqual(store.messages.length, 1)
      yield* TestClock.adjust(1)
      assert.strictEqual(store.messages.length, 2)
      yield* buckets.report(reportOf(ticket, { pause: { reason: "throttle", millis: 5_000 } }))
      yield* tick
      assert.deepStrictEqual(store.messages[2]!.reports[0]!.pause, { reason: "throttle", millis: 5_000 })
      const limits = { requests: undefined, inputTokens: undefined, outputTokens: undefined, tokens: undefined }
      for (let i = 0; i < 16; i++) yield* buckets.report(reportOf(ticket, { observed: { limits, now: 0 } }))
      yield* tick
      assert.strictEqual(store.messages[3]!.reports.length, 16)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(store.messages.length, 4)
    }).pipe(Effect.scoped))

  it.effect("waits no longer than the bound, then not at all, and goes on with its share", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      yield* reserve(buckets, ask(amounts(1)))
      store.answer = Effect.never
      const callers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(reserve(buckets, ask(amounts(1)))))
      yield* TestClock.adjust(248)
      assert.isUndefined(callers[0]!.pollUnsafe())
      yield* TestClock.adjust(2)
      for (const caller of callers) assert.isDefined((yield* Fiber.join(caller)).ticket)
      let taken = 3
      while ((yield* atOnce(reserve(buckets, ask(amounts(1))))).ticket !== undefined) taken++
      // Forty of sixty, divided by four processes.
      assert.strictEqual(taken, 10)
      assert.deepInclude((yield* buckets.levels).requests, { perMinute: 15, capacity: 15 })
      assert.strictEqual((yield* buckets.levels).share, 0.25)
      assert.strictEqual((yield* atOnce(reserve(buckets, ask(amounts(1))))).waitMillis, 3_750)
      yield* TestClock.adjust("1 minute")
      assert.isAtMost(store.messages.length, 4 + 10)
      assert.strictEqual(store.lines.length, 1)
    }).pipe(Effect.scoped))

  it.effect("goes on with its share of what is configured where the store never answered", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      store.answer = Effect.fail("gone")
      const answers = yield* Effect.replicateEffect(reserve(buckets, ask(amounts(1))), 100)
      assert.strictEqual(answers.filter(({ ticket }) => ticket !== undefined).length, 60)
      assert.strictEqual((yield* buckets.levels).requests?.free, 0)
    }).pipe(Effect.scoped))

  it.effect("lets in what is larger than its share, at the price of a debt, and nothing that is larger than the whole", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      yield* reserve(buckets, ask(amounts(1)))
      store.answer = Effect.fail("gone")
      const large = yield* reserve(buckets, ask(amounts(1, 5_000)))
      assert.isDefined(large.ticket)
      assert.strictEqual((yield* buckets.levels).inputTokens?.free, -3_500)
      assert.strictEqual((yield* reserve(buckets, ask(amounts(1, 9_000)))).waitMillis, Infinity)
    }).pipe(Effect.scoped))

  it.effect("comes back by itself, logs it once, and reports what was used and what is reserved", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      yield* reserve(buckets, ask(amounts(1), { reserve: amounts(0, 10) }))
      store.answer = Effect.fail("gone")
      const ticket = yield* ticketOf(buckets, ask(amounts(4), { reserve: amounts(0, 100) }))
      yield* ticketOf(buckets, ask(amounts(3), { reserve: amounts(0, 40) }))
      yield* buckets.report(reportOf(ticket, { usage: amounts(-1), release: amounts(0, 100) }))
      assert.isAtMost(store.messages.length, 2)
      yield* TestClock.adjust(999)
      store.answer = Effect.succeed(view)
      yield* TestClock.adjust(1)
      const last = store.messages.at(-1)!
      assert.deepStrictEqual(last.reports.map(({ usage }) => usage.requests), [6])
      assert.strictEqual(last.reserved.inputTokens, 50)
      assert.strictEqual((yield* buckets.levels).share, 1)
      // One that was admitted alone has no place in the order of all.
      const seen = { limit: 60, remaining: 0, resetAt: undefined }
      const limits = { requests: seen, inputTokens: undefined, outputTokens: undefined, tokens: undefined }
      yield* buckets.report(reportOf(ticket, { observed: { limits, now: 0 } }))
      yield* TestClock.adjust(100)
      assert.isUndefined(store.messages.at(-1)!.reports[0]!.observed)
      assert.strictEqual(store.lines.length, 2)
    }).pipe(Effect.scoped))

  it.effect("reports no more after a long time alone than what its share lacks", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      yield* reserve(buckets, ask(amounts(1)))
      store.answer = Effect.fail("gone")
      let taken = 0
      for (let minute = 0; minute < 10; minute++) {
        while ((yield* reserve(buckets, ask(amounts(1)))).ticket !== undefined) taken++
        yield* TestClock.adjust("1 minute")
      }
      assert.isAtLeast(taken, 140)
      for (let i = 0; i < 9; i++) yield* reserve(buckets, ask(amounts(1)))
      store.answer = Effect.succeed(view)
      yield* TestClock.adjust("10 seconds")
      const reported = store.messages.flatMap(({ reports }) => reports.map(({ usage }) => usage.requests))
      assert.isAtMost(reported.reduce((sum, one) => sum + one, 0), 9)
      assert.isAtLeast(reported.reduce((sum, one) => sum + one, 0), 6)
    }).pipe(Effect.scoped))

  it.effect("tries again less and less often, and merges what it has to report meanwhile", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      const ticket = yield* ticketOf(buckets)
      const later = yield* ticketOf(buckets)
      store.answer = Effect.fail("gone")
      yield* reserve(buckets, ask(amounts(1)))
      const family = (remaining: number) => ({ limit: 60, remaining, resetAt: undefined })
      for (let second = 0; second < 600; second++) {
        yield* buckets.report(
          reportOf({ ...(second === 300 ? later : ticket), sequence: second === 300 ? 2_000 : 1_001 }, {
            usage: amounts(0, 2),
            observed: {
              now: 0,
              limits: { requests: family(second), inputTokens: undefined, outputTokens: undefined, tokens: undefined }
            },
            pause: second === 10 ? { reason: "spend", millis: 1_000_000 } : { reason: "throttle", millis: 1_000 }
          })
        )
        yield* TestClock.adjust("1 second")
      }
      assert.isAtMost(store.messages.length, 3 + 65)
      store.answer = Effect.succeed(view)
      yield* TestClock.adjust("10 seconds")
      const reported = new Map<number, Report>()
      for (const { firstReport, reports } of store.messages.slice(-2)) {
        reports.forEach((report, index) => reported.set(firstReport + index, report))
      }
      assert.isAtMost(reported.size, 70)
      const all = [...reported.values()]
      assert.strictEqual(all.reduce((sum, { usage }) => sum + usage.inputTokens, 0), 1_200)
      assert.isTrue(all.some(({ observed }) => observed?.limits.requests?.remaining === 300))
      assert.isTrue(all.some(({ pause }) => pause?.reason === "spend" && Math.abs(pause.millis - 400_000) < 20_000))
    }).pipe(Effect.scoped))

  it.effect("shares a limit that only headers taught", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      store.answer = Effect.succeed({
        ...view,
        buckets: { ...view.buckets, requests: { perMinute: 60, capacity: 60, level: 60, observed: 60 } }
      })
      const unknown = { limits: {} }
      yield* reserve(buckets, ask(amounts(1), unknown))
      store.answer = Effect.fail("gone")
      assert.isDefined((yield* reserve(buckets, ask(amounts(15), unknown))).ticket)
      const ticket = yield* ticketOf(buckets, ask(amounts(0), unknown))
      assert.isUndefined((yield* reserve(buckets, ask(amounts(1), unknown))).ticket)
      const seen = { limit: 40, remaining: 0, resetAt: undefined }
      yield* buckets.report(reportOf(ticket, {
        observed: {
          now: 0,
          limits: { requests: seen, inputTokens: undefined, outputTokens: undefined, tokens: undefined }
        }
      }))
      assert.strictEqual((yield* buckets.levels).requests?.perMinute, 10)
    }).pipe(Effect.scoped))

  it.effect("asks nobody while it knows of a pause, until it ends soon", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      store.answer = Effect.succeed({ ...view, pausedMillis: 90_000, closed: true })
      yield* reserve(buckets, ask(amounts(1)))
      const answer = yield* reserve(buckets, ask(amounts(1), { withinMillis: 60_000 }))
      assert.deepStrictEqual(answer, { ticket: undefined, waitMillis: 90_000, closed: true })
      assert.strictEqual(store.messages.length, 1)
      yield* TestClock.adjust("89 seconds")
      yield* reserve(buckets, ask(amounts(1), { withinMillis: 60_000 }))
      assert.strictEqual(store.messages.length, 2)
    }).pipe(Effect.scoped))

  it.effect("takes no clock that is set back for a pause", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      yield* TestClock.setTime(7_200_000)
      yield* reserve(buckets, ask(amounts(1)))
      yield* TestClock.setTime(3_600_000)
      assert.strictEqual((yield* reserve(buckets, ask(amounts(1)))).waitMillis, 0)
      assert.strictEqual(store.messages.length, 2)
    }).pipe(Effect.scoped))

  it.effect("gives back what comes for a caller that left", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      const answer = yield* Deferred.make<View>()
      store.answer = Deferred.await(answer)
      const caller = yield* Effect.forkChild(reserve(buckets, ask(amounts(3), { reserve: amounts(0, 9) })), {
        startImmediately: true
      })
      yield* tick
      yield* Fiber.interrupt(caller)
      yield* Deferred.succeed(answer, view)
      yield* TestClock.adjust(100)
      assert.strictEqual(store.messages.length, 2)
      assert.deepStrictEqual(store.messages[1]!.reports.map(({ usage }) => usage.requests), [-3])
      assert.deepInclude(store.messages[1], { acknowledged: 1, reserved: zero })
    }).pipe(Effect.scoped))

  it.effect("sends what it knew to a store that has other buckets", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* make
      yield* reserve(buckets, ask(amounts(1)))
      yield* TestClock.adjust("10 seconds")
      store.answer = Effect.suspend(() =>
        Effect.succeed(store.messages.at(-1)!.known === undefined ? undefined : { ...view, epoch: 2_000 })
      )
      assert.isDefined((yield* reserve(buckets, ask(amounts(1)))).ticket)
      const { epoch, call, known, limits } = store.messages.at(-1)!
      assert.deepInclude({ epoch, call }, { epoch: 1_000, call: 2 })
      assert.strictEqual(known?.buckets.requests?.level, 50)
      assert.strictEqual(limits?.requestsPerMinute, 60)
      yield* reserve(buckets, ask(amounts(1)))
      assert.strictEqual(store.messages.at(-1)!.epoch, 2_000)
    }).pipe(Effect.scoped))

  it.effect("does not keep callers waiting when its layer is gone", () =>
    Effect.gen(function*() {
      const { buckets, store } = yield* Effect.scoped(make)
      store.answer = Effect.never
      assert.isDefined((yield* reserve(buckets, ask(amounts(1)))).ticket)
    }))
})

const Step = Schema.Struct({
  do: Schema.Literals(["reserve", "reserve", "reserve", "interrupt", "close", "close", "produce", "wait"]),
  process: between(0, 2),
  which: between(0, 20),
  input: between(1, 5_000),
  reserve: between(0, 5_000),
  yields: between(0, 40),
  /** What becomes of the calls that follow. */
  fault: Schema.Literals(["none", "none", "none", "notArrived", "unanswered"])
})

describe.skipIf(!TestRedis.isInstalled)("the client of a shared store, where batches and answers get lost", () => {
  it.layer(Layer.unwrap(Effect.map(TestRedis.server({ durable: false }), TestRedis.connection)), {
    excludeTestServices: true
  })((it) => {
    /** Time stands still in the store. */
    const script = Redis.script((batch: Batch) => [batch.key, wire.encode(batch)], {
      numberOfKeys: 1,
      lua: Script.lua("1.79e12")
    }).withReturnType<string>()
    /** A million, and next to no refill in the time of a test. */
    const limits = { inputTokensPerMinute: 60 }
    const burstMillis = 1e9
    let keys = 0

    it.effect.prop(
      "loses nothing of what was used, and what is reserved comes free",
      { steps: Schema.Array(Step) },
      ({ steps }) =>
        Effect.gen(function*() {
          const run = (yield* Redis.Redis).eval(script)
          const key = `law-${++keys}`
          let fault: typeof Step.Type["fault"] = "none"
          const step = (batch: Batch) =>
            Effect.suspend((): Effect.Effect<Reply, unknown> => {
              if (fault === "notArrived") return Effect.fail("notArrived")
              const answer = Effect.map(run(batch), wire.decode)
              return fault === "unanswered" ? Effect.andThen(answer, Effect.fail("unanswered")) : answer
            })
          const options = { step, timeoutMillis: 10_000, retryMillis: 2, flushMillis: 1, processes: 3 }
          const processes = yield* Effect.replicateEffect(
            Effect.map(Client.make(options), (open) => open(key, burstMillis)),
            3
          )
          let used = 0
          const open: Array<{ buckets: BucketSet; ticket: Ticket; reserved: number }> = []
          const asked = ({ input, reserve }: typeof Step.Type): Asked => ({
            limits,
            usage: amounts(0, input),
            reserve: { ...zero, inputTokens: reserve },
            withinMillis: 0
          })
          for (const one of steps) {
            fault = one.fault
            const buckets = processes[one.process]!
            const self = open[one.which % Math.max(1, open.length)]
            switch (one.do) {
              case "reserve": {
                const { ticket } = yield* reserve(buckets, asked(one))
                if (ticket === undefined) break
                used += one.input
                open.push({ buckets, ticket, reserved: one.reserve })
                break
              }
              case "interrupt": {
                const fiber = yield* Effect.forkChild(reserve(buckets, asked(one)), { startImmediately: true })
                for (let i = 0; i < one.yields; i++) yield* Effect.yieldNow
                const done = fiber.pollUnsafe()
                yield* Fiber.interrupt(fiber)
                if (done?._tag !== "Success" || done.value.ticket === undefined) break
                used += one.input
                open.push({ buckets, ticket: done.value.ticket, reserved: one.reserve })
                break
              }
              case "produce":
              case "close":
                if (self === undefined) break
                const release = one.do === "close" ? self.reserved : Math.floor(self.reserved / 2)
                used += release
                self.reserved -= release
                if (one.do === "close") open.splice(open.indexOf(self), 1)
                yield* self.buckets.report(
                  reportOf(self.ticket, {
                    usage: amounts(0, release),
                    release: { ...zero, inputTokens: release }
                  })
                )
                break
              case "wait":
                yield* Effect.sleep(5)
                break
            }
          }
          fault = "none"
          for (const { buckets, reserved, ticket } of open) {
            yield* buckets.report(reportOf(ticket, { release: { ...zero, inputTokens: reserved } }))
          }
          const nothing = asked({ ...steps[0]!, input: 0, reserve: 0 })
          const level = Effect.gen(function*() {
            // Answers come in order: when these are here, so is whatever was on its way before.
            for (const buckets of processes) yield* reserve(buckets, nothing)
            const levels = yield* Effect.all(processes.map(({ levels }) => levels))
            const isBack = levels.every(({ share }) => share === 1)
            const hasNews = processes.some((session) => (session as Session).hasNews)
            yield* reserve(processes[2]!, nothing)
            const { free, reserved } = (yield* processes[2]!.levels).inputTokens!
            return { free, reserved, isSettled: isBack && !hasNews && reserved === 0 }
          })
          let seen = yield* level
          for (let i = 0; i < 1_000 && !seen.isSettled; i++) {
            yield* Effect.sleep(2)
            seen = yield* level
          }
          assert.isTrue(seen.isSettled, "settled")
          assert.strictEqual(seen.reserved, 0, "reserved")
          assert.approximately(1e6 - seen.free, used, 5, "used")
        }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))),
      { arbitrary: { runs: 150, size: 40 } }
    )
  })
})
