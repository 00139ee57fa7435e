/**
 * Traces, metrics and logs by OTLP over HTTP, to an OpenTelemetry Collector or any backend that takes it. Nothing else needs to be installed.
 *
 * What leaves is everything that Effect records: the spans, metrics and log records of `effect-claude` and those of the program around it. The
 * variables of the OpenTelemetry specification hold, and so do their defaults: `OTEL_EXPORTER_OTLP_ENDPOINT` (`http://localhost:4318`),
 * `OTEL_EXPORTER_OTLP_PROTOCOL` (`http/protobuf`, or `http/json`), `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT` (10 seconds),
 * `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_EXPORTER` and the like (`otlp`, or `none`), `OTEL_SDK_DISABLED`, each also for one
 * signal where the specification says so. Options win over variables, and `grpc` is refused.
 *
 * **Gotchas**
 *
 * - A collector that is slow or down never slows or fails a call. What could not be exported after three retries is dropped, and so is what comes of
 *   that signal in the next minute. The same holds when the collector asks to wait longer than ten seconds, or leaves 24 requests unanswered.
 * - When the layer's scope closes, what is left is exported, which is waited for no longer than `timeout`.
 *
 * **Example** (Telemetry for a service)
 *
 * ```ts
 * import { ClaudeService } from "effect-claude"
 * import * as Otlp from "effect-claude/Monitor/Otlp"
 * import { Effect, Layer } from "effect"
 *
 * const answer = ClaudeService.text({
 *   model: "claude-haiku-5-5",
 *   max_tokens: 64,
 *   messages: [{ role: "user", content: "Say hello." }]
 * })
 *
 * export const main = answer.pipe(
 *   Effect.provide(Layer.merge(ClaudeService.layer(), Otlp.layer({ serviceName: "greeter" })))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as EffectOtlp from "effect/observability/Otlp"
import type * as OtlpExporter from "effect/observability/OtlpExporter"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import type { TraceData } from "effect/observability/OtlpTracer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { encode } from "./internal/otlpTraces.ts"

/**
 * - `endpoint`: base URL of the collector, `OTEL_EXPORTER_OTLP_ENDPOINT`. Signals go to `/v1/traces`, `/v1/metrics` and `/v1/logs` below it.
 * - `protocol`: `OTEL_EXPORTER_OTLP_PROTOCOL`.
 * - `headers`: sent with each export, for example a token; `OTEL_EXPORTER_OTLP_HEADERS`.
 * - `serviceName`: `OTEL_SERVICE_NAME`.
 * - `timeout`: the longest that one request may take, `OTEL_EXPORTER_OTLP_TIMEOUT`. Default 10 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly endpoint?: string | undefined
  readonly protocol?: "http/protobuf" | "http/json" | undefined
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  readonly serviceName?: string | undefined
  readonly timeout?: Duration.Input | undefined
}

/** The most requests that are unanswered at once. */
const maxUnanswered = 24

/** The longest wait that a collector may ask for, in milliseconds. */
const maxRetryAfterMillis = 10_000

/** What the specification says where neither an option nor a variable does. */
const defaults = {
  OTEL_EXPORTER_OTLP_ENDPOINT: "http://localhost:4318",
  OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
  OTEL_EXPORTER_OTLP_TIMEOUT: "10000",
  OTEL_LOGS_EXPORTER: "otlp",
  OTEL_METRICS_EXPORTER: "otlp",
  OTEL_TRACES_EXPORTER: "otlp",
  OTEL_SERVICE_NAME: "unknown_service:node"
}

const signals = ["LOGS", "METRICS", "TRACES"]

/** Options as the variables that they stand for. */
const variables = ({ endpoint, protocol, serviceName, timeout }: Options) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
  OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
  OTEL_EXPORTER_OTLP_TIMEOUT: timeout === undefined ? undefined : String(Math.ceil(Duration.toMillis(timeout))),
  OTEL_SERVICE_NAME: serviceName
})

/** A client whose requests are few and end in time, so that a collector that hangs keeps little in memory. */
const bounded = (timeoutMillis: number) => {
  let unanswered = 0
  const waitsTooLong = (response: HttpClientResponse.HttpClientResponse, now: number) => {
    const hint = Headers.parseRetryAfter(response.headers["retry-after"] ?? "0")
    return Result.isSuccess(hint) && Duration.toMillis(Headers.retryAfterDelay(hint.success, now)) > maxRetryAfterMillis
  }
  return HttpClient.transform((
    answer: Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>,
    request
  ) =>
    Clock.clockWith((clock) => {
      const failed = (description: string) =>
        Effect.fail(
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, description }) })
        )
      const given = (response: HttpClientResponse.HttpClientResponse) =>
        new HttpClientError.HttpClientError({
          reason: new HttpClientError.DecodeError({ request, response, description: "asks to wait too long" })
        })
      if (unanswered >= maxUnanswered) return failed("too many requests are unanswered")
      unanswered++
      return answer.pipe(
        Effect.tap((response) => response.arrayBuffer),
        Effect.timeoutOrElse({ duration: timeoutMillis, orElse: () => failed("no answer in time") }),
        Effect.filterOrFail((response) => !waitsTooLong(response, clock.currentTimeMillisUnsafe()), given),
        Effect.ensuring(Effect.sync(() => unanswered--))
      )
    })
  )
}

/** Spans are many, and Effect's own encoder takes longer for those of a call than the call does. */
const protobuf = Layer.effect(
  OtlpSerialization.OtlpSerialization,
  Effect.map(OtlpSerialization.OtlpSerialization, (all) => ({
    ...all,
    traces: (data: TraceData) => HttpBody.uint8Array(encode(data), "application/x-protobuf")
  }))
).pipe(Layer.provide(OtlpSerialization.layerProtobuf))

/**
 * Exports what Effect records. It fails with `ConfigError` where a variable or an option does not mean anything.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<OtlpExporter.Flusher, Config.ConfigError> =>
  Effect.gen(function*() {
    const { protocol, timeoutMillis } = yield* Config.all({
      // An endpoint of one signal that means nothing would pass for none.
      endpoints: Config.all(
        signals.map((signal) => Config.option(Config.URL(`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`)))
      ),
      protocol: Config.Literals(["http/protobuf", "http/json"], "OTEL_EXPORTER_OTLP_PROTOCOL"),
      timeoutMillis: Config.Int("OTEL_EXPORTER_OTLP_TIMEOUT")
    })
    const headers = Object.entries(options.headers ?? {}).map(([name, value]) =>
      [name, Redacted.isRedacted(value) ? Redacted.value(value) : value] as const
    )
    return EffectOtlp.layerFromConfig(headers.length === 0 ? {} : { headers }).pipe(
      Layer.provide([
        protocol === "http/json" ? OtlpSerialization.layerJson : protobuf,
        Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, bounded(timeoutMillis))).pipe(
          Layer.provide(FetchHttpClient.layer),
          // A redirect would take the headers, which may be tokens, to another origin.
          Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { redirect: "manual" }))
        )
      ])
    )
  }).pipe(
    Layer.unwrap,
    // What the specification says of a variable is checked where it is used, and dies.
    Layer.catchCause((cause) => {
      const invalid = cause.reasons.map((reason) => Cause.isDieReason(reason) ? reason.defect : undefined)
        .find((defect) => defect instanceof Config.ConfigError)
      return Layer.effectContext(invalid === undefined ? Effect.failCause(cause) : Effect.fail(invalid))
    }),
    Layer.provide(ConfigProvider.layerAdd(ConfigProvider.fromEnvRecord(defaults))),
    Layer.provide(ConfigProvider.layerAdd(ConfigProvider.fromEnvRecord(variables(options)), { asPrimary: true }))
  )
