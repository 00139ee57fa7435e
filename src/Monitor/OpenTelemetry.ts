/**
 * Traces, metrics and logs through the OpenTelemetry SDK, for programs that bring its exporters, processors and samplers. Who only needs OTLP takes
 * `Monitor/Otlp`, which needs no further package.
 *
 * It is the `NodeSdk` of `@effect/opentelemetry`, an optional peer: Effect's spans, metrics and log records, those of `effect-claude` among them, become
 * the SDK's. Each signal is on where it has a processor or a reader.
 *
 * **Gotchas**
 *
 * - `@effect/opentelemetry` 4.1 needs OpenTelemetry JS of line 2 (`sdk-logs` below 0.300, `resources` below 3), while npm's newest are of line 3 and
 *   end in `ERESOLVE`. What installs together:
 *   `npm install @effect/opentelemetry @opentelemetry/api@1 @opentelemetry/resources@2 @opentelemetry/sdk-trace-base@2 @opentelemetry/sdk-trace-node@2
 *   @opentelemetry/sdk-metrics@2 @opentelemetry/sdk-logs@0.223 @opentelemetry/api-logs@0.223 @opentelemetry/semantic-conventions@1`, with exporters of
 *   0.223.
 * - When the layer's scope closes, what is left is exported, which is waited for no longer than `shutdownTimeout`, 3 seconds by default.
 *
 * **Example** (Spans to a processor of your own)
 *
 * ```ts
 * import { BatchSpanProcessor, ConsoleSpanExporter } from "@opentelemetry/sdk-trace-base"
 * import { ClaudeService } from "effect-claude"
 * import * as OpenTelemetry from "effect-claude/Monitor/OpenTelemetry"
 * import { Layer } from "effect"
 *
 * export const layer = Layer.merge(
 *   ClaudeService.layer(),
 *   OpenTelemetry.layer(() => ({
 *     resource: { serviceName: "greeter" },
 *     spanProcessor: new BatchSpanProcessor(new ConsoleSpanExporter())
 *   }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import type * as Resource from "@effect/opentelemetry/Resource"
import type { LazyArg } from "effect/Function"
import type * as Layer from "effect/Layer"

/**
 * Hands what Effect records to the OpenTelemetry SDK. `evaluate` runs when the layer is built and says with which processors, readers and resource.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (evaluate: LazyArg<NodeSdk.Configuration>): Layer.Layer<Resource.Resource> =>
  NodeSdk.layer(evaluate)
