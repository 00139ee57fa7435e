/**
 * The endpoints of `effect-claude/Http` and the status page on a port of their own, on loopback unless you say otherwise. Needs `@effect/platform-node`.
 *
 * When its layer ends, streams of events end first, and requests that run have `shutdownTimeout` to end. Around a program that makes calls, use it with
 * `Health.drained`: on SIGTERM readiness turns to 503 while this server still answers, calls end, the ledger and exporters write what they have.
 *
 * **Example** (A worker with a status page on http://127.0.0.1:9464)
 *
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { ClaudeService, Health } from "effect-claude"
 * import * as HttpServer from "effect-claude/Http/Server"
 * import { Effect, Layer } from "effect"
 *
 * const worker: Effect.Effect<void, never, ClaudeService.ClaudeService> = Effect.never // makes calls
 *
 * const services = HttpServer.layer().pipe(
 *   Layer.provideMerge(Health.layer()),
 *   Layer.provideMerge(ClaudeService.layerWithParts())
 * )
 *
 * export const run = () =>
 *   NodeRuntime.runMain(Health.drained(worker, "20 seconds").pipe(Effect.provide(services)))
 * ```
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import * as Layer from "effect/Layer"
import { createServer } from "node:http"
import { Health } from "../Health.ts"
import * as Http from "../Http.ts"
import type { Monitor } from "../Monitor.ts"
import type { RateLimiter } from "../RateLimiter.ts"

/**
 * - `host`: the address to listen on. Default `127.0.0.1`: only this machine. `0.0.0.0` is every address, as probes and Prometheus in a cluster need it;
 *   a warning is logged if there is no token then.
 * - `port`: the port to listen on, 0 for any free one. Default 9464, as exporters of OpenTelemetry for Prometheus have it.
 * - `shutdownTimeout`: how long requests may go on when the layer ends. Default 2 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Http.Options {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly shutdownTimeout?: Duration.Input | undefined
}

/**
 * The server that runs; `url` is its status page, such as `http://127.0.0.1:9464`.
 *
 * @category services
 * @since 0.1.0
 */
export class Server extends Context.Service<Server, { readonly url: string }>()("effect-claude/Http/Server") {}

const isLoopback = (host: string): boolean => /^(?:127\..*|::1|localhost)$/.test(host)

/**
 * Runs the server for as long as the layer. Fails with `ServeError` where the address cannot be listened on.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Server, ServeError, Health | Monitor | RateLimiter> => {
  const { host = "127.0.0.1", port = 9464, prefix = "", shutdownTimeout = "2 seconds", token } = options
  const served = HttpRouter.serve(Http.layer(options), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(
      NodeHttpServer.layer(() => createServer(), { host, port, gracefulShutdownTimeout: shutdownTimeout })
    )
  )
  const started = Layer.effect(
    Server,
    Effect.gen(function*() {
      const { stop } = yield* Health
      const { address } = yield* HttpServer.HttpServer
      // It runs before the server closes, which waits for the streams that this ends.
      yield* Effect.addFinalizer(() => stop)
      if (token === undefined && !isLoopback(host)) {
        yield* Effect.logWarning(
          `Http: whoever reaches ${host}:${port} can read metrics, events and the status page. Set a token, or keep the port private.`
        )
      }
      return Server.of({ url: `${HttpServer.formatAddress(address)}${prefix}` })
    })
  )
  return Layer.provide(started, served)
}
