import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Deferred, Duration, Effect, Fiber, Layer, Logger, Metric, Redacted } from "effect"
import * as Attempt from "effect-claude/Attempt"
import { type CallContext } from "effect-claude/CallContext"
import { ConnectionError, RateLimitedLocallyError, RateLimitError, ServerError } from "effect-claude/ClaudeError"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import * as Config from "effect/Config"
import { TestClock } from "effect/testing"
import * as MapStore from "./utils/rateLimiterMapStore.ts"

/** What the calls under each limiter taught. */
const taught = new WeakMap<RateLimiter.RateLimiter["Service"], Attempt.CallKinds>()

const kindsOf = (limiter: RateLimiter.RateLimiter["Service"]): Attempt.CallKinds => {
  const kinds = taught.get(limiter) ?? new Attempt.CallKinds()
  taught.set(limiter, kinds)
  return kinds
}

interface Sketch {
  readonly model?: string
  readonly input?: number
  readonly maxOutput?: number
  readonly expectedOutput?: number
  readonly priority?: CallContext["priority"]
  readonly deadline?: number
  readonly requestType?: string
  readonly keyGroup?: string
}

const attemptOf = (sketch: Sketch = {}, kinds = new Attempt.CallKinds()): Attempt.MessageAttempt =>
  ClaudeTest.attempt({
    model: sketch.model ?? "claude-opus-4-8",
    context: {
      priority: sketch.priority ?? "standard",
      deadline: sketch.deadline,
      requestType: sketch.requestType
    },
    estimate: {
      inputTokens: sketch.input ?? 10,
      maxOutputTokens: sketch.maxOutput ?? 10,
      expectedOutputTokens: sketch.expectedOutput
    },
    kind: kinds.of(sketch.model ?? "claude-opus-4-8", sketch.requestType),
    key: { label: "k", group: sketch.keyGroup ?? "g", secret: Redacted.make("s") }
  })

const sent = (attempt: Attempt.Attempt, usage: Partial<Usage.Usage> = {}) => {
  attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.make(usage) })
}

const completed = (
  attempt: Attempt.Attempt,
  usage: Partial<Usage.Usage> = {},
  limits: Partial<Attempt.Limits> | undefined = undefined
) => {
  const { inputTokens, maxOutputTokens } = attempt.endpoint === "messages"
    ? attempt.estimate
    : { inputTokens: 0, maxOutputTokens: 0 }
  attempt.outcome = Attempt.Outcome.Completed({
    usage: Usage.make({ inputTokens, outputTokens: maxOutputTokens, ...usage }),
    limits: limits === undefined ? undefined : headers(limits),
    model: attempt.model,
    requestId: undefined,
    stopReason: "end_turn"
  })
}

const headers = (limits: Partial<Attempt.Limits>): Attempt.Limits => ({
  requests: undefined,
  tokens: undefined,
  inputTokens: undefined,
  outputTokens: undefined,
  ...limits
})

const limit = (limit: number, remaining: number): Attempt.Limit => ({ limit, remaining, resetAt: undefined })

const failed = (attempt: Attempt.Attempt, error: RateLimitError | ServerError | ConnectionError) => {
  attempt.outcome = Attempt.Outcome.Failed({ usage: Usage.zero, error, limits: undefined })
}

const logging = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) =>
    void lines.push(`${logLevel} ${String(message)}`)
  )
  return { lines, layer: Logger.layer([logger]) }
}

/** Sends an attempt and waits until somebody says how it ends. */
const call = (sketch: Sketch = {}, endpoint: Attempt.Attempt["endpoint"] = "messages") =>
  Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const attempt: Attempt.Attempt = { ...attemptOf(sketch, kindsOf(limiter)), endpoint }
    const admitted = yield* Deferred.make<void>()
    const ended = yield* Deferred.make<void>()
    const use = Effect.gen(function*() {
      sent(attempt)
      yield* Deferred.succeed(admitted, undefined)
      yield* Deferred.await(ended)
    })
    const fiber = yield* Effect.forkChild(
      Attempt.guard(Attempt.both(limiter, Attempt.learning(kindsOf(limiter))), attempt, use),
      { startImmediately: true }
    )
    yield* settled
    return {
      attempt,
      fiber,
      isAdmitted: Deferred.isDone(admitted),
      end: Effect.andThen(Deferred.succeed(ended, undefined), settled),
      interrupt: Effect.andThen(Fiber.interrupt(fiber), settled)
    }
  })

/** Lets everything that can go on go on. */
const settled = Effect.repeat(Effect.yieldNow, { times: 8 })

const levels = (group = "opus-4") =>
  Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const snapshot = (yield* limiter.snapshot).find((snapshot) => snapshot.group === group)
    assert.isDefined(snapshot)
    return snapshot
  })

const free = (dimension: "requests" | "inputTokens" | "outputTokens" | "tokens", group?: string) =>
  Effect.map(levels(group), ({ levels }) => levels[dimension]?.free)

const refused = (sketch: Sketch = {}) =>
  Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const error = yield* Effect.flip(limiter.admit(attemptOf(sketch)))
    assert.instanceOf(error, RateLimitedLocallyError)
    return error
  })

/** Over a store across a network, where reservations are made ahead. */
const far = (options: RateLimiter.Options) =>
  RateLimiter.layerNoDeps(options).pipe(Layer.provide(Layer.fresh(MapStore.layer(Effect.yieldNow))))

const limited = (options: RateLimiter.Options) => Effect.provide(RateLimiter.layer(options))

describe("RateLimiter", () => {
  it.effect("admits at once while there is room, and then as the bucket refills", () =>
    Effect.gen(function*() {
      const first = yield* call()
      const second = yield* call()
      const third = yield* call()
      assert.deepStrictEqual(yield* Effect.all([first.isAdmitted, second.isAdmitted, third.isAdmitted]), [
        true,
        true,
        false
      ])
      yield* TestClock.adjust("29999 millis")
      assert.isFalse(yield* third.isAdmitted)
      yield* TestClock.adjust("1 millis")
      assert.isTrue(yield* third.isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 2 } })))

  it.effect("takes all dimensions or none", () =>
    Effect.gen(function*() {
      yield* call({ input: 900 })
      const large = yield* call({ input: 900 })
      assert.isFalse(yield* large.isAdmitted)
      assert.strictEqual(yield* free("requests"), 9)
      assert.strictEqual(yield* free("inputTokens"), 100)
    }).pipe(limited({ limits: { requestsPerMinute: 10, inputTokensPerMinute: 1_000 } })))

  it.effect("lets no small late call overtake a large early one", () =>
    Effect.gen(function*() {
      yield* call({ input: 900 })
      const large = yield* call({ input: 800 })
      const small = yield* call({ input: 50 })
      assert.isFalse(yield* small.isAdmitted)
      yield* TestClock.adjust("42 seconds")
      assert.deepStrictEqual(yield* Effect.all([large.isAdmitted, small.isAdmitted]), [true, false])
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(yield* small.isAdmitted)
    }).pipe(limited({ limits: { inputTokensPerMinute: 1_000 } })))

  it.effect("lets the next one that fits go when a waiter leaves", () =>
    Effect.gen(function*() {
      yield* call({ input: 900 })
      const large = yield* call({ input: 800 })
      const small = yield* call({ input: 50 })
      yield* large.interrupt
      assert.isTrue(yield* small.isAdmitted)
      assert.strictEqual(yield* free("inputTokens"), 50)
    }).pipe(limited({ limits: { inputTokensPerMinute: 1_000 } })))

  it.effect("gives back what was reserved and not used, and wakes the first that now fits", () =>
    Effect.gen(function*() {
      const first = yield* call({ input: 1_000, maxOutput: 0 })
      const second = yield* call({ input: 600, maxOutput: 0 })
      assert.isFalse(yield* second.isAdmitted)
      completed(first.attempt, { inputTokens: 100, cacheReadTokens: 900 })
      yield* first.end
      assert.isTrue(yield* second.isAdmitted)
      assert.strictEqual(yield* free("inputTokens"), 300)
    }).pipe(limited({ limits: { inputTokensPerMinute: 1_000 } })))

  it.effect("counts cache reads where the API does", () =>
    Effect.gen(function*() {
      const first = yield* call({ input: 500, model: "claude-3-5-haiku-20241022" })
      completed(first.attempt, { inputTokens: 100, cacheReadTokens: 400 })
      yield* first.end
      assert.strictEqual(yield* free("inputTokens", "haiku-3-5"), 500)
    }).pipe(limited({ limits: { inputTokensPerMinute: 1_000 } })))

  it.effect("gives everything back for what was never sent or was refused for its limits, and keeps the request of the rest", () =>
    Effect.gen(function*() {
      const before: [number, number, number] = [10, 1_000, 1_000]
      const now = Effect.all([free("requests"), free("inputTokens"), free("outputTokens")])
      const notSent = yield* call({ input: 100 })
      notSent.attempt.outcome = Attempt.Outcome.NotSent()
      yield* notSent.end
      assert.deepStrictEqual(yield* now, before)
      const connection = yield* call({ input: 100 })
      failed(connection.attempt, new ConnectionError({ reason: "refused", billed: "no" }))
      yield* connection.end
      assert.deepStrictEqual(yield* now, before)
      const server = yield* call({ input: 100 })
      failed(server.attempt, new ServerError({ overloaded: true }))
      yield* server.end
      assert.deepStrictEqual(yield* now, [9, 1_000, 1_000])
      const aborted = yield* call({ input: 100, maxOutput: 40 })
      yield* aborted.interrupt
      assert.deepStrictEqual(yield* now, [8, 900, 960])
      const limited = yield* call({ input: 100 })
      failed(limited.attempt, new RateLimitError({ limit: "requests" }))
      yield* limited.end
      assert.deepStrictEqual(yield* now, [8, 900, 960])
    }).pipe(
      limited({ limits: { requestsPerMinute: 10, inputTokensPerMinute: 1_000, outputTokensPerMinute: 1_000 } })
    ))

  it.effect("counts a stream as it arrives", () =>
    Effect.gen(function*() {
      const stream = yield* call({ input: 100, maxOutput: 5_000, expectedOutput: 1_000 })
      assert.strictEqual(yield* free("outputTokens"), 0)
      sent(stream.attempt, { inputTokens: 10, cacheReadTokens: 90, outputTokens: 1 })
      const late = yield* call({ input: 10, maxOutput: 1 })
      assert.isFalse(yield* late.isAdmitted)
      yield* TestClock.adjust("500 millis")
      assert.isTrue(yield* late.isAdmitted)
      assert.isAbove((yield* free("inputTokens"))!, 970)
      sent(stream.attempt, { inputTokens: 10, cacheReadTokens: 90, outputTokens: 5_000 })
      yield* TestClock.adjust("250 millis")
      yield* call({ input: 1, maxOutput: 0 })
      assert.isBelow((yield* free("outputTokens"))!, -3_900)
    }).pipe(limited({ limits: { inputTokensPerMinute: 1_000, outputTokensPerMinute: 1_000 } })))

  it.effect("counts a stream whose outcome shows what has arrived whenever it is looked at, and reads its head", () =>
    Effect.gen(function*() {
      const stream = yield* call({ input: 10, maxOutput: 5_000, expectedOutput: 1_000 })
      let arrived = 1
      const requests = { limit: 100, remaining: 40, resetAt: undefined }
      stream.attempt.outcome = {
        _tag: "Aborted",
        get usage() {
          return Usage.make({ inputTokens: 10, outputTokens: arrived })
        },
        limits: { requests, tokens: undefined, inputTokens: undefined, outputTokens: undefined }
      }
      const after = Effect.fnUntraced(function*(tokens: number) {
        arrived = tokens
        yield* TestClock.adjust("250 millis")
        yield* call({ input: 1, maxOutput: 0 })
        return yield* free("outputTokens")
      })
      assert.strictEqual(yield* after(1_200), 8_800)
      assert.isAtMost((yield* free("requests"))!, 41)
      assert.approximately((yield* after(3_000))!, 7_000 + 250 * 10_000 / 60_000, 1e-6)
    }).pipe(limited({ limits: { outputTokensPerMinute: 10_000, requestsPerMinute: 100 } })))

  it.effect("looks at a thousand streams at a time, and at each in its turn", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 2_500; i++) {
        const stream = yield* call({ input: 1, maxOutput: 20, expectedOutput: 10 })
        sent(stream.attempt, { inputTokens: 1, outputTokens: 20 })
      }
      const left: Array<number> = []
      for (let look = 0; look < 4; look++) {
        yield* TestClock.adjust("250 millis")
        yield* call({ input: 0, maxOutput: 0 })
        left.push(Math.round((yield* free("outputTokens"))!))
      }
      // Ten tokens more than were held for each; 417 come back each time.
      assert.deepStrictEqual(left, [65_000, 55_417, 50_833, 51_250])
    }).pipe(limited({ limits: { outputTokensPerMinute: 100_000 } })))

  it.effect("predicts output by what the same kind of call produced, not by max_tokens", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 60; i++) {
        const one = yield* call({ maxOutput: 4_000, requestType: "classify" })
        completed(one.attempt, { outputTokens: 50 })
        yield* one.end
        yield* TestClock.adjust("1 minute")
      }
      yield* call({ maxOutput: 4_000, requestType: "classify" })
      assert.strictEqual(yield* free("outputTokens"), 9_950)
    }).pipe(limited({ limits: { outputTokensPerMinute: 10_000 } })))

  it.effect("refuses at once when the wait would pass the deadline, and says what it would have been", () =>
    Effect.gen(function*() {
      yield* call()
      const error = yield* refused({ deadline: 10_000 })
      assert.strictEqual(error.reason, "deadline")
      assert.deepStrictEqual(error.retryAfter, Duration.seconds(60))
      assert.strictEqual(error.attempts, 0)
      const patient = yield* call({ deadline: 60_001 })
      assert.isFalse(yield* patient.isAdmitted)
      yield* TestClock.adjust("60 seconds")
      assert.isTrue(yield* patient.isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 1 } })))

  it.effect("counts those ahead into the wait", () =>
    Effect.gen(function*() {
      yield* call()
      yield* call()
      assert.deepStrictEqual((yield* refused({ deadline: 10_000 })).retryAfter, Duration.seconds(120))
    }).pipe(limited({ limits: { requestsPerMinute: 1 } })))

  it.effect("refuses whoever still waits when its deadline comes", () =>
    Effect.gen(function*() {
      yield* call()
      const waiting = yield* call({ deadline: 61_000 })
      yield* (yield* RateLimiter.RateLimiter).setLimits({ requestsPerMinute: 0.5 })
      yield* TestClock.adjust("61 seconds")
      const error = yield* Effect.flip(Fiber.join(waiting.fiber))
      assert.strictEqual(error.reason, "deadline")
      assert.strictEqual((yield* levels()).waiting, 0)
    }).pipe(limited({ limits: { requestsPerMinute: 1 } })))

  it.effect("refuses at once when the queue is full", () =>
    Effect.gen(function*() {
      yield* call()
      yield* call()
      const error = yield* refused()
      assert.strictEqual(error.reason, "queueFull")
      assert.deepStrictEqual(error.retryAfter, Duration.seconds(120))
    }).pipe(limited({ limits: { requestsPerMinute: 1 }, maxQueue: 1 })))

  it.effect("refuses what is larger than a whole bucket, also behind others, and gives an estimate near it the whole bucket", () =>
    Effect.gen(function*() {
      const whole = yield* call({ input: 1_200 })
      assert.isTrue(yield* whole.isAdmitted)
      for (const _ of [1, 2]) {
        const error = yield* refused({ input: 1_500 })
        assert.strictEqual(error.reason, "tooLarge")
        assert.isUndefined(error.retryAfter)
        assert.include(error.message, "about 1500 input tokens, and the limit is 1000. Make it smaller")
        yield* call({ input: 500 })
      }
    }).pipe(limited({ limits: { inputTokensPerMinute: 1_000 } })))

  it.effect("refuses a waiter that new limits make too large", () =>
    Effect.gen(function*() {
      yield* call({ input: 1_000 })
      const waiting = yield* call({ input: 1_000 })
      yield* (yield* RateLimiter.RateLimiter).setLimits({ inputTokensPerMinute: 100 })
      yield* settled
      assert.strictEqual((yield* Effect.flip(Fiber.join(waiting.fiber))).reason, "tooLarge")
    }).pipe(limited({ limits: { inputTokensPerMinute: 1_000 } })))

  it.effect("lets waiters go as soon as new limits have room", () =>
    Effect.gen(function*() {
      yield* call()
      const waiting = yield* call()
      yield* (yield* RateLimiter.RateLimiter).setLimits({ requestsPerMinute: 60 })
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* waiting.isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 1 } })))

  it.effect("keeps groups, key groups and endpoints apart, and never limits listing models", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.all([
        call(),
        call({ model: "claude-opus-4-7" }),
        call({ model: "claude-sonnet-5" }),
        call({ keyGroup: "other" }),
        call({}, "countTokens"),
        call({}, "countTokens"),
        call({}, "models"),
        call({}, "models")
      ])
      assert.deepStrictEqual(
        yield* Effect.forEach(calls, (call) => call.isAdmitted),
        [true, false, true, true, true, false, true, true]
      )
    }).pipe(limited({ limits: { requestsPerMinute: 1, countTokensPerMinute: 1 } })))

  it.effect("leaves fast mode to limits of its own", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      yield* call()
      yield* limiter.admit({ ...attemptOf(), isFast: true })
      assert.deepStrictEqual((yield* limiter.snapshot).map(({ group }) => group), ["opus-4", "opus-4-fast"])
    }).pipe(limited({ limits: { requestsPerMinute: 1 } })))

  it.effect("measures waits, room and how good its predictions were", () =>
    Effect.gen(function*() {
      const one = yield* call({ model: "claude-haiku-5-5", maxOutput: 100 })
      yield* TestClock.adjust("10 seconds")
      completed(one.attempt, { outputTokens: 50 })
      yield* one.end
      const metrics = (yield* Metric.snapshot).filter(({ attributes, id }) =>
        id.startsWith("anthropic_rate_limit_") && attributes?.["group"] === "haiku-5-5"
      )
      const of = (id: string) => metrics.find((metric) => metric.id === `anthropic_rate_limit_${id}`)?.state
      assert.containSubset(of("wait_seconds"), { count: 1, sum: 0 })
      assert.containSubset(of("output_ratio"), { count: 1, sum: 0.5 })
      assert.deepStrictEqual(of("remaining"), { value: 1 })
    }).pipe(
      limited({ limits: { requestsPerMinute: 2 } }),
      // Test files that run in one worker share the default registry.
      Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map()))
    ))

  it.effect("serves priorities by their shares and starves nobody", () =>
    Effect.gen(function*() {
      yield* call()
      const admitted: Array<string> = []
      const wait = (priority: CallContext["priority"]) =>
        Effect.gen(function*() {
          const limiter = yield* RateLimiter.RateLimiter
          yield* limiter.admit(attemptOf({ priority }))
          admitted.push(priority)
        }).pipe(Effect.forkChild({ startImmediately: true }))
      for (const priority of ["bulk", "standard", "interactive"] as const) {
        yield* Effect.replicateEffect(wait(priority), 100)
      }
      yield* TestClock.adjust("99 seconds")
      yield* settled
      const count = (priority: string) => admitted.filter((one) => one === priority).length
      assert.strictEqual(admitted.length, 99)
      assert.approximately(count("interactive"), 75, 2)
      assert.approximately(count("standard"), 20, 2)
      assert.approximately(count("bulk"), 5, 2)
    }).pipe(limited({ limits: { requestsPerMinute: 60 }, burst: "1 second" })))

  it.effect("sends few at once before limits are known, and what the headers allow after", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.replicateEffect(call(), 20)
      const admitted = Effect.map(
        Effect.forEach(calls, (call) => call.isAdmitted),
        (all) => all.filter((is) => is).length
      )
      assert.strictEqual(yield* admitted, 4)
      completed(calls[0]!.attempt, {}, { requests: limit(60, 11) })
      yield* calls[0]!.end
      yield* settled
      // 11 were left when the first answer came, and three more were under way.
      assert.strictEqual(yield* admitted, 4 + 7)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* admitted, 4 + 9)
    }).pipe(limited({})))

  it.effect("goes on as soon as the head of a stream tells of limits, however long the stream", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.replicateEffect(call(), 20)
      calls[3]!.attempt.outcome = Attempt.Outcome.Aborted({
        usage: Usage.make({ inputTokens: 10 }),
        limits: headers({ requests: limit(60, 50) })
      })
      yield* TestClock.adjust("250 millis")
      assert.isTrue(yield* calls[19]!.isAdmitted)
    }).pipe(limited({})))

  it.effect("opens up without limits as calls succeed whose answers have no headers", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.replicateEffect(call(), 12)
      for (const call of calls.slice(0, 4)) {
        completed(call.attempt)
        yield* call.end
      }
      assert.deepStrictEqual(yield* Effect.forEach(calls, (call) => call.isAdmitted), calls.map(() => true))
    }).pipe(limited({})))

  it.effect("believes headers only below the configured limit", () =>
    Effect.gen(function*() {
      const first = yield* call()
      completed(first.attempt, {}, { requests: limit(1_000, 999) })
      yield* first.end
      assert.deepStrictEqual((yield* levels()).levels.requests, { perMinute: 60, capacity: 60, free: 59, reserved: 0 })
      const second = yield* call()
      completed(second.attempt, {}, { requests: limit(30, 3) })
      yield* second.end
      assert.deepStrictEqual((yield* levels()).levels.requests, { perMinute: 30, capacity: 30, free: 4, reserved: 0 })
    }).pipe(limited({ limits: { requestsPerMinute: 60 } })))

  it.effect("lets the headers of the attempt sent last win", () =>
    Effect.gen(function*() {
      const first = yield* call()
      const second = yield* call()
      completed(second.attempt, {}, { requests: limit(60, 20) })
      yield* second.end
      completed(first.attempt, {}, { requests: limit(60, 50) })
      yield* first.end
      assert.strictEqual(yield* free("requests"), 21)
    }).pipe(limited({ limits: { requestsPerMinute: 60 } })))

  it.effect("holds a smaller bucket than a minute's when the headers tell of one", () =>
    Effect.gen(function*() {
      const first = yield* call()
      completed(first.attempt, {}, { requests: { limit: 60, remaining: 0, resetAt: 1_000 } })
      yield* first.end
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* free("requests"), 1)
    }).pipe(limited({})))

  it.effect("forgets what headers taught when none came for long", () =>
    Effect.gen(function*() {
      const first = yield* call()
      completed(first.attempt, {}, { inputTokens: limit(1_000, 1_000) })
      yield* first.end
      assert.strictEqual((yield* refused({ input: 5_000 })).reason, "tooLarge")
      yield* TestClock.adjust("11 minutes")
      const calls = yield* Effect.replicateEffect(call({ input: 5_000 }), 5)
      // And sends few at once again.
      assert.deepStrictEqual(yield* Effect.forEach(calls, (call) => call.isAdmitted), [true, true, true, true, false])
    }).pipe(limited({})))

  it.effect("pauses the group for all when the API refuses, and then ramps up", () =>
    Effect.gen(function*() {
      const first = yield* call()
      failed(first.attempt, new RateLimitError({ limit: "unknown", retryAfter: Duration.seconds(10) }))
      yield* first.end
      const calls = yield* Effect.replicateEffect(call(), 200)
      const elsewhere = yield* call({ model: "claude-sonnet-5" })
      assert.isTrue(yield* elsewhere.isAdmitted)
      const admitted = Effect.map(
        Effect.forEach(calls, (call) => call.isAdmitted),
        (all) => all.filter((is) => is).length
      )
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual(yield* admitted, 0)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* admitted, 1)
      yield* TestClock.adjust("1 second")
      assert.isAtMost(yield* admitted, 3)
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual(yield* admitted, 200)
    }).pipe(limited({ limits: { requestsPerMinute: 10_000 } })))

  it.effect("grows slowly after an acceleration limit", () =>
    Effect.gen(function*() {
      const earlier = yield* Effect.replicateEffect(call(), 60)
      const refused = yield* call()
      failed(refused.attempt, new RateLimitError({ limit: "acceleration", retryAfter: Duration.seconds(30) }))
      yield* refused.end
      assert.strictEqual(earlier.length, 60)
      const calls = yield* Effect.replicateEffect(call(), 400)
      const admitted = Effect.map(
        Effect.forEach(calls, (call) => call.isAdmitted),
        (all) => all.filter((is) => is).length
      )
      yield* TestClock.adjust("90 seconds")
      // From one a second to two a second in a minute.
      assert.approximately(yield* admitted, 87, 5)
    }).pipe(limited({ limits: { requestsPerMinute: 10_000 } })))

  it.effect("closes the group when money ran out, at most for an hour, and refuses who waits", () =>
    Effect.gen(function*() {
      const first = yield* call()
      const waiting = yield* call()
      failed(first.attempt, new RateLimitError({ limit: "spend" }))
      yield* first.end
      yield* settled
      assert.strictEqual((yield* Effect.flip(Fiber.join(waiting.fiber))).reason, "spend")
      const error = yield* refused()
      assert.deepStrictEqual(error.retryAfter, Duration.hours(1))
      assert.include(error.message, "A spend limit of the API is reached")
      yield* TestClock.adjust("1 hour")
      assert.isTrue(yield* (yield* call()).isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 1 } })))

  it.effect("takes limits from configuration", () =>
    Effect.gen(function*() {
      yield* call()
      assert.strictEqual((yield* refused({ deadline: 1 })).reason, "deadline")
    }).pipe(
      Effect.provide(RateLimiter.layerConfig({
        limits: Config.all({ requestsPerMinute: Config.Number("RPM") }),
        burst: Config.Duration("BURST")
      })),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown({ RPM: "1", BURST: "1 minute" }))
    ))

  it.effect("refuses settings that make no sense", () =>
    Effect.gen(function*() {
      const senseless: ReadonlyArray<readonly [name: string, options: RateLimiter.Options]> = [
        ["requestsPerMinute", { limits: { requestsPerMinute: NaN } }],
        ["inputTokensPerMinute", { limits: { inputTokensPerMinute: 0 } }],
        ["outputTokensPerMinute", { limits: { outputTokensPerMinute: -1 } }],
        ["tokensPerMinute", { limits: () => ({ tokensPerMinute: Infinity }) }],
        // Settings may come from where types do not reach.
        ["there is no tier gold", { limits: "gold" as "build" }],
        ["burst", { burst: 0 }],
        ["burst", { burst: Infinity }],
        ["maxQueue", { maxQueue: NaN }]
      ]
      for (const [name, options] of senseless) {
        const exit = yield* Effect.exit(Effect.provide(call(), RateLimiter.layer(options)))
        const failure = exit._tag === "Success" ? yield* Effect.exit(Fiber.join(exit.value.fiber)) : exit
        assert.include(String(failure), `RangeError: RateLimiter: ${name}`)
      }
      const limiter = yield* RateLimiter.RateLimiter
      const exit = yield* Effect.exit(limiter.setLimits({ requestsPerMinute: NaN }))
      assert.include(String(exit), "RangeError: RateLimiter: requestsPerMinute must be")
      yield* limiter.admit(attemptOf())
      assert.strictEqual(yield* free("requests"), 59)
    }).pipe(limited({ limits: { requestsPerMinute: 60 } })))

  it.effect("knows the limits of a tier", () =>
    Effect.gen(function*() {
      yield* call()
      yield* call({ model: "claude-fable-5" })
      assert.strictEqual((yield* levels()).levels.outputTokens?.perMinute, 1_000_000)
      assert.strictEqual((yield* levels("fable-5")).levels.inputTokens?.perMinute, 1_500_000)
    }).pipe(limited({ limits: "build" })))

  it.effect("learns the limits of groups that a tier has none for, and says so once for each group", () => {
    const { layer, lines } = logging()
    return Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      const use = (model: string, keyGroup: string) => call({ model, keyGroup })
      yield* use("claude-opus-5", "a")
      assert.isEmpty(lines)
      for (const keyGroup of ["a", "b"]) {
        yield* use("a-model-of-tomorrow", keyGroup)
        yield* use("another", keyGroup)
      }
      assert.lengthOf(lines, 1)
      assert.match(lines[0]!, /^Warn .*"other" on the tier "build"/)
      yield* use("claude-mythos-5", "a")
      assert.lengthOf(lines, 2)
      const limits = (yield* limiter.snapshot).map(({ group, levels }) => [group, levels.requests?.perMinute])
      assert.deepInclude(limits, ["opus-5", 5_000])
      assert.deepInclude(limits, ["other", undefined])
      assert.deepInclude(limits, ["mythos-5", undefined])
    }).pipe(Effect.provide([RateLimiter.layer({ limits: "build" }), layer]))
  })

  it.effect("says it too when a tier is set later", () => {
    const { layer, lines } = logging()
    return Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      yield* call({ model: "a-model-of-tomorrow" })
      assert.isEmpty(lines)
      yield* limiter.setLimits("scale")
      yield* limiter.setLimits("start")
      assert.lengthOf(lines, 1)
    }).pipe(Effect.provide([RateLimiter.layer(), layer]))
  })

  it.effect("makes one reservation ahead for those that come at once over a far store, and lets the urgent pass the others", () =>
    Effect.gen(function*() {
      yield* call()
      const limiter = yield* RateLimiter.RateLimiter
      const bulk = yield* Effect.forEach(
        Array.from({ length: 10 }, () => attemptOf({ priority: "bulk" })),
        (attempt) => Effect.forkChild(limiter.admit(attempt), { startImmediately: true })
      )
      yield* settled
      assert.strictEqual((yield* levels()).waiting, 10)
      const urgent = yield* call({ priority: "interactive" })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(bulk.filter((fiber) => fiber.pollUnsafe() !== undefined).length, 1)
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(yield* urgent.isAdmitted)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(bulk.every((fiber) => fiber.pollUnsafe() !== undefined))
    }).pipe(Effect.provide(far({ limits: { requestsPerMinute: 60 }, burst: "1 second" }))))

  it.effect("waits no longer for a reservation when the clock is set back", () =>
    Effect.gen(function*() {
      const time = yield* Clock.Clock
      let back = 0
      const clock: Clock.Clock = {
        currentTimeMillisUnsafe: () => time.currentTimeMillisUnsafe() - back,
        currentTimeMillis: Effect.map(time.currentTimeMillis, (now) => now - back),
        currentTimeNanosUnsafe: () => time.currentTimeNanosUnsafe(),
        currentTimeNanos: time.currentTimeNanos,
        monotonicTimeNanosUnsafe: () => time.monotonicTimeNanosUnsafe(),
        monotonicTimeNanos: time.monotonicTimeNanos,
        sleep: (duration) => time.sleep(duration)
      }
      yield* TestClock.setTime(Duration.toMillis("10 hours"))
      const limiter = yield* RateLimiter.make({ limits: { requestsPerMinute: 60 }, burst: "1 second" }).pipe(
        Effect.provideService(Clock.Clock, clock)
      )
      const fibers = yield* Effect.forEach(
        Array.from({ length: 10 }, () => attemptOf()),
        (attempt) => Effect.forkChild(Effect.provideService(limiter.admit(attempt), Clock.Clock, clock))
      )
      yield* settled
      back = Duration.toMillis("1 hour")
      yield* TestClock.adjust("1 minute")
      assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
    }).pipe(Effect.provide(Layer.fresh(MapStore.layer(Effect.yieldNow)))))

  it.effect("keeps ten thousand bucket sets in memory, and forgets the least recently used one first", () =>
    Effect.gen(function*() {
      const store = yield* RateLimiter.Store
      const amounts = { requests: 1, inputTokens: 0, outputTokens: 0, tokens: 0 }
      const limits = { requestsPerMinute: 1 }
      const ask = { usage: amounts, reserve: { ...amounts, requests: 0 }, withinMillis: 0 }
      const take = (index: number) =>
        Effect.map(
          store.step({ key: `${index}`, burstMillis: 60_000, limits, ask }),
          (reply) => reply._tag === "Done" ? reply.reservation?._tag : reply._tag
        )
      for (let index = 0; index < 10_000; index++) assert.strictEqual(yield* take(index), "Granted")
      assert.strictEqual(yield* take(0), "Full")
      assert.strictEqual(yield* take(10_000), "Granted")
      assert.deepStrictEqual([yield* take(0), yield* take(1)], ["Full", "Granted"])
    }).pipe(Effect.provide(RateLimiter.layerStoreMemory)))

  it.effect("waits no millisecond longer than the refill takes, however it was interrupted in between", () =>
    Effect.gen(function*() {
      yield* call()
      const first = yield* call()
      completed(first.attempt)
      yield* first.end
      yield* TestClock.adjust("12 millis")
      const waiting = yield* call()
      yield* TestClock.adjust("29988 millis")
      assert.isTrue(yield* waiting.isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 2 } })))

  it.effect("lets everything pass when it is off", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.replicateEffect(call(), 50)
      assert.deepStrictEqual(yield* Effect.forEach(calls, (call) => call.isAdmitted), calls.map(() => true))
    }).pipe(Effect.provide(RateLimiter.layerOff)))
})
