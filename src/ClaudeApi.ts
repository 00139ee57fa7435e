/**
 * The port: sends one attempt to the API, without any policy. Every failure is one of the five errors of
 * the API, a stream that ends early fails, and time limits that the SDK lacks apply. A stream that said why it stopped has all of its content:
 * it is whole, and ends with `message_stop`, also where that event was lost.
 *
 * The SDK builds the requests, the first of each shape, and their headers; it sends nothing, and reads neither key nor base URL from the
 * environment. It reads `ANTHROPIC_CUSTOM_HEADERS`, which are sent to no base URL but the vendor's.
 *
 * **Example** (Another base URL and shorter limits)
 *
 * ```ts
 * import { ClaudeApi } from "effect-claude"
 *
 * export const layer = ClaudeApi.layer({
 *   baseUrl: "https://gateway.example.com",
 *   timeouts: { firstContent: "30 seconds", idle: "15 seconds" }
 * })
 * ```
 *
 * @since 0.1.0
 */
import type { Message, MessageTokensCount } from "@anthropic-ai/sdk/resources/messages"
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Attempt, MessageAttempt } from "./Attempt.ts"
import * as Exchange from "./ClaudeApi/internal/exchange.ts"
import * as Misread from "./ClaudeApi/internal/misread.ts"
import * as Proxy from "./ClaudeApi/internal/proxy.ts"
import * as Receive from "./ClaudeApi/internal/receive.ts"
import * as Settings from "./ClaudeApi/internal/settings.ts"
import * as Transport from "./ClaudeApi/internal/transport.ts"
import * as Wire from "./ClaudeApi/internal/wire.ts"
import type { ApiError } from "./ClaudeError.ts"
import { refusalOfMessage } from "./internal/modelRefusal.ts"
import type { Event } from "./MessageStream.ts"
import { cacheTtl } from "./PriceBook.ts"
import { type CountTokensRequest, type Request, toCountTokensParams, toParams } from "./Request.ts"
import * as Usage from "./Usage.ts"

/**
 * How long one attempt may take. When a limit expires, the attempt fails with `ConnectionError` and the request ends on the
 * wire; the deadline of the caller does the same.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timeouts {
  /** Until the response headers: a plain call sends them when the whole answer is ready. Default 10 minutes. */
  readonly headers?: Duration.Input | undefined
  /** From sending until the first content of a stream, pings or not. Default none: while the API sends pings, it works on the answer. */
  readonly firstContent?: Duration.Input | undefined
  /** Between two chunks of a body, where the pings of a stream count. Time that the reader takes does not. Default 2 minutes. */
  readonly idle?: Duration.Input | undefined
  /** The whole attempt. Default 1 hour. */
  readonly call?: Duration.Input | undefined
}

/**
 * - `baseUrl`: where requests go, with or without `/v1` at its end. Default `https://api.anthropic.com`.
 * - `timeouts`: how long to wait for headers, first content, the next chunk and the whole attempt. Default: those of `Timeouts`.
 * - `fetch`: default of the layers on Node: `undici` with a connection pool of their own and no time limits besides
 *   `timeouts`; in other runtimes, where `undici` is not installed, and of `make`: the global one. Bundles never contain
 *   `undici`: it is loaded when a layer without `fetch` is built.
 * - `headers`: sent with each request, such as `anthropic-beta`. Betas of the calls and of their keys are added to these. Headers that carry
 *   a key are ignored.
 * - `traceparent`: sends the span of the attempt along, as W3C Trace Context, for a gateway that goes on with the trace. Default `false`.
 * - `maxBytes`: the largest answer that is read, after it was decompressed. Default 64 MiB; a larger one fails as `malformed`.
 * - `proxy`: the URL of an HTTP or SOCKS5 proxy, which may be `Redacted`; `true` for those of the environment (`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in
 *   either case), `false` for none. Default `true` where `NODE_USE_ENV_PROXY=1` or `--use-env-proxy` says so to Node, else `false`.
 * - `http2`: takes HTTP/2 where the server has it, instead of HTTP/1.1 alone. Default `false`. Neither this nor `proxy` changes a `fetch` of yours.
 * - `pings`: streams give pings as events of the type `ping` too, for servers that keep their own clients waiting; those before the first
 *   content come with it. Default `false`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly baseUrl?: string | undefined
  readonly timeouts?: Timeouts | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly fetch?: typeof globalThis.fetch | undefined
  readonly traceparent?: boolean | undefined
  readonly maxBytes?: number | undefined
  readonly proxy?: boolean | string | Redacted.Redacted<string> | undefined
  readonly http2?: boolean | undefined
  readonly pings?: boolean | undefined
}

/**
 * Sends one attempt with its `key`, and writes its `sentAt` and `outcome`. Counting tokens and reading models use no tokens.
 *
 * @category services
 * @since 0.1.0
 */
export class ClaudeApi extends Context.Service<ClaudeApi, {
  /** Where requests go. */
  readonly baseUrl: string
  readonly send: (attempt: MessageAttempt) => Effect.Effect<Message, ApiError>
  readonly stream: (attempt: MessageAttempt) => Stream.Stream<Event, ApiError>
  readonly countTokens: (
    attempt: Attempt,
    params: CountTokensRequest
  ) => Effect.Effect<MessageTokensCount, ApiError>
  readonly models: (attempt: Attempt) => Effect.Effect<ReadonlyArray<ModelInfo>, ApiError>
  readonly model: (attempt: Attempt, id: string) => Effect.Effect<ModelInfo, ApiError>
}>()("effect-claude/ClaudeApi") {}

const defaultBaseUrl = "https://api.anthropic.com"

/** The most pages that are read of a list. */
const maxPages = 100

const isTokensCount = (body: object): body is MessageTokensCount =>
  "input_tokens" in body && typeof body.input_tokens === "number"

const isModelInfo = (body: object): body is ModelInfo => "id" in body && typeof body.id === "string"

const isModelPage = (body: object): body is { data: Array<ModelInfo>; has_more?: unknown; last_id?: unknown } =>
  "data" in body && Array.isArray(body.data)

const unused = () => Exchange.unused

/** What a message says that it used. */
const usedFor = (attempt: MessageAttempt, message: Message): Exchange.Used => {
  // The types say more than an answer has to have.
  const { model, stop_reason: stopReason }: { readonly model: unknown; readonly stop_reason: unknown } = message
  const used = {
    usage: Usage.fromReported(message.usage ?? {}, () => cacheTtl(attempt.request)),
    model: typeof model === "string" ? model : undefined,
    stopReason: typeof stopReason === "string" ? stopReason : undefined,
    refusal: stopReason === "refusal" ? refusalOfMessage(message) : undefined
  }
  const { input_tokens: input, output_tokens: output } = message.usage ?? {}
  const isReported = typeof input === "number" && typeof output === "number"
  if (isReported && used.usage.outputTokens > 0) return used
  const usage = Misread.counted(attempt, message, used.usage)
  // No content comes of no output.
  return isReported && output === 0 && usage.outputTokens === 0 ? used : { ...used, usage, isEstimated: true }
}

const messages = (params: Request & { readonly stream?: boolean }): Wire.Asked => ({
  route: "messages",
  params,
  ask: (sdk, options) => sdk.messages.create(toParams(params), options)
})

const counts = (params: CountTokensRequest): Wire.Asked => ({
  route: "count_tokens",
  params,
  ask: (sdk, options) => sdk.messages.countTokens(toCountTokensParams(params), options)
})

/** The port over a transport. */
const over = (send: Transport.Transport, options: Options): ClaudeApi["Service"] => {
  const baseUrl = Settings.withoutRoute(options.baseUrl ?? defaultBaseUrl)
  const idle = Duration.toMillis(options.timeouts?.idle ?? "2 minutes")
  const bounds: Exchange.Bounds = {
    baseUrl,
    secrets: Proxy.secrets(options),
    send,
    headers: Duration.toMillis(options.timeouts?.headers ?? "10 minutes"),
    firstContent: Duration.toMillis(options.timeouts?.firstContent ?? Infinity),
    idle,
    call: Duration.toMillis(options.timeouts?.call ?? "1 hour"),
    maxBytes: options.maxBytes ?? 64 * 1024 * 1024,
    watch: new Exchange.Watch(idle)
  }
  const plainBounds = { ...bounds, firstContent: Infinity }
  const streamBounds = { ...bounds, pings: options.pings ?? false }
  const wire = Wire.maker({
    baseUrl,
    vendorsUrl: defaultBaseUrl,
    headers: options.headers ?? {},
    traceparent: options.traceparent ?? false,
    // Ours expires first. This one only keeps the SDK from setting its own.
    timeout: Math.min(bounds.headers + 1000, 2 ** 31 - 1)
  })

  return ClaudeApi.of({
    baseUrl,

    send: (attempt) => {
      const { request } = attempt
      const params = "stream" in request ? { ...request, stream: false } : request
      return Exchange.plain(attempt, plainBounds, {
        request,
        make: (exchange) => wire(exchange, messages(params)),
        is: Exchange.isMessage,
        used: (message) => usedFor(attempt, message)
      })
    },

    stream: (attempt) =>
      Receive.stream(
        attempt,
        streamBounds,
        (exchange) => wire(exchange, messages({ ...attempt.request, stream: true }))
      ),

    countTokens: (attempt, params) =>
      Exchange.plain(attempt, plainBounds, {
        request: params,
        make: (exchange) => wire(exchange, counts(params)),
        is: isTokensCount,
        used: unused
      }),

    models: Effect.fnUntraced(function*(attempt) {
      const models: Array<ModelInfo> = []
      let after: { after_id?: string } = {}
      for (let page = 0; page < maxPages; page++) {
        const body = yield* Exchange.plain(attempt, plainBounds, {
          request: undefined,
          make: (exchange) =>
            wire(exchange, {
              route: "models",
              ask: (sdk, options) => sdk.models.list({ limit: 1000, ...after }, options)
            }),
          is: isModelPage,
          used: unused
        })
        models.push(...body.data)
        if (body.has_more !== true || typeof body.last_id !== "string") break
        after = { after_id: body.last_id }
      }
      return models
    }),

    model: (attempt, id) =>
      Exchange.plain(attempt, plainBounds, {
        request: undefined,
        make: (exchange) =>
          wire(exchange, { route: "model", ask: (sdk, options) => sdk.models.retrieve(id, undefined, options) }),
        is: isModelInfo,
        used: unused
      })
  })
}

/**
 * Builds the port.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): ClaudeApi["Service"] => over(Transport.ofFetch(options.fetch), options)

const checked = (options: Options): Effect.Effect<ClaudeApi["Service"], Config.ConfigError, Scope.Scope> =>
  Effect.gen(function*() {
    yield* Settings.check(options.baseUrl ?? defaultBaseUrl, options.headers ?? {})
    return options.fetch === undefined ? over(yield* Transport.make(options), options) : make(options)
  })

/**
 * The port over the API at `baseUrl`. A base URL that is not an absolute `http` or `https` URL, or a proxy that is no URL, fails the layer with
 * `ConfigError`. Without `fetch` it keeps connections of its own, which are closed with the layer; a
 * Node older than 22.19 is then a defect.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<ClaudeApi, Config.ConfigError> =>
  Layer.effect(ClaudeApi, checked(options))

/**
 * `layer` with options from configuration. `fetch` is code, so it is passed beside them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Omit<Options, "fetch">>,
  fetch?: Options["fetch"]
): Layer.Layer<ClaudeApi, Config.ConfigError> =>
  Layer.effect(ClaudeApi, Effect.flatMap(Config.unwrap(options), (options) => checked({ ...options, fetch })))
