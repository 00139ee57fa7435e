import { assert, describe, it } from "@effect/vitest"
import { InMemoryLogRecordExporter, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs"
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import { BatchSpanProcessor, InMemorySpanExporter, type SpanExporter } from "@opentelemetry/sdk-trace-base"
import { Effect, Layer, Logger } from "effect"
import { ClaudeService } from "effect-claude"
import * as OpenTelemetry from "effect-claude/Monitor/OpenTelemetry"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"

const call = ClaudeService.text({
  model: "claude-haiku-5-5",
  max_tokens: 64,
  messages: [{ role: "user", content: "Say hello." }]
})

/** A service with every policy over a script. */
const service = ClaudeService.layer({ api: ClaudeTest.layerApi("Hello."), keys: [ClaudeTest.key] })

/** Keeps what it was given when it is shut down, as a backend does. */
class Spans extends InMemorySpanExporter {
  override async shutdown() {}
}

class Logs extends InMemoryLogRecordExporter {
  override async shutdown() {}
}

class Metrics extends InMemoryMetricExporter {
  override async shutdown() {}
}

describe("OpenTelemetry", () => {
  it.live("hands the spans, metrics and log records of a call to the user's own exporters", () =>
    Effect.gen(function*() {
      const spans = new Spans()
      const logs = new Logs()
      const metrics = new Metrics(AggregationTemporality.CUMULATIVE)
      yield* Effect.andThen(call, Effect.logInfo("answered")).pipe(
        Effect.provide(Layer.provideMerge(
          service,
          OpenTelemetry.layer(() => ({
            resource: { serviceName: "greeter" },
            spanProcessor: new BatchSpanProcessor(spans),
            logRecordProcessor: new SimpleLogRecordProcessor({ exporter: logs }),
            metricReader: new PeriodicExportingMetricReader({ exporter: metrics })
          }))
        )),
        Effect.provide(Logger.layer([]))
      )
      const finished = spans.getFinishedSpans()
      const attempt = finished.find(({ name }) => name === "claude.attempt")
      const whole = finished.find((span) => span.spanContext().spanId === attempt?.parentSpanContext?.spanId)
      assert.isDefined(whole)
      assert.strictEqual(whole?.resource.attributes["service.name"], "greeter")
      assert.include(logs.getFinishedLogRecords().map(({ body }) => body), "answered")
      const names = metrics.getMetrics().flatMap(({ scopeMetrics }) =>
        scopeMetrics.flatMap(({ metrics }) => metrics.map(({ descriptor }) => descriptor.name))
      )
      assert.include(names, "anthropic_requests_total")
    }))

  it.effect("waits no longer than the shutdown timeout for an exporter that hangs", () =>
    Effect.gen(function*() {
      const hanging: SpanExporter = {
        export: () => {},
        forceFlush: () => new Promise(() => {}),
        shutdown: () => new Promise(() => {})
      }
      const fiber = yield* Effect.forkChild(
        call.pipe(
          Effect.provide(Layer.merge(
            service,
            OpenTelemetry.layer(() => ({
              spanProcessor: new BatchSpanProcessor(hanging),
              shutdownTimeout: "2 seconds"
            }))
          ))
        )
      )
      yield* TestClock.adjust("1900 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("200 millis")
      assert.isDefined(fiber.pollUnsafe())
    }))
})
