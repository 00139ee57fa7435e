import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Schema } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import { RateLimitError, ServerError } from "effect-claude/ClaudeError"
import { TestClock } from "effect/testing"
import { aborted, attempt, completed, failed } from "./utils/attempts.ts"
import { between } from "./utils/between.ts"
import * as settling from "./utils/settling.ts"

const group = "sonnet-5-5"
const slowMillis = 2_000

const Settings = {
  seed: between(1, 2 ** 30),
  byTime: Schema.Boolean,
  size: between(1, 12),
  minimumCalls: between(1, 8),
  consecutiveFailures: between(1, 6),
  failurePercent: between(1, 120),
  slowPercent: between(1, 120),
  openSeconds: between(1, 8),
  doublings: between(0, 3),
  trials: between(1, 3),
  successes: between(1, 3),
  halfOpenSeconds: between(1, 6)
}

type Settings = { readonly [K in keyof typeof Settings]: (typeof Settings)[K]["Type"] }

const optionsOf = (settings: Settings): CircuitBreaker.Options => ({
  ...(settings.byTime ? { windowDuration: Duration.seconds(settings.size) } : { windowSize: settings.size }),
  minimumCalls: settings.minimumCalls,
  consecutiveFailures: settings.consecutiveFailures,
  failureRate: settings.failurePercent / 100,
  slowCallRate: settings.slowPercent / 100,
  slowCallDuration: slowMillis,
  openDuration: Duration.seconds(settings.openSeconds),
  maxOpenDuration: Duration.seconds(settings.openSeconds * 2 ** settings.doublings),
  halfOpenCalls: settings.trials,
  successThreshold: Math.min(settings.trials, settings.successes),
  halfOpenDuration: Duration.seconds(settings.halfOpenSeconds),
  jitter: 0
})

type Verdict = { readonly failed: boolean; readonly slow: boolean } | undefined

/** What was let in: in which stretch, and in which round of trials of it, and what became of it. */
interface Ticket {
  readonly stretch: number
  readonly round: number
  readonly early: boolean
  end: "underway" | "failed" | "succeeded" | "nothing"
}

/** The rules of a circuit over everything it ever saw, with no thought to what that costs. */
class Reference {
  private readonly settings: Settings
  phase: CircuitBreaker.Phase = "closed"
  stretch = 0
  private admitted: Array<Ticket> = []
  private firstAt = 0
  private seen: Array<{ readonly at: number; readonly failed: boolean; readonly slow: boolean }> = []
  openings: Array<{ readonly at: number; readonly seconds: number }> = []
  private closedAt = 0
  private round = 0
  private roundAt = 0
  private running = 0
  private proofs = 0

  constructor(settings: Settings) {
    this.settings = settings
  }

  window(now: number) {
    const slot = (at: number) => Math.floor(at / (this.settings.size * 100))
    return this.settings.byTime
      ? this.seen.filter(({ at }) => slot(at) > slot(now) - 10)
      : this.seen.slice(-this.settings.size)
  }

  private step(phase: CircuitBreaker.Phase) {
    this.phase = phase
    this.stretch++
    this.admitted = []
    this.seen = []
  }

  private longestRow() {
    let row = 0
    let longest = 0
    for (const { end } of this.admitted) {
      if (end === "failed") longest = Math.max(longest, ++row)
      else if (end !== "nothing") row = 0
    }
    return longest
  }

  waitMillis(now: number): number {
    const last = this.openings.at(-1)
    if (this.phase === "open") return Math.max(0, last!.at + last!.seconds * 1_000 - now)
    if (this.phase === "closed" || this.running < this.settings.trials) return 0
    return Math.max(0, this.roundAt + this.settings.halfOpenSeconds * 1_000 - now)
  }

  admit(now: number): Ticket | undefined {
    if (this.waitMillis(now) > 0) return undefined
    const { byTime, size } = this.settings
    if (this.phase === "closed") {
      if (this.admitted.length === 0) this.firstAt = now
      const early = byTime ? now - this.firstAt < size * 1_000 : this.admitted.length < size
      const ticket: Ticket = { stretch: this.stretch, round: 0, early, end: "underway" }
      this.admitted.push(ticket)
      return ticket
    }
    if (this.phase === "open") {
      this.step("halfOpen")
      this.proofs = 0
      this.newRound(now)
    } else if (now >= this.roundAt + this.settings.halfOpenSeconds * 1_000) this.newRound(now)
    this.running++
    return { stretch: this.stretch, round: this.round, early: false, end: "underway" }
  }

  private newRound(now: number) {
    this.round++
    this.roundAt = now
    this.running = 0
  }

  private open(now: number) {
    const last = this.openings.at(-1)
    if (this.phase === "closed" && last !== undefined && now - this.closedAt >= last.seconds * 1_000) this.openings = []
    const doublings = Math.min(this.settings.doublings, this.openings.length)
    this.openings.push({ at: now, seconds: this.settings.openSeconds * 2 ** doublings })
    this.step("open")
  }

  settle(ticket: Ticket, verdict: Verdict, now: number) {
    if (ticket.stretch !== this.stretch) return
    if (this.phase === "halfOpen") {
      if (verdict === undefined) {
        if (ticket.round === this.round) this.running--
      } else if (verdict.failed || (verdict.slow && this.settings.slowPercent <= 100)) this.open(now)
      else if (++this.proofs === Math.min(this.settings.successes, this.settings.trials)) {
        this.closedAt = now
        this.step("closed")
      }
    } else {
      ticket.end = verdict === undefined ? "nothing" : verdict.failed ? "failed" : "succeeded"
      if (verdict !== undefined) this.seen.push({ at: now, ...verdict })
      const { failurePercent, consecutiveFailures, minimumCalls, size, slowPercent } = this.settings
      const window = this.window(now)
      const failures = window.filter(({ failed }) => failed).length
      const slow = window.filter(({ slow }) => slow).length
      const enough = window.length >= (this.settings.byTime ? minimumCalls : Math.min(minimumCalls, size))
      const calls = window.length + this.admitted.filter(({ early, end }) => early && end === "underway").length
      if (
        this.longestRow() >= consecutiveFailures ||
        (enough && failures > 0 && failures / calls >= failurePercent / 100) ||
        (enough && slow > 0 && slow / calls >= slowPercent / 100)
      ) this.open(now)
    }
  }

  reset() {
    this.step("closed")
    this.openings = []
  }
}

interface Running {
  readonly ticket: Ticket
  readonly at: number
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly end: Deferred.Deferred<Attempt.Outcome>
}

const outcomes: ReadonlyArray<readonly [outcome: Attempt.Outcome, failed: boolean | undefined]> = [
  [completed, false],
  [failed(new RateLimitError({ limit: "requests" })), false],
  [failed(new ServerError({ overloaded: false })), true],
  [failed(new ServerError({ overloaded: true })), true],
  [aborted, undefined],
  [Attempt.Outcome.NotSent(), undefined]
]

describe("CircuitBreaker, against a reference", () => {
  it.effect.prop(
    "admits and refuses as the rules say whatever happens, and finds its way back from every state",
    Settings,
    (settings) =>
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const reference = new Reference(settings)
        let chance = settings.seed
        const draw = (below: number) => {
          chance = (chance * 48_271) % 2_147_483_647
          return chance % below
        }
        let running: Array<Running> = []

        const start = Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          const end = yield* Deferred.make<Attempt.Outcome>()
          const made = attempt()
          const use = Effect.gen(function*() {
            made.outcome = aborted
            made.outcome = yield* Deferred.await(end)
          })
          const wait = reference.waitMillis(now)
          const ticket = reference.admit(now)
          const fiber = yield* Effect.forkChild(Attempt.guard(breaker, made, use), { startImmediately: true })
          const exit = fiber.pollUnsafe()
          if (ticket !== undefined) {
            assert.isUndefined(exit)
            running.push({ ticket, at: now, fiber, end })
          } else {
            const error = yield* Effect.flip(Fiber.join(fiber))
            assert.strictEqual(Duration.toMillis(error.retryAfter), wait)
          }
        })

        const finish = Effect.fnUntraced(function*(call: Running, interrupt: boolean, choice: number) {
          const now = yield* Clock.currentTimeMillis
          const [outcome, isFailed] = outcomes[choice]!
          if (interrupt) yield* Fiber.interrupt(call.fiber)
          else yield* Deferred.succeed(call.end, outcome)
          yield* Fiber.await(call.fiber)
          running = running.filter((other) => other !== call)
          const verdict = interrupt || isFailed === undefined
            ? undefined
            : { failed: isFailed, slow: now - call.at > slowMillis }
          reference.settle(call.ticket, verdict, now)
        })

        for (let step = 0; step < 120; step++) {
          const kind = draw(20)
          const call = running[draw(Math.max(1, running.length))]
          if (kind < 8) yield* start
          else if (kind < 15) { if (call !== undefined) yield* finish(call, kind === 14, draw(outcomes.length)) }
          else if (kind < 19) yield* TestClock.adjust(draw(kind === 18 ? 12_000 : 1_500))
          else if (draw(4) === 0) {
            yield* breaker.reset(group)
            reference.reset()
          }
          const now = yield* Clock.currentTimeMillis
          const { calls, failures, openings, phase, retryAfter, slow } = yield* breaker.state(group)
          const window = reference.window(now)
          assert.deepStrictEqual(
            { calls, failures, openings, phase, slow, wait: Duration.toMillis(retryAfter) },
            {
              calls: window.length,
              failures: window.filter(({ failed }) => failed).length,
              openings: reference.openings.length,
              phase: reference.phase,
              slow: window.filter(({ slow }) => slow).length,
              wait: reference.waitMillis(now)
            }
          )
        }

        for (const { fiber } of running) yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("64 seconds")
        if ((yield* breaker.state(group)).phase !== "closed") {
          for (let trial = 0; trial < settings.trials; trial++) {
            const made = attempt()
            yield* settling.admit(breaker, made)
            made.outcome = completed
            yield* settling.settle(made)
          }
        }
        assert.strictEqual((yield* breaker.state(group)).phase, "closed")
      }).pipe(
        Effect.provide(CircuitBreaker.layer(optionsOf(settings)).pipe(Layer.provide(ClaudeApi.layer())))
      ),
    { arbitrary: { runs: 300 } }
  )

  it.effect.prop(
    "goes on after a restore as if nothing had been",
    Settings,
    (settings) =>
      Effect.gen(function*() {
        const layer = Layer.provide(CircuitBreaker.layer(optionsOf(settings)), ClaudeApi.layer())
        const breaker = Effect.map(
          Layer.build(Layer.fresh(layer)),
          (context) => Context.get(context, CircuitBreaker.CircuitBreaker)
        )
        const original = yield* breaker
        let chance = settings.seed
        const draw = (below: number) => {
          chance = (chance * 48_271) % 2_147_483_647
          return chance % below
        }
        const call = (self: CircuitBreaker.CircuitBreaker["Service"], outcome: Attempt.Outcome) =>
          Effect.gen(function*() {
            const made = attempt()
            yield* settling.admit(self, made)
            made.outcome = outcome
            yield* settling.settle(made)
          })
        const schedule = (length: number) =>
          Array.from({ length }, () => ({ outcome: outcomes[draw(outcomes.length)]![0], millis: draw(900) }))
        for (const { millis, outcome } of schedule(40)) {
          yield* Effect.exit(call(original, outcome))
          yield* TestClock.adjust(millis)
        }
        // Trials that run are not kept, so it is saved between them.
        while ((yield* original.state(group)).phase === "halfOpen") yield* call(original, completed)
        const restored = yield* breaker
        yield* restored.restore(yield* original.save)
        for (const { millis, outcome } of schedule(40)) {
          const exit = yield* Effect.exit(call(original, outcome))
          assert.strictEqual(Exit.isSuccess(yield* Effect.exit(call(restored, outcome))), Exit.isSuccess(exit))
          assert.deepStrictEqual(yield* original.state(group), yield* restored.state(group))
          yield* TestClock.adjust(millis)
        }
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 100 } }
  )
})
