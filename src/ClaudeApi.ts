/**
 * The port: sends one attempt through `@anthropic-ai/sdk`, without any policy. Every failure is one of the five errors of
 * the API, a stream that ends early fails, and time limits that the SDK lacks apply. A stream that said why it stopped has all of its content:
 * it is whole, and ends with `message_stop`, also where that event was lost.
 *
 * The SDK builds the request and its headers; it never retries, traces, logs, or reads its key or base URL from the
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
import Anthropic from "@anthropic-ai/sdk"
import type { Message, MessageCreateParamsNonStreaming, MessageTokensCount } from "@anthropic-ai/sdk/resources/messages"
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type { Attempt, MessageAttempt } from "./Attempt.ts"
import { isUnconnected } from "./ClaudeApi/internal/apiError.ts"
import * as Exchange from "./ClaudeApi/internal/exchange.ts"
import * as Misread from "./ClaudeApi/internal/misread.ts"
import * as Receive from "./ClaudeApi/internal/receive.ts"
import * as Sendable from "./ClaudeApi/internal/sendable.ts"
import * as Settings from "./ClaudeApi/internal/settings.ts"
import * as Transport from "./ClaudeApi/internal/transport.ts"
import type { ApiError } from "./ClaudeError.ts"
import { environmentHeaders, joinHeaders } from "./internal/headers.ts"
import { refusalOfMessage } from "./internal/modelRefusal.ts"
import type { Event } from "./MessageStream.ts"
import { cacheTtl } from "./PriceBook.ts"
import { type CountTokensRequest, toCountTokensParams, toParams } from "./Request.ts"
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

/** Headers that would replace the key of the attempt. */
const keyHeaders = new Set(["authorization", "x-api-key", "proxy-authorization"])

const withoutKeys = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !keyHeaders.has(name.toLowerCase())))

/** The most clients that are kept; the oldest makes room. */
const maxClients = 256

/** The most pages that are read of a list. */
const maxPages = 100

const isTokensCount = (body: object): body is MessageTokensCount =>
  "input_tokens" in body && typeof body.input_tokens === "number"

const isModelInfo = (body: object): body is ModelInfo => "id" in body && typeof body.id === "string"

const isModelPage = (body: object): body is { data: Array<ModelInfo>; has_more?: unknown; last_id?: unknown } =>
  "data" in body && Array.isArray(body.data)

/** Where the signal of an exchange stands among what the SDK hands to `fetch`. */
const abandoned = Symbol("effect-claude/ClaudeApi/abandoned")

interface FetchOptions {
  /** A redirect would take headers and prompts to another origin. */
  readonly redirect: "manual"
  readonly [abandoned]: AbortSignal
}

/** What a `fetch` gave: a response whose body can be read; that of an error as a text, of which no more is read than over the own transport. */
const bounded = (response: Response): Response => {
  const { body, ok } = response
  if (body === null) return response
  if (typeof body.getReader !== "function") throw new TypeError("fetch gave a body that is not a ReadableStream")
  return ok
    ? response
    : Object.defineProperty(response, "text", { value: () => Transport.textOf(body.getReader()) })
}

const rejected = (error: unknown): Promise<never> =>
  Promise.reject(
    isUnconnected(error)
      ? new TypeError("fetch failed", { cause: new Error("there was no connection", { cause: error }) })
      : error
  )

/**
 * The `fetch` of the SDK:
 *
 * - It ends with the signal of the exchange. The SDK never sees that: what it makes of an aborted signal keeps requests and answers alive.
 * - The SDK drops the cause of what looks like a timeout. One that came before there was a connection is told from one that came after, so its
 *   cause goes where the SDK does not look.
 */
const fetchOf =
  (fetch: typeof globalThis.fetch | undefined): typeof globalThis.fetch =>
  (input, init: RequestInit & { readonly [abandoned]?: AbortSignal } = {}) =>
    (fetch ?? globalThis.fetch)(input, {
      ...(String(init.body).includes(cutMark) ? Sendable.wellFormed(init) : init),
      signal: init[abandoned] ?? null
    }).then(bounded, rejected)

/** What half a character begins with in JSON, where it is escaped. */
const cutMark = "\\ud"

/** A span as a header of W3C Trace Context. */
const traceparentOf = ({ sampled, spanId, traceId }: Tracer.AnySpan): string =>
  `00-${traceId.padStart(32, "0")}-${spanId.padStart(16, "0")}-${sampled ? "01" : "00"}`

/** Options of the SDK's methods. */
interface RequestOptions {
  readonly fetchOptions: FetchOptions
  readonly headers: Record<string, string | null>
}

/** A client of the SDK, and the headers that all its requests carry. */
interface Client {
  readonly sdk: Anthropic
  readonly headers: Readonly<Record<string, string>>
}

const isVendors = (baseUrl: string): boolean =>
  URL.canParse(baseUrl) && new URL(baseUrl).origin === new URL(defaultBaseUrl).origin

/**
 * Gives the client of the SDK for the key of an attempt, of which it keeps one for each key, and the options for the SDK's
 * methods.
 */
const preparing = (baseUrl: string, bounds: Exchange.Bounds, { fetch, headers = {}, traceparent = false }: Options) => {
  const clients = new Map<string, Client>()
  const newClient = (apiKey: string): Client => {
    const found = environmentHeaders()
    const all = withoutKeys(joinHeaders(isVendors(baseUrl) ? found : {}, headers))
    Sendable.checkHeaders(all)
    const sdk = new Anthropic({
      apiKey,
      baseURL: baseUrl,
      maxRetries: 0,
      // Ours expires first, and follows `Clock`. This one only keeps the SDK from setting its own.
      timeout: Math.min(bounds.headers + 1000, 2 ** 31 - 1),
      openTelemetry: false,
      logLevel: "off",
      // The SDK adds what it finds in the environment, unless it finds the same name here.
      defaultHeaders: { ...Object.fromEntries(Object.keys(found).map((name) => [name, null])), ...all },
      fetch: fetchOf(fetch)
    })
    const oldest = clients.size < maxClients ? undefined : clients.keys().next().value
    if (oldest !== undefined) clients.delete(oldest)
    const client = { sdk, headers: all }
    clients.set(apiKey, client)
    return client
  }
  return (exchange: Exchange.Exchange) => {
    const { attempt: { context, key }, controller: { signal }, span } = exchange
    const apiKey = key === undefined ? "" : Redacted.value(key.secret)
    const client = clients.get(apiKey) ?? newClient(apiKey)
    const hasOwn = key?.headers !== undefined || Object.keys(context.headers).length > 0
    const own = hasOwn ? withoutKeys(joinHeaders(client.headers, context.headers, key?.headers ?? {})) : client.headers
    if (hasOwn) Sendable.checkHeaders(own)
    exchange.carried = own
    const options: RequestOptions = {
      fetchOptions: { redirect: "manual", [abandoned]: signal },
      headers: {
        ...(hasOwn ? own : undefined),
        ...(traceparent && span !== undefined ? { traceparent: traceparentOf(span) } : undefined),
        ...(key === undefined ? undefined : { authorization: `Bearer ${apiKey}`, "x-api-key": null })
      }
    }
    return { client: client.sdk, options }
  }
}

const unused = () => Exchange.unused

/**
 * Builds the port.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): ClaudeApi["Service"] => {
  const baseUrl = Settings.withoutRoute(options.baseUrl ?? defaultBaseUrl)
  const idle = Duration.toMillis(options.timeouts?.idle ?? "2 minutes")
  const bounds: Exchange.Bounds = {
    baseUrl,
    headers: Duration.toMillis(options.timeouts?.headers ?? "10 minutes"),
    firstContent: Duration.toMillis(options.timeouts?.firstContent ?? Infinity),
    idle,
    call: Duration.toMillis(options.timeouts?.call ?? "1 hour"),
    maxBytes: options.maxBytes ?? 64 * 1024 * 1024,
    watch: new Exchange.Watch(idle)
  }
  const plainBounds = { ...bounds, firstContent: Infinity }
  const streamBounds = { ...bounds, pings: options.pings ?? false }
  const prepared = preparing(baseUrl, bounds, options)

  return ClaudeApi.of({
    baseUrl,

    send: (attempt) =>
      Exchange.plain(attempt, plainBounds, {
        request: attempt.request,
        send: (exchange) => {
          const { client, options } = prepared(exchange)
          const params = attempt.request as MessageCreateParamsNonStreaming // the SDK changes none of its arrays
          // One text has no history.
          if (params.messages?.length !== 1 || typeof params.messages[0]?.content !== "string") {
            Sendable.checkHistory(params)
          }
          return client.messages.create("stream" in params ? { ...params, stream: false } : params, options)
            .asResponse()
        },
        is: Exchange.isMessage,
        used: (message) => {
          // The types say more than an answer has to have.
          const { model, stop_reason: stopReason }: { readonly model: unknown; readonly stop_reason: unknown } = message
          const used = {
            usage: Usage.fromReported(message.usage ?? {}, () => cacheTtl(attempt.request)),
            model: typeof model === "string" ? model : undefined,
            stopReason: typeof stopReason === "string" ? stopReason : undefined,
            refusal: stopReason === "refusal" ? refusalOfMessage(message) : undefined
          }
          const isWhole = Usage.isWhole(message.usage)
          if (isWhole && used.usage.outputTokens > 0) return used
          const usage = Misread.counted(attempt, message, used.usage)
          // No content comes of no output.
          return isWhole && usage.outputTokens === 0 ? used : { ...used, usage, isEstimated: true }
        }
      }),

    stream: (attempt) =>
      Receive.stream(attempt, streamBounds, (exchange) => {
        const { client, options } = prepared(exchange)
        Sendable.checkHistory(attempt.request)
        return client.messages.create({ ...toParams(attempt.request), stream: true }, options).asResponse()
      }),

    countTokens: (attempt, params) =>
      Exchange.plain(attempt, plainBounds, {
        request: params,
        send: (exchange) => {
          const { client, options } = prepared(exchange)
          Sendable.checkHistory(params)
          return client.messages.countTokens(toCountTokensParams(params), options).asResponse()
        },
        is: isTokensCount,
        used: unused
      }),

    models: Effect.fnUntraced(function*(attempt) {
      const models: Array<ModelInfo> = []
      let after: { after_id?: string } = {}
      for (let page = 0; page < maxPages; page++) {
        const body = yield* Exchange.plain(attempt, plainBounds, {
          request: undefined,
          send: (exchange) => {
            const { client, options } = prepared(exchange)
            return client.models.list({ limit: 1000, ...after }, options).asResponse()
          },
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
        send: (exchange) => {
          const { client, options } = prepared(exchange)
          return client.models.retrieve(id, undefined, options).asResponse()
        },
        is: isModelInfo,
        used: unused
      })
  })
}

const checked = (options: Options): Effect.Effect<ClaudeApi["Service"], Config.ConfigError, Scope.Scope> =>
  Effect.gen(function*() {
    yield* Settings.check(options.baseUrl ?? defaultBaseUrl, options.headers ?? {})
    return make({ ...options, fetch: options.fetch ?? (yield* Transport.make(options)) })
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
