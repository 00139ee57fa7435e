/**
 * The port: one attempt over `@anthropic-ai/sdk`, without any policy. Every failure is one of the five errors of the
 * API, a stream is checked for its end, and time limits that the SDK lacks are kept.
 *
 * The SDK builds the request, its headers and its errors; it never retries, traces, logs, or reads its key or base URL
 * from the environment.
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
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Attempt, type Limits, type MessageAttempt, type ModelRefusal, Outcome } from "./Attempt.ts"
import * as EventStream from "./ClaudeApi/internal/eventStream.ts"
import * as Exchange from "./ClaudeApi/internal/exchange.ts"
import * as ResponseHeaders from "./ClaudeApi/internal/responseHeaders.ts"
import * as Transport from "./ClaudeApi/internal/transport.ts"
import { type ApiError, isApiError } from "./ClaudeError.ts"
import * as Estimate from "./Estimate.ts"
import { refusalOf, refusalOfMessage } from "./internal/modelRefusal.ts"
import { type Event, isContent } from "./MessageStream.ts"
import type * as Model from "./Model.ts"
import { cacheTtl } from "./PriceBook.ts"
import { type CountTokensRequest, toCountTokensParams, toParams } from "./Request.ts"
import * as Usage from "./Usage.ts"

/**
 * How long one attempt may take. A limit that is passed fails the attempt with `ConnectionError` and ends the request on
 * the wire; so does the deadline of the caller.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timeouts {
  /** Until the head of the response: for a plain call that is all of the thinking. Default 10 minutes. */
  readonly headers?: Duration.Input | undefined
  /** From sending until the first content of a stream. Default 10 minutes. */
  readonly firstContent?: Duration.Input | undefined
  /** Between two signs of life of a body, pings of a stream included. A slow reader does not count. Default 2 minutes. */
  readonly idle?: Duration.Input | undefined
  /** The whole attempt. Default 1 hour. */
  readonly call?: Duration.Input | undefined
}

/**
 * - `baseUrl`: default `https://api.anthropic.com`.
 * - `fetch`: default of the layers on Node: `undici` with a connection pool of their own and no time limits besides
 *   `timeouts`; in other runtimes, where `undici` is not installed, and of `make`: the global one. Bundles never contain
 *   `undici`: it is loaded when a layer without `fetch` is built.
 * - `headers`: sent with each request, such as `anthropic-beta`. Headers that carry a key are ignored.
 * - `maxBytes`: the largest answer that is read, default 64 MiB; a larger one fails as `malformed`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly baseUrl?: string | undefined
  readonly timeouts?: Timeouts | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly fetch?: typeof globalThis.fetch | undefined
  readonly maxBytes?: number | undefined
}

/**
 * One attempt, which needs its `key` and has its `outcome` written. Counting tokens and listing models use none.
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

/** The largest number of clients kept; the one made first makes room. */
const maxClients = 256

/** The largest number of pages read of a list. */
const maxPages = 100

/** The most bytes of a stream that are decoded at once, before and after its first content. */
const firstStep = 1024
const maxStep = 16 * 1024

/** How long the end of a body may follow its `message_stop`, before its connection is given up. */
const endMillis = 250

const isMessage = (body: object): body is Message =>
  "type" in body && body.type === "message" && "usage" in body && Predicate.isObject(body.usage) &&
  "content" in body && Array.isArray(body.content) && body.content.every(Predicate.isObject)

const isTokensCount = (body: object): body is MessageTokensCount =>
  "input_tokens" in body && typeof body.input_tokens === "number"

const isModelInfo = (body: object): body is ModelInfo => "id" in body && typeof body.id === "string"

const isModelPage = (body: object): body is { data: Array<ModelInfo>; has_more?: unknown; last_id?: unknown } =>
  "data" in body && Array.isArray(body.data)

/** The request as it is sent plainly, whatever a caller without types put into `stream`. */
const plain = (request: MessageAttempt["request"]): MessageCreateParamsNonStreaming =>
  "stream" in request ? { ...toParams(request), stream: false } : toParams(request)

/**
 * Builds the port.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): ClaudeApi["Service"] => {
  const baseUrl = options.baseUrl ?? defaultBaseUrl
  const bounds: Exchange.Bounds = {
    headers: Duration.toMillis(options.timeouts?.headers ?? "10 minutes"),
    firstContent: Duration.toMillis(options.timeouts?.firstContent ?? "10 minutes"),
    idle: Duration.toMillis(options.timeouts?.idle ?? "2 minutes"),
    call: Duration.toMillis(options.timeouts?.call ?? "1 hour"),
    maxBytes: options.maxBytes ?? 64 * 1024 * 1024
  }
  const plainBounds = { ...bounds, firstContent: Infinity }
  const clients = new Map<string, Anthropic>()

  const clientOf = (attempt: Attempt): Anthropic => {
    const apiKey = attempt.key === undefined ? "" : Redacted.value(attempt.key.secret)
    const known = clients.get(apiKey)
    if (known !== undefined) return known
    const client = new Anthropic({
      apiKey,
      baseURL: baseUrl,
      maxRetries: 0,
      // Ours comes first, and follows `Clock`. This one only keeps the SDK from setting its own.
      timeout: Math.min(bounds.headers + 1000, 2 ** 31 - 1),
      openTelemetry: false,
      logLevel: "off",
      defaultHeaders: withoutKeys(options.headers ?? {}),
      ...(options.fetch === undefined ? undefined : { fetch: options.fetch })
    })
    const oldest = clients.size < maxClients ? undefined : clients.keys().next().value
    if (oldest !== undefined) clients.delete(oldest)
    clients.set(apiKey, client)
    return client
  }

  const head = (
    exchange: Exchange.Exchange,
    send: (client: Anthropic, options: Exchange.RequestOptions) => Exchange.Begun
  ): Effect.Effect<Response, ApiError> => {
    const { key } = exchange.attempt
    // The SDK adds headers of the environment, but those of a request win.
    const headers = {
      ...withoutKeys(exchange.attempt.context.headers),
      ...(key === undefined ? undefined : { authorization: `Bearer ${Redacted.value(key.secret)}`, "x-api-key": null })
    }
    return Exchange.head(exchange, clientOf(exchange.attempt), (client, signal) => send(client, { signal, headers }))
  }

  /** A plain request, from sending to its decoded body. */
  const exchanged = <A extends object>(
    attempt: Attempt,
    request: Exchange.Exchange["request"],
    send: (client: Anthropic, options: Exchange.RequestOptions) => Exchange.Begun,
    is: (body: object) => body is A,
    used: (body: A) => Used
  ): Effect.Effect<A, ApiError> =>
    Effect.acquireUseRelease(
      Exchange.make(attempt, request, plainBounds),
      (exchange) => {
        attempt.sentAt = exchange.began
        attempt.outcome = Outcome.Aborted({ usage: Usage.zero })
        return Effect.flatMap(
          Effect.flatMap(head(exchange, send), (response) => Exchange.json(exchange, response)),
          (body) => is(body) ? Effect.succeed(body) : Effect.fail(Exchange.malformed(exchange))
        )
      },
      (exchange, exit) => {
        if (Exit.isSuccess(exit)) attempt.outcome = completed(exchange, used(exit.value))
        else failed(exchange, unused, exit.cause)
        return Exchange.close(exchange, Exit.isSuccess(exit))
      }
    )

  return ClaudeApi.of({
    baseUrl,

    send: (attempt) =>
      exchanged(
        attempt,
        attempt.request,
        (client, options) => client.messages.create(plain(attempt.request), options),
        isMessage,
        (message) => ({
          usage: Usage.fromReported(message.usage, () => cacheTtl(attempt.request)),
          model: message.model,
          stopReason: message.stop_reason ?? undefined,
          refusal: refusalOfMessage(message)
        })
      ),

    stream: (attempt) =>
      Stream.unwrap(Effect.gen(function*() {
        const received = new Received(attempt)
        const exchange = yield* Effect.acquireRelease(
          Exchange.make(attempt, attempt.request, bounds),
          (exchange) => Exchange.close(exchange, received.ended)
        )
        attempt.sentAt = exchange.began
        attempt.outcome = received.abortedIn(exchange)
        const noted = <A, E extends ApiError | Cause.Done>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
          Effect.onError(effect, (cause) => Effect.sync(() => failed(exchange, received, cause)))
        const response = yield* noted(
          head(exchange, (client, options) =>
            client.messages.create({ ...toParams(attempt.request), stream: true }, options))
        )
        const type = (response.headers.get("content-type") ?? "").toLowerCase()
        if (response.body === null || !type.startsWith("text/event-stream")) {
          return yield* noted(Effect.fail(Exchange.malformed(exchange)))
        }
        const reader = response.body.getReader()
        const decoder = EventStream.decoder(bounds.maxBytes)

        /** Reads what follows the last event, so that the connection can serve the next call. */
        const end = Exchange.read(exchange, reader, "yes").pipe(
          Effect.timeoutOption(endMillis),
          Effect.option,
          Effect.andThen((last) => {
            received.ended = last._tag === "Some" && last.value._tag === "Some" && last.value.value.done
            return Cause.done()
          })
        )

        /** Bytes that were read and not decoded yet: the first content does not wait for all that came with it. */
        let unread: Uint8Array | undefined

        const decoded = (bytes: Uint8Array): Effect.Effect<Arr.NonEmptyReadonlyArray<Event>, ApiError | Cause.Done> => {
          const step = received.content ? maxStep : firstStep
          unread = bytes.byteLength > step ? bytes.subarray(step) : undefined
          const events = received.take(decoder.feed(unread === undefined ? bytes : bytes.subarray(0, step)))
          if (decoder.whole()) {
            attempt.outcome = completed(exchange, received)
          }
          return Arr.isReadonlyArrayNonEmpty(events) ? Effect.succeed(events) : next
        }

        const next: Effect.Effect<Arr.NonEmptyReadonlyArray<Event>, ApiError | Cause.Done> = Effect.suspend(() => {
          const broken = decoder.broken()
          if (broken !== undefined) {
            return broken._tag === "Refused"
              ? Exchange.refused(exchange, broken.body)
              : Effect.fail(Exchange.malformed(exchange))
          }
          if (decoder.whole()) {
            return end
          }
          if (unread !== undefined) {
            return decoded(unread)
          }
          const read = Exchange.readInTime(exchange, reader, "unknown", received.content)
          return Effect.flatMap(read, (chunk) => {
            if (chunk.done) {
              return Effect.fail(Exchange.truncated(exchange, "unknown"))
            }
            received.bytes += chunk.value.byteLength
            return received.bytes > bounds.maxBytes ? Effect.fail(Exchange.malformed(exchange)) : decoded(chunk.value)
          })
        })
        return Stream.fromPull(Effect.succeed(noted(next)))
      })),

    countTokens: (attempt, params) =>
      exchanged(
        attempt,
        params,
        (client, options) => client.messages.countTokens(toCountTokensParams(params), options),
        isTokensCount,
        () => unused
      ),

    models: Effect.fnUntraced(function*(attempt) {
      const models: Array<ModelInfo> = []
      let after: { after_id?: string } = {}
      for (let page = 0; page < maxPages; page++) {
        const body = yield* exchanged(
          attempt,
          undefined,
          (client, options) => client.models.list({ limit: 1000, ...after }, options),
          isModelPage,
          () => unused
        )
        models.push(...body.data)
        if (body.has_more !== true || typeof body.last_id !== "string") break
        after = { after_id: body.last_id }
      }
      return models
    }),

    model: (attempt, id) =>
      exchanged(
        attempt,
        undefined,
        (client, options) => client.models.retrieve(id, undefined, options),
        isModelInfo,
        () => unused
      )
  })
}

/** What an answer used, and who gave it. */
interface Used {
  readonly usage: Usage.Usage
  readonly model: string | undefined
  readonly stopReason: string | undefined
  readonly refusal: ModelRefusal | undefined
}

const unused: Used = { usage: Usage.zero, model: undefined, stopReason: undefined, refusal: undefined }

const limitsOf = (exchange: Exchange.Exchange): Limits | undefined =>
  exchange.headers === undefined ? undefined : ResponseHeaders.limits(exchange.headers)

const requestIdOf = (exchange: Exchange.Exchange): string | undefined =>
  exchange.headers?.get("request-id") ?? undefined

const completed = (exchange: Exchange.Exchange, used: Used): Outcome =>
  Outcome.Completed({
    usage: used.usage,
    model: used.model,
    stopReason: used.stopReason,
    limits: limitsOf(exchange),
    requestId: requestIdOf(exchange),
    ...(used.refusal === undefined ? undefined : { refusal: used.refusal })
  })

/** Writes down a failure; an interruption leaves the outcome as it stood. */
const failed = (exchange: Exchange.Exchange, used: Used, cause: Cause.Cause<ApiError | Cause.Done>): void => {
  const error = cause.reasons.find(Cause.isFailReason)?.error
  if (!isApiError(error)) return
  const { model, usage } = used
  exchange.attempt.outcome = Outcome.Failed({ usage, error, limits: limitsOf(exchange), model })
}

/** What a delta adds to the output. */
const textOf = (event: Event): string => {
  if (event.type !== "content_block_delta") return ""
  switch (event.delta.type) {
    case "text_delta":
      return event.delta.text
    case "thinking_delta":
      return event.delta.thinking ?? ""
    case "input_json_delta":
      return event.delta.partial_json
    default:
      return ""
  }
}

const isEmptyText = (delta: Extract<Event, { type: "content_block_delta" }>["delta"]): boolean =>
  delta.type === "text_delta" && delta.text === ""

/** What of a streamed answer has arrived. */
class Received implements Used {
  private readonly tokenizer: Model.Tokenizer
  private readonly askedTtl: () => "5m" | "1h" | undefined
  private reported: Usage.Usage = Usage.zero
  private counted = 0
  private text = ""
  model: string | undefined
  stopReason: string | undefined
  refusal: ModelRefusal | undefined
  /** The content has begun. */
  content = false
  /** Something of the content was not empty. */
  private output = false
  /** The body was read to its end. */
  ended = false
  bytes = 0

  constructor({ facts, request }: MessageAttempt) {
    this.tokenizer = facts.tokenizer
    this.askedTtl = () => cacheTtl(request)
  }

  take(events: ReadonlyArray<Event>): ReadonlyArray<Event> {
    for (const event of events) {
      switch (event.type) {
        case "message_start":
          this.reported = Usage.fromReported(event.message.usage, this.askedTtl)
          this.model = event.message.model
          break
        case "content_block_start":
        case "content_block_delta":
          this.content ||= isContent(event)
          this.output ||= isContent(event) && !(event.type === "content_block_delta" && isEmptyText(event.delta))
          this.text += textOf(event)
          break
        case "message_delta":
          this.reported = Usage.merge(this.reported, event.usage, this.askedTtl)
          this.stopReason = event.delta.stop_reason ?? undefined
          this.refusal = refusalOf(event.delta, !this.output)
          break
      }
    }
    if (this.text.length > maxUncounted) this.count()
    return events
  }

  private count(): number {
    this.counted += Estimate.textTokens(this.text, this.tokenizer)
    this.text = ""
    return this.counted
  }

  /** As reported; before the final total, output is counted from what arrived. */
  get usage(): Usage.Usage {
    if (this.stopReason !== undefined) return this.reported
    const arrived = this.count()
    return arrived > this.reported.outputTokens ? { ...this.reported, outputTokens: arrived } : this.reported
  }

  /** The outcome that stands while the stream is open: whoever looks at it counts. */
  abortedIn(exchange: Exchange.Exchange): Outcome {
    const usage = () => this.usage
    const model = () => this.model
    return {
      _tag: "Aborted",
      get usage() {
        return usage()
      },
      get limits() {
        return limitsOf(exchange)
      },
      get model() {
        return model()
      },
      get requestId() {
        return requestIdOf(exchange)
      }
    }
  }
}

/** Characters of output that may wait to be counted. */
const maxUncounted = 64 * 1024

const BaseUrl = Schema.String.check(
  Schema.makeFilter((text: string) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), {
    expected: "an absolute http or https URL as base URL"
  })
)

const checked = (options: Options): Effect.Effect<ClaudeApi["Service"], Config.ConfigError, Scope.Scope> =>
  Effect.gen(function*() {
    yield* Effect.mapError(
      Schema.decodeUnknownEffect(BaseUrl)(options.baseUrl ?? defaultBaseUrl),
      (error) => new Config.ConfigError(error)
    )
    return make({ ...options, fetch: options.fetch ?? (yield* Transport.make) })
  })

/**
 * The port over the real API, or whatever answers at `baseUrl`. A base URL that is no absolute `http` or `https` URL
 * fails the layer with `ConfigError`. Without `fetch` it keeps connections of its own, which are closed with the layer; a
 * Node older than 22.19 is then a defect.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<ClaudeApi, Config.ConfigError> =>
  Layer.effect(ClaudeApi, checked(options))

/**
 * `layer` with options from configuration. `fetch` is code, so it is given beside them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Omit<Options, "fetch">>,
  fetch?: Options["fetch"]
): Layer.Layer<ClaudeApi, Config.ConfigError> =>
  Layer.effect(ClaudeApi, Effect.flatMap(Config.unwrap(options), (options) => checked({ ...options, fetch })))
