/**
 * Keeps traffic inside the limits of the API: calls wait their turn instead of being refused.
 *
 * Requests, input, output and where configured all tokens together are token buckets with continuous refill, one set for each (key
 * group, model group), taken all or none. Each answer's headers correct them; a 429 pauses the group for as long as the API asks, an
 * hour at most at a time, for all callers at once, and traffic ramps up after it. Input counts as the API counts it: what a cache
 * serves is free. Output is not reserved by `max_tokens` but by what calls of the same model and request type really produced.
 *
 * **Who goes next.** First come first served inside a priority of `CallContext`; a small late call never overtakes a large
 * early one of its class. While all three wait, `interactive` has 75 % of the limits, `standard` 20 % and `bulk` 5 %;
 * what one does not use goes to the others in proportion.
 *
 * **Example** (A tier, and room left for another application)
 *
 * ```ts
 * import { RateLimiter } from "effect-claude"
 *
 * export const tier = RateLimiter.layer({ limits: "build" })
 *
 * export const half = RateLimiter.layer({
 *   limits: { requestsPerMinute: 500, inputTokensPerMinute: 1_000_000, outputTokensPerMinute: 200_000 }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { admitted as admittedFreely, type Attempt, type Policy, type Settle } from "./Attempt.ts"
import { RateLimitedLocallyError } from "./ClaudeError.ts"
import * as Model from "./Model.ts"
import * as Buckets from "./RateLimiter/internal/Buckets.ts"
import { type BucketSet, Group, type Refused } from "./RateLimiter/internal/Group.ts"
import * as Limits from "./RateLimiter/internal/Limits.ts"
import * as Underway from "./RateLimiter/internal/Underway.ts"

export type { Tier } from "./Model.ts"
export type { Amounts, Ask, Level, Levels, Pause, Report, Slot, Ticket } from "./RateLimiter/internal/Buckets.ts"
export type { BucketSet } from "./RateLimiter/internal/Group.ts"
export type { Limits, LimitsOf } from "./RateLimiter/internal/Limits.ts"

/**
 * - `limits`: a tier, limits for every model group, or a function of the model group and the key group. By default, and for model groups
 *   without published limits on the tier, the limits that `Model.Catalogue` has for a group hold, else they are learnt from the API's headers, for ten
 *   minutes at a time; until then only a few calls are sent at once. A missing tier row is logged once for each model group. Where
 *   both are known the lower one holds. Fast mode has unpublished limits of its own, which are always learnt.
 * - `burst`: how much refill a bucket holds at most. Default 1 minute; where the API grants less, its headers tell.
 * - `maxQueue`: how many calls wait for one group at most; at 0 none does. Default 10,000.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly limits?: Limits.Limits | Model.Tier | Limits.LimitsOf | undefined
  readonly burst?: Duration.Input | undefined
  readonly maxQueue?: number | undefined
}

/**
 * A group as it stands: the calls that wait, the attempts under way, and its buckets.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly keyGroup: string
  /** A model group, one with `-fast` behind it for its fast mode, or `count-tokens`. */
  readonly group: string
  readonly waiting: number
  readonly underway: number
  readonly levels: Buckets.Levels
}

/**
 * Admits an attempt when the limits have room for it.
 *
 * Refuses with `RateLimitedLocallyError` at once, and never after a wait that was for nothing, when the wait would pass the deadline of the
 * caller, the queue is full, the request is larger than a whole bucket, or the API said that money has run out.
 *
 * @category services
 * @since 0.1.0
 */
export class RateLimiter extends Context.Service<
  RateLimiter,
  Policy<RateLimitedLocallyError> & {
    /** Replaces the limits; calls that wait are judged by the new ones. Limits that make no sense are a defect. */
    readonly setLimits: (limits: Limits.Limits | Model.Tier | Limits.LimitsOf) => Effect.Effect<void>
    readonly snapshot: Effect.Effect<ReadonlyArray<Snapshot>>
  }
>()("effect-claude/RateLimiter") {}

/**
 * Where the buckets are kept.
 *
 * - `aheadMillis`: how far ahead a slot may be booked. Zero where asking again costs nothing; a store across a network books, so
 *   that one round trip is enough also when the call must wait.
 * - `open`: the buckets of a group. Does no work that could fail or wait.
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly aheadMillis: number
  readonly open: (options: {
    readonly keyGroup: string
    readonly group: string
    readonly burstMillis: number
  }) => BucketSet
}>()("effect-claude/RateLimiter/Store") {}

/** The group of the endpoint that counts tokens. */
const countTokens = "count-tokens"

/** The most groups that are kept; idle ones make room. */
const maxGroups = 1_000

/** Attempts under way are looked at no more often than this. */
const lookMillis = 250

/** So many of them at a time, in turn, that a look never takes long. */
const maxLooked = 1_000

/** The gauges of a group are written no more often than this. */
const gaugeMillis = 1_000

const waits = Metric.histogram("anthropic_rate_limit_wait_seconds", {
  description: "How long attempts waited for room in the rate limits",
  boundaries: [0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]
})

const remaining = Metric.gauge("anthropic_rate_limit_remaining", {
  description: "Requests or tokens that the rate limits have room for now"
})

const outputRatio = Metric.histogram("anthropic_rate_limit_output_ratio", {
  description: "Output tokens that were produced, divided by those that were predicted",
  boundaries: [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8]
})

/** A group, its metrics, and when its gauges were last written. */
class Member extends Group {
  readonly keyGroup: string
  readonly group: string
  readonly configured: () => Limits.Limits
  readonly waits: Metric.Metric<number, unknown>
  readonly outputRatio: Metric.Metric<number, unknown>
  readonly remaining: Readonly<Record<Buckets.Dimension, Metric.Metric<number, unknown>>>
  gaugedAt = 0
  isTierChecked = false

  constructor(
    keyGroup: string,
    group: string,
    configured: () => Limits.Limits,
    options: ConstructorParameters<typeof Group>[1]
  ) {
    super(configured(), options)
    this.configured = configured
    this.keyGroup = keyGroup
    this.group = group
    this.waits = Metric.withAttributes(waits, { group })
    this.outputRatio = Metric.withAttributes(outputRatio, { group })
    const gauge = (dimension: string) => Metric.withAttributes(remaining, { group, dimension })
    this.remaining = {
      requests: gauge("requests"),
      inputTokens: gauge("input_tokens"),
      outputTokens: gauge("output_tokens"),
      tokens: gauge("tokens")
    }
  }
}

/**
 * Builds the limiter over the `Store`. It lives as long as its scope. Settings that make no sense are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const store = yield* Store
  const catalogue = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  // What metrics look up, and nothing else: they do so for each attempt.
  const services = Context.make(Metric.MetricRegistry, yield* Metric.MetricRegistry).pipe(
    Context.add(Metric.CurrentMetricAttributes, yield* Metric.CurrentMetricAttributes)
  )
  const burstMillis = Duration.toMillis(options.burst ?? "1 minute")
  if (!(burstMillis >= 1 && burstMillis < Infinity)) {
    throw new RangeError(`RateLimiter: burst must be at least 1 ms and have an end, and is ${burstMillis} ms`)
  }
  const maxQueue = options.maxQueue ?? 10_000
  if (!(maxQueue >= 0)) throw new RangeError(`RateLimiter: maxQueue must be a number from 0, and is ${maxQueue}`)
  const underway = new Set<Underway.Underway & { readonly group: Member }>()
  const groups = new Map<string, Map<string, Member>>()
  let limitsOf = Limits.from(options.limits, catalogue)
  let tier = typeof options.limits === "string" ? options.limits : undefined
  const logged = new Set<string>()
  let count = 0
  let lookedAt = 0
  let unlooked = underway.values()

  const look = Effect.suspend(() => {
    const now = clock.currentTimeMillisUnsafe()
    if (Math.abs(now - lookedAt) < lookMillis) return Effect.void
    lookedAt = now
    const reports: Array<Effect.Effect<void>> = []
    for (let left = maxLooked; left > 0; left--) {
      const next = unlooked.next()
      if (next.done === true) {
        unlooked = underway.values()
        break
      }
      const self = next.value
      const report = Underway.look(self, now, self.group.waiting > 0)
      if (report === undefined) continue
      reports.push(
        report.observed === undefined
          ? self.group.buckets.report(report)
          : Effect.map(self.group.buckets.report(report), () => self.group.learnt())
      )
    }
    return reports.length === 0 ? Effect.void : Effect.asVoid(Effect.all(reports))
  })

  const forget = () => {
    for (const members of groups.values()) {
      for (const [name, member] of members) {
        if (member.waiting + member.underway > 0) continue
        members.delete(name)
        count--
      }
    }
    for (const [keyGroup, members] of groups) if (members.size === 0) groups.delete(keyGroup)
  }

  const groupOf = (attempt: Attempt): Member => {
    const keyGroup = attempt.key?.group ?? ""
    const model = attempt.facts.group
    const name = attempt.endpoint === "messages" ? attempt.isFast ? `${model}-fast` : model : countTokens
    const known = groups.get(keyGroup)?.get(name)
    if (known !== undefined) return known
    if (count >= maxGroups) forget()
    const configured = () => {
      if (name === model) return limitsOf(model, keyGroup)
      return { requestsPerMinute: name === countTokens ? limitsOf("other", keyGroup).countTokensPerMinute : undefined }
    }
    const member = new Member(keyGroup, name, configured, {
      buckets: store.open({ keyGroup, group: name, burstMillis }),
      clock,
      scope,
      aheadMillis: store.aheadMillis,
      burstMillis,
      maxQueue,
      look
    })
    const members = groups.get(keyGroup) ?? new Map<string, Member>()
    groups.set(keyGroup, members.set(name, member))
    count++
    return member
  }

  /** Logs once for each model group that its tier has no limits. */
  const checkTier = (member: Member): Effect.Effect<void> => {
    member.isTierChecked = true
    const { group } = member
    const isKnown = tier === undefined || !catalogue.groups.includes(group) ||
      catalogue.limits(group, tier) !== undefined
    if (isKnown || logged.has(group)) return Effect.void
    logged.add(group)
    return Effect.logWarning(
      `RateLimiter: no limits are published for the model group "${group}" on the tier "${tier}". ` +
        "They are learnt from the headers of the API."
    )
  }

  const gauge = (member: Member, now: number): Effect.Effect<void> => {
    member.gaugedAt = now
    return Effect.map(member.buckets.levels, (levels) => {
      for (const dimension of Buckets.dimensions) {
        const level = levels[dimension]
        if (level !== undefined) member.remaining[dimension].updateUnsafe(Math.floor(level.free), services)
      }
    })
  }

  const settlement = (self: Underway.Underway & { readonly group: Member }): Settle =>
    Effect.suspend(() => {
      underway.delete(self)
      const { group, predictedOutput } = self
      const { outcome } = self.attempt
      const now = clock.currentTimeMillisUnsafe()
      if (outcome._tag === "Completed" && self.kind !== undefined) {
        group.outputRatio.updateUnsafe(outcome.usage.outputTokens / Math.max(1, predictedOutput), services)
      }
      const report = Underway.close(self, now)
      const reported = Effect.map(group.buckets.report(report), () => {
        group.answered(outcome._tag === "Completed", report.pause !== undefined)
        if (report.observed !== undefined) group.learnt()
      })
      return Math.abs(now - group.gaugedAt) < gaugeMillis ? reported : Effect.andThen(reported, gauge(group, now))
    })

  return RateLimiter.of({
    admit: (attempt) =>
      Effect.suspend(() => {
        if (attempt.endpoint === "models") return admittedFreely
        const group = groupOf(attempt)
        const kind = attempt.endpoint === "messages" ? attempt.kind : undefined
        const input = attempt.endpoint === "messages" ? attempt.kind.input(attempt.estimate.inputTokens) : 0
        const output = attempt.endpoint === "messages"
          ? (attempt.estimate.expectedOutputTokens ?? attempt.kind.typicalOutput(attempt.estimate.maxOutputTokens))
          : 0
        const charged = { requests: 1, inputTokens: input, outputTokens: 0, tokens: input }
        const held = { requests: 0, inputTokens: 0, outputTokens: output, tokens: output }
        const began = clock.currentTimeMillisUnsafe()
        const admitted = group.admit(attempt, { charge: charged, hold: held }, {
          refused: (refused) =>
            Effect.flatMap(group.buckets.levels, (levels) => {
              const limit = refused.reason === "tooLarge" ? Buckets.mostInput(levels, burstMillis) : undefined
              return Effect.fail(errorOf(refused, attempt, group, limit === undefined ? {} : { needed: input, limit }))
            }),
          admitted: (ticket, waited) => {
            const admittedAt = waited ? clock.currentTimeMillisUnsafe() : began
            const self = {
              attempt,
              group,
              ticket,
              kind,
              predictedOutput: output,
              admittedAt,
              charged,
              held,
              heard: false
            }
            underway.add(self)
            group.waits.updateUnsafe(Math.max(0, admittedAt - began) / 1_000, services)
            return Effect.succeed(settlement(self))
          }
        })
        const looked = Math.abs(began - lookedAt) < lookMillis ? admitted : Effect.andThen(look, admitted)
        return group.isTierChecked ? looked : Effect.andThen(checkTier(group), looked)
      }),

    setLimits: (limits) =>
      Effect.suspend(() => {
        limitsOf = Limits.from(limits, catalogue)
        tier = typeof limits === "string" ? limits : undefined
        return Effect.forEach(
          [...groups.values()].flatMap((members) => [...members.values()]),
          (member) => Effect.andThen(checkTier(member), member.setLimits(member.configured())),
          { discard: true }
        )
      }),

    snapshot: Effect.suspend(() =>
      Effect.forEach(
        [...groups.values()].flatMap((members) => [...members.values()]),
        (member) =>
          Effect.map(member.buckets.levels, (levels): Snapshot => ({
            keyGroup: member.keyGroup,
            group: member.group,
            waiting: member.waiting,
            underway: member.underway,
            levels
          }))
      )
    )
  })
})

const errorOf = (
  { reason, waitMillis }: Refused,
  attempt: Attempt,
  { group }: Member,
  size: Pick<RateLimitedLocallyError, "needed" | "limit">
): RateLimitedLocallyError =>
  new RateLimitedLocallyError({
    reason: reason === "closed" ? "spend" : reason,
    group,
    ...size,
    retryAfter: waitMillis === undefined ? undefined : Duration.millis(waitMillis),
    attempts: attempt.number - 1
  })

/** The most bucket sets that memory keeps; the one whose last opening is longest ago makes room. */
const maxStates = 10_000

/**
 * Buckets in the memory of this process. They forget what they knew when their layer ends.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.effect(
  Store,
  Effect.map(Clock.Clock, (clock) => {
    const states = new Map<string, Buckets.State>()
    const now = () => clock.currentTimeMillisUnsafe()
    return {
      aheadMillis: 0,
      open: ({ burstMillis, group, keyGroup }): BucketSet => {
        const key = `${group} ${keyGroup}`
        const state = states.get(key) ?? Buckets.make(burstMillis, now())
        states.delete(key)
        const oldest = states.size < maxStates ? undefined : states.keys().next().value
        if (oldest !== undefined) states.delete(oldest)
        states.set(key, state)
        return {
          reserve: (ask) => Effect.sync(() => Buckets.reserve(state, ask, now())),
          report: (report) => Effect.sync(() => Buckets.report(state, report, now())),
          levels: Effect.sync(() => Buckets.levels(state, now()))
        }
      }
    }
  })
)

/**
 * The limiter over a `Store` that the user provides. Each call makes a limiter of its own: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps = (options: Options = {}): Layer.Layer<RateLimiter, never, Store> =>
  Layer.effect(RateLimiter, make(options))

/**
 * The limiter for one process, its buckets in memory.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<RateLimiter> =>
  layerNoDeps(options).pipe(Layer.provide(Layer.fresh(layerStoreMemory)))

/**
 * `layer` with options from configuration. Limits as a function are code and not among them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<
    Omit<Options, "limits"> & { readonly limits?: Limits.Limits | Model.Tier | undefined }
  >
): Layer.Layer<RateLimiter, Config.ConfigError> =>
  Layer.effect(RateLimiter, Effect.flatMap(Config.unwrap(options), make)).pipe(
    Layer.provide(Layer.fresh(layerStoreMemory))
  )

/**
 * The limiter that lets everything pass.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<RateLimiter> = Layer.succeed(
  RateLimiter,
  RateLimiter.of({
    admit: () => admittedFreely,
    setLimits: () => Effect.void,
    snapshot: Effect.succeed([])
  })
)
