/** What a monitor shows of calls over a scripted port: metrics, spans, records and events. */
import { Effect, Fiber, Layer, Logger, Metric, Stream, Tracer } from "effect"
import { type ClaudeError, ClaudeService, Monitor } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"

type Script = ReadonlyArray<
  ClaudeTest.Answer<ClaudeError.ApiError> | ClaudeTest.Forever<ClaudeTest.Answer<ClaudeError.ApiError>>
>

/** A registry of its own for each test. */
const registry = Layer.sync(Metric.MetricRegistry, () => new Map())

export const over = (script: Script, parts: ClaudeService.Parts = {}) =>
  ClaudeService.layerWithParts(
    {
      keys: [ClaudeTest.key],
      ...parts,
      api: ClaudeTest.layerApi(...script)
    } as {} // its parts are checked already, and their errors are defects
  ).pipe(Layer.provideMerge(registry), Layer.orDie)

export const forever = (answer: string) => ClaudeTest.forever(answer)
/** What the metrics say, by name and labels. */
export const metrics = Effect.map(Metric.snapshot, (all) =>
  Object.fromEntries<unknown>(
    all.map(({ attributes = {}, id, state }) => [
      `${id}{${Object.entries(attributes).map(([name, value]) => `${name}=${value}`).join()}}`,
      "buckets" in state
        ? { count: state.count, sum: state.sum }
        : "count" in state
        ? state.count
        : Object.values(state)[0]
    ])
  ))

/** Runs an effect to its end in virtual time. */
export const driven = <A, E, R>(effect: Effect.Effect<A, E, R>, minutes = 5) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Effect.exit(effect))
    yield* TestClock.adjust(`${minutes} minutes`)
    return yield* Fiber.join(fiber)
  })

/** Collects the spans of an effect. */
export const tracing = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    const exit = yield* Effect.exit(Effect.withTracer(effect, tracer))
    return { exit, spans }
  })

export const attributesOf = (span: Tracer.Span | undefined) => Object.fromEntries(span?.attributes ?? [])

export const eventsOf = (span: Tracer.Span | undefined): ReadonlyArray<Record<string, unknown>> =>
  (span as Tracer.NativeSpan | undefined)?.events.map(([name, , attributes]) => ({ name, ...attributes })) ?? []

/** Collects what is logged: level and message. */
export const logging = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines: Array<{ readonly level: string; readonly message: Record<string, unknown>; readonly json: string }> =
      []
    const logger = Logger.make((options) => {
      const [message = {}] = options.message as ReadonlyArray<Record<string, unknown>>
      lines.push({ level: options.logLevel, message, json: Logger.formatJson.log(options) })
    })
    const exit = yield* effect.pipe(Effect.exit, Effect.provide(Logger.layer([logger])))
    return { exit, lines }
  })

/** The events of a region, from its beginning to its end. */
export const watching = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const seen: Array<Monitor.Event> = []
    const fiber = yield* Effect.forkChild(
      Stream.runForEach(Monitor.events, (event) => Effect.sync(() => seen.push(event))),
      { startImmediately: true }
    )
    const exit = yield* Effect.exit(effect)
    yield* Effect.yieldNow
    yield* Effect.yieldNow
    yield* Fiber.interrupt(fiber)
    return { exit, events: seen.filter(({ _tag }) => _tag !== "KeyChanged") }
  })
