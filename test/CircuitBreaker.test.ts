import { assert, describe, it } from "@effect/vitest"
import { Clock, Config, ConfigProvider, Deferred, Duration, Effect, Exit, Fiber, Layer, Schema, Stream } from "effect"
import { type Attempt, CallKind, contentArrived } from "effect-claude/Attempt"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import {
  AuthError,
  BadRequestError,
  CircuitOpenError,
  ConnectionError,
  RateLimitError,
  ServerError
} from "effect-claude/ClaudeError"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { aborted, attempt, completed, failed, model } from "./utils/attempts.ts"
import * as settling from "./utils/settling.ts"

const group = "sonnet-5-5"
const down = failed(new ServerError({ overloaded: true }))
const unreachable = failed(new ConnectionError({ reason: "refused" }))

const api = ClaudeApi.layer()

/** Opens after two failures in a row, for ten seconds. */
const twoInARow: CircuitBreaker.Options = {
  consecutiveFailures: 2,
  failureRate: Infinity,
  openDuration: "10 seconds",
  maxOpenDuration: "40 seconds",
  halfOpenDuration: "4 seconds",
  jitter: 0
}

const using = (options: CircuitBreaker.Options) =>
  Effect.provide(CircuitBreaker.layer(options).pipe(Layer.provide(api)))

const admit = Effect.fnUntraced(function*(options: Parameters<typeof attempt>[0] = {}) {
  const breaker = yield* CircuitBreaker.CircuitBreaker
  const admitted = attempt(options)
  yield* settling.admit(breaker, admitted)
  return admitted
})

const settle = Effect.fnUntraced(function*(admitted: Attempt, outcome: Attempt["outcome"]) {
  admitted.outcome = outcome
  yield* settling.settle(admitted)
})

const call = Effect.fnUntraced(function*(outcome: Attempt["outcome"], options: Parameters<typeof attempt>[0] = {}) {
  yield* settle(yield* admit(options), outcome)
})

const state = Effect.flatMap(CircuitBreaker.CircuitBreaker, (breaker) => breaker.state(group))
const phase = Effect.map(state, (state) => state.phase)

const refused = (retryAfter: Duration.Input) =>
  new CircuitOpenError({ group, retryAfter: Duration.fromInputUnsafe(retryAfter) })

const held = (retryAfter: Duration.Input) =>
  new CircuitOpenError({ group, retryAfter: Duration.fromInputUnsafe(retryAfter), isForced: true })

const opened = Effect.andThen(call(down), call(down))

describe("CircuitBreaker", () => {
  describe("what counts", () => {
    it.effect("opens on failures to connect and of the server", () =>
      Effect.gen(function*() {
        yield* call(unreachable)
        assert.strictEqual(yield* phase, "closed")
        yield* call(down)
        assert.strictEqual(yield* phase, "open")
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused("10 seconds"))
      }).pipe(using(twoInARow)))

    it.effect("takes answers that refuse the call for signs of life", () =>
      Effect.gen(function*() {
        const answers = [
          completed,
          failed(new AuthError({ kind: "authentication" })),
          failed(new BadRequestError({})),
          failed(new RateLimitError({ limit: "requests" }))
        ]
        for (const answer of answers) {
          yield* call(down)
          yield* call(answer)
        }
        const { calls, failures, phase } = yield* state
        assert.deepStrictEqual({ calls, failures, phase }, { calls: 8, failures: 4, phase: "closed" })
      }).pipe(using(twoInARow)))

    it.effect("counts nothing for an attempt that was not sent or that nobody waited for", () =>
      Effect.gen(function*() {
        yield* call(down)
        yield* settle(yield* admit(), aborted)
        yield* admit().pipe(Effect.flatMap((admitted) => settle(admitted, admitted.outcome)))
        assert.strictEqual((yield* state).calls, 1)
        yield* call(down)
        assert.strictEqual(yield* phase, "open")
      }).pipe(using(twoInARow)))

    it.effect("takes the first content of a stream for a success, which only the API can turn into a failure", () =>
      Effect.gen(function*() {
        const late = failed(new ConnectionError({ reason: "timeout", limit: "deadline" }))
        for (
          const [outcome, failures] of [[completed, 0], [aborted, 0], [late, 0], [down, 1], [unreachable, 1]] as const
        ) {
          yield* Effect.flatMap(CircuitBreaker.CircuitBreaker, ({ reset }) => reset(group))
          yield* call(down)
          const stream = yield* admit()
          contentArrived(stream, yield* Clock.currentTimeMillis)
          yield* call(down)
          assert.deepInclude(yield* state, { phase: "closed", calls: 3, failures: 2 })
          yield* settle(stream, outcome)
          assert.deepInclude(yield* state, { phase: "closed", calls: 3, failures: 2 + failures })
        }
      }).pipe(using({ ...twoInARow, failureRate: Infinity })))

    it.effect("takes a caller who left for a failure only where such calls take less time, a minute at first", () =>
      Effect.gen(function*() {
        const kind = new CallKind()
        const after = Effect.fnUntraced(function*(seconds: number, outcome: Attempt["outcome"]) {
          const made = ClaudeTest.attempt({ model, kind })
          yield* settling.admit(yield* CircuitBreaker.CircuitBreaker, made)
          yield* TestClock.adjust(Duration.seconds(seconds))
          yield* settle(made, outcome)
          return (yield* state).failures
        })
        const late = failed(new ConnectionError({ reason: "timeout", limit: "deadline" }))
        assert.strictEqual(yield* after(59, late), 0)
        assert.strictEqual(yield* after(60, late), 1)
        assert.strictEqual(yield* after(60, aborted), 2)
        for (let i = 0; i < 20; i++) yield* after(2, completed)
        assert.strictEqual(yield* after(1.9, late), 2)
        assert.strictEqual(yield* after(2, late), 3)
        assert.strictEqual(yield* after(2, aborted), 4)
        // Where many leave before the answer, few answers in that time do not make it long.
        for (let i = 0; i < 350; i++) yield* after(1, i % 5 === 0 ? completed : late)
        assert.strictEqual(yield* after(1, late), 4)
        // Who waited for no time at all says nothing, however quick the others were.
        for (let i = 0; i < 70; i++) yield* after(0, completed)
        assert.strictEqual(yield* after(0, aborted), 4)
      }).pipe(using({ windowDuration: "1 day" })))

    it.effect("takes failures for a row in the order in which they were admitted", () =>
      Effect.gen(function*() {
        const early = yield* admit()
        yield* call(down)
        yield* settle(early, completed)
        assert.strictEqual(yield* phase, "closed")
        yield* call(down)
        assert.strictEqual(yield* phase, "open")
      }).pipe(using(twoInARow)))

    it.effect("makes no row of failures with an attempt under way between them, whatever becomes of it", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        for (const [outcome, opens] of [[completed, false], [down, true], [aborted, true]] as const) {
          yield* breaker.reset(group)
          yield* call(down)
          const between = yield* admit()
          yield* call(down)
          assert.strictEqual(yield* phase, "closed")
          yield* settle(between, outcome)
          assert.strictEqual(yield* phase, opens ? "open" : "closed")
        }
      }).pipe(using(twoInARow)))

    it.effect("keeps model groups apart", () =>
      Effect.gen(function*() {
        yield* opened
        yield* call(completed, { model: "claude-opus-5-5" })
        assert.strictEqual((yield* Effect.flip(admit())).group, group)
      }).pipe(using(twoInARow)))
  })

  describe("thresholds", () => {
    const rate: CircuitBreaker.Options = {
      windowSize: 4,
      minimumCalls: 4,
      failureRate: 0.5,
      consecutiveFailures: Infinity
    }

    it.effect("waits for the minimum of calls and then opens at the rate", () =>
      Effect.gen(function*() {
        for (const outcome of [down, completed, down]) yield* call(outcome)
        assert.strictEqual(yield* phase, "closed")
        yield* call(completed)
        assert.strictEqual(yield* phase, "open")
      }).pipe(using(rate)))

    it.effect("opens at exactly its rate, which no rounding puts off", () =>
      Effect.gen(function*() {
        for (let i = 0; i < 11; i++) yield* call(completed)
        for (let i = 0; i < 14; i++) yield* call(down)
        // 0.56 * 25 is a little more than 14.
        assert.strictEqual(yield* phase, "open")
      }).pipe(using({ minimumCalls: 25, failureRate: 0.56, consecutiveFailures: Infinity })))

    it.effect("judges by the last calls only", () =>
      Effect.gen(function*() {
        for (const outcome of [down, completed, completed, completed, completed, completed, down]) yield* call(outcome)
        assert.deepStrictEqual(yield* state, {
          group,
          mode: "normal",
          phase: "closed",
          retryAfter: Duration.zero,
          openings: 0,
          calls: 4,
          failures: 1,
          slow: 0
        })
      }).pipe(using(rate)))

    it.effect("judges by the last seconds only", () =>
      Effect.gen(function*() {
        yield* call(down)
        yield* TestClock.adjust("8 seconds")
        yield* call(completed)
        assert.deepInclude(yield* state, { calls: 2, failures: 1 })
        yield* TestClock.adjust("2 seconds")
        assert.deepInclude(yield* state, { calls: 1, failures: 0 })
      }).pipe(using({ windowDuration: "10 seconds" })))

    it.effect("opens on answers that come too slowly", () =>
      Effect.gen(function*() {
        for (const latency of ["11 seconds", "10 seconds", "11 seconds", "11 seconds"] as const) {
          const admitted = yield* admit()
          yield* TestClock.adjust(latency)
          assert.strictEqual(yield* phase, "closed")
          yield* settle(admitted, completed)
          if (latency === "10 seconds") assert.deepInclude(yield* state, { calls: 2, slow: 1 })
        }
        assert.strictEqual(yield* phase, "open")
      }).pipe(using({ ...rate, slowCallDuration: "10 seconds", slowCallRate: 0.75 })))

    it.effect("ends the latency of a stream at its first content", () =>
      Effect.gen(function*() {
        const admitted = yield* admit()
        yield* TestClock.adjust("1 second")
        contentArrived(admitted, yield* Clock.currentTimeMillis)
        yield* TestClock.adjust("1 minute")
        contentArrived(admitted, yield* Clock.currentTimeMillis)
        yield* settle(admitted, completed)
        assert.deepInclude(yield* state, { calls: 1, slow: 0 })
      }).pipe(using({ slowCallDuration: "10 seconds", windowSize: 10 })))

    it.effect("counts attempts in flight, and not those that came to nothing", () =>
      Effect.gen(function*() {
        const running = [yield* admit(), yield* admit(), yield* admit()]
        assert.deepInclude(yield* state, { calls: 3, failures: 0 })
        yield* settle(running[0]!, down)
        yield* settle(running[1]!, aborted)
        assert.deepInclude(yield* state, { calls: 2, failures: 1, phase: "closed" })
        yield* settle(running[2]!, down)
        assert.strictEqual(yield* phase, "open")
      }).pipe(using({ windowSize: 10, minimumCalls: 2, failureRate: 0.6 })))

    it.effect("judges attempts by those that were sent with them, however late they end", () =>
      Effect.gen(function*() {
        const late = []
        for (let i = 0; i < 10; i++) {
          for (let sent = 0; sent < 3; sent++) yield* call(completed)
          late.push(yield* admit())
          yield* TestClock.adjust("1 second")
        }
        yield* TestClock.adjust("30 seconds")
        for (const attempt of late) yield* settle(attempt, down)
        assert.deepInclude(yield* state, { openings: 0, calls: 0, failures: 0 })
        for (let i = 0; i < 10; i++) late.push(yield* admit())
        yield* TestClock.adjust("30 seconds")
        yield* call(completed)
        for (const attempt of late.slice(10)) yield* settle(attempt, down)
        assert.strictEqual((yield* state).openings, 1)
      }).pipe(using({ windowDuration: "10 seconds", minimumCalls: 10, consecutiveFailures: Infinity })))

    it.effect("takes an attempt for failed that hangs, and back when it is answered after all", () =>
      Effect.gen(function*() {
        const hanging = yield* admit()
        yield* TestClock.adjust("119 seconds")
        yield* call(completed)
        assert.deepInclude(yield* state, { failures: 0 })
        yield* TestClock.adjust("1 second")
        yield* call(completed)
        assert.deepInclude(yield* state, { calls: 3, failures: 1 })
        yield* settle(hanging, completed)
        assert.deepInclude(yield* state, { calls: 3, failures: 0 })
      }).pipe(using({ windowDuration: "10 minutes" })))

    it.effect("does not flap at a rate of failures below its own", () =>
      Effect.gen(function*() {
        let seed = 7
        for (let i = 0; i < 10_000; i++) {
          seed = (seed * 48_271) % 2_147_483_647
          yield* call(seed % 10 < 3 ? down : completed)
          if (i % 50 === 0) yield* TestClock.adjust("1 second")
        }
        assert.strictEqual((yield* state).openings, 0)
      }).pipe(using({})))

    for (
      const options of [{}, { windowSize: 100 }, {
        windowDuration: "10 seconds",
        consecutiveFailures: Infinity
      }] as const
    ) {
      it.effect(`does not take slow answers for failures that came first, with ${JSON.stringify(options)}`, () =>
        Effect.gen(function*() {
          let seed = 7
          const underway: Array<Attempt> = []
          for (let i = 0; i < 2_000; i++) {
            seed = (seed * 48_271) % 2_147_483_647
            if (seed % 10 < 3) yield* call(down)
            else underway.push(yield* admit())
            if (underway.length > 100) yield* settle(underway.shift()!, completed)
            yield* TestClock.adjust("20 millis")
          }
          assert.strictEqual((yield* state).openings, 0)
        }).pipe(using(options)))
    }

    it.effect("says which option is out of range, its value, and what is allowed", () =>
      Effect.gen(function*() {
        const mistakes: ReadonlyArray<readonly [options: object, message: string]> = [
          [{ halfOpenCalls: 0 }, "halfOpenCalls is 0, and must be an integer from 1"],
          [{ successThreshold: 2 }, "successThreshold is 2, and must be at most halfOpenCalls, which is 1"],
          [{ successThreshold: 1.5, halfOpenCalls: 2 }, "successThreshold is 1.5, and must be an integer from 1"],
          [{ windowSize: 0 }, "windowSize is 0, and must be an integer from 1 to 1,000,000"],
          [{ windowSize: 4.5 }, "windowSize is 4.5, and must be an integer from 1 to 1,000,000"],
          [{ windowSize: Infinity }, "windowSize is Infinity, and must be an integer from 1 to 1,000,000"],
          [{ failureRate: 0 }, "failureRate is 0, and must be above 0 and at most 1, or Infinity"],
          [{ failureRate: 50 }, "failureRate is 50, and must be above 0 and at most 1, or Infinity"],
          [{ slowCallRate: "high" }, "slowCallRate is high, and must be above 0 and at most 1, or Infinity"],
          [{ jitter: 2 }, "jitter is 2, and must be from 0 to 1"],
          [{ consecutiveFailures: NaN }, "consecutiveFailures is NaN, and must be an integer from 1, or Infinity"],
          [{ minimumCalls: 2.5 }, "minimumCalls is 2.5, and must be an integer from 1, or Infinity"],
          [{ windowDuration: "-1 seconds" }, "windowDuration is -1 seconds, and must be a duration from 1 millisecond"],
          [{ openDuration: "soon" }, "openDuration is soon, and must be a duration from 1 millisecond"],
          [{ maxOpenDuration: Infinity }, "maxOpenDuration is Infinity, and must be a duration from 1 millisecond"],
          [{ halfOpenDuration: 0 }, "halfOpenDuration is 0, and must be a duration from 1 millisecond"],
          [{ slowCallDuration: "-1 seconds" }, "slowCallDuration is -1 seconds, and must be a duration, or Infinity"],
          [{ storeTimeout: 0 }, "storeTimeout is 0, and must be a duration"],
          [{ syncInterval: 0n }, "syncInterval is 0n, and must be a duration"],
          [{ staleAfter: null }, "staleAfter is null, and must be a duration"],
          [{ waitForHalfOpen: 1 }, "waitForHalfOpen is 1, and must be true or false"],
          [{ mode: "off" }, "mode is off, and must be \"normal\", \"observe\", \"forcedOpen\" or \"disabled\""]
        ]
        for (const [options, message] of mistakes) {
          const error = yield* Effect.flip(
            Effect.provide(phase, CircuitBreaker.layer(options as CircuitBreaker.Options).pipe(Layer.provide(api)))
          )
          assert.strictEqual(error._tag, "ConfigError")
          assert.include(String(error), `CircuitBreaker: ${message}`)
        }
        yield* Effect.provide(
          phase,
          CircuitBreaker.layer({
            windowSize: 1,
            failureRate: 1,
            minimumCalls: Infinity,
            slowCallDuration: 0,
            jitter: 1
          }).pipe(
            Layer.provide(api)
          )
        )
      }))
  })

  describe("open", () => {
    it.effect("lets one trial go after its time, and closes when that succeeds", () =>
      Effect.gen(function*() {
        yield* opened
        yield* TestClock.adjust("9999 millis")
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused(1))
        yield* TestClock.adjust(1)
        const trial = yield* admit()
        assert.strictEqual(yield* phase, "halfOpen")
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused("4 seconds"))
        yield* settle(trial, completed)
        assert.strictEqual(yield* phase, "closed")
        yield* call(completed)
      }).pipe(using(twoInARow)))

    it.effect("stays open longer with each opening in a row, up to a cap, and starts anew after a good spell", () =>
      Effect.gen(function*() {
        yield* opened
        for (const seconds of [10, 20, 40, 40]) {
          assert.deepStrictEqual((yield* state).retryAfter, Duration.seconds(seconds))
          yield* TestClock.adjust(Duration.seconds(seconds))
          yield* call(down)
        }
        yield* TestClock.adjust("40 seconds")
        yield* call(completed)
        yield* TestClock.adjust("39 seconds")
        yield* opened
        assert.deepInclude(yield* state, { retryAfter: Duration.seconds(40), openings: 6 })
        yield* TestClock.adjust("40 seconds")
        yield* call(completed)
        yield* TestClock.adjust("40 seconds")
        yield* opened
        assert.deepInclude(yield* state, { retryAfter: Duration.seconds(10), openings: 1 })
      }).pipe(using(twoInARow)))

    it.effect("leaves out up to its share of the time by lot", () =>
      Effect.gen(function*() {
        const waits = new Set<number>()
        for (let i = 0; i < 20; i++) {
          const wait = yield* Effect.map(
            Effect.andThen(opened, state),
            ({ retryAfter }) => Duration.toMillis(retryAfter)
          )
            .pipe(using({ ...twoInARow, jitter: 0.5 }))
          assert.isTrue(wait > 5_000 && wait <= 10_000)
          waits.add(wait)
        }
        assert.isAbove(waits.size, 10)
      }))

    it.effect("ignores what attempts of an earlier stretch found", () =>
      Effect.gen(function*() {
        const late = yield* admit()
        const later = yield* admit()
        yield* opened
        yield* settle(late, completed)
        assert.strictEqual(yield* phase, "open")
        yield* TestClock.adjust("10 seconds")
        const trial = yield* admit()
        yield* settle(later, down)
        assert.strictEqual(yield* phase, "halfOpen")
        yield* settle(trial, completed)
        assert.deepInclude(yield* state, { phase: "closed", calls: 0 })
      }).pipe(using(twoInARow)))
  })

  describe("half-open", () => {
    const trial = Effect.andThen(Effect.andThen(opened, TestClock.adjust("10 seconds")), admit())

    it.effect("gives the permit back of a trial that says nothing", () =>
      Effect.gen(function*() {
        const first = yield* trial
        yield* settle(first, aborted)
        const second = yield* admit()
        yield* settle(second, second.outcome)
        yield* call(completed)
        assert.strictEqual(yield* phase, "closed")
      }).pipe(using(twoInARow)))

    it.effect("needs as many successes as it has trials, and half of them that fail open it", () =>
      Effect.gen(function*() {
        const first = yield* trial
        const second = yield* admit()
        assert.strictEqual((yield* Effect.flip(admit()))._tag, "CircuitOpenError")
        yield* settle(first, completed)
        assert.strictEqual(yield* phase, "halfOpen")
        yield* settle(second, down)
        assert.deepInclude(yield* state, { phase: "open", openings: 2 })
      }).pipe(using({ ...twoInARow, halfOpenCalls: 2 })))

    it.effect("closes at as many successes as it is told, whatever the other trials find later", () =>
      Effect.gen(function*() {
        const trials = [yield* trial, yield* admit(), yield* admit()]
        assert.strictEqual((yield* Effect.flip(admit()))._tag, "CircuitOpenError")
        yield* settle(trials[1]!, completed)
        assert.strictEqual(yield* phase, "closed")
        yield* settle(trials[0]!, down)
        yield* settle(trials[2]!, down)
        assert.deepInclude(yield* state, { phase: "closed", calls: 0 })
      }).pipe(using({ ...twoInARow, halfOpenCalls: 3, successThreshold: 1 })))

    it.effect("lets another trial go when the first says nothing in time, and still hears the first", () =>
      Effect.gen(function*() {
        const first = yield* trial
        yield* TestClock.adjust("4 seconds")
        const second = yield* admit()
        yield* settle(first, aborted)
        assert.deepStrictEqual((yield* state).retryAfter, Duration.seconds(8))
        yield* TestClock.adjust("8 seconds")
        yield* admit()
        yield* settle(second, completed)
        assert.strictEqual(yield* phase, "closed")
      }).pipe(using(twoInARow)))

    it.effect("doubles its rounds up to the longest open time", () =>
      Effect.gen(function*() {
        yield* trial
        for (const seconds of [4, 8, 16, 32, 40, 40]) {
          assert.deepStrictEqual((yield* state).retryAfter, Duration.seconds(seconds))
          // It may close before that.
          assert.deepStrictEqual(yield* Effect.flip(admit()), refused("4 seconds"))
          yield* TestClock.adjust(Duration.seconds(seconds))
          yield* admit()
        }
      }).pipe(using(twoInARow)))

    it.effect("closes when a trial succeeds, also after later ones began and failed", () =>
      Effect.gen(function*() {
        const first = yield* trial
        yield* TestClock.adjust("4 seconds")
        yield* call(down)
        assert.deepInclude(yield* state, { phase: "open", openings: 2 })
        yield* settle(first, completed)
        assert.strictEqual(yield* phase, "closed")
      }).pipe(using({ ...twoInARow, failureRate: 0.5 })))

    it.effect("opens again by the share of its trials that failed, those in flight included", () =>
      Effect.gen(function*() {
        const trials = [yield* trial, yield* admit(), yield* admit()]
        yield* TestClock.adjust("4 seconds")
        for (let i = 0; i < 3; i++) trials.push(yield* admit())
        yield* settle(trials[0]!, down)
        yield* settle(trials[4]!, down)
        assert.strictEqual(yield* phase, "halfOpen")
        yield* settle(trials[5]!, down)
        assert.deepInclude(yield* state, { phase: "open", openings: 2 })
      }).pipe(using({ ...twoInARow, halfOpenCalls: 3 })))

    it.effect("is not opened by a trial of an earlier time, which fails late", () =>
      Effect.gen(function*() {
        const first = yield* trial
        yield* TestClock.adjust("4 seconds")
        yield* call(down)
        yield* TestClock.adjust("20 seconds")
        const second = yield* admit()
        yield* settle(first, down)
        assert.deepInclude(yield* state, { phase: "halfOpen", openings: 2 })
        yield* settle(second, completed)
        assert.strictEqual(yield* phase, "closed")
      }).pipe(using(twoInARow)))

    it.effect("takes a slow answer for a failure where slowness opens it", () =>
      Effect.gen(function*() {
        const admitted = yield* trial
        yield* TestClock.adjust("3 seconds")
        yield* settle(admitted, completed)
        assert.strictEqual(yield* phase, "open")
      }).pipe(using({ ...twoInARow, slowCallDuration: "2 seconds" })))

    it.effect("closes on the first content of a stream", () =>
      Effect.gen(function*() {
        const admitted = yield* trial
        contentArrived(admitted, yield* Clock.currentTimeMillis)
        assert.strictEqual(yield* phase, "closed")
        yield* settle(admitted, down)
        assert.deepInclude(yield* state, { phase: "closed", calls: 0 })
      }).pipe(using(twoInARow)))
  })

  describe("check", () => {
    it.effect("refuses what admit would refuse and takes nothing", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* breaker.check(attempt())
        yield* opened
        assert.deepStrictEqual(yield* Effect.flip(breaker.check(attempt())), refused("10 seconds"))
        yield* TestClock.adjust("10 seconds")
        yield* breaker.check(attempt())
        yield* breaker.check(attempt())
        const trial = yield* admit()
        assert.deepStrictEqual(yield* Effect.flip(breaker.check(attempt())), refused("4 seconds"))
        yield* settle(trial, completed)
        yield* breaker.check(attempt())
      }).pipe(using(twoInARow)))
  })

  describe("waitForHalfOpen", () => {
    const waiting = { ...twoInARow, waitForHalfOpen: true }
    const trial = Effect.andThen(Effect.andThen(opened, TestClock.adjust("10 seconds")), admit())

    it.effect("admits those who wait when the trial succeeds, and refuses them when it fails", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const first = yield* trial
        const waiters = [
          yield* Effect.forkChild(Effect.asVoid(admit())),
          yield* Effect.forkChild(breaker.check(attempt()))
        ]
        yield* TestClock.adjust("1 second")
        assert.isTrue(waiters.every((waiter) => waiter.pollUnsafe() === undefined))
        yield* settle(first, completed)
        for (const waiter of waiters) yield* Fiber.join(waiter)

        yield* TestClock.adjust("10 seconds")
        const second = yield* trial
        const waiter = yield* Effect.forkChild(admit())
        yield* TestClock.adjust("1 second")
        yield* settle(second, down)
        assert.deepStrictEqual(yield* Effect.flip(Fiber.join(waiter)), refused("20 seconds"))
      }).pipe(using(waiting)))

    it.effect("waits neither past the deadline nor for an open circuit", () =>
      Effect.gen(function*() {
        yield* opened
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused("10 seconds"))
        yield* TestClock.adjust("10 seconds")
        yield* admit()
        assert.deepStrictEqual(yield* Effect.flip(admit({ deadline: 13_999 })), refused("4 seconds"))
        const waiter = yield* Effect.forkChild(admit({ deadline: 14_000 }))
        yield* TestClock.adjust("3999 millis")
        assert.isUndefined(waiter.pollUnsafe())
      }).pipe(using(waiting)))

    it.effect("lets one of those who wait be the next trial when the first says nothing, and the others wait no longer", () =>
      Effect.gen(function*() {
        yield* trial
        const waiters = [yield* Effect.forkChild(admit()), yield* Effect.forkChild(admit())]
        yield* TestClock.adjust("4 seconds")
        const exits = yield* Effect.forEach(waiters, Fiber.await)
        assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Success", "Failure"])
      }).pipe(using(waiting)))

    it.effect("hands the permit of an interrupted trial on, and an interrupted waiter takes none", () =>
      Effect.gen(function*() {
        const first = yield* trial
        const gone = yield* Effect.forkChild(Effect.uninterruptible(admit()))
        const next = yield* Effect.forkChild(admit())
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(gone)
        yield* settle(first, aborted)
        yield* settle(yield* Fiber.join(next), completed)
        assert.strictEqual(yield* phase, "closed")
      }).pipe(using(waiting)))
  })

  describe("modes", () => {
    it.effect("hold for callers who wait, from the moment they are set", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        for (
          const [mode, ends] of [["disabled", "Success"], ["observe", "Success"], ["forcedOpen", "Failure"]] as const
        ) {
          yield* breaker.setMode("normal")
          yield* breaker.reset(group)
          yield* opened
          yield* TestClock.adjust("10 seconds")
          yield* admit()
          const waiters = [
            yield* Effect.forkChild(Effect.asVoid(admit())),
            yield* Effect.forkChild(breaker.check(attempt()))
          ]
          yield* TestClock.adjust(10)
          assert.isTrue(waiters.every((waiter) => waiter.pollUnsafe() === undefined))
          yield* breaker.setMode(mode)
          yield* TestClock.adjust(0)
          assert.deepStrictEqual(waiters.map((waiter) => waiter.pollUnsafe()?._tag), [ends, ends])
        }
      }).pipe(using({ ...twoInARow, waitForHalfOpen: true })))

    it.effect("force it open for a time or until one, and then let the mode from before hold", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* breaker.open({ for: "2 hours" }, group)
        assert.deepStrictEqual(yield* Effect.flip(admit()), held("2 hours"))
        assert.deepInclude(yield* state, { mode: "forcedOpen", phase: "closed" })
        yield* admit({ model: "claude-opus-5-5" })
        yield* TestClock.adjust("119 minutes")
        assert.deepStrictEqual(yield* Effect.flip(breaker.check(attempt())), held("1 minute"))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* state).mode, "normal")
        yield* call(completed)

        const tomorrow = new Date((yield* Clock.currentTimeMillis) + 86_400_000)
        yield* breaker.open({ until: tomorrow })
        assert.deepStrictEqual(
          yield* Effect.flip(admit({ model: "claude-opus-5-5" })).pipe(
            Effect.map(({ retryAfter }) => retryAfter)
          ),
          Duration.days(1)
        )
        yield* breaker.setMode("normal")
        yield* call(completed)
      }).pipe(using(twoInARow)))

    it.effect("refuses everything when forced open, and goes on where it was", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* breaker.setMode("forcedOpen", group)
        assert.deepStrictEqual(yield* Effect.flip(admit()), held("40 seconds"))
        assert.deepStrictEqual(yield* Effect.flip(breaker.check(attempt())), held("40 seconds"))
        yield* admit({ model: "claude-opus-5-5" })
        yield* breaker.setMode("normal")
        yield* breaker.check(attempt())
        yield* admit()
      }).pipe(using(twoInARow)))

    it.effect("counts nothing when disabled, also for attempts admitted before", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const before = yield* admit()
        yield* breaker.setMode("disabled")
        yield* settle(before, down)
        yield* opened
        assert.deepInclude(yield* state, { calls: 0, phase: "closed", mode: "disabled" })
        yield* breaker.check(attempt())
      }).pipe(using(twoInARow)))

    it.effect("opens and closes but refuses nothing when it observes", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* opened
        assert.strictEqual(yield* phase, "open")
        yield* breaker.check(attempt())
        yield* opened
        assert.strictEqual((yield* state).openings, 1)
        yield* TestClock.adjust("10 seconds")
        const trial = yield* admit()
        yield* call(down)
        yield* settle(trial, completed)
        assert.strictEqual(yield* phase, "closed")
      }).pipe(using({ ...twoInARow, mode: "observe" })))
  })

  describe("a change of options", () => {
    it.effect("holds from then on for one circuit or for all, and leaves the rest as it is", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* call(down)
        yield* breaker.update({ consecutiveFailures: 3, openDuration: "1 minute", maxOpenDuration: "1 hour" }, group)
        yield* call(down)
        assert.strictEqual(yield* phase, "closed")
        yield* call(down)
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused("1 minute"))
        for (let i = 0; i < 2; i++) yield* call(down, { model: "claude-opus-5-5" })
        assert.deepStrictEqual((yield* breaker.state("opus-5-5")).retryAfter, Duration.seconds(10))

        yield* breaker.reset(group)
        yield* breaker.update({ consecutiveFailures: 1 })
        yield* call(down)
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused("1 minute"))
      }).pipe(using(twoInARow)))

    it.effect("of the window begins a new one, in which attempts from before count for rows only", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const before = yield* admit()
        yield* call(down)
        for (const changes of [{ windowSize: 4 }, { windowSize: undefined, windowDuration: "5 seconds" }] as const) {
          yield* breaker.update(changes)
          assert.deepInclude(yield* state, { calls: 0 })
          yield* call(completed)
          assert.deepInclude(yield* state, { calls: 1, failures: 0 })
        }
        yield* settle(before, down)
        assert.deepInclude(yield* state, { calls: 1, failures: 0 })
      }).pipe(using({ failureRate: Infinity })))

    it.effect("can be one of the mode too, and ends an opening sooner", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* opened
        yield* breaker.update({ openDuration: "1 second", maxOpenDuration: "2 seconds" })
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused("2 seconds"))
        yield* breaker.update({ mode: "observe" }, group)
        yield* call(completed)
        assert.deepInclude(yield* state, { mode: "observe" })
        assert.deepInclude(yield* breaker.state("opus-5-5"), { mode: "normal" })
        yield* breaker.update({ mode: "forcedOpen", consecutiveFailures: 3 })
        assert.deepInclude(yield* Effect.flip(admit({ model: "claude-opus-5-5" })), { group: "opus-5-5" })
      }).pipe(using(twoInARow)))

    it.effect("holds for the store too, for all groups", () =>
      Effect.gen(function*() {
        const store = Layer.succeed(CircuitBreaker.Store, { step: () => Effect.never })
        const breaker = Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.CircuitBreaker
          yield* breaker.update({ storeTimeout: "3 seconds" }, "opus-5-5")
          const fiber = yield* Effect.forkChild(admit())
          yield* TestClock.adjust(2_999)
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(1)
          assert.isDefined(fiber.pollUnsafe())
        })
        yield* Effect.provide(
          breaker,
          CircuitBreaker.layerNoDeps({}).pipe(Layer.provide(Layer.merge(api, store)))
        )
      }))

    it.effect("that makes no sense fails and changes nothing", () =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const error = yield* Effect.flip(breaker.update({ consecutiveFailures: 5, failureRate: 50 }))
        assert.include(String(error), "failureRate is 50")
        yield* opened
        assert.strictEqual(yield* phase, "open")
      }).pipe(using(twoInARow)))
  })

  it.effect("lists the groups that have a circuit", () =>
    Effect.gen(function*() {
      const { groups, state } = yield* CircuitBreaker.CircuitBreaker
      assert.includeMembers([...groups], ["opus-5-5", group, "other"])
      for (const each of groups) assert.strictEqual((yield* state(each)).group, each)
    }).pipe(using({})))

  it.effect("lets pass what asks nothing of a model, and counts nothing for it", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* opened
      const { callId, context, facts, key, model, number, outcome } = attempt()
      const counting: Attempt = { endpoint: "countTokens", callId, context, facts, key, model, number, outcome }
      yield* breaker.check(counting)
      yield* settling.admit(breaker, counting)
      yield* settle(counting, completed)
      assert.strictEqual(yield* phase, "open")
    }).pipe(using(twoInARow)))

  it.effect("tells its transitions", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const told = yield* Effect.forkChild(Stream.runCollect(Stream.take(breaker.transitions, 3)), {
        startImmediately: true
      })
      yield* opened
      yield* TestClock.adjust("10 seconds")
      yield* call(completed)
      assert.deepStrictEqual(yield* Fiber.join(told), [
        { group, from: "closed", to: "open", at: 0, openDuration: Duration.seconds(10) },
        { group, from: "open", to: "halfOpen", at: 10_000, openDuration: undefined },
        { group, from: "halfOpen", to: "closed", at: 10_000, openDuration: undefined }
      ])
    }).pipe(using(twoInARow)))

  it.effect("keeps the last 256 transitions for a reader that is slower", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const read = Stream.mapEffect(
        breaker.transitions,
        (transition) => Effect.as(Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go)), transition.at)
      )
      const told = yield* Effect.forkChild(Stream.runCollect(Stream.take(read, 257)), { startImmediately: true })
      yield* opened
      yield* Deferred.await(begun)
      for (let i = 0; i < 300; i++) {
        yield* breaker.reset(group)
        yield* TestClock.adjust(1)
        yield* opened
      }
      yield* Deferred.succeed(go, undefined)
      const times = yield* Fiber.join(told)
      assert.deepStrictEqual([times[0], times[1], times[256]], [0, 172, 300])
    }).pipe(using(twoInARow)))

  it.effect("ends its transitions with its layer", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker.pipe(using(twoInARow))
      assert.deepStrictEqual(yield* Stream.runCollect(breaker.transitions), [])
    }))

  it.effect("forgets at a reset", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const late = yield* admit()
      yield* opened
      yield* breaker.reset(group)
      yield* settle(late, down)
      assert.deepInclude(yield* state, { phase: "closed", openings: 0, calls: 0 })
      yield* call(down)
      assert.strictEqual(yield* phase, "closed")
    }).pipe(using(twoInARow)))

  it.effect("is after a restore what it was at the save, through JSON", () =>
    Effect.gen(function*() {
      const codec = Schema.toCodecJson(CircuitBreaker.Saved)
      const json = yield* Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* opened
        yield* call(completed, { model: "claude-opus-5-5" })
        yield* call(down, { model: "claude-opus-5-5" })
        return JSON.stringify(Schema.encodeSync(codec)(yield* breaker.save))
      }).pipe(using(twoInARow))
      yield* TestClock.adjust("4 seconds")
      yield* Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* breaker.restore(Schema.decodeUnknownSync(codec)(JSON.parse(json)))
        assert.deepStrictEqual(yield* Effect.flip(admit()), refused("6 seconds"))
        assert.deepInclude(yield* breaker.state("opus-5-5"), { phase: "closed", calls: 2, failures: 1 })
        yield* call(down, { model: "claude-opus-5-5" })
        assert.strictEqual((yield* breaker.state("opus-5-5")).phase, "open")
      }).pipe(using(twoInARow))
    }))

  it.effect("waits no longer than its rules allow, whatever clock saved its state", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* opened
      const { circuits } = yield* breaker.save
      const ahead = { ...circuits[group]!, openUntil: 1e12 }
      yield* breaker.restore(new CircuitBreaker.Saved({ circuits: { [group]: ahead, "a-group-of-tomorrow": ahead } }))
      assert.deepStrictEqual(yield* Effect.flip(admit()), refused("40 seconds"))
      yield* TestClock.adjust("40 seconds")
      yield* call(completed)
      assert.strictEqual(yield* phase, "closed")
    }).pipe(using(twoInARow)))

  it.effect("takes from a saved window what is of its own time, and forgets on when the clock is set back", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const counts = Effect.map(state, ({ calls, failures }) => [calls, failures])
      yield* TestClock.adjust("10 hours")
      yield* call(completed)
      yield* call(down)
      const saved = yield* breaker.save
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* counts, [0, 0])
      yield* breaker.restore(saved)
      assert.deepStrictEqual(yield* counts, [0, 0])
      yield* TestClock.setTime(Duration.toMillis("9 hours"))
      yield* breaker.restore(saved)
      assert.deepStrictEqual(yield* counts, [0, 0])
      const slots = [{ index: -3, calls: 2, failures: 1, slow: 0 }]
      const broken = { ...saved.circuits[group]!, window: { unit: 3_000, slots } }
      yield* breaker.restore(new CircuitBreaker.Saved({ circuits: { [group]: broken } }))
      yield* TestClock.setTime(Duration.toMillis("10 hours"))
      yield* call(completed)
      yield* TestClock.setTime(Duration.toMillis("9 hours"))
      yield* call(down)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* counts, [0, 0])
    }).pipe(using({})))

  it.effect("counts an attempt once", () =>
    Effect.gen(function*() {
      const admitted = yield* admit()
      yield* settle(admitted, down)
      yield* settle(admitted, down)
      assert.strictEqual((yield* state).calls, 1)
    }).pipe(using(twoInARow)))

  it.effect("lets breakers over one store share their circuits", () =>
    Effect.gen(function*() {
      const layer = CircuitBreaker.layerNoDeps(twoInARow)
      const here = yield* Layer.build(Layer.fresh(layer))
      const there = yield* Layer.build(Layer.fresh(layer))
      yield* Effect.provide(opened, here)
      assert.strictEqual(yield* Effect.provide(phase, there), "open")
    }).pipe(Effect.scoped, Effect.provide([CircuitBreaker.layerStoreMemory, api])))

  it.effect("takes its settings from configuration", () =>
    Effect.gen(function*() {
      const layer = CircuitBreaker.layerConfig({
        consecutiveFailures: Config.Int("IN_A_ROW"),
        openDuration: Config.Duration("OPEN_FOR")
      })
        .pipe(Layer.provide(api))
      const environment = ConfigProvider.layer(ConfigProvider.fromUnknown({ IN_A_ROW: "1", OPEN_FOR: "1 minute" }))
      yield* Effect.gen(function*() {
        yield* call(down)
        assert.isAbove(Duration.toSeconds((yield* state).retryAfter), 40)
      }).pipe(Effect.provide(layer), Effect.provide(environment))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.provide(phase, layer))))
    }))

  it.effect("does nothing when it is off", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 100; i++) yield* call(down)
      assert.deepInclude(yield* state, { phase: "closed", calls: 0, mode: "disabled" })
    }).pipe(Effect.provide(CircuitBreaker.layerOff)))

  it.effect("names no model in a refusal but its group", () =>
    Effect.gen(function*() {
      yield* opened
      assert.notInclude(JSON.stringify(yield* Effect.flip(admit())), model)
    }).pipe(using(twoInARow)))
})
