/**
 * Health endpoints, metrics, events and a status page over HTTP, in a server of your own or in one that `effect-claude/Http/Server` runs.
 *
 * | path | answers | needs the token |
 * | --- | --- | --- |
 * | `/health/live` | 204 while the process answers | no |
 * | `/health/ready` | 200, or 503 with the reasons | no |
 * | `/health` | circuits, limits left, keys by label, budgets, last success and error, versions | yes |
 * | `/metrics` | every metric of the process, for Prometheus | yes |
 * | `/events` | everything that happens, as server-sent events | yes |
 * | `/status` | what the status page shows, as server-sent events once a second | yes |
 * | `/` | the status page: it holds no data itself, and asks for the token | no |
 * | `/openapi.json` | the description of all this | no |
 *
 * - Nothing here holds a key, a prompt or an answer. Events and `/status` name users, tenants and tags as your program does.
 * - Without a token, a request is answered only if its `Host` is an address, `localhost` or one of `hosts`: a web page that made a name of its own stand
 *   for this server (DNS rebinding) reads nothing.
 * - A reader of a stream that is too slow loses the oldest events, and holds back nobody. There are at most 64 readers.
 * - Streams end when `Health.stop` runs, as `Health.drained` and `Http/Server` see to. Otherwise an open one holds up the end of a server of your own for
 *   its `gracefulShutdownTimeout`: a server does not say that it closes.
 *
 * **Example** (In a server of your own)
 *
 * ```ts
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { ClaudeService, Health } from "effect-claude"
 * import * as Http from "effect-claude/Http"
 * import { Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { createServer } from "node:http"
 *
 * export const server = HttpRouter.serve(Http.layer({ prefix: "/claude" })).pipe(
 *   Layer.provide(NodeHttpServer.layer(createServer, { port: 3000, host: "127.0.0.1" })),
 *   Layer.provide(Health.layer()),
 *   Layer.provide(ClaudeService.layerWithParts())
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import type * as Etag from "effect/http/Etag"
import type * as HttpPlatform from "effect/http/HttpPlatform"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { InputFinding } from "./ClaudeError.ts"
import * as Health from "./Health.ts"
import { refusalOf, secured } from "./Http/internal/access.ts"
import * as Board from "./Http/internal/board.ts"
import * as Page from "./Http/internal/page.ts"
import { Event, Update } from "./Http/internal/schemas.ts"
import { maxReaders, respond } from "./Http/internal/sse.ts"
import * as Monitor from "./Monitor.ts"
import * as Prometheus from "./Monitor/Prometheus.ts"
import type { RateLimiter } from "./RateLimiter.ts"

export type { Circuits, Point, Shown, Step } from "./Http/internal/board.ts"
export { Event, Update } from "./Http/internal/schemas.ts"

/**
 * - `token`: a bearer token that requests must carry. Default none: then keep the server on loopback or in a private network.
 * - `hosts`: names by which requests without a token may call the server, beside addresses and `localhost`. Default none.
 * - `prefix`: where the paths begin, such as `/claude`. Default `/`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly token?: Redacted.Redacted<string> | undefined
  readonly hosts?: ReadonlyArray<string> | undefined
  readonly prefix?: `/${string}` | undefined
}

/**
 * The service is not ready (HTTP 503).
 *
 * @category errors
 * @since 0.1.0
 */
export class NotReadyError extends Schema.TaggedError<NotReadyError>("effect-claude/Http/NotReadyError")(
  "NotReadyError",
  { reasons: Schema.Array(Health.Reason) },
  { httpApiStatus: 503 }
) {}

/**
 * The request has no token, or a wrong one (HTTP 401).
 *
 * @category errors
 * @since 0.1.0
 */
export class UnauthorizedError extends Schema.TaggedError<UnauthorizedError>("effect-claude/Http/UnauthorizedError")(
  "UnauthorizedError",
  {},
  { httpApiStatus: 401 }
) {
  override readonly message = "Send the token of this server as \"authorization: Bearer ...\"."
}

/**
 * The server does not go by the name in the `Host` of the request (HTTP 403).
 *
 * @category errors
 * @since 0.1.0
 */
export class HostNotAllowedError
  extends Schema.TaggedError<HostNotAllowedError>("effect-claude/Http/HostNotAllowedError")(
    "HostNotAllowedError",
    {},
    { httpApiStatus: 403 }
  )
{
  override readonly message = "Without a token this server answers to addresses and localhost. Name others in `hosts`."
}

/**
 * So many readers follow streams already that there is no room for another (HTTP 503).
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyReadersError
  extends Schema.TaggedError<TooManyReadersError>("effect-claude/Http/TooManyReadersError")(
    "TooManyReadersError",
    {},
    { httpApiStatus: 503 }
  )
{}

/**
 * Lets in whom `Options` let in.
 *
 * @category middlewares
 * @since 0.1.0
 */
export class Access extends HttpApiMiddleware.Service<Access>()("effect-claude/Http/Access", {
  error: [UnauthorizedError, HostNotAllowedError]
}) {}

/** What answers without the token. */
const open = new Set(["live", "ready"])

/**
 * The endpoints, for an `HttpApi` of your own: `HttpApi.make("mine").add(Http.Group)`, with `Http.layerGroup(mine)`.
 *
 * @category models
 * @since 0.1.0
 */
export class Group extends HttpApiGroup.make("claude")
  .add(
    HttpApiEndpoint.get("live", "/health/live", { success: HttpApiSchema.NoContent }).annotate(
      OpenApi.Description,
      "The process answers. What is wrong at the API is no reason to restart it."
    ),
    HttpApiEndpoint.get("ready", "/health/ready", {
      success: Schema.Struct({ ready: Schema.Literal(true) }),
      error: NotReadyError
    }).annotate(OpenApi.Description, "Calls can be made now."),
    HttpApiEndpoint.get("health", "/health", { success: Health.Detail }).annotate(
      OpenApi.Description,
      "How each part stands."
    ),
    HttpApiEndpoint.get("metrics", "/metrics", {
      success: Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/plain; version=0.0.4; charset=utf-8" }))
    }).annotate(OpenApi.Description, "Every metric of the process, in the text format of Prometheus."),
    HttpApiEndpoint.get("events", "/events", {
      success: HttpApiSchema.StreamSse({ data: Event }),
      error: TooManyReadersError
    }).annotate(OpenApi.Description, "Everything that happens, from now on."),
    HttpApiEndpoint.get("status", "/status", {
      success: HttpApiSchema.StreamSse({ data: Update }),
      error: TooManyReadersError
    }).annotate(OpenApi.Description, "What the status page shows, once a second.")
  )
  .middleware(Access)
{}

/**
 * The endpoints as an API of their own. `HttpApiClient.make(Http.Api)` is its client.
 *
 * @category models
 * @since 0.1.0
 */
export class Api extends HttpApi.make("effect-claude").add(Group).annotateMerge(
  OpenApi.annotations({
    title: "effect-claude",
    description: "What Claude traffic does, what it costs and what is wrong."
  })
) {}

const accessOf = ({ hosts = [], token }: Options): Layer.Layer<Access> =>
  Layer.succeed(
    Access,
    Effect.fnUntraced(function*(response, { endpoint }) {
      const request = yield* HttpServerRequest.HttpServerRequest
      const refusal = refusalOf(request, token, hosts, open.has(endpoint.identifier))
      if (refusal === "token") return yield* new UnauthorizedError()
      if (refusal === "host") return yield* new HostNotAllowedError()
      return yield* secured(response)
    })
  )

/** A finding may have an excerpt of what was asked, where the sanitizer was told to; it does not leave the process here. */
const withoutText = (event: Monitor.Event): Monitor.Event =>
  event._tag === "InputFound" && event.finding.excerpt !== undefined
    ? { ...event, finding: new InputFinding({ ...event.finding, excerpt: undefined }) }
    : event

type Needs = Health.Health | Monitor.Monitor | RateLimiter

const handlers = (api: typeof Api) =>
  HttpApiBuilder.group(
    api,
    "claude",
    Effect.fnUntraced(function*(handlers) {
      const health = yield* Health.Health
      const monitor = yield* Monitor.Monitor
      const board = yield* Board.make
      let readers = 0
      const reader = Effect.acquireRelease(
        Effect.suspend(() => {
          if (readers >= maxReaders) return Effect.fail(new TooManyReadersError())
          readers++
          return Effect.void
        }),
        () =>
          Effect.sync(() => {
            readers--
          })
      )
      return handlers.handleAll({
        live: () => Effect.void,
        ready: () =>
          Effect.flatMap(
            health.ready,
            ({ ready, reasons }) => ready ? Effect.succeed({ ready }) : Effect.fail(new NotReadyError({ reasons }))
          ),
        health: () => health.detail,
        metrics: () => Prometheus.format
      })
        .handleRaw(
          "events",
          () =>
            Effect.as(
              reader,
              respond(Stream.map(monitor.events, withoutText), ({ sequence }) => sequence, health.stopping)
            )
        )
        .handleRaw(
          "status",
          () => Effect.as(reader, respond(board.updates, ({ sequence }) => sequence, health.stopping))
        )
    })
  )

/**
 * The handlers of `Group` in an `HttpApi` of your own.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerGroup = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  api: HttpApi.HttpApi<Id, Groups>,
  options: Omit<Options, "prefix"> = {}
): Layer.Layer<HttpApiGroup.Service<Id, "claude"> | Access, never, Needs> =>
  // It is the group of ours that an API has under this name, wherever its paths begin; its service differs by the name of the API in its type only.
  Layer.provideMerge(handlers(api as unknown as typeof Api), accessOf(options)) as Layer.Layer<
    HttpApiGroup.Service<string, "claude"> | Access,
    never,
    Needs
  >

const page = ({ hosts = [], token }: Options) =>
  Effect.map(HttpServerRequest.HttpServerRequest, (request) =>
    refusalOf(request, token, hosts, true) === undefined
      ? HttpServerResponse.text(Page.html, {
        contentType: "text/html; charset=utf-8",
        headers: { "content-security-policy": Page.policy }
      })
      : HttpServerResponse.text(new HostNotAllowedError().message, { status: 403 }))

/**
 * The endpoints, their description and the status page as routes of a server.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  never,
  never,
  Etag.Generator | FileSystem.FileSystem | HttpPlatform.HttpPlatform | HttpRouter.HttpRouter | Needs | Path.Path
> => {
  const { prefix = "/" } = options
  const routes = Layer.mergeAll(
    HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(Layer.provide(layerGroup(Api, options))),
    HttpRouter.add("GET", "/", secured(page(options)))
  )
  return prefix === "/" ? routes : Layer.provide(
    routes,
    Layer.effect(HttpRouter.HttpRouter, Effect.map(HttpRouter.HttpRouter, (router) => router.prefixed(prefix)))
  )
}
