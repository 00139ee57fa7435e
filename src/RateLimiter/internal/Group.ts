/** The attempts of one group, which share buckets: admits at once where nobody waits and there is room, else in turn. */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import { type Attempt, type Settle, waited } from "../../Attempt.ts"
import type { RateLimitedLocallyError } from "../../ClaudeError.ts"
import * as Metrics from "../../internal/metrics.ts"
import { type Dimension, dimensions, plus, zero } from "./Amounts.ts"
import type { BucketSet, Level, Levels, Need } from "./BucketSet.ts"
import { flowOf, weightOf } from "./flows.ts"
import * as InFlight from "./InFlight.ts"
import type { Limits } from "./Limits.ts"
import { giveBack, Line, type Turn } from "./Line.ts"
import { errorOf } from "./refusals.ts"
import { capacityOf } from "./State.ts"
import type { Ticket } from "./Store.ts"
import { isConfigured, Window } from "./Window.ts"

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
  /** The longest pause that is waited for. */
  readonly maxPauseMillis: number
  /** Of tenants, users and request types, beside 1. */
  readonly weights: ReadonlyMap<string, number>
  /** What metrics look up. */
  readonly services: Context.Context<never>
}

/** That an answer is odd is logged no more often than this. */
const oddMillis = 60_000

/** Attempts in flight are looked at no more often than this. */
const lookMillis = 250

/** So many of them at a time, in turn, that a look never takes long. */
const maxLooked = 1_000

/** The gauges of a group are written no more often than this. */
const gaugeMillis = 1_000

/** Those of one group: groups that share a metric would look it up by its name at each update. */
const metricsOf = (group: string) => {
  const remaining = (dimension: string) => Metrics.gauge(Metrics.metrics.limitRemaining, { group, dimension })
  const limit = (dimension: string) => Metrics.gauge(Metrics.metrics.limit, { group, dimension })
  return {
    waits: Metrics.histogram(Metrics.metrics.limitWaits, { group }),
    outputRatio: Metrics.histogram(Metrics.metrics.outputRatio, { group }),
    /** By priority and tenant. */
    queue: new Map<string, Metric.Gauge<number>>(),
    limit: {
      requests: limit("requests"),
      inputTokens: limit("input_tokens"),
      outputTokens: limit("output_tokens"),
      tokens: limit("tokens")
    } satisfies Record<Dimension, unknown>,
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

/** What was learnt paces a request, and makes it no larger than the bucket that it fits into. */
const paced = (need: Need, size: number, limits: Limits, { burstMillis, inputTokens, share, tokens }: Levels): Need => {
  const capacity = (level: Level | undefined, limit: number | undefined) =>
    level !== undefined ? level.capacity / share : limit === undefined ? Infinity : capacityOf(limit, burstMillis)
  const most = Math.min(
    capacity(inputTokens, limits.inputTokensPerMinute),
    capacity(tokens, limits.tokensPerMinute)
  )
  return InFlight.withInput(need, Math.min(need.usage.inputTokens, Math.max(size, Math.floor(most))))
}

const logOdd = ({ model, outcome }: Attempt): Effect.Effect<void> =>
  Effect.logWarning(
    `RateLimiter: an answer of ${model} reports more tokens than its request could have used. The limits are charged for as many as it could.`,
    "usage" in outcome ? outcome.usage : undefined
  )

export class Group {
  readonly keyGroup: string
  readonly name: string
  readonly buckets: BucketSet
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  readonly maxQueue: number
  readonly maxPauseMillis: number
  readonly weights: ReadonlyMap<string, number>
  /** Attempts that have what they asked for and are not settled, those whose reservation has not begun included. */
  admitted = 0
  /** How many wait for a reservation that begins later without having been in the line. */
  early = 0
  /** How many ask without having been in the line, and have no answer yet. */
  private asking = 0
  private limits: Limits
  /** From the first time on that no limits are configured. */
  private window: Window | undefined
  /** From the first one on that must wait. */
  private line: Line | undefined
  /** Each knows its place, and the last takes that of one that leaves: a set takes 0.2 us longer for each attempt. */
  private readonly inFlight: Array<InFlight.InFlight> = []
  /** Who is looked at next. */
  private unlooked = 0
  private oddAt = -Infinity
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
    this.maxPauseMillis = options.maxPauseMillis
    this.weights = options.weights
    this.services = options.services
    this.configured = options.configured
    this.limits = options.configured()
    this.window = isConfigured(this.limits) ? undefined : new Window(this.limits)
    this.metrics = metricsOf(options.name)
    this.gauge = Effect.map(options.buckets.levels, (levels) => {
      for (const dimension of dimensions) {
        const level = levels[dimension]
        if (level === undefined) continue
        this.metrics.remaining[dimension].updateUnsafe(Math.floor(level.free), this.services)
        this.metrics.limit[dimension].updateUnsafe(level.perMinute, this.services)
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
    return this.window === undefined || this.window.isOpen(this.admitted, this.clock)
  }

  /** How long it takes at most until another attempt may go out behind so many. */
  opensIn(behind: number): number {
    return this.window === undefined ? 0 : this.window.opensIn(behind, this.admitted, this.clock)
  }

  /** Applies the limits as configured now, also to those who wait. */
  get reconfigure(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.limits = this.configured()
      if (this.window !== undefined) this.window.reset(this.limits)
      else if (!isConfigured(this.limits)) this.window = new Window(this.limits)
      // An empty request carries the new limits to the store.
      return Effect.map(this.reserve({ usage: zero, reserve: zero, withinMillis: 0 }, 0), () => this.line?.wake())
    })
  }

  reserve(need: Need, leftMillis: number): ReturnType<BucketSet["reserve"]> {
    return this.buckets.reserve(this.limits, need, leftMillis)
  }

  /** Runs uninterruptibly, except where it waits. */
  admit(attempt: Attempt): Effect.Effect<Settle, RateLimitedLocallyError> {
    const began = this.clock.currentTimeMillisUnsafe()
    const { context } = attempt
    const alone = InFlight.needOf(attempt)
    const need = this.buckets.isShared
      ? { ...alone, flow: flowOf(context), weight: weightOf(this.weights, context) }
      : alone
    const isLookDue = this.inFlight.length > 0 && Math.abs(began - this.lookedAt) >= lookMillis
    const looking = isLookDue ? this.look() : undefined
    const { size = 0, usage } = need
    const admitted = usage.inputTokens > size
      ? Effect.flatMap(
        this.buckets.levels,
        (levels) => this.admitNeed(attempt, paced(need, size, this.limits, levels), began)
      )
      : this.admitNeed(attempt, need, began)
    return looking === undefined ? admitted : Effect.andThen(looking, admitted)
  }

  private admitNeed(attempt: Attempt, need: Need, began: number): Effect.Effect<Settle, RateLimitedLocallyError> {
    return this.early > 0 || (this.line !== undefined && this.line.size > 0) || !this.isOpen
      ? this.wait(attempt, need, began)
      : this.asking === 0
      ? this.ask(attempt, need, began)
      : this.askWithOthers(attempt, need, began)
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
    return Effect.flatMapEager(
      this.buckets.reserve(
        this.limits,
        need,
        Math.min(
          deadline - began,
          attempt.patience ?? Infinity,
          (attempt.waitUntil ?? Infinity) - began,
          this.maxPauseMillis
        ),
        began
      ),
      ({ reservation }) => {
        this.asking--
        if (reservation._tag === "Granted") {
          return reservation.waitMillis === 0
            ? Effect.succeed(
              this.settlement(
                attempt,
                need,
                reservation.ticket,
                began,
                this.buckets.isShared ? this.clock.currentTimeMillisUnsafe() : began
              )
            )
            : Effect.map(
              this.waitEarly(attempt, need, reservation.ticket, reservation.waitMillis),
              (ticket) => this.settlement(attempt, need, ticket, began, this.clock.currentTimeMillisUnsafe())
            )
        }
        this.admitted--
        return this.wait(attempt, need, began)
      }
    )
  }

  /** Waits for a reservation that begins later. */
  private waitEarly(attempt: Attempt, need: Need, ticket: Ticket, millis: number): Effect.Effect<Ticket> {
    this.early++
    const began = this.clock.currentTimeMillisUnsafe()
    this.queued(attempt, 1)
    return Effect.interruptible(Effect.sleep(millis)).pipe(
      Effect.as(ticket),
      Effect.onExit((exit) => {
        this.early--
        this.queued(attempt, -1)
        waited(attempt, "limits", this.clock.currentTimeMillisUnsafe() - began)
        this.line?.wake()
        if (Exit.isSuccess(exit)) return Effect.void
        this.admitted--
        return giveBack(this.buckets, need, ticket)
      })
    )
  }

  private wait(attempt: Attempt, need: Need, began: number): Effect.Effect<Settle, RateLimitedLocallyError> {
    const { context, patience, waitUntil } = attempt
    const { deadline, priority } = context
    const who = { priority, flow: flowOf(context), weight: weightOf(this.weights, context) }
    const until = patience === undefined && waitUntil === undefined
      ? deadline
      : Math.min(deadline ?? Infinity, waitUntil ?? Infinity, began + (patience ?? Infinity))
    this.line ??= new Line(this)
    this.queued(attempt, 1)
    const granted = Effect.onExit(this.line.wait(who, until, need, until !== deadline), () =>
      Effect.sync(() => {
        this.queued(attempt, -1)
        waited(attempt, "limits", this.clock.currentTimeMillisUnsafe() - began)
      }))
    return Effect.matchEffect(granted, {
      onFailure: (refused) => Effect.fail(errorOf(refused, this.name, attempt, need)),
      onSuccess: (turn) =>
        Effect.succeed(this.settlement(attempt, need, turn.ticket, began, this.clock.currentTimeMillisUnsafe(), turn))
    })
  }

  /** One more waits, or one less. */
  private queued({ context: { priority, tenant: of } }: Attempt, by: 1 | -1): void {
    const { queue } = this.metrics
    const tenant = Context.get(this.services, Metrics.TenantLabel)(of)
    const key = `${priority} ${tenant}`
    const series = queue.get(key) ?? Metrics.gauge(Metrics.metrics.limitQueue, { group: this.name, priority, tenant })
    queue.set(key, series)
    series.modifyUnsafe(by, this.services)
  }

  /** It is in flight from now on. */
  private settlement(
    attempt: Attempt,
    need: Need,
    ticket: Ticket,
    began: number,
    admittedAt: number,
    turn?: Turn
  ): Settle {
    const self: InFlight.InFlight = {
      attempt,
      ticket,
      kind: attempt.endpoint === "messages" ? attempt.kind : undefined,
      predictedOutput: need.reserve.outputTokens,
      admittedAt,
      used: need.usage,
      reserved: need.reserve,
      isObserved: false,
      standing: "fresh",
      place: this.inFlight.length
    }
    this.inFlight.push(self)
    this.window?.sent(self)
    this.metrics.waits.updateUnsafe(Math.max(0, admittedAt - began) / 1_000, this.services)
    return Effect.suspend(() => {
      const last = this.inFlight.pop() ?? self
      if (last !== self) this.inFlight[last.place = self.place] = last
      const { outcome } = attempt
      const now = this.clock.currentTimeMillisUnsafe()
      const isCompleted = outcome._tag === "Completed"
      if (isCompleted && self.kind !== undefined) {
        const ratio = outcome.usage.outputTokens / Math.max(1, self.predictedOutput)
        this.metrics.outputRatio.updateUnsafe(ratio, this.services)
      }
      const { isOdd, report } = InFlight.close(self, now)
      turn?.used(plus(self.used, report.usage))
      this.admitted--
      this.window?.settled(self, now, report)
      const { line } = this
      const reported = line === undefined
        ? this.buckets.report(report, now)
        : Effect.mapEager(this.buckets.report(report, now), () => line.wake())
      if (isOdd && Math.abs(now - this.oddAt) >= oddMillis) {
        this.oddAt = now
        return Effect.andThen(logOdd(attempt), reported)
      }
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
    for (let left = Math.min(maxLooked, this.inFlight.length); left > 0; left--) {
      if (this.unlooked >= this.inFlight.length) this.unlooked = 0
      const report = InFlight.look(this.inFlight[this.unlooked++]!, now, this.waiting > 0)
      if (report === undefined) continue
      reports.push(
        report.observed === undefined
          ? this.buckets.report(report)
          : Effect.mapEager(this.buckets.report(report), () => {
            this.window?.observed(now)
            this.line?.wake()
          })
      )
    }
    return reports.length === 0 ? Effect.void : Effect.asVoid(Effect.all(reports))
  }
}
