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
  failurePercent: between(1, 101),
  slowPercent: between(1, 101),
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
  failureRate: settings.failurePercent > 100 ? Infinity : settings.failurePercent / 100,
  slowCallRate: settings.slowPercent > 100 ? Infinity : settings.slowPercent / 100,
  slowCallDuration: slowMillis,
  openDuration: Duration.seconds(settings.openSeconds),
  maxOpenDuration: Duration.seconds(settings.openSeconds * 2 ** settings.doublings),
  halfOpenCalls: settings.trials,
  successThreshold: Math.min(settings.trials, settings.successes),
  halfOpenDuration: Duration.seconds(settings.halfOpenSeconds),
  jitter: 0
})

type Verdict = { readonly failed: boolean; readonly slow: boolean } | undefined

/** What was let in: in which stretch, in which slot of it or in which round of trials, and what became of it. */
interface Ticket {
  readonly stretch: number
  readonly round: number
  readonly slot: number
  readonly at: number
  end: "underway" | "failed" | "succeeded" | "nothing"
  slow: boolean
  /** It has counted as failed since it had no verdict in time, before it had one. */
  hung: boolean
}

/** Nobody knows how long such attempts take, so they hang after two minutes. */
const hungMillis = 120_000

/** The rules of a circuit over everything it ever saw, with no thought to what that costs. */
class Reference {
  private readonly settings: Settings
  phase: CircuitBreaker.Phase = "closed"
  /** Grows when a closed circuit opens and when one closes. */
  stretch = 0
  /** Those that were let in while it was closed, in the order in which they were sent. */
  private admitted: Array<Ticket> = []
  private forgotten = -Infinity
  private sweptAt = -Infinity
  openings: Array<{ readonly at: number; readonly seconds: number }> = []
  private closedAt = 0
  /** The trials since it became half-open, and of them those of the last round that hold a permit. */
  private trials: Array<Ticket> = []
  private round = 0
  private firstRound = 0
  private roundAt = 0
  private running = 0
  private proofs = 0
  /** How long the newest callers since the last recovery waited, and whether for an answer. */
  private waits: Array<{ readonly millis: number; readonly isAnswered: boolean }> = []

  constructor(settings: Settings) {
    this.settings = settings
  }

  waited(millis: number, isAnswered: boolean) {
    this.waits = [...this.waits, { millis, isAnswered }].slice(-64)
  }

  /** Who waits for as long leaves late: each attempt is of a kind of its own, which may take twice as long as nine of ten others, or a minute. */
  get lateMillis(): number {
    const answers = this.waits.filter(({ isAnswered }) => isAnswered).map(({ millis }) => millis)
    const usual = answers.filter((time) => {
      const known = answers.filter((millis) => millis <= time).length
      const longer = this.waits.filter(({ isAnswered, millis }) => millis > time || (millis === time && !isAnswered))
      return known >= 0.9 * (known + longer.length)
    })
    return answers.length < 10 || usual.length === 0 ? 60_000 : 2 * Math.min(...usual)
  }

  /** How many attempts or milliseconds a slot has, and how many slots a window. */
  private get slots() {
    const { byTime, size } = this.settings
    const chunk = Math.ceil(size / 10)
    return byTime
      ? { unit: size * 100, length: 10 }
      : { unit: chunk, length: Math.ceil(size / chunk) + (chunk > 1 ? 1 : 0) }
  }

  /** The slot of an attempt that is sent now. */
  private slotAt(now: number): number {
    const { unit } = this.slots
    if (this.settings.byTime) return Math.floor(now / unit)
    const newest = Math.max(0, ...this.admitted.map(({ slot }) => slot))
    const there = this.admitted.filter(({ end, slot }) => slot === newest && end !== "nothing").length
    return there < unit ? newest : newest + 1
  }

  /** The attempts of the window that ends with a slot, as far as they are remembered. */
  private windowTo(last: number, now: number): ReadonlyArray<Ticket> {
    const { length } = this.slots
    // What was too old once is not remembered again when the newest attempt turns out to be none.
    this.forgotten = Math.max(this.forgotten, this.slotAt(now) - 7 * length)
    return this.admitted.filter(({ end, slot }) =>
      end !== "nothing" && slot > Math.max(last - length, this.forgotten) && slot <= last
    )
  }

  window(now: number): ReadonlyArray<Ticket> {
    if (this.phase !== "closed") return []
    const newest = this.settings.byTime
      ? this.slotAt(now)
      : Math.max(0, ...this.admitted.map(({ slot }) => slot))
    return this.windowTo(newest, now)
  }

  private step(phase: CircuitBreaker.Phase) {
    this.phase = phase
    this.stretch++
    this.admitted = []
    this.forgotten = -Infinity
    this.sweptAt = -Infinity
  }

  private longestRow() {
    let row = 0
    let longest = 0
    for (const { end, hung } of this.admitted) {
      if (end === "failed" || hung) longest = Math.max(longest, ++row)
      else if (end !== "nothing") row = 0
    }
    return longest
  }

  private get roundSeconds() {
    const { doublings, halfOpenSeconds, openSeconds } = this.settings
    const longest = Math.max(halfOpenSeconds, openSeconds * 2 ** doublings)
    return Math.min(
      longest,
      halfOpenSeconds * 2 ** (this.round - this.firstRound)
    )
  }

  waitMillis(now: number): number {
    const last = this.openings.at(-1)
    if (this.phase === "open") return Math.max(0, last!.at + last!.seconds * 1_000 - now)
    if (this.phase === "closed" || this.running < this.settings.trials) return 0
    return Math.max(0, this.roundAt + this.roundSeconds * 1_000 - now)
  }

  /** When it is worth to ask again: a half-open circuit may close before its round ends. */
  retryMillis(now: number): number {
    const wait = this.waitMillis(now)
    return this.phase === "halfOpen" ? Math.min(wait, this.settings.halfOpenSeconds * 1_000) : wait
  }

  /** Those that hang count as failed; they are looked for ten times a second. */
  private sweep(now: number) {
    if (now - this.sweptAt < 100) return
    this.sweptAt = now
    for (const ticket of this.admitted) {
      if (ticket.end !== "underway" || ticket.hung || now < ticket.at + hungMillis) continue
      ticket.hung = true
      ticket.end = "failed"
    }
  }

  admit(now: number): Ticket | undefined {
    if (this.phase === "closed") {
      this.sweep(now)
      this.judge(now)
    }
    if (this.waitMillis(now) > 0) return undefined
    if (this.phase === "closed") {
      const ticket = this.ticket(0, this.slotAt(now), now)
      this.admitted.push(ticket)
      return ticket
    }
    const isRoundOver = now >= this.roundAt + this.roundSeconds * 1_000
    if (this.phase === "open" || isRoundOver) {
      this.round++
      this.roundAt = now
      this.running = 0
    }
    if (this.phase === "open") {
      this.phase = "halfOpen"
      this.firstRound = this.round
      this.trials = []
    }
    this.running++
    const ticket = this.ticket(this.round, 0, now)
    this.trials.push(ticket)
    return ticket
  }

  private ticket(round: number, slot: number, at: number): Ticket {
    return { stretch: this.stretch, round, slot, at, end: "underway", slow: false, hung: false }
  }

  private open(now: number) {
    const last = this.openings.at(-1)
    if (this.phase === "closed" && last !== undefined && now - this.closedAt >= last.seconds * 1_000) this.openings = []
    const doublings = Math.min(this.settings.doublings, this.openings.length)
    this.openings.push({ at: now, seconds: this.settings.openSeconds * 2 ** doublings })
    this.proofs = 0
    if (this.phase === "closed") {
      this.round = 0
      this.step("open")
    } else this.phase = "open"
  }

  /** A closed circuit opens by a row, or by the rate of any window that it remembers. */
  judge(now: number) {
    if (this.phase !== "closed") return
    const { byTime, consecutiveFailures, failurePercent, minimumCalls, size, slowPercent } = this.settings
    const least = byTime ? minimumCalls : Math.min(minimumCalls, size)
    const isOver = (count: number, calls: number, percent: number) =>
      percent <= 100 && count > 0 && count / calls >= percent / 100
    const oldest = this.slotAt(now) - 6 * this.slots.length
    const trips = [...new Set(this.admitted.map(({ slot }) => slot))].some((slot) => {
      if (slot < oldest) return false
      const window = this.windowTo(slot, now)
      const failures = window.filter(({ end }) => end === "failed").length
      const slow = window.filter(({ slow }) => slow).length
      return window.length >= least &&
        (isOver(failures, window.length, failurePercent) || isOver(slow, window.length, slowPercent))
    })
    if (trips || this.longestRow() >= consecutiveFailures) this.open(now)
  }

  settle(ticket: Ticket, verdict: Verdict, now: number) {
    // What has opened the circuit by its silence is answered after all.
    const isRefuted = this.phase !== "closed" && ticket.hung && ticket.round === 0 &&
      ticket.stretch === this.stretch - 1 && verdict?.failed === false
    if (isRefuted) return this.tried(ticket, verdict, now)
    if (ticket.stretch !== this.stretch) return
    if (ticket.round === 0) {
      if (ticket.hung) {
        if (verdict?.failed === false) ticket.end = "succeeded"
      } else {
        ticket.end = verdict === undefined ? "nothing" : verdict.failed ? "failed" : "succeeded"
        ticket.slow = verdict?.slow === true
      }
      return this.judge(now)
    }
    this.tried(ticket, verdict, now)
  }

  private tried(ticket: Ticket, verdict: Verdict, now: number) {
    const isBad = verdict !== undefined && (verdict.failed || (verdict.slow && this.settings.slowPercent <= 100))
    if (verdict !== undefined && !isBad) {
      if (++this.proofs < Math.min(this.settings.successes, this.settings.trials)) return
      this.closedAt = now
      this.waits = []
      return this.step("closed")
    }
    if (this.phase !== "halfOpen" || ticket.round < this.firstRound) return
    ticket.end = isBad ? "failed" : "nothing"
    if (!isBad && ticket.round === this.round) this.running--
    const failures = this.trials.filter(({ end }) => end === "failed").length
    const trials = this.trials.filter(({ end }) => end !== "nothing").length
    const share = this.settings.failurePercent > 100 ? 0.5 : this.settings.failurePercent / 100
    if (failures > 0 && failures / Math.max(trials, this.settings.trials) >= share) this.open(now)
  }

  reset() {
    if (this.phase !== "closed") this.waits = []
    this.step("closed")
    this.phase = "closed"
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
          const wait = reference.retryMillis(now)
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
          const millis = now - call.at
          const slow = millis > slowMillis
          const isLeft = interrupt || outcome._tag === "Aborted"
          const isLate = isLeft && millis > 0 && millis >= reference.lateMillis
          if (isLeft ? !isLate : outcome._tag === "Completed") reference.waited(millis, !isLeft)
          const verdict = isLeft
            ? isLate ? { failed: true, slow } : undefined
            : isFailed === undefined
            ? undefined
            : { failed: isFailed, slow }
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
          reference.judge(now)
          const window = reference.window(now)
          assert.deepStrictEqual(
            { calls, failures, openings, phase, slow, wait: Duration.toMillis(retryAfter) },
            {
              calls: window.length,
              failures: window.filter(({ end }) => end === "failed").length,
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
          for (let trial = 0; trial < settings.trials; trial++) { // as many as any threshold needs
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
        while ((yield* original.state(group)).phase === "halfOpen") {
          yield* Effect.exit(call(original, completed))
          yield* TestClock.adjust("1 second")
        }
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
