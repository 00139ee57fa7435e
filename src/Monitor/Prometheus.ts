/**
 * Metrics for Prometheus: a route to scrape, or the text.
 *
 * What is shown is everything that Effect measures: the metrics of `effect-claude` ([the table](../docs/monitoring.md)) and those of the program around it.
 * Scrape every process; no series is ever shared by two.
 *
 * **Example** (A route of your own server)
 *
 * ```ts
 * // compiled only: it listens until it is interrupted
 * import { NodeHttpServer } from "@effect/platform-node"
 * import * as Prometheus from "effect-claude/Monitor/Prometheus"
 * import { Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { createServer } from "node:http"
 *
 * export const server = HttpRouter.serve(Prometheus.layer()).pipe(
 *   Layer.provide(NodeHttpServer.layer(createServer, { port: 9464, host: "127.0.0.1" }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import type * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"

/**
 * - `path`: where metrics stand. Default `/metrics`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly path?: HttpRouter.PathInput | undefined
}

/**
 * All metrics in the text format of Prometheus, version 0.0.4.
 *
 * @category getters
 * @since 0.1.0
 */
export const format: Effect.Effect<string> = PrometheusMetrics.format()

/**
 * Serves the metrics on a route of the router.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never, never, HttpRouter.HttpRouter> =>
  PrometheusMetrics.layerHttp(options)
