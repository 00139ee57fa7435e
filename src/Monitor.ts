/**
 * What calls do, what they cost and what is wrong: metrics, spans, a snapshot for programs without a metrics backend, and a stream of everything that
 * happens. It is a part of every service.
 *
 * **Example** (How the last hour went)
 *
 * ```ts
 * import { ClaudeService, Monitor } from "effect-claude"
 * import { Effect, Layer } from "effect"
 * import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
 *
 * const program = Effect.gen(function*() {
 *   yield* ClaudeService.create(ClaudeTest.hello)
 *   const { lastHour } = yield* Monitor.snapshot
 *   return [lastHour.total, lastHour.successRate]
 * })
 *
 * const claude = ClaudeService.layerWithParts({ api: ClaudeTest.layerApi("Hello!"), keys: [ClaudeTest.key] })
 *
 * await Effect.runPromise(Effect.provide(program, claude)) // => [1, 1]
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Attempt } from "./Attempt.ts"
import type { ApiError } from "./ClaudeError.ts"
import * as Feed from "./internal/feed.ts"
import * as Model from "./Model.ts"
import type { Event, GiveUp, Happening, Operation, Status } from "./Monitor/internal/events.ts"
import { happeningOf } from "./Monitor/internal/observed.ts"
import { noStack, Recorder, type Start, type Surroundings } from "./Monitor/internal/recorder.ts"
import { Series } from "./Monitor/internal/series.ts"
import { History, Sum, type Totals } from "./Monitor/internal/totals.ts"
import { PriceBook } from "./PriceBook.ts"

export type {
  CallRecord,
  Event,
  GiveUp,
  Happening,
  Operation,
  Status,
  Wait,
  WaitReason
} from "./Monitor/internal/events.ts"
export type { Fault } from "./Monitor/internal/fault.ts"
export type { Start } from "./Monitor/internal/recorder.ts"
export type { Times, Totals } from "./Monitor/internal/totals.ts"

/**
 * What calls added up to, of all models and of each: those of the catalogue by their ids, all others as `other`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Period extends Totals {
  readonly models: Readonly<Record<string, Totals>>
}

/**
 * How things stand.
 *
 * - `at`, `startedAt`: milliseconds since the epoch.
 * - `active`: calls that have begun and not ended.
 * - `sinceStart`, `lastMinute`, `lastHour`: calls that ended in that time. The last minute moves on in steps of 5 seconds, the last hour in steps of
 *   5 minutes, so they are up to one step short.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly at: number
  readonly startedAt: number
  readonly active: number
  readonly sinceStart: Period
  readonly lastMinute: Period
  readonly lastHour: Period
}

/**
 * None yet.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {}

/**
 * Records one call. `ClaudeService` calls it; the monitor that is off records nothing.
 *
 * - `attempt`: runs an attempt in a span of its own; `attemptScoped` does the same for one that lives as long as a scope.
 * - `retrying`, `gaveUp`: what the retry policy does after a failed attempt.
 * - `contentArrived`: the first content of a stream has arrived, in milliseconds since the epoch.
 * - `streamEnded`: how a stream ended, which the exit of its scope does not say.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly callId: string
  readonly attempt: <A, E, R>(attempt: Attempt, run: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly attemptScoped: <A, E, R>(
    attempt: Attempt,
    run: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R | Scope.Scope>
  readonly retrying: (error: ApiError, waitMillis: number) => void
  readonly gaveUp: (error: ApiError, reason: GiveUp) => void
  readonly contentArrived: (now: number) => void
  readonly streamEnded: (status: Status) => void
}

/**
 * Sees every call.
 *
 * - `events`: everything that happens, from the moment of subscribing. The last 1,024 events are kept for a subscriber; a slower one loses the oldest,
 *   and sees a gap in `sequence`. The stream ends with the layer.
 * - `snapshot`: what calls added up to. Its memory does not grow with the number of calls.
 * - `call`: runs a call and records it; `callScoped` does the same for one that lives as long as a scope.
 *
 * @category services
 * @since 0.1.0
 */
export class Monitor extends Context.Service<Monitor, {
  readonly events: Stream.Stream<Event>
  readonly snapshot: Effect.Effect<Snapshot>
  readonly call: <A, E, R>(start: Start, run: (call: Call) => Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly callScoped: <A, E, R>(
    start: Start,
    run: (call: Call) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R | Scope.Scope>
}>()("effect-claude/Monitor") {}

/** The most events that are kept for a subscriber. */
const maxEvents = 1_024

/** The names of spans. */
const names: Readonly<Record<Operation, string>> = {
  chat: "create",
  count_tokens: "countTokens",
  list_models: "models",
  get_model: "model"
}

/** The monitor, and what hands on to it what the policies around it publish. */
const make = Effect.gen(function*() {
  const book = yield* PriceBook
  const { find } = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const feed = yield* Feed.make<Event>({ capacity: maxEvents })
  const services = Context.make(Metric.MetricRegistry, yield* Metric.MetricRegistry).pipe(
    Context.add(Metric.CurrentMetricAttributes, yield* Metric.CurrentMetricAttributes)
  )
  const startedAt = clock.currentTimeMillisUnsafe()
  const histories = new Map<string, History>()
  let active = 0
  let sequence = 0

  const publish = (happening: Happening, at: number): void => {
    sequence++
    if (feed.subscribers > 0) Effect.runSync(feed.publish({ ...happening, at, sequence }))
  }

  const surroundings: Surroundings = {
    book,
    clock,
    services,
    series: new Series((id) => find(id)?.id === id),
    idOf: (model) => find(model)?.id ?? model,
    publish,
    ended: (record, model, now) => {
      active--
      const history = histories.get(model) ?? new History()
      histories.set(model, history)
      history.add(record, now)
      return Effect.void
    }
  }

  const begin = (start: Start): Effect.Effect<Recorder> =>
    Effect.map(
      Effect.makeSpan(`ClaudeService.${start.stream ? "stream" : names[start.operation]}`, {
        kind: "client",
        attributes: { "gen_ai.request.model": start.model }
      }),
      (span) => {
        active++
        return new Recorder(start, span, surroundings)
      }
    )

  const observer: Feed.Observer = (name, value) => {
    const happening = happeningOf(name, value)
    if (happening !== undefined) publish(happening, clock.currentTimeMillisUnsafe())
  }

  const monitor = Monitor.of({
    events: feed.stream,
    snapshot: Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      const sums = [...histories].map(([model, history]) => [model, history.sums(now)] as const)
      const period = (index: 0 | 1 | 2): Period => {
        const all = new Sum()
        for (const [, each] of sums) all.merge(each[index])
        return { ...all.totals, models: Object.fromEntries(sums.map(([model, each]) => [model, each[index].totals])) }
      }
      return { at: now, startedAt, active, sinceStart: period(0), lastMinute: period(1), lastHour: period(2) }
    }),
    call: (start, run) =>
      Effect.acquireUseRelease(
        begin(start),
        (recorder) => Effect.withParentSpan(run(recorder), recorder.span, noStack),
        (recorder, exit) => recorder.end(exit)
      ),
    callScoped: (start, run) =>
      Effect.flatMap(
        Effect.acquireRelease(begin(start), (recorder, exit) => recorder.end(exit)),
        (recorder) => Effect.withParentSpan(run(recorder), recorder.span, noStack)
      )
  })
  return Context.make(Monitor, monitor).pipe(Context.add(Feed.CurrentObserver, observer))
})

/**
 * Sees every call.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (_options: Options = {}): Layer.Layer<Monitor, never, PriceBook> => Layer.effectContext(make)

const nothing = ({ callId }: Start): Call => ({
  callId,
  attempt: (_, run) => run,
  attemptScoped: (_, run) => run,
  retrying: () => {},
  gaveUp: () => {},
  contentArrived: () => {},
  streamEnded: () => {}
})

const none = new Sum().totals

/**
 * Sees nothing, and makes no spans.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<Monitor> = Layer.succeed(
  Monitor,
  Monitor.of({
    events: Stream.empty,
    snapshot: Effect.succeed({
      at: 0,
      startedAt: 0,
      active: 0,
      sinceStart: { ...none, models: {} },
      lastMinute: { ...none, models: {} },
      lastHour: { ...none, models: {} }
    }),
    call: (start, run) => run(nothing(start)),
    callScoped: (start, run) => run(nothing(start))
  })
)

/**
 * How things stand.
 *
 * @category accessors
 * @since 0.1.0
 */
export const snapshot: Effect.Effect<Snapshot, never, Monitor> = Effect.flatMap(Monitor, (monitor) => monitor.snapshot)

/**
 * Everything that happens, from the moment of subscribing.
 *
 * @category accessors
 * @since 0.1.0
 */
export const events: Stream.Stream<Event, never, Monitor> = Stream.unwrap(
  Effect.map(Monitor, (monitor) => monitor.events)
)
