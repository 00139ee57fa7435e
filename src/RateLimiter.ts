/**
 * Keeps traffic inside the limits of the API: calls wait their turn instead of being refused.
 *
 * Requests, input tokens, output tokens and, where configured, all tokens together are token buckets with continuous refill, one set for
 * each (key group, model group). An attempt takes what it needs from all of them or from none. The headers of each answer correct the buckets. A 429
 * pauses the group for all callers for as long as the API asks, at most an hour at a time; then traffic ramps up. Input counts as the API counts
 * it: what a cache serves is free. For output, the limiter reserves what calls of the same model and request type really produce, not `max_tokens`.
 *
 * **Who goes next.** While all three priorities of `CallContext` wait, `interactive` has 75 % of the limits, `standard` 20 % and `bulk` 5 %,
 * whatever the sizes of their requests; what one does not use goes to the others in proportion. A request that needs `n` minutes of refill goes after
 * `n / share` minutes at the latest, once it is the first of its class. Inside a class tenants (else users, else request types) share by the tokens that
 * they use, and what one does not use goes to the others. The calls of one are served in the order in which they came.
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
import { admitted, type Policy } from "./Attempt.ts"
import type { RateLimitedLocallyError } from "./ClaudeError.ts"
import { MaxRetryAfter } from "./internal/maxRetryAfter.ts"
import { TenantLabel } from "./internal/metrics.ts"
import { nameOf } from "./internal/text.ts"
import * as Model from "./Model.ts"
import * as Buckets from "./RateLimiter/internal/Buckets.ts"
import type { BucketSet, Levels, Reserved } from "./RateLimiter/internal/BucketSet.ts"
import * as Client from "./RateLimiter/internal/client.ts"
import { Group } from "./RateLimiter/internal/Group.ts"
import * as Limits from "./RateLimiter/internal/Limits.ts"
import type { State } from "./RateLimiter/internal/State.ts"
import type { Batch, Reply, View } from "./RateLimiter/internal/Store.ts"

export type { Tier } from "./Model.ts"
export type { Amounts } from "./RateLimiter/internal/Amounts.ts"
export type { Level, Levels } from "./RateLimiter/internal/BucketSet.ts"
export type { Limits, LimitsOf } from "./RateLimiter/internal/Limits.ts"
export type { State } from "./RateLimiter/internal/State.ts"
export type {
  Ask,
  Batch,
  Bucket,
  Known,
  Pause,
  Process,
  Progress,
  Ramp,
  Reply,
  Report,
  Reservation,
  Saving,
  Sender,
  Ticket,
  View
} from "./RateLimiter/internal/Store.ts"

/**
 * - `limits`: a tier, limits for every model group, or a function of the model group and the key group. By default, and for model groups
 *   without published limits on the tier, the limits that `Model.Catalogue` has for a group hold, else they are learned from the API's headers, for ten
 *   minutes at a time; until then only a few calls are sent at once. A missing tier row is logged once for each model group. Where
 *   both are known the lower one holds. Fast mode has unpublished limits of its own, which are always learned.
 * - `burst`: a bucket holds at most what it refills in this time. Default 1 minute; where the API grants less, its headers show it.
 * - `maxQueue`: how many calls may wait for one group. At 0, calls never wait. Default 10,000. In a full queue the newest call of the lowest class makes
 *   room for one of a higher class, and the newest of whoever has most waiting for one that has less in the same class; it fails with `queueFull`.
 * - `weights`: what tenants have of their class beside others (else users, else request types), by name. Default 1 each.
 * - `maxRetryAfter`: the longest pause that a call waits for when the API asks for one; else it fails at once. Default 60 seconds; in
 *   `ClaudeService.layer`, that of the options of `retry`.
 * - `storeTimeout`: the longest that a call waits for the store. Default 250 milliseconds.
 * - `flushEvery`: how long what became of an attempt waits for an admission to go along with. Default 100 milliseconds.
 * - `processes`: how many processes share the limits, until the store first answers. Default 1.
 *
 * `storeTimeout`, `flushEvery` and `processes` only matter for a store that processes share.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly limits?: Limits.Limits | Model.Tier | Limits.LimitsOf | undefined
  readonly burst?: Duration.Input | undefined
  readonly maxQueue?: number | undefined
  readonly weights?: Readonly<Record<string, number>> | undefined
  readonly maxRetryAfter?: Duration.Input | undefined
  readonly storeTimeout?: Duration.Input | undefined
  readonly flushEvery?: Duration.Input | undefined
  readonly processes?: number | undefined
}

/**
 * Options that can come from configuration: limits as a function are code.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConfigOptions extends Omit<Options, "limits"> {
  readonly limits?: Limits.Limits | Model.Tier | undefined
}

/**
 * A group as it stands: the calls that wait, the attempts in flight, and its buckets.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly keyGroup: string
  /** A model group, one with `-fast` behind it for its fast mode, or `count-tokens`. */
  readonly group: string
  readonly waiting: number
  readonly inFlight: number
  readonly levels: Levels
}

/**
 * Admits an attempt when the limits have room for it.
 *
 * Fails immediately with `RateLimitedLocallyError`, instead of after a futile wait, when the wait would pass the caller's deadline, the queue is full,
 * the request is larger than a whole bucket, or the API reported that a spend limit is reached.
 *
 * @category services
 * @since 0.1.0
 */
export class RateLimiter extends Context.Service<
  RateLimiter,
  Policy<RateLimitedLocallyError> & {
    /** Replaces the limits, also for calls that already wait. Invalid limits are a defect. */
    readonly setLimits: (limits: Limits.Limits | Model.Tier | Limits.LimitsOf) => Effect.Effect<void>
    readonly snapshot: Effect.Effect<ReadonlyArray<Snapshot>>
  }
>()("effect-claude/RateLimiter") {}

/**
 * Where the buckets are kept.
 *
 * `step` makes one step on the buckets named `batch.key`, atomically for each key: it loads their state, runs `RateLimiter.step` with the time in
 * milliseconds since the epoch, saves the new state and returns the reply. Where processes share the store, the time should be the store's own. A
 * state may be dropped an hour after its last step.
 *
 * `step` may fail, take long, or be given up. The limiter then goes on with this process's share of the limits, logs one warning, and tries the store again
 * in the background until it answers. Only a store in the memory of this process, which answers at once and never fails, sets `isLocal`: its batches
 * have no `sender`.
 *
 * **Example** (A store of your own)
 *
 * ```ts
 * import { RateLimiter } from "effect-claude"
 * import { Clock, Effect, Layer } from "effect"
 *
 * const store = Effect.map(Clock.Clock, (clock): RateLimiter.Store["Service"] => {
 *   const states = new Map<string, RateLimiter.State>()
 *   return {
 *     step: (batch) =>
 *       Effect.sync(() => {
 *         const [state, reply] = RateLimiter.step(states.get(batch.key), batch, clock.currentTimeMillisUnsafe())
 *         states.set(batch.key, state)
 *         return reply
 *       })
 *   }
 * })
 *
 * export const layer = RateLimiter.layerNoDeps({ limits: "build" }).pipe(
 *   Layer.provide(Layer.effect(RateLimiter.Store, store))
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly isLocal?: boolean | undefined
  readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>
}>()("effect-claude/RateLimiter/Store") {}

/**
 * The transition that every `Store` makes: from the state of a bucket set (undefined for a key without one) and a batch to the new state and the
 * reply. Pure: the given state stays as it was. States and replies survive JSON.
 *
 * @category stores
 * @since 0.1.0
 */
export const step: (state: State | undefined, batch: Batch, now: number) => readonly [State, Reply] = Buckets.step

/** The group of the endpoint that counts tokens. */
const countTokens = "count-tokens"

/** The most groups that are kept; idle ones make room. */
const maxGroups = 1_000

/** Checked before anything is built: mistakes in options are defects. */
const settings = (options: Options, maxRetryAfter: Duration.Input) => {
  const { burst = "1 minute", maxQueue = 10_000, weights = {} } = options
  const burstMillis = Duration.toMillis(burst)
  if (!(burstMillis >= 1 && burstMillis < Infinity)) {
    throw new RangeError(`RateLimiter: burst must be finite and at least 1 ms, and is ${burstMillis} ms`)
  }
  if (!(maxQueue >= 0)) throw new RangeError(`RateLimiter: maxQueue must be a number from 0, and is ${maxQueue}`)
  for (const [name, weight] of Object.entries(weights)) {
    if (weight > 0 && weight < Infinity) continue
    throw new RangeError(`RateLimiter: weights.${name} must be a number above 0, and is ${weight}`)
  }
  return {
    burstMillis,
    maxQueue,
    maxPauseMillis: Duration.toMillis(options.maxRetryAfter ?? maxRetryAfter),
    weights: new Map(Object.entries(weights).map(([name, weight]) => [nameOf(name), weight])),
    timeoutMillis: Duration.toMillis(options.storeTimeout ?? "250 millis"),
    flushMillis: Duration.toMillis(options.flushEvery ?? "100 millis"),
    processes: Math.max(1, options.processes || 1)
  }
}

/** Bucket sets in a store of this process. */
const local = (store: Store["Service"]) => {
  // A local store neither fails nor rejects, and answers what it was asked.
  const step = store.step as (
    batch: Batch
  ) => Effect.Effect<Reserved & { readonly _tag: "Done"; readonly view: View }>
  return (key: string, burstMillis: number): BucketSet => ({
    isShared: false,
    reserve: (limits, ask) => step({ key, burstMillis, limits, ask }),
    report: (report) => step({ key, burstMillis, reports: [report] }),
    levels: Effect.map(
      Effect.suspend(() => step({ key, burstMillis, read: true })),
      ({ view }) => Buckets.levels(view, burstMillis, 1)
    )
  })
}

/**
 * Builds the limiter over the `Store`. It lives as long as its scope. Invalid options are a defect.
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
    Context.add(Metric.CurrentMetricAttributes, yield* Metric.CurrentMetricAttributes),
    Context.add(TenantLabel, yield* TenantLabel)
  )
  const { burstMillis, maxPauseMillis, maxQueue, weights, ...sharing } = settings(options, yield* MaxRetryAfter)
  const open = store instanceof Buckets.Memory
    ? (key: string) => store.open(key, burstMillis)
    : store.isLocal === true
    ? local(store)
    : yield* Client.make({ step: store.step, ...sharing })
  let limitsOf = Limits.from(options.limits, catalogue)
  let tier = typeof options.limits === "string" ? options.limits : undefined
  const logged = new Set<string>()
  /** By key group, then by name. */
  const groups = new Map<string, Map<string, Group>>()
  const all = () => [...groups.values()].flatMap((members) => [...members.values()])
  let count = 0

  /** Makes room for other groups. */
  const dropIdle = () => {
    for (const [keyGroup, members] of groups) {
      for (const [name, group] of members) {
        if (group.waiting + group.inFlightCount === 0 && members.delete(name)) count--
      }
      if (members.size === 0) groups.delete(keyGroup)
    }
  }

  const add = (keyGroup: string, name: string, model: Model.Group): Group => {
    if (count >= maxGroups) dropIdle()
    const configured = () => {
      if (name === model) return limitsOf(model, keyGroup)
      return { requestsPerMinute: name === countTokens ? limitsOf("other", keyGroup).countTokensPerMinute : undefined }
    }
    const buckets = open(`${name} ${keyGroup}`, burstMillis)
    const bounds = { maxQueue, maxPauseMillis, weights }
    const group = new Group({ keyGroup, name, configured, buckets, clock, scope, services, ...bounds })
    const members = groups.get(keyGroup) ?? new Map<string, Group>()
    groups.set(keyGroup, members.set(name, group))
    count++
    return group
  }

  /** Logs once for each model group that its tier has no limits. */
  const checkTier = ({ name }: Group): Effect.Effect<void> => {
    const isKnown = tier === undefined || !catalogue.groups.includes(name) ||
      catalogue.limits(name, tier) !== undefined
    if (isKnown || logged.has(name)) return Effect.void
    logged.add(name)
    return Effect.logWarning(
      `RateLimiter: no limits are published for the model group "${name}" on the tier "${tier}". ` +
        "They are learnt from the headers of the API."
    )
  }

  return RateLimiter.of({
    admit: (attempt) =>
      Effect.suspend(() => {
        if (attempt.endpoint === "models") return admitted
        const keyGroup = attempt.key?.group ?? ""
        const model = attempt.facts.group
        const name = attempt.endpoint === "messages" ? attempt.isFast ? `${model}-fast` : model : countTokens
        const known = groups.get(keyGroup)?.get(name)
        if (known !== undefined) return known.admit(attempt)
        const group = add(keyGroup, name, model)
        return Effect.andThen(checkTier(group), Effect.suspend(() => group.admit(attempt)))
      }),

    setLimits: (limits) =>
      Effect.suspend(() => {
        limitsOf = Limits.from(limits, catalogue)
        tier = typeof limits === "string" ? limits : undefined
        return Effect.forEach(all(), (group) => Effect.andThen(checkTier(group), group.reconfigure), { discard: true })
      }),

    snapshot: Effect.suspend(() =>
      Effect.forEach(all(), ({ buckets, inFlightCount, keyGroup, name, waiting }) =>
        Effect.map(
          buckets.levels,
          (levels): Snapshot => ({ keyGroup, group: name, waiting, inFlight: inFlightCount, levels })
        ))
    )
  })
})

/**
 * Buckets in the memory of this process. They are lost when their layer ends.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory: Layer.Layer<Store> = Layer.effect(Store, Buckets.memory)

/**
 * The limiter over a `Store` that the user provides. Each call makes a new limiter: call it once and share the value.
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
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<ConfigOptions>): Layer.Layer<RateLimiter, Config.ConfigError> =>
  Layer.effect(RateLimiter, Effect.flatMap(Config.unwrap(options), make)).pipe(
    Layer.provide(Layer.fresh(layerStoreMemory))
  )

/**
 * The limiter that admits everything.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<RateLimiter> = Layer.succeed(
  RateLimiter,
  RateLimiter.of({
    admit: () => admitted,
    setLimits: () => Effect.void,
    snapshot: Effect.succeed([])
  })
)
