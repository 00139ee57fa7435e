import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Schedule, Schema } from "effect"
import * as CallContext from "effect-claude/CallContext"
import {
  type ApiError,
  BadRequestError,
  CallError,
  CircuitOpenError,
  ConnectionError,
  DeadlineExceededError,
  isApiError,
  isRefusal,
  NoUsableKeyError,
  RateLimitError,
  type Refusal,
  ServerError
} from "effect-claude/ClaudeError"
import * as RetryPolicy from "effect-claude/RetryPolicy"
import { TestClock } from "effect/testing"
import { between } from "./utils/between.ts"

const reset = new ConnectionError({ reason: "reset" })
const overloaded = new ServerError({ overloaded: true })
const limited = (millis: number) => new RateLimitError({ limit: "requests", retryAfter: Duration.millis(millis) })

/** Runs a call whose attempts end as told, in virtual time, and says when each was made. */
const attemptsOf = (
  policy: RetryPolicy.RetryPolicy["Service"],
  outcomes: ReadonlyArray<ApiError | Refusal | undefined>
) =>
  Effect.gen(function*() {
    const times: Array<number> = []
    const call = policy.retry(({ number }) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        times.push(now)
        const outcome = outcomes[number - 1]
        return outcome === undefined ? Effect.succeed(number) : Effect.fail(outcome)
      })
    )
    const fiber = yield* Effect.forkChild(call)
    yield* TestClock.adjust("1 hour")
    const exit = yield* Fiber.await(fiber)
    return { exit, times, waits: times.slice(1).map((time, i) => time - times[i]!) }
  })

describe("schedule", () => {
  it.effect.prop(
    "never comes back before the server asked, nor later than its rules allow, and stops after the last retry",
    {
      retries: between(0, 8),
      hints: Schema.Array(between(0, 60_000)),
      base: between(1, 5000),
      cap: between(1, 60_000),
      throttled: Schema.Boolean
    },
    ({ base, cap, hints, retries, throttled }) =>
      Effect.gen(function*() {
        const options = { retries, base, throttledBase: base * 2, cap }
        const step = yield* Schedule.toStep(RetryPolicy.schedule(options))
        const errorOf = (hint: number): ApiError =>
          throttled
            ? hint > 0 ? limited(hint) : overloaded
            : new ConnectionError({ reason: "reset", retryAfter: hint > 0 ? Duration.millis(hint) : undefined })
        for (let retry = 0; retry < retries; retry++) {
          const hint = hints[retry % Math.max(1, hints.length)] ?? 0
          const [, duration] = yield* step(0, errorOf(hint))
          const wait = Duration.toMillis(duration)
          const backoff = Math.min(cap, (throttled ? base * 2 : base) * 2 ** retry)
          assert.isAtLeast(wait, hint > 0 ? hint : Math.floor(backoff / 2))
          assert.isAtMost(wait, hint + backoff + 1)
        }
        assert.isTrue(Exit.isFailure(yield* Effect.exit(step(0, errorOf(0)))))
      })
  )

  it.effect("stops at what is not retryable and at a hint that is too long", () =>
    Effect.gen(function*() {
      const stops = (error: ApiError) =>
        Effect.gen(function*() {
          const step = yield* Schedule.toStep(RetryPolicy.schedule({ maxRetryAfter: "10 seconds" }))
          return Exit.isFailure(yield* Effect.exit(step(0, error)))
        })
      assert.isTrue(yield* stops(new RateLimitError({ limit: "spend" })))
      assert.isTrue(yield* stops(limited(10_001)))
      assert.isFalse(yield* stops(limited(10_000)))
    }))
})

describe("retry", () => {
  it.effect("waits longer each time, and longer for throttling than for a broken connection", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make()
      const transient = yield* attemptsOf(policy, [reset, reset, reset])
      assert.deepStrictEqual(transient.exit, Exit.succeed(4))
      for (const [i, wait] of transient.waits.entries()) {
        assert.isAtLeast(wait, 250 * 2 ** i)
        assert.isAtMost(wait, 500 * 2 ** i)
      }
      const throttled = yield* attemptsOf(policy, [overloaded])
      assert.isAtLeast(throttled.waits[0]!, 500)
    }))

  it.effect("asks each response anew", () =>
    Effect.gen(function*() {
      const { waits } = yield* attemptsOf(yield* RetryPolicy.make(), [limited(20_000), limited(1000), reset])
      assert.isTrue(waits[0]! >= 20_000 && waits[0]! <= 21_000)
      assert.isTrue(waits[1]! >= 1000 && waits[1]! <= 3000)
      assert.isAtMost(waits[2]!, 2000)
    }))

  it.effect("gives up with the last failure", () =>
    Effect.gen(function*() {
      const errors = [1, 2, 3, 4].map((n) => new ServerError({ overloaded: false, attempts: n }))
      const { exit, times } = yield* attemptsOf(yield* RetryPolicy.make(), errors)
      assert.strictEqual(times.length, 4)
      assert.deepStrictEqual(exit, Exit.fail(errors[3]!))
    }))

  it.effect("fails at once with a hint above a minute, and carries it", () =>
    Effect.gen(function*() {
      const { exit, times } = yield* attemptsOf(yield* RetryPolicy.make(), [limited(61_000)])
      assert.strictEqual(times.length, 1)
      assert.deepStrictEqual(exit, Exit.fail(limited(61_000)))
    }))

  it.effect("does not touch what is no answer of the API", () =>
    Effect.gen(function*() {
      const refusal = new NoUsableKeyError({ reasons: {} })
      const { exit, times } = yield* attemptsOf(yield* RetryPolicy.make(), [refusal])
      assert.strictEqual(times.length, 1)
      assert.deepStrictEqual(exit, Exit.fail(refusal))
    }))

  it.effect("follows a schedule of the user's own", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({
        schedule: Schedule.max([Schedule.spaced("3 seconds"), Schedule.recurs(2)])
      })
      const { times } = yield* attemptsOf(policy, [reset, reset, reset, reset])
      assert.deepStrictEqual(times, [0, 3000, 6000])
    }))

  it.effect("keeps to what is retryable and to the server's wait under any schedule", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ schedule: Schedule.spaced("1 millis") })
      const spend = yield* attemptsOf(policy, [new RateLimitError({ limit: "spend" })])
      assert.strictEqual(spend.times.length, 1)
      assert.deepStrictEqual((yield* attemptsOf(policy, [limited(2000)])).waits, [2000])
      assert.strictEqual((yield* attemptsOf(policy, [limited(61_000)])).times.length, 1)
    }))

  it.effect("does nothing when it is off", () =>
    Effect.gen(function*() {
      const policy = yield* Effect.provide(RetryPolicy.RetryPolicy, RetryPolicy.layerOff)
      assert.strictEqual((yield* attemptsOf(policy, [reset])).times.length, 1)
    }))

  it.effect.prop(
    "never makes more attempts than retries + 1",
    { retries: between(0, 6), failures: between(0, 12) },
    ({ failures, retries }) =>
      Effect.gen(function*() {
        const policy = yield* RetryPolicy.make({ retries })
        const { times } = yield* attemptsOf(policy, Array.from({ length: failures }, () => reset))
        assert.strictEqual(times.length, Math.min(retries, failures) + 1)
      })
  )
})

describe("the retry budget", () => {
  it.effect("bounds what a thousand calls send to a dead API", () =>
    Effect.gen(function*() {
      let requests = 0
      const policy = yield* RetryPolicy.make({ budget: { capacity: 50 } })
      const dead = policy.retry(() => Effect.suspend(() => Effect.fail((requests++, reset))))
      const all = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 1000 }), () => Effect.exit(dead), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(all)
      assert.strictEqual(requests, 1050)
    }))

  it.effect("is spent to a half, or to 50 tokens, where nothing succeeds, and further after a success", () =>
    Effect.gen(function*() {
      for (const [capacity, most] of [[40, 40], [100, 50], [300, 150]] as const) {
        const policy = yield* RetryPolicy.make({ retries: 1, budget: { capacity, earned: 0, perMinute: 0 } })
        const retries = Effect.map(
          Effect.replicateEffect(attemptsOf(policy, [reset, reset]), 400),
          (all) => all.filter(({ times }) => times.length === 2).length
        )
        assert.strictEqual(yield* retries, most)
        yield* policy.retry(() => Effect.void)
        assert.strictEqual(yield* retries, Math.min(most, capacity - most))
      }
    }))

  it.effect("is earned by successes, up to its capacity", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ budget: { capacity: 2, earned: 0.5, perMinute: 0 } })
      const requests = (failures: number) =>
        Effect.map(attemptsOf(policy, Array.from({ length: failures }, () => reset)), (all) => all.times.length)
      assert.strictEqual(yield* requests(9), 3) // both tokens
      assert.strictEqual(yield* requests(9), 1)
      yield* Effect.replicateEffect(policy.retry(() => Effect.void), 3)
      assert.strictEqual(yield* requests(9), 2) // one and a half were earned
      yield* Effect.replicateEffect(policy.retry(() => Effect.void), 100)
      assert.strictEqual(yield* requests(9), 3)
    }))

  it.effect("gets back the token of a wait that was interrupted", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ budget: { capacity: 1, perMinute: 0 } })
      const fiber = yield* Effect.forkChild(policy.retry(() => Effect.fail(reset)))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* attemptsOf(policy, [reset, reset])).times.length, 2)
    }))

  it.effect("comes back with time", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ budget: { capacity: 3, perMinute: 1 } })
      const always = Array.from({ length: 9 }, () => reset)
      assert.strictEqual((yield* attemptsOf(policy, always)).times.length, 4)
      const { times } = yield* attemptsOf(policy, always) // an hour later
      assert.strictEqual(times.length, 4)
    }))

  it.effect("gives back what a call took that succeeds in the end", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ budget: { capacity: 3, earned: 0, perMinute: 0 } })
      for (let i = 0; i < 20; i++) {
        assert.strictEqual((yield* attemptsOf(policy, [reset, reset, reset])).times.length, 4)
      }
    }))

  it.effect("gives back the token of a retry that was refused here", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ budget: { capacity: 1, earned: 0, perMinute: 0 } })
      const refused = new NoUsableKeyError({ reasons: {} })
      for (let i = 0; i < 5; i++) assert.strictEqual((yield* attemptsOf(policy, [reset, refused])).times.length, 2)
      // One that was sent and then refused has been paid for.
      const circuit = new CircuitOpenError({ group: "opus-5", retryAfter: Duration.minutes(1) })
      for (let i = 0; i < 5; i++) assert.strictEqual((yield* attemptsOf(policy, [reset, circuit])).times.length, 2)
      assert.strictEqual((yield* attemptsOf(policy, [reset, reset, reset])).times.length, 2)
      assert.strictEqual((yield* attemptsOf(policy, [reset, reset])).times.length, 1)
    }))

  it.effect("can be turned off", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ budget: false })
      for (let i = 0; i < 200; i++) assert.strictEqual((yield* attemptsOf(policy, [reset])).times.length, 2)
    }))
})

describe("jitter", () => {
  const waitsOf = (jitter: RetryPolicy.Jitter, count = 500) =>
    Effect.replicateEffect(
      Effect.gen(function*() {
        const step = yield* Schedule.toStep(RetryPolicy.schedule({ jitter, base: 1000, cap: 6000, retries: 4 }))
        const waits: Array<number> = []
        for (let i = 0; i < 4; i++) waits.push(Duration.toMillis((yield* step(0, reset))[1]))
        return waits
      }),
      count
    )
  const range = (all: ReadonlyArray<ReadonlyArray<number>>, i: number) => {
    const waits = all.map((one) => one[i]!)
    return [Math.min(...waits), Math.max(...waits)] as const
  }

  it.effect("may be none, half of the backoff, or all of it", () =>
    Effect.gen(function*() {
      const [none, half, full] = [yield* waitsOf("none"), yield* waitsOf("half"), yield* waitsOf("full")]
      for (const [i, backoff] of [1000, 2000, 4000, 6000].entries()) {
        assert.deepStrictEqual(range(none, i), [backoff, backoff])
        for (const [all, least] of [[half, 0.5], [full, 0]] as const) {
          const [low, high] = range(all, i)
          assert.isTrue(low >= least * backoff && low < (least + 0.1) * backoff, `${low}`)
          assert.isTrue(high <= backoff && high > 0.9 * backoff, `${high}`)
        }
      }
    }))

  it.effect("may follow from the wait before, between the base and three times that", () =>
    Effect.gen(function*() {
      for (const waits of yield* waitsOf("decorrelated")) {
        for (const [i, wait] of waits.entries()) {
          assert.isAtLeast(wait, 1000)
          assert.isAtMost(wait, Math.min(6000, 3 * (waits[i - 1] ?? 1000)) + 1)
        }
      }
      assert.isAbove(range(yield* waitsOf("decorrelated"), 3)[1], 5000)
    }))
})

describe("the error of a call", () => {
  it.effect("says how all attempts were billed at worst, and what the API said last before it", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make()
      const paid = new ConnectionError({ reason: "truncated", billed: "yes", attempts: 1 })
      const doubtful = new ConnectionError({ reason: "reset", billed: "unknown", attempts: 1 })
      const bad = new BadRequestError({ status: 400, attempts: 2 })
      const circuit = new CircuitOpenError({ group: "opus-5", retryAfter: Duration.minutes(1), attempts: 1 })
      const errorOf = (...outcomes: ReadonlyArray<ApiError | Refusal>) =>
        Effect.map(attemptsOf(policy, outcomes), ({ exit }) => {
          const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
          assert(isApiError(error) || isRefusal(error))
          return error
        })
      const refused = yield* errorOf(doubtful, circuit)
      assert.deepInclude(refused, { _tag: "CircuitOpenError", billed: "unknown", attempts: 1 })
      assert.strictEqual(refused.lastError, doubtful)
      const changed = yield* errorOf(paid, bad)
      assert.deepInclude(changed, { _tag: "BadRequestError", billed: "yes", attempts: 2, status: 400 })
      assert.strictEqual(changed.lastError, paid)
      const third = yield* errorOf(paid, doubtful, bad)
      assert.strictEqual(third.billed, "yes")
      assert.strictEqual(third.lastError?._tag, "ConnectionError")
      assert.isUndefined((third.lastError as ApiError).lastError)
      assert.strictEqual(yield* errorOf(bad), bad)
      const wire = Schema.encodeSync(CallError)(refused)
      assert.strictEqual(
        Schema.decodeUnknownSync(CallError)(JSON.parse(JSON.stringify(wire))).lastError?._tag,
        "ConnectionError"
      )
    }))

  it.effect("is what the schedule ended with, where its waits have no end and there is no deadline", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ schedule: Schedule.spaced(Duration.infinity) })
      const { exit } = yield* attemptsOf(policy, [reset])
      assert.deepStrictEqual(exit, Exit.fail(reset))
    }))
})

describe("an open circuit", () => {
  const refused = (retryAfter: Duration.Input) =>
    new CircuitOpenError({ group: "opus-5", retryAfter: Duration.fromInputUnsafe(retryAfter) })

  /** Runs a call that meets the failures in order and then succeeds, and says when each attempt was made. */
  const meeting = (
    policy: RetryPolicy.RetryPolicy["Service"],
    ...failures: ReadonlyArray<ApiError | CircuitOpenError>
  ) =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const numbers: Array<number> = []
      const exit = yield* Effect.exit(policy.retry(({ number }) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const failure = failures[times.push(now) - 1]
          numbers.push(number)
          return failure === undefined ? Effect.succeed("answered") : Effect.fail(failure)
        })
      ))
      return { exit, times, numbers }
    })

  const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(effect)
      yield* TestClock.adjust("1 hour")
      return yield* Fiber.join(fiber)
    })

  it.effect("is waited for, apart from others, without a retry or a token", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ retries: 1, budget: { capacity: 1 } })
      const waits = new Set<number>()
      for (let call = 0; call < 10; call++) {
        const { exit, numbers, times } = yield* inTime(
          meeting(policy, refused("2 seconds"), refused("1 second"), refused("4 seconds"))
        )
        assert.deepStrictEqual(exit, Exit.succeed("answered"))
        assert.deepStrictEqual(numbers, [1, 1, 1, 1])
        for (const [index, least] of [2_000, 1_000, 4_000].entries()) {
          const wait = times[index + 1]! - times[index]!
          assert.isTrue(wait >= least && wait <= least + 500, String(wait))
          waits.add(wait)
        }
      }
      assert.isAbove(waits.size, 20)
      const { exit, numbers } = yield* inTime(meeting(policy, refused(1), reset, refused(1)))
      assert.deepStrictEqual(exit, Exit.succeed("answered"))
      assert.deepStrictEqual(numbers, [1, 1, 2, 2])
    }))

  it.effect("is waited for no longer than 15 seconds in total, or as it is told for each priority", () =>
    Effect.gen(function*() {
      const standard = yield* RetryPolicy.make({ base: 0 })
      const five = [1, 2, 3].map(() => refused("5 seconds"))
      assert.deepStrictEqual((yield* inTime(meeting(standard, ...five))).exit, Exit.succeed("answered"))
      const { exit, times } = yield* inTime(meeting(standard, ...five, refused("3 seconds")))
      assert.deepStrictEqual(exit, Exit.fail(refused("3 seconds")))
      assert.strictEqual(times.at(-1)! - times[0]!, 15_000)

      const byPriority = yield* RetryPolicy.make({ circuitWait: { interactive: 0, bulk: "1 minute" } })
      const attempts = (priority: "interactive" | "standard" | "bulk") =>
        Effect.map(
          inTime(CallContext.annotate(meeting(byPriority, refused("5 seconds"), refused("20 seconds")), { priority })),
          ({ times }) => times.length
        )
      assert.deepStrictEqual(yield* Effect.forEach(["interactive", "standard", "bulk"] as const, attempts), [1, 2, 3])
      const none = yield* RetryPolicy.make({ circuitWait: "0 seconds" })
      assert.strictEqual((yield* inTime(meeting(none, refused(1)))).times.length, 1)
    }))

  it.effect("that lets calls go sooner is not waited for longer", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ budget: { capacity: 1 } })
      const change = yield* Deferred.make<void>()
      const times: Array<number> = []
      const call = policy.retry(
        () =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            const seconds = [12, 14, 5][times.push(now) - 1]
            return seconds === undefined ? Effect.void : Effect.fail(refused(`${seconds} seconds`))
          }),
        undefined,
        undefined,
        ({ retryAfter }) => Duration.toSeconds(retryAfter) > 10 ? Deferred.await(change) : Effect.never
      )
      const fiber = yield* Effect.forkChild(call)
      yield* TestClock.adjust("4 seconds")
      yield* Deferred.succeed(change, undefined)
      yield* TestClock.adjust("20 seconds")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)), "14 seconds are more than what is left of 15")
      assert.lengthOf(times, 2)
      assert.isTrue(times[1]! >= 4_000 && times[1]! <= 4_500, "apart from others")
    }))

  it.effect("is waited for in steps that end, whatever wait it names", () =>
    Effect.gen(function*() {
      for (const wait of [Duration.negativeInfinity, Duration.millis(-5), Duration.zero, Duration.infinity]) {
        const policy = yield* RetryPolicy.make({ base: 0 })
        const { exit } = yield* attemptsOf(policy, Array.from({ length: 20_000 }, () => refused(wait)))
        assert.isTrue(Exit.isFailure(exit))
        const off = yield* RetryPolicy.make({ retries: 0 })
        assert.strictEqual((yield* attemptsOf(off, [refused(wait)])).times.length, 1)
      }
    }))

  it.effect("is not waited for past the deadline, nor by a call that may not be retried", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make({ base: 0 })
      const waits = <A, E, R>(effect: Effect.Effect<{ readonly times: ReadonlyArray<A> }, E, R>) =>
        Effect.map(inTime(effect), ({ times }) => times.length === 2)
      const call = meeting(policy, refused("5 seconds"))
      assert.isTrue(yield* waits(CallContext.withDeadline(call, 5_001)))
      assert.isFalse(yield* waits(CallContext.withDeadline(call, 5_000)))
      assert.isFalse(yield* waits(CallContext.annotate(call, { retries: 0 })))
      const never = yield* Effect.provide(RetryPolicy.RetryPolicy, RetryPolicy.layerOff)
      assert.isFalse(yield* waits(meeting(never, refused(1))))
      assert.isTrue(yield* waits(CallContext.annotate(meeting(never, refused(1)), { retries: 1 })))
    }))
})

describe("the deadline", () => {
  it.effect("ends a call whose next wait would pass it, at once", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make()
      const error = yield* policy.retry(() => Effect.fail(limited(20_000))).pipe(
        CallContext.withDeadline("20 seconds"),
        Effect.flip
      )
      assert.deepStrictEqual(error, new DeadlineExceededError({ lastError: limited(20_000), attempts: 1 }))
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    }))

  it.effect("sends nothing once it has passed", () =>
    Effect.gen(function*() {
      let requests = 0
      const policy = yield* RetryPolicy.make()
      const error = yield* policy.retry(() => Effect.sync(() => requests++)).pipe(
        CallContext.withDeadline(0),
        Effect.flip
      )
      assert.deepStrictEqual(error, new DeadlineExceededError({ attempts: 0 }))
      assert.strictEqual(requests, 0)
    }))

  it.effect("names what an attempt that ran into it said, retryable or not", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make()
      const failing = Effect.andThen(Effect.sleep("5 seconds"), Effect.fail(reset))
      const fiber = yield* Effect.forkChild(
        policy.retry(() => failing).pipe(CallContext.withDeadline("5 seconds"), Effect.flip)
      )
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), new DeadlineExceededError({ lastError: reset, attempts: 1 }))
    }))
})
