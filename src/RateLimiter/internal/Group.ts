/** The attempts of one group, which share buckets: admits at once where nobody waits and there is room, else in turn. */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Attempt, Settle } from "../../Attempt.ts"
import { RateLimitedLocallyError } from "../../ClaudeError.ts"
import * as Metrics from "../../internal/metrics.ts"
import { type Dimension, dimensions, zero } from "./Amounts.ts"
import type { BucketSet, Levels, Need } from "./BucketSet.ts"
import * as InFlight from "./InFlight.ts"
import type { Limits } from "./Limits.ts"
import { giveBack, Line, type Refused } from "./Line.ts"
import { forgetMillis } from "./State.ts"
import type { Ticket } from "./Store.ts"

export interface Options {
  readonly keyGroup: string
  /** A model group, one with `-fast` behind it, or `count-tokens`. */
  readonly name: string
  /** The limits as configured now. */
  readonly configured: () => Limits
  readonly buckets: BucketSet
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  readonly maxQueue: number
  /** What metrics look up. */
  readonly services: Context.Context<never>
}

/** What bounds the attempts that may go out at once. */
type Bound =
  /** Limits are configured, and the buckets keep to them. */
  | { readonly _tag: "Configured" }
  /** Headers reported limits, and the buckets keep to them until those are forgotten. */
  | { readonly _tag: "Observed"; readonly until: number }
  /** No limit is known: so many at once. Each that succeeds adds one, a refusal halves them. */
  | { readonly _tag: "Unknown"; readonly window: number }

/** How many attempts go out at once before any limit is known. */
const firstWindow = 4

const unknown: Bound = { _tag: "Unknown", window: firstWindow }

const boundBy = (limits: Limits): Bound => {
  const isLimited = limits.requestsPerMinute !== undefined || limits.inputTokensPerMinute !== undefined ||
    limits.outputTokensPerMinute !== undefined || limits.tokensPerMinute !== undefined
  return isLimited ? { _tag: "Configured" } : unknown
}

/** The bound after an attempt is settled. */
const nextBound = (bound: Bound, now: number, hasHeaders: boolean, isCompleted: boolean, isRefused: boolean): Bound => {
  if (bound._tag === "Configured") return bound
  if (hasHeaders) return { _tag: "Observed", until: now + forgetMillis }
  if (bound._tag === "Observed" && now <= bound.until) return bound
  const window = (bound._tag === "Observed" ? firstWindow : bound.window) + (isCompleted ? 1 : 0)
  return { _tag: "Unknown", window: isRefused ? Math.max(1, Math.floor(window / 2)) : window }
}

/** Attempts in flight are looked at no more often than this. */
const lookMillis = 250

/** So many of them at a time, in turn, that a look never takes long. */
const maxLooked = 1_000

/** The gauges of a group are written no more often than this. */
const gaugeMillis = 1_000

/** Those of one group: groups that share a metric would look it up by its name at each update. */
const metricsOf = (group: string) => {
  const remaining = (dimension: string) => Metrics.gauge(Metrics.metrics.limitRemaining, { group, dimension })
  return {
    waits: Metrics.histogram(Metrics.metrics.limitWaits, { group }),
    outputRatio: Metrics.histogram(Metrics.metrics.outputRatio, { group }),
    remaining: {
      requests: remaining("requests"),
      inputTokens: remaining("input_tokens"),
      outputTokens: remaining("output_tokens"),
      tokens: remaining("tokens")
    } satisfies Record<Dimension, unknown>
  }
}

/** Whether there may be no room for one more, as far as is known, when others are asking for about as much. */
const isCrowded = (levels: Levels, { reserve, usage }: Need, asking: number): boolean => {
  let isKnown = false
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level === undefined) continue
    isKnown = true
    if ((usage[dimension] + reserve[dimension]) * (asking + 1) > level.free) return true
  }
  return !isKnown || levels.pausedMillis > 0
}

export class Group {
  readonly keyGroup: string
  readonly name: string
  readonly buckets: BucketSet
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  readonly maxQueue: number
  /** Attempts that have what they asked for and are not settled, those whose reservation has not begun included. */
  admitted = 0
  /** How many wait for a reservation that begins later without having been in the line. */
  early = 0
  /** How many ask without having been in the line, and have no answer yet. */
  private asking = 0
  private limits: Limits
  private bound: Bound
  /** From the first one on that must wait. */
  private line: Line | undefined
  private readonly inFlight = new Set<InFlight.InFlight>()
  private unlooked = this.inFlight.values()
  private lookedAt = 0
  private gaugedAt = 0
  private readonly metrics: ReturnType<typeof metricsOf>
  private readonly services: Context.Context<never>
  private readonly configured: () => Limits
  /** Shows how much room there is. */
  private readonly gauge: Effect.Effect<void>

  constructor(options: Options) {
    this.keyGroup = options.keyGroup
    this.name = options.name
    this.buckets = options.buckets
    this.clock = options.clock
    this.scope = options.scope
    this.maxQueue = options.maxQueue
    this.services = options.services
    this.configured = options.configured
    this.limits = options.configured()
    this.bound = boundBy(this.limits)
    this.metrics = metricsOf(options.name)
    this.gauge = Effect.map(options.buckets.levels, (levels) => {
      for (const dimension of dimensions) {
        const level = levels[dimension]
        if (level !== undefined) this.metrics.remaining[dimension].updateUnsafe(Math.floor(level.free), this.services)
      }
    })
  }

  get waiting(): number {
    return this.early + (this.line === undefined ? 0 : this.line.size)
  }

  /** Attempts that were admitted and are not settled. */
  get inFlightCount(): number {
    return this.admitted - this.early - (this.line?.booked ?? 0)
  }

  /** Whether another attempt may go out, as far as the buckets do not know: before any limit is known, a few at a time. */
  get isOpen(): boolean {
    const { bound } = this
    if (bound._tag === "Configured") return true
    if (bound._tag === "Unknown") return this.admitted < bound.window
    return this.clock.currentTimeMillisUnsafe() <= bound.until || this.admitted < firstWindow
  }

  /** Applies the limits as configured now, also to those who wait. */
  get reconfigure(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.limits = this.configured()
      this.bound = boundBy(this.limits)
      // An empty request carries the new limits to the store.
      return Effect.map(this.reserve({ usage: zero, reserve: zero }, 0), () => this.line?.wake())
    })
  }

  reserve(need: Need, leftMillis: number): ReturnType<BucketSet["reserve"]> {
    return this.buckets.reserve(this.limits, need, leftMillis)
  }

  /** Runs uninterruptibly, except where it waits. */
  admit(attempt: Attempt): Effect.Effect<Settle, RateLimitedLocallyError> {
    const began = this.clock.currentTimeMillisUnsafe()
    const need = InFlight.needOf(attempt)
    const admitted = this.early > 0 || (this.line !== undefined && this.line.size > 0) || !this.isOpen
      ? this.wait(attempt, need, began)
      : this.asking === 0
      ? this.ask(attempt, need, began)
      : this.askWithOthers(attempt, need, began)
    const isLookDue = this.inFlight.size > 0 && Math.abs(began - this.lookedAt) >= lookMillis
    return isLookDue ? Effect.andThen(this.look(), admitted) : admitted
  }

  /** Those that come at once and will have to wait do so in the line, in the order of their priorities, and do not all get reservations. */
  private askWithOthers(attempt: Attempt, need: Need, began: number): Effect.Effect<Settle, RateLimitedLocallyError> {
    return Effect.flatMap(this.buckets.levels, (levels) =>
      this.waiting > 0 || isCrowded(levels, need, this.asking)
        ? this.wait(attempt, need, began)
        : this.ask(attempt, need, began))
  }

  private ask(attempt: Attempt, need: Need, began: number): Effect.Effect<Settle, RateLimitedLocallyError> {
    this.admitted++
    this.asking++
    const { deadline = Infinity } = attempt.context
    return Effect.flatMap(
      this.buckets.reserve(this.limits, need, Math.min(deadline - began, attempt.patience ?? Infinity)),
      ({ reservation }) => {
        this.asking--
        if (reservation._tag === "Granted") {
          return reservation.waitMillis === 0
            ? Effect.succeed(this.settlement(attempt, need, reservation.ticket, began))
            : Effect.map(
              this.waitEarly(need, reservation.ticket, reservation.waitMillis),
              (ticket) => this.settlement(attempt, need, ticket, began)
            )
        }
        this.admitted--
        return this.wait(attempt, need, began)
      }
    )
  }

  /** Waits for a reservation that begins later. */
  private waitEarly(need: Need, ticket: Ticket, millis: number): Effect.Effect<Ticket> {
    this.early++
    return Effect.interruptible(Effect.sleep(millis)).pipe(
      Effect.as(ticket),
      Effect.onExit((exit) => {
        this.early--
        this.line?.wake()
        if (Exit.isSuccess(exit)) return Effect.void
        this.admitted--
        return giveBack(this.buckets, need, ticket)
      })
    )
  }

  private wait(attempt: Attempt, need: Need, began: number): Effect.Effect<Settle, RateLimitedLocallyError> {
    const { deadline, priority } = attempt.context
    const { patience } = attempt
    const until = patience === undefined ? deadline : Math.min(deadline ?? Infinity, began + patience)
    this.line ??= new Line(this)
    return Effect.matchEffect(this.line.wait(priority, until, need), {
      onFailure: (refused) => Effect.fail(this.errorOf(refused, attempt, need)),
      onSuccess: (ticket) => Effect.succeed(this.settlement(attempt, need, ticket, began))
    })
  }

  private errorOf(refused: Refused, attempt: Attempt, { usage }: Need): RateLimitedLocallyError {
    const common = { group: this.name, attempts: attempt.number - 1 }
    if (refused._tag === "TooLarge") {
      const size = { needed: usage.inputTokens, limit: refused.limit }
      return new RateLimitedLocallyError({ ...common, ...size, reason: "tooLarge", retryAfter: undefined })
    }
    const reasons = { Closed: "spend", Deadline: "deadline", QueueFull: "queueFull" } as const
    const retryAfter = Duration.millis(refused.waitMillis)
    const isElsewhere = refused._tag === "Deadline" && attempt.patience !== undefined
    return new RateLimitedLocallyError({
      ...common,
      reason: isElsewhere ? "elsewhere" : reasons[refused._tag],
      retryAfter
    })
  }

  /** It is in flight from now on. */
  private settlement(attempt: Attempt, need: Need, ticket: Ticket, began: number): Settle {
    const admittedAt = this.clock.currentTimeMillisUnsafe()
    const self: InFlight.InFlight = {
      attempt,
      ticket,
      kind: attempt.endpoint === "messages" ? attempt.kind : undefined,
      predictedOutput: need.reserve.outputTokens,
      admittedAt,
      used: need.usage,
      reserved: need.reserve,
      isObserved: false
    }
    this.inFlight.add(self)
    this.metrics.waits.updateUnsafe(Math.max(0, admittedAt - began) / 1_000, this.services)
    return Effect.suspend(() => {
      this.inFlight.delete(self)
      const { outcome } = attempt
      const now = this.clock.currentTimeMillisUnsafe()
      const isCompleted = outcome._tag === "Completed"
      if (isCompleted && self.kind !== undefined) {
        const ratio = outcome.usage.outputTokens / Math.max(1, self.predictedOutput)
        this.metrics.outputRatio.updateUnsafe(ratio, this.services)
      }
      const report = InFlight.close(self, now)
      this.admitted--
      this.bound = nextBound(this.bound, now, report.observed !== undefined, isCompleted, report.pause !== undefined)
      const { line } = this
      const reported = line === undefined
        ? this.buckets.report(report)
        : Effect.map(this.buckets.report(report), () => line.wake())
      if (Math.abs(now - this.gaugedAt) < gaugeMillis) return reported
      this.gaugedAt = now
      return Effect.andThen(reported, this.gauge)
    })
  }

  /** Takes what the attempts in flight used so far, not of all at once. */
  look(): Effect.Effect<void> {
    const now = this.clock.currentTimeMillisUnsafe()
    if (Math.abs(now - this.lookedAt) < lookMillis) return Effect.void
    this.lookedAt = now
    const reports: Array<Effect.Effect<unknown>> = []
    for (let left = maxLooked; left > 0; left--) {
      const next = this.unlooked.next()
      if (next.done === true) {
        this.unlooked = this.inFlight.values()
        break
      }
      const report = InFlight.look(next.value, now, this.waiting > 0)
      if (report === undefined) continue
      reports.push(
        report.observed === undefined
          ? this.buckets.report(report)
          : Effect.map(this.buckets.report(report), () => {
            this.bound = nextBound(this.bound, now, true, false, false)
            this.line?.wake()
          })
      )
    }
    return reports.length === 0 ? Effect.void : Effect.asVoid(Effect.all(reports))
  }
}
