/**
 * What every store of the rate limiter does. `sleep` lets time pass where the store keeps it: waits are short, so that a store with a clock of
 * its own can be tested too, and are compared with some tolerance.
 */
import { assert, describe, type it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
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
  /** Where all tests may share one store, they sleep at once. */
  readonly isConcurrent?: boolean | undefined
}

const amounts = (requests: number, inputTokens = 0, outputTokens = 0): RateLimiter.Amounts => ({
  requests,
  inputTokens,
  outputTokens,
  tokens: inputTokens + outputTokens
})

const nothing = amounts(0)

const plus = (a: RateLimiter.Amounts, b: RateLimiter.Amounts, sign: number): RateLimiter.Amounts => ({
  requests: a.requests + sign * b.requests,
  inputTokens: a.inputTokens + sign * b.inputTokens,
  outputTokens: a.outputTokens + sign * b.outputTokens,
  tokens: a.tokens + sign * b.tokens
})

const headers = (limits: Partial<Attempt.Limits>): Attempt.Limits => ({
  requests: undefined,
  tokens: undefined,
  inputTokens: undefined,
  outputTokens: undefined,
  ...limits
})

let keys = 0
let processes = 0

/** One process that sends batches, each of which is answered before the next. */
class Process {
  private readonly store: RateLimiter.Store["Service"]
  readonly key: string
  call = 0
  firstReport = 1
  reserved = nothing
  epoch = 0
  answered = 0
  private readonly name = `process-${++processes}`

  constructor(store: RateLimiter.Store["Service"], key: string) {
    this.store = store
    this.key = key
  }

  send(batch: Partial<RateLimiter.Batch>, sender: Partial<RateLimiter.Sender> = {}) {
    return Effect.suspend(() => {
      const call = ++this.call
      return this.store.step({
        key: this.key,
        burstMillis: 60_000,
        read: true,
        ...batch,
        sender: {
          process: this.name,
          call,
          acknowledged: call - 1,
          answered: this.answered,
          abandoned: [],
          reserved: this.reserved,
          epoch: this.epoch,
          firstReport: this.firstReport,
          known: undefined,
          ends: false,
          ...sender
        }
      })
    })
  }

  step(batch: Partial<RateLimiter.Batch>, sender?: Partial<RateLimiter.Sender>) {
    return Effect.map(this.send(batch, sender), (reply) => {
      if (reply._tag !== "Done") return assert.fail(reply.reason)
      this.epoch = reply.view!.epoch
      this.answered = this.call
      this.firstReport += batch.reports?.length ?? 0
      if (reply.reservation?._tag === "Granted") this.reserved = plus(this.reserved, batch.ask!.reserve, 1)
      return { reservation: reply.reservation, view: reply.view! }
    })
  }
}

export const suite = ({ isConcurrent = false, layer, name, sleep, test, toleranceMillis }: SuiteOptions) => {
  const open = (group = "opus-5") => Effect.map(Store, (store) => new Process(store, `${group} ${name}-${++keys}`))

  const beside = (process: Process) => Effect.map(Store, (store) => new Process(store, process.key))

  /** Ten a second, and a bucket of 600. */
  const limits: RateLimiter.Limits = { requestsPerMinute: 600 }

  interface Options {
    readonly limits?: RateLimiter.Limits
    readonly reserve?: RateLimiter.Amounts
    readonly withinMillis?: number
  }

  const reserve = (process: Process, usage: RateLimiter.Amounts, options: Options = {}) =>
    Effect.map(
      process.step({
        limits: options.limits ?? limits,
        ask: { usage, reserve: options.reserve ?? nothing, withinMillis: options.withinMillis ?? 0 }
      }),
      ({ reservation }) => reservation!
    )

  const granted = (...args: Parameters<typeof reserve>) =>
    Effect.map(
      reserve(...args),
      (reservation) => reservation._tag === "Granted" ? reservation : assert.fail(`${reservation._tag}, not granted`)
    )

  const take = (...args: Parameters<typeof reserve>) =>
    Effect.map(granted(...args), ({ ticket, waitMillis }) => {
      assert.strictEqual(waitMillis, 0)
      return ticket
    })

  const refused = (...args: Parameters<typeof reserve>) =>
    Effect.map(
      reserve(...args),
      (reservation) => reservation._tag === "Full" ? reservation : assert.fail(`${reservation._tag}, not full`)
    )

  const report = (process: Process, ticket: RateLimiter.Ticket, change: Partial<RateLimiter.Report>) => {
    process.reserved = plus(process.reserved, change.release ?? nothing, -1)
    const rest = { usage: nothing, observed: undefined, pause: undefined }
    return process.step({ reports: [{ ...rest, ...change, ticket, release: nothing }] })
  }

  const near = (actual: number | undefined, expected: number) =>
    assert.approximately(actual ?? NaN, expected, toleranceMillis)

  describe(`RateLimiter.Store, ${name}`, { concurrent: isConcurrent }, () => {
    test("takes all dimensions or none", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const both = { limits: { requestsPerMinute: 2, inputTokensPerMinute: 100 } }
        yield* take(process, amounts(1, 80), both)
        near((yield* refused(process, amounts(1, 80), both)).waitMillis, 36_000)
        yield* take(process, amounts(1, 20), both)
        near((yield* refused(process, amounts(1, 0), both)).waitMillis, 30_000)
      }).pipe(Effect.provide(layer)))

    test("refills continuously", () =>
      Effect.gen(function*() {
        const process = yield* open()
        yield* take(process, amounts(600))
        near((yield* refused(process, amounts(10))).waitMillis, 1_000)
        yield* sleep(1_010)
        yield* take(process, amounts(10))
      }).pipe(Effect.provide(layer)))

    test("makes a reservation ahead when it is near enough, and the next one after it", () =>
      Effect.gen(function*() {
        const process = yield* open()
        yield* take(process, amounts(600))
        const first = yield* granted(process, amounts(10), { withinMillis: 5_000 })
        const second = yield* granted(process, amounts(10), { withinMillis: 5_000 })
        near(first.waitMillis, 1_000)
        near(second.waitMillis, 2_000)
        near((yield* refused(process, amounts(10), { withinMillis: 1_500 })).waitMillis, 3_000)
      }).pipe(Effect.provide(layer)))

    test("never gives out more than there is, however many processes ask at once", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const slow = { limits: { requestsPerMinute: 20 } }
        const ask = Effect.flatMap(beside(process), (one) => reserve(one, amounts(1), slow))
        const all = yield* Effect.all(Array.from({ length: 100 }, () => ask), { concurrency: "unbounded" })
        const sequences = all.flatMap((one) => one._tag === "Granted" ? [one.ticket.sequence] : [])
        assert.strictEqual(sequences.length, 20)
        assert.strictEqual(new Set(sequences).size, 20)
      }).pipe(Effect.provide(layer)))

    test("refuses what is larger than a whole bucket", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const options = { limits: { inputTokensPerMinute: 100 }, withinMillis: 1e9 }
        assert.deepStrictEqual(yield* reserve(process, amounts(1, 200), options), { _tag: "TooLarge" })
        yield* take(process, amounts(1, 130), options)
      }).pipe(Effect.provide(layer)))

    test("judges by its size whether a request is too large, and lets one that takes more have the whole bucket", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const ask = (size: number) => ({
          limits: { inputTokensPerMinute: 6_000 },
          ask: { usage: amounts(1, 60_000), reserve: nothing, withinMillis: 0, size }
        })
        assert.deepStrictEqual((yield* process.step(ask(8_000))).reservation, { _tag: "TooLarge" })
        assert.strictEqual((yield* process.step(ask(2_000))).reservation?._tag, "Granted")
      }).pipe(Effect.provide(layer)))

    /** A hundred a second, and a bucket of 6,000. */
    const hundred = { limits: { inputTokensPerMinute: 6_000 } }

    const asks = (
      process: Process,
      priority: "interactive" | "standard" | "bulk",
      inputTokens: number,
      waits = false
    ) =>
      Effect.map(
        process.step({
          ...hundred,
          ask: { usage: amounts(0, inputTokens), reserve: nothing, withinMillis: 0, priority, waits }
        }),
        ({ reservation }) => reservation?._tag === "Full" ? reservation.waitMillis : 0
      )

    test("saves for a large request of one class no more than its share, and lets those of others have the rest", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        yield* asks(here, "bulk", 6_000)
        yield* asks(there, "interactive", 0)
        // For a minute it would be all that there is.
        near(yield* asks(here, "bulk", 6_000, true), 60_000)
        yield* sleep(900)
        yield* asks(here, "bulk", 6_000, true)
        // A sixteenth of 90.
        near(yield* asks(there, "interactive", 200), Math.ceil((200 + 90 / 16 - 90) / (100 * 15 / 16) * 1_000))
        assert.strictEqual(yield* asks(there, "interactive", 50), 0)
      }).pipe(Effect.provide(layer)))

    test("lets a request go that has saved up, beside others that wait for as long", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        yield* asks(here, "bulk", 6_000)
        yield* asks(here, "interactive", 5_900, true)
        yield* asks(there, "bulk", 20, true)
        // A sixteenth of a hundred a second.
        for (let i = 0; i < 4; i++) {
          yield* sleep(850)
          yield* asks(here, "interactive", 5_900, true)
          if (i < 2) assert.isAbove(yield* asks(there, "bulk", 20, true), 0)
        }
        assert.strictEqual(yield* asks(there, "bulk", 20, true), 0)
      }).pipe(Effect.provide(layer)))

    test("keeps all that the first of a class waits for from the others of that class", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        yield* asks(here, "standard", 5_950)
        yield* asks(here, "standard", 200, true)
        near(yield* asks(there, "standard", 10, true), 1_600)
        yield* sleep(800)
        yield* asks(here, "standard", 200, true)
        assert.isAbove(yield* asks(there, "standard", 10, true), 0)
        yield* sleep(800)
        assert.strictEqual(yield* asks(here, "standard", 200, true), 0)
      }).pipe(Effect.provide(layer)))

    test("follows how far each flow of a class is in all processes, and makes no reservation ahead for one that is before the others", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        const of = (process: Process, flow: string) =>
          Effect.map(
            process.step({
              ...hundred,
              ask: { usage: amounts(0, 100), reserve: nothing, withinMillis: 60_000, flow, waits: true }
            }),
            ({ reservation }) => reservation?._tag
          )
        yield* asks(here, "standard", 6_000)
        assert.strictEqual(yield* of(there, "tenant b"), "Granted")
        // Two more than that one, and two seconds of refill.
        for (let i = 0; i < 5; i++) assert.strictEqual(yield* of(here, "tenant a"), "Granted")
        assert.strictEqual(yield* of(here, "tenant a"), "Full")
        for (let i = 0; i < 3; i++) assert.strictEqual(yield* of(there, "tenant b"), "Granted")
        assert.strictEqual(yield* of(here, "tenant a"), "Granted")
      }).pipe(Effect.provide(layer)))

    test("lets the flow that is furthest behind go first of those that wait", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        const of = (process: Process, flow: string, input: number) =>
          Effect.map(
            process.step({
              ...hundred,
              ask: { usage: amounts(0, input), reserve: nothing, withinMillis: 0, flow, waits: true }
            }),
            ({ reservation }) => reservation?._tag === "Full" ? reservation.waitMillis : 0
          )
        yield* of(there, "tenant b", 1)
        assert.strictEqual(yield* of(here, "tenant a", 5_990), 0)
        const first = yield* of(here, "tenant a", 100)
        assert.isAbove(first, 0)
        // It came later, and goes before.
        assert.isBelow(yield* of(there, "tenant b", 110), 1_100)
        near(yield* of(here, "tenant a", 100), first + 1_100)
      }).pipe(Effect.provide(layer)))

    test("forgets who waited and asked for nothing for two seconds, or whose process has ended", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        yield* asks(here, "standard", 5_900)
        yield* asks(here, "standard", 5_000, true)
        assert.isAbove(yield* asks(there, "standard", 10), 10_000)
        yield* sleep(2_050)
        assert.strictEqual(yield* asks(there, "standard", 10), 0)
        yield* asks(here, "standard", 5_000, true)
        yield* here.step({}, { ends: true })
        assert.strictEqual(yield* asks(there, "standard", 10), 0)
      }).pipe(Effect.provide(layer)))

    test("has room in a full bucket for whoever comes first", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        yield* asks(here, "interactive", 100)
        // It needs the whole bucket, which is not quite there.
        yield* asks(here, "bulk", 6_000, true)
        yield* sleep(300)
        yield* asks(there, "interactive", 6_000, true)
        yield* sleep(900)
        assert.strictEqual(yield* asks(there, "interactive", 6_000, true), 0)
      }).pipe(Effect.provide(layer)))

    test("gives back and takes what is reported, also for other processes", () =>
      Effect.gen(function*() {
        const here = yield* open()
        const there = yield* beside(here)
        const ticket = yield* take(here, amounts(600))
        yield* refused(there, amounts(100))
        yield* report(here, ticket, { usage: amounts(-500) })
        const { view } = yield* there.step({})
        assert.isAtLeast(view.buckets.requests!.level, 500)
        assert.isAtMost(view.buckets.requests!.level, 560)
        assert.strictEqual(view.processes, 2)
        yield* report(here, ticket, { usage: amounts(1_000) })
        assert.isAbove((yield* refused(there, amounts(1))).waitMillis, 30_000)
      }).pipe(Effect.provide(layer)))

    test("keeps free what is reserved until it is released", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const output = { limits: { outputTokensPerMinute: 1_000 }, reserve: amounts(0, 0, 900) }
        const ticket = yield* take(process, amounts(1), output)
        yield* refused(process, amounts(1), output)
        yield* report(process, ticket, { usage: amounts(0, 0, 50), release: amounts(0, 0, 900) })
        yield* take(process, amounts(1), output)
      }).pipe(Effect.provide(layer)))

    test("applies new limits from the next batch on", () =>
      Effect.gen(function*() {
        const process = yield* open()
        yield* take(process, amounts(600))
        near((yield* refused(process, amounts(1), { limits: { requestsPerMinute: 60 } })).waitMillis, 1_000)
        near((yield* refused(process, amounts(1), { limits: { requestsPerMinute: 120 } })).waitMillis, 500)
      }).pipe(Effect.provide(layer)))

    test("lets headers lower a bucket, the attempt sent last winning and a missing family changing nothing", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const two = { limits: { requestsPerMinute: 600, inputTokensPerMinute: 60_000 } }
        const first = yield* take(process, amounts(1, 10), two)
        const second = yield* take(process, amounts(1, 10), two)
        const observe = (ticket: RateLimiter.Ticket, requests: Attempt.Limit) =>
          report(process, ticket, { observed: { limits: headers({ requests }), now: 0 } })
        yield* observe(second, { limit: 600, remaining: 0, resetAt: undefined })
        yield* observe(first, { limit: 600, remaining: 600, resetAt: undefined })
        assert.isAbove((yield* refused(process, amounts(50, 10), two)).waitMillis, 2_000)
        yield* take(process, amounts(0, 50_000), two)
      }).pipe(Effect.provide(layer)))

    test("learns limits that are not configured", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const unknown = { limits: {} }
        const ticket = yield* take(process, amounts(1, 10), unknown)
        yield* report(process, ticket, {
          observed: { limits: headers({ requests: { limit: 600, remaining: 1, resetAt: undefined } }), now: 0 }
        })
        assert.isBelow((yield* refused(process, amounts(100), unknown)).waitMillis, 10_100)
      }).pipe(Effect.provide(layer)))

    test("pauses for all, and tells when a spend limit is reached", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const ticket = yield* take(process, amounts(1))
        yield* report(process, ticket, { pause: { reason: "throttle", millis: 1_000 } })
        const paused = yield* refused(yield* beside(process), amounts(1))
        assert.isFalse(paused.closed)
        assert.isAtMost(paused.waitMillis, 1_000)
        yield* sleep(1_020)
        yield* take(process, amounts(1))
        yield* report(process, ticket, { pause: { reason: "spend", millis: 10_000 } })
        const closed = yield* refused(process, amounts(1))
        assert.isTrue(closed.closed)
        assert.isAbove(closed.waitMillis, 1_000)
      }).pipe(Effect.provide(layer)))

    test("gives back a reservation ahead, and the next one begins sooner", () =>
      Effect.gen(function*() {
        const process = yield* open()
        yield* take(process, amounts(600))
        const { ticket } = yield* granted(process, amounts(300), { withinMillis: 60_000 })
        assert.isAbove((yield* refused(process, amounts(1))).waitMillis, 20_000)
        yield* report(process, ticket, { usage: amounts(-300) })
        assert.isBelow((yield* granted(process, amounts(1), { withinMillis: 1_000 })).waitMillis, 1_000)
      }).pipe(Effect.provide(layer)))

    test("takes in each report once, and rejects a batch that is out of order", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const ticket = yield* take(process, amounts(0), { limits: { inputTokensPerMinute: 1_000 } })
        const reportOf = (inputTokens: number): RateLimiter.Report => ({
          ticket,
          usage: amounts(0, inputTokens),
          release: nothing,
          observed: undefined,
          pause: undefined
        })
        const used = Effect.map(process.step({}), ({ view }) => 1_000 - view.buckets.inputTokens!.level)
        yield* process.send({ reports: [reportOf(100), reportOf(200)] })
        yield* process.send({ reports: [reportOf(100), reportOf(200), reportOf(400)] })
        near(yield* used, 700)
        assert.deepStrictEqual(
          yield* process.send({ reports: [reportOf(1)] }, { call: process.call, firstReport: 4 }),
          { _tag: "Rejected", reason: "outOfOrder" }
        )
        near(yield* used, 700)
      }).pipe(Effect.provide(layer)))

    test("takes back what was granted in a batch whose answer was lost", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const output = { limits: { outputTokensPerMinute: 1_000 }, reserve: amounts(0, 0, 100) }
        yield* take(process, amounts(0, 0, 500), output)
        const lost = process.call
        process.reserved = nothing
        assert.strictEqual((yield* process.step({}, { acknowledged: lost - 1 })).view.reserved.outputTokens, 100)
        const { view } = yield* process.step({}, { abandoned: [lost] })
        assert.strictEqual(view.reserved.outputTokens, 0)
        near(view.buckets.outputTokens!.level, 1_000)
        near((yield* process.step({}, { abandoned: [lost] })).view.buckets.outputTokens!.level, 1_000)
      }).pipe(Effect.provide(layer)))

    test("asks a process that knows other buckets for what it knows, and the scarcer holds", () =>
      Effect.gen(function*() {
        const process = yield* open()
        yield* take(process, amounts(1))
        process.epoch += 1
        assert.deepStrictEqual(yield* process.send({}), { _tag: "Rejected", reason: "otherEpoch" })
        const bucket = { perMinute: 600, capacity: 600, level: 100, observed: undefined }
        const known = { buckets: { requests: bucket }, pausedMillis: 0, closed: false, ramp: undefined }
        near((yield* process.step({}, { known })).view.buckets.requests!.level, 100)
      }).pipe(Effect.provide(layer)))

    test("asks a process that knows what was lost for what it knows, and hears nothing more of tickets that were lost", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const other = yield* beside(process)
        const lost = yield* take(process, amounts(1))
        yield* other.step({})
        yield* sleep(10)
        process.call = process.answered = 9
        assert.deepStrictEqual(yield* process.send({}), { _tag: "Rejected", reason: "otherEpoch" })
        const bucket = { perMinute: 600, capacity: 600, level: 100, observed: undefined }
        const known = { buckets: { requests: bucket }, pausedMillis: 0, closed: false, ramp: undefined }
        const levelOf = ({ view }: { readonly view: RateLimiter.View }) => view.buckets.requests!.level
        assert.isBelow(levelOf(yield* process.step({}, { known })), 300)
        // By what the store has, 500 more were used when this one was sent than have been since.
        const ticket = { sequence: lost.sequence + 500, used: amounts(500) }
        const observed = { now: 0, limits: headers({ requests: { limit: 600, remaining: 99, resetAt: undefined } }) }
        assert.isBelow(levelOf(yield* report(process, ticket, { observed })), 300)
        // Who was told nothing that was lost has nothing to add.
        assert.isBelow(levelOf(yield* other.step({})), 300)
        assert.isAbove((yield* granted(process, amounts(1))).ticket.sequence, ticket.sequence)
      }).pipe(Effect.provide(layer)))

    test("forgets what a process had reserved that has ended", () =>
      Effect.gen(function*() {
        const process = yield* open()
        const other = yield* beside(process)
        yield* take(process, amounts(1), { reserve: amounts(0, 0, 100) })
        assert.deepInclude((yield* other.step({})).view, { processes: 2, reserved: amounts(0, 0, 100) })
        yield* process.step({}, { ends: true })
        assert.deepInclude((yield* other.step({})).view, { processes: 1, reserved: nothing })
      }).pipe(Effect.provide(layer)))

    test("keeps buckets of different keys apart", () =>
      Effect.gen(function*() {
        yield* take(yield* open(), amounts(600))
        yield* take(yield* open("opus-4"), amounts(600))
      }).pipe(Effect.provide(layer)))
  })
}
