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
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { Attempt, Fallback } from "./Attempt.ts"
import { ClaudeApi } from "./ClaudeApi.ts"
import type { ApiError, CircuitOpenError } from "./ClaudeError.ts"
import * as Feed from "./internal/feed.ts"
import { TenantLabel } from "./internal/metrics.ts"
import { nameOf } from "./internal/text.ts"
import * as Model from "./Model.ts"
import { type Content, contentAttributes, contentOf, type Settings as Shown } from "./Monitor/internal/content.ts"
import type { Event, GiveUp, Happening, Status } from "./Monitor/internal/events.ts"
import type { Conventions } from "./Monitor/internal/genAi.ts"
import * as Log from "./Monitor/internal/log.ts"
import { happeningOf } from "./Monitor/internal/observed.ts"
import { Recorder, type Surroundings, within } from "./Monitor/internal/recorder.ts"
import { Series } from "./Monitor/internal/series.ts"
import { startOf } from "./Monitor/internal/spans.ts"
import type { Exchanged, Start } from "./Monitor/internal/start.ts"
import { noPeriod, type Period, periodsOf } from "./Monitor/internal/totals.ts"
import { PriceBook } from "./PriceBook.ts"

export type { Content } from "./Monitor/internal/content.ts"
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
export type { Conventions } from "./Monitor/internal/genAi.ts"
export type { Start } from "./Monitor/internal/start.ts"
export type { Period, Times, Totals } from "./Monitor/internal/totals.ts"

/**
 * - `tenants`: the tenants that label the metrics of waits and of who waits, at most 50; every other one is `other`. Default none.
 * - `log`: the request log, one record for each call: at error level those that failed, at warning level those that needed retries or another key, at
 *   info level a part of the others: `sample`, from 0 (none of them) to 1 (all). `false` for no log. Default `{ sample: 0 }`.
 * - `content`: where prompts and answers are shown. Default what the variable `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says (`SPAN_ONLY`,
 *   `EVENT_ONLY` or `SPAN_AND_EVENT`), else nowhere.
 * - `redact`: what each text of them becomes before it is shown.
 * - `maxContentLength`: how many characters of each attribute are shown, the newest turns first. Default 10,000.
 * - `conventions`: which version of OpenTelemetry's conventions for generative AI is used. Default `latest` where the variable
 *   `OTEL_SEMCONV_STABILITY_OPT_IN` has `gen_ai_latest_experimental`, else `current`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly tenants?: ReadonlyArray<string> | undefined
  readonly log?: false | { readonly sample?: number | undefined } | undefined
  readonly content?: Content | undefined
  readonly redact?: ((text: string) => string) | undefined
  readonly maxContentLength?: number | undefined
  readonly conventions?: Conventions | undefined
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
 * Records one call. `ClaudeService` calls it; the monitor that is off records nothing.
 *
 * - `attempt`: runs an attempt in a span of its own; `attemptScoped` does the same for one that lives as long as a scope.
 * - `retrying`, `gaveUp`: what the retry policy does after a failed attempt.
 * - `hedged`: a second attempt is made, since the first showed no content after so many milliseconds; `won`: the one of both that showed content.
 * - `fellBack`: it goes on to another model, or passes one over.
 * - `contentArrived`: the first content of a stream has arrived, in milliseconds since the epoch.
 * - `streaming`: gives the message that a stream has added up to, whenever it is asked.
 * - `streamEnded`: how a stream ended, which the exit of its scope does not say, and with which error.
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
  readonly retrying: (error: ApiError | CircuitOpenError, waitMillis: number) => void
  readonly gaveUp: (error: ApiError, reason: GiveUp) => void
  readonly hedged: (attempt: Attempt, lateMillis: number) => void
  readonly won: (attempt: Attempt) => void
  readonly fellBack: (step: Fallback) => void
  readonly contentArrived: (now: number) => void
  readonly streaming: (message: () => Message | undefined) => void
  readonly streamEnded: (status: Status, error: unknown) => void
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

/** The most tenants that label metrics. */
const maxTenants = 50

/** A variable of the environment that nobody has to set. */
const variable = (name: string): Effect.Effect<string> =>
  Effect.orElseSucceed(Config.withDefault(Config.String(name), ""), () => "")

const settingsOf = Effect.fnUntraced(function*(options: Options) {
  const optIn = yield* variable("OTEL_SEMCONV_STABILITY_OPT_IN")
  const capture = yield* variable("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")
  const isLatest = optIn.split(",").some((name) => name.trim() === "gen_ai_latest_experimental")
  const { log = {}, maxContentLength = 10_000 } = options
  const sample = log === false ? undefined : log.sample ?? 0
  if (sample !== undefined && !(sample >= 0 && sample <= 1)) {
    throw new RangeError(`Monitor: log.sample must be a number from 0 to 1, and is ${sample}`)
  }
  const tenants = new Set(options.tenants?.map(nameOf))
  if (tenants.size > maxTenants) {
    throw new RangeError(
      `Monitor: there can be ${maxTenants} tenants that label metrics, and there are ${tenants.size}`
    )
  }
  if (!(maxContentLength >= 0)) {
    throw new RangeError(`Monitor: maxContentLength must be a number from 0, and is ${maxContentLength}`)
  }
  return {
    sample,
    tenantLabel: (tenant: string | undefined) => tenant !== undefined && tenants.has(tenant) ? tenant : "other",
    content: options.content ?? contentOf(capture),
    shown: { redact: options.redact, maxLength: maxContentLength },
    version: options.conventions ?? (isLatest ? "latest" as const : "current" as const)
  }
})

const details = "gen_ai.client.inference.operation.details"

/** Shows what was asked and answered. */
const show = (
  { message, request }: Exchanged,
  callId: string,
  span: Tracer.Span | undefined,
  where: Content,
  shown: Shown
): Effect.Effect<void> => {
  const isSeen = where !== "events" && span?.sampled === true
  if (where === "spans" && !isSeen) return Effect.void
  const attributes = contentAttributes(request, message, shown)
  if (isSeen) { for (const [name, value] of Object.entries(attributes)) span.attribute(name, value) }
  return where === "spans" ? Effect.void : Effect.annotateLogs(Effect.logInfo(details), {
    "event.name": details,
    "claude.call_id": callId,
    ...attributes
  })
}

/** The monitor, and what hands on to it what the policies around it publish. */
const make = Effect.fnUntraced(function*(options: Options) {
  const { content, sample, shown, tenantLabel, version } = yield* settingsOf(options)
  const { baseUrl } = yield* ClaudeApi
  const book = yield* PriceBook
  const { find, lookup } = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const feed = yield* Feed.make<Event>({ capacity: maxEvents })
  const services = Context.make(Metric.MetricRegistry, yield* Metric.MetricRegistry).pipe(
    Context.add(Metric.CurrentMetricAttributes, yield* Metric.CurrentMetricAttributes)
  )
  const startedAt = clock.currentTimeMillisUnsafe()
  const series = new Series((name) => find(name) ?? find(lookup(name).id), tenantLabel, services, version, baseUrl)
  const attributesOf = startOf(baseUrl)
  const active = new Set<Recorder>()
  let sequence = 0

  const publish = (happening: Happening, at: number): void => {
    if (feed.subscribers === 0) return
    sequence++
    Effect.runSync(feed.publish({ ...happening, at, sequence }))
  }

  const surroundings: Surroundings = { book, clock, services, series, version, feed, active, publish }

  const begin = (start: Start): Effect.Effect<Recorder> =>
    Effect.withFiber((fiber) => {
      const { model, operation } = start
      // Nobody can see what the spans of the default tracer say.
      if (fiber.getRef(Tracer.Tracer) === Tracer.nativeTracer) {
        return Effect.succeed(new Recorder(start, undefined, surroundings))
      }
      const options = { kind: "client", attributes: attributesOf(operation, model) } as const
      return Effect.map(
        Effect.makeSpan(model === "" ? operation : `${operation} ${model}`, options),
        (span) => new Recorder(start, span, surroundings)
      )
    })

  const end = (recorder: Recorder, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> => {
    const { span } = recorder
    const record = recorder.end(exit)
    const { callId, fallbacks, moves, operation, retries, status, stream } = record
    const shows = content !== "none" && operation === "chat"
      ? show(recorder.exchanged, callId, span, content, shown)
      : Effect.void
    if (span !== undefined) recorder.endSpan(span, record, exit)
    if (stream) recorder.streaming(undefined)
    const isTroubled = status === "error" || retries + moves + fallbacks.length > 0
    const isLogged = sample !== undefined && (isTroubled || (sample > 0 && random.nextDoubleUnsafe() < sample))
    const logs = isLogged ? Log.write(record) : Effect.void
    if (shows === Effect.void && logs === Effect.void) return logs
    // Whatever a logger does, the call has ended as it has.
    return Effect.asVoid(Effect.exit(Effect.andThen(logs, shows)))
  }

  const observer: Feed.Observer = (name, value) => {
    const now = clock.currentTimeMillisUnsafe()
    const happening = happeningOf(name, value)
    if (happening === undefined) return Effect.void
    publish(happening, now)
    if (happening._tag !== "CircuitChanged") return Effect.void
    const { from, group, to } = happening
    const attributes = { "claude.group": group, "claude.circuit.from": from, "claude.circuit.to": to }
    for (const call of active) if (call.group === group) call.event("claude.circuit", now, attributes)
    return sample === undefined ? Effect.void : Log.circuit(happening)
  }

  const monitor = Monitor.of({
    events: feed.stream,
    snapshot: Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      const [sinceStart, lastMinute, lastHour] = periodsOf(series.histories, now)
      return { at: now, startedAt, active: active.size, sinceStart, lastMinute, lastHour }
    }),
    call: (start, run) =>
      Effect.acquireUseRelease(
        begin(start),
        (recorder) => within(recorder.span, run(recorder)),
        end
      ),
    callScoped: (start, run) =>
      Effect.flatMap(
        Effect.acquireRelease(begin(start), end),
        (recorder) => within(recorder.span, run(recorder))
      )
  })
  return Context.make(Monitor, monitor).pipe(
    Context.add(Feed.CurrentObserver, observer),
    Context.add(TenantLabel, tenantLabel)
  )
})

/**
 * Sees every call. Invalid options are a defect.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Monitor, never, ClaudeApi | PriceBook> =>
  Layer.effectContext(make(options))

/**
 * `layer` with options from configuration; a function cannot come from there.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Omit<Options, "redact">>
): Layer.Layer<Monitor, Config.ConfigError, ClaudeApi | PriceBook> =>
  Layer.effectContext(Effect.flatMap(Config.unwrap(options), make))

const nothing = ({ callId }: Start): Call => ({
  callId,
  attempt: (_, run) => run,
  attemptScoped: (_, run) => run,
  retrying: () => {},
  gaveUp: () => {},
  hedged: () => {},
  won: () => {},
  fellBack: () => {},
  contentArrived: () => {},
  streaming: () => {},
  streamEnded: () => {}
})

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
      sinceStart: noPeriod,
      lastMinute: noPeriod,
      lastHour: noPeriod
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
