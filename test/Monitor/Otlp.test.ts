import { assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Exit, Fiber, Layer, Logger, Metric, Redacted, References } from "effect"
import * as Otlp from "effect-claude/Monitor/Otlp"
import { FetchHttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import * as OtlpReceiver from "../utils/otlpReceiver.ts"
import * as Recorder from "../utils/recorder.ts"

/** A program that leaves a trace, a metric and a log record. */
const program = Effect.gen(function*() {
  yield* Effect.logInfo("weather")
  yield* Metric.update(Metric.counter("rain_total"), 3)
}).pipe(
  Effect.withSpan("child", { attributes: { drops: 3 } }),
  Effect.withSpan("parent", { kind: "client" })
)

/** Nothing of the environment. */
const environment = (variables: { readonly [name: string]: string } = {}) =>
  ConfigProvider.layer(ConfigProvider.fromEnvRecord(variables))

describe("Otlp over HTTP", () => {
  for (
    const [protocol, contentType] of [["http/protobuf", "application/x-protobuf"], [
      "http/json",
      "application/json"
    ]] as const
  ) {
    it.live(`hands over traces, metrics and logs as ${protocol} when the layer ends`, () =>
      Effect.gen(function*() {
        const receiver = yield* OtlpReceiver.make
        yield* program.pipe(
          Effect.provide(Otlp.layer({ endpoint: receiver.url, protocol, serviceName: "rain" })),
          Effect.provide(environment())
        )
        const [child, parent] = receiver.spans
        assert.deepStrictEqual([child?.name, parent?.name], ["child", "parent"])
        assert.strictEqual(child?.parentSpanId, parent?.spanId)
        assert.include(receiver.metrics.map(({ name }) => name), "rain_total")
        assert.deepStrictEqual(receiver.logs.map(({ body }) => body.stringValue), ["weather"])
        assert.deepStrictEqual([...receiver.contentTypes], [contentType])
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))
  }

  it.live("takes nothing to another origin", () =>
    Effect.gen(function*() {
      const other = yield* Recorder.start(() => ({ status: 200 }))
      const receiver = yield* Recorder.start(() => (response) => {
        response.writeHead(307, { location: other.url })
        response.end()
      })
      yield* program.pipe(
        Effect.provide(Otlp.layer({ endpoint: receiver.url, protocol: "http/json", headers: { "x-token": "a" } })),
        Effect.provide(environment())
      )
      assert.isAbove(receiver.asked.length, 0)
      assert.lengthOf(other.asked, 0)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("reads the variables of the specification, and leaves out a signal whose exporter is none", () =>
    Effect.gen(function*() {
      const receiver = yield* OtlpReceiver.make
      yield* program.pipe(
        Effect.provide(Otlp.layer()),
        Effect.provide(environment({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_LOGS_EXPORTER: "none" }))
      )
      assert.strictEqual(receiver.spans.length, 2)
      assert.strictEqual(receiver.logs.length, 0)
      yield* program.pipe(
        Effect.provide(Otlp.layer({ endpoint: receiver.url })),
        Effect.provide(environment({ OTEL_SDK_DISABLED: "true" }))
      )
      assert.strictEqual(receiver.spans.length, 2)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))
})

describe("what Otlp refuses", () => {
  for (
    const variables of [
      { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
      { OTEL_EXPORTER_OTLP_ENDPOINT: "nowhere" },
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "nowhere" },
      { OTEL_EXPORTER_OTLP_TIMEOUT: "soon" },
      { OTEL_EXPORTER_OTLP_COMPRESSION: "zip" },
      { OTEL_SDK_DISABLED: "perhaps" }
    ]
  ) {
    it.effect(`fails with a ConfigError on ${JSON.stringify(variables)}`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Layer.build(Otlp.layer()))
        assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.some(Cause.isFailReason), String(exit))
      }).pipe(Effect.scoped, Effect.provide(environment(variables))))
  }
})

/** A collector that answers as the test says, and counts its requests. */
const collector = (answer: (signal: AbortSignal) => Promise<Response>) => {
  const seen = { open: 0, most: 0, requests: 0 }
  const fetch: typeof globalThis.fetch = (_, init) => {
    seen.requests++
    seen.most = Math.max(seen.most, ++seen.open)
    return answer(init!.signal!).finally(() => seen.open--)
  }
  return { seen, layer: Layer.succeed(FetchHttpClient.Fetch, fetch) }
}

const never = (signal: AbortSignal) =>
  new Promise<Response>((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))))

const exporting = (fetch: Layer.Layer<never>, options: Otlp.Options = {}) =>
  Otlp.layer({ endpoint: "http://collector", ...options }).pipe(Layer.provide([fetch, environment()]))

const spans = (count: number) =>
  Effect.forEach(Array(count).fill(0), () => Effect.withSpan(Effect.void, "one"), { discard: true })

describe("a collector in bad weather", () => {
  it.effect("that hangs keeps no more than 24 requests open, and holds the end of the layer no longer than the timeout", () =>
    Effect.gen(function*() {
      const { layer, seen } = collector(never)
      const fiber = yield* Effect.forkChild(
        Effect.gen(function*() {
          for (let i = 0; i < 40; i++) {
            yield* spans(1_000)
            yield* Effect.sleep("100 millis")
          }
          yield* Effect.sleep("1 minute")
          assert.strictEqual(seen.open, 0, "open after the timeout")
          yield* spans(1_000)
        }).pipe(Effect.provide(exporting(layer)))
      )
      // Four seconds of work, a minute of rest, and ten seconds until the last export is given up.
      for (let i = 0; i < 750; i++) yield* TestClock.adjust("100 millis")
      yield* Fiber.join(fiber)
      assert.isAtMost(seen.most, 24)
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.strictEqual(seen.open, 0)
      assert.isAbove(seen.requests, 0)
    }))

  it.effect("that asks to wait for an hour is not waited for", () =>
    Effect.gen(function*() {
      const { layer, seen } = collector(async () =>
        new Response(null, { status: 429, headers: { "retry-after": "3600" } })
      )
      yield* Effect.gen(function*() {
        yield* spans(10)
        yield* TestClock.adjust("30 seconds")
        const { requests } = seen
        // What comes in the minute after that is dropped; then it is tried again.
        yield* spans(10)
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(seen.requests, requests)
        yield* TestClock.adjust("1 minute")
        yield* spans(10)
        yield* TestClock.adjust("10 seconds")
        assert.isAbove(seen.requests, requests)
      }).pipe(Effect.provide(exporting(layer)))
    }))

  it.effect("is never told in a log with which token", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.layer([
        Logger.map(Logger.formatJson, (line) => void lines.push(line)),
        Logger.map(Logger.formatLogFmt, (line) => void lines.push(line)),
        Logger.map(Logger.formatStructured, (line) => void lines.push(JSON.stringify(line))),
        Logger.make(({ cause }) => void lines.push(inspect(cause, { depth: 20 }), JSON.stringify(cause)))
      ])
      const { layer } = collector(async () => new Response(null, { status: 401 }))
      const token = "planted-token"
      yield* Effect.gen(function*() {
        yield* spans(10)
        yield* TestClock.adjust("30 seconds")
      }).pipe(
        Effect.provide(exporting(layer, { headers: { "signature": Redacted.make(token), "x-tenant": token } })),
        Effect.provide(logger),
        Effect.provideService(References.MinimumLogLevel, "Trace")
      )
      assert.isTrue(lines.some((line) => line.includes("Disabling exporter")), lines.join())
      for (const line of lines) assert.notInclude(line, token)
    }))
})
