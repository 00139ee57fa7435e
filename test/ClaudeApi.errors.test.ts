import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Stream } from "effect"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import { apiError, driven, fetchOf, hello, json, message, over, sse } from "./utils/http.ts"

interface Row {
  readonly name: string
  readonly answer: () => Response | Promise<Response>
  readonly tag: ClaudeError.ApiError["_tag"]
  readonly retryable: boolean
  readonly billed?: ClaudeError.Billed
  readonly retryAfter?: Duration.Input
  /** The wait of the server is until a date, so it shrinks from attempt to attempt. */
  readonly dated?: boolean
  /** The wait of the server is more than we wait for, so it is not retried. */
  readonly tooLong?: boolean
  readonly fields?: Record<string, unknown>
}

const failing = (error: unknown) => () => Promise.reject(error)

const system = (code: string) =>
  failing(new TypeError("fetch failed", { cause: Object.assign(new Error(code), { code }) }))

const encode = (text: string) => new TextEncoder().encode(text)

const event = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

const rows: ReadonlyArray<Row> = [
  {
    name: "a type and a code that are names of every object",
    answer: () => apiError(400, "constructor", { code: "toString" }),
    tag: "BadRequestError",
    retryable: false
  },
  {
    name: "200 whose content is no list",
    answer: () => json({ ...message, content: "hi" }),
    tag: "ConnectionError",
    retryable: false,
    billed: "unknown",
    fields: { reason: "malformed" }
  },
  {
    name: "301, which the API never answers",
    answer: () => json("", 301, { location: "https://example.com" }),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason: "malformed", status: 301 }
  },
  {
    name: "400",
    answer: () => apiError(400, "invalid_request_error"),
    tag: "BadRequestError",
    retryable: false,
    fields: { status: 400, requestId: "req_1", errorType: "invalid_request_error", detail: "no" }
  },
  {
    name: "400 with x-should-retry: true",
    answer: () => apiError(400, "invalid_request_error", { headers: { "x-should-retry": "true" } }),
    tag: "BadRequestError",
    retryable: true
  },
  {
    name: "400 spend limit of the organization",
    answer: () =>
      apiError(400, "invalid_request_error", {
        message: "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
      }),
    tag: "RateLimitError",
    retryable: false,
    fields: { limit: "spend" }
  },
  {
    name: "400 spend limit of the workspace",
    answer: () =>
      apiError(400, "invalid_request_error", {
        message: "You have reached your specified workspace API usage limits."
      }),
    tag: "RateLimitError",
    retryable: false,
    fields: { limit: "spend" }
  },
  {
    name: "400 credit balance too low",
    answer: () =>
      apiError(400, "invalid_request_error", { message: "Your credit balance is too low to access the Claude API." }),
    tag: "AuthError",
    retryable: false,
    fields: { kind: "billing" }
  },
  {
    name: "400 organization on hold",
    answer: () => apiError(400, "invalid_request_error", { code: "organization_on_hold" }),
    tag: "AuthError",
    retryable: false,
    fields: { kind: "permission", errorCode: "organization_on_hold" }
  },
  {
    name: "400 with an unknown code",
    answer: () => apiError(400, "invalid_request_error", { code: "of_tomorrow" }),
    tag: "BadRequestError",
    retryable: false,
    fields: { errorCode: "of_tomorrow" }
  },
  {
    name: "400 image too large",
    answer: () => apiError(400, "invalid_request_error", { code: "image_dimensions_too_large" }),
    tag: "BadRequestError",
    retryable: false
  },
  {
    name: "401",
    answer: () => apiError(401, "authentication_error"),
    tag: "AuthError",
    retryable: false,
    fields: { kind: "authentication", status: 401 }
  },
  {
    name: "402",
    answer: () => apiError(402, "billing_error"),
    tag: "AuthError",
    retryable: false,
    fields: { kind: "billing" }
  },
  {
    name: "402 of a linked organization",
    answer: () => apiError(402, "billing_error", { code: "linked_organization_spend_limit_reached" }),
    tag: "AuthError",
    retryable: false,
    fields: { kind: "billing" }
  },
  {
    name: "403",
    answer: () => apiError(403, "permission_error"),
    tag: "AuthError",
    retryable: false,
    fields: { kind: "permission" }
  },
  {
    name: "403 of a billing profile",
    answer: () => apiError(403, "permission_error", { code: "user_profile_not_billable" }),
    tag: "AuthError",
    retryable: false,
    fields: { kind: "permission" }
  },
  {
    name: "404",
    answer: () => apiError(404, "not_found_error"),
    tag: "BadRequestError",
    retryable: false,
    fields: { status: 404 }
  },
  {
    name: "408",
    answer: () => json("", 408),
    tag: "ConnectionError",
    retryable: true,
    billed: "unknown",
    fields: { reason: "timeout", status: 408 }
  },
  { name: "409", answer: () => apiError(409, "conflict_error"), tag: "BadRequestError", retryable: true },
  { name: "412", answer: () => apiError(412, "invalid_request_error"), tag: "BadRequestError", retryable: false },
  { name: "413 as JSON", answer: () => apiError(413, "request_too_large"), tag: "BadRequestError", retryable: false },
  {
    name: "413 of the edge, as HTML",
    answer: () => json("<html>Too large</html>", 413, { "content-type": "text/html" }),
    tag: "BadRequestError",
    retryable: false
  },
  { name: "422", answer: () => apiError(422, "invalid_request_error"), tag: "BadRequestError", retryable: false },
  {
    name: "429 with retry-after",
    answer: () => apiError(429, "rate_limit_error", { headers: { "retry-after": "7" } }),
    tag: "RateLimitError",
    retryable: true,
    retryAfter: "7 seconds",
    fields: { limit: "unknown" }
  },
  {
    name: "429 with retry-after-ms",
    answer: () => apiError(429, "rate_limit_error", { headers: { "retry-after-ms": "1500", "retry-after": "9" } }),
    tag: "RateLimitError",
    retryable: true,
    retryAfter: "1500 millis"
  },
  {
    name: "429 with a date",
    answer: () => apiError(429, "rate_limit_error", { headers: { "retry-after": new Date(60_000).toUTCString() } }),
    tag: "RateLimitError",
    retryable: true,
    dated: true
  },
  {
    name: "429 without a hint",
    answer: () => apiError(429, "rate_limit_error"),
    tag: "RateLimitError",
    retryable: true
  },
  {
    name: "429 with a hint above a minute",
    answer: () => apiError(429, "rate_limit_error", { headers: { "retry-after": "3600" } }),
    tag: "RateLimitError",
    retryable: true,
    retryAfter: "1 hour",
    tooLong: true
  },
  {
    name: "429 with empty requests",
    answer: () =>
      apiError(429, "rate_limit_error", {
        headers: {
          "anthropic-ratelimit-requests-limit": "50",
          "anthropic-ratelimit-requests-remaining": "0",
          "anthropic-ratelimit-input-tokens-limit": "1000",
          "anthropic-ratelimit-input-tokens-remaining": "900"
        }
      }),
    tag: "RateLimitError",
    retryable: true,
    fields: { limit: "requests" }
  },
  {
    name: "429 with nearly empty output",
    answer: () =>
      apiError(429, "rate_limit_error", {
        headers: {
          "anthropic-ratelimit-requests-limit": "50",
          "anthropic-ratelimit-requests-remaining": "40",
          "anthropic-ratelimit-output-tokens-limit": "1000",
          "anthropic-ratelimit-output-tokens-remaining": "20"
        }
      }),
    tag: "RateLimitError",
    retryable: true,
    fields: { limit: "outputTokens" }
  },
  {
    name: "429 ramp",
    answer: () => apiError(429, "rate_limit_error", { code: "ramp_limit_exceeded", headers: { "retry-after": "2" } }),
    tag: "RateLimitError",
    retryable: true,
    retryAfter: "2 seconds",
    fields: { limit: "acceleration" }
  },
  {
    name: "429 spend cap of the tier",
    answer: () => apiError(429, "rate_limit_error", { code: "enforced_spend_limit_reached" }),
    tag: "RateLimitError",
    retryable: false,
    fields: { limit: "spend" }
  },
  {
    name: "429 spend cap that says retry",
    answer: () =>
      apiError(429, "rate_limit_error", {
        code: "enforced_spend_limit_reached",
        headers: { "x-should-retry": "true" }
      }),
    tag: "RateLimitError",
    retryable: false,
    fields: { limit: "spend" }
  },
  {
    name: "429 contract limit",
    answer: () =>
      apiError(429, "rate_limit_error", { code: "contract_spend_limit_reached", headers: { "retry-after": "5" } }),
    tag: "RateLimitError",
    retryable: false,
    retryAfter: "5 seconds",
    fields: { limit: "spend" }
  },
  { name: "431", answer: () => json("", 431), tag: "BadRequestError", retryable: false },
  { name: "499", answer: () => json("", 499), tag: "BadRequestError", retryable: false },
  {
    name: "500",
    answer: () => apiError(500, "api_error"),
    tag: "ServerError",
    retryable: true,
    fields: { overloaded: false }
  },
  {
    name: "500 with x-should-retry: false",
    answer: () => apiError(500, "api_error", { headers: { "x-should-retry": "false" } }),
    tag: "ServerError",
    retryable: false
  },
  { name: "501", answer: () => json("", 501), tag: "ServerError", retryable: false },
  ...[500, 502, 503, 521, 523, 530].map((status): Row => ({
    name: `${status} of a proxy, as HTML`,
    answer: () => json("<html>Bad gateway</html>", status, { "content-type": "text/html" }),
    tag: "ServerError",
    retryable: true
  })),
  {
    name: "503 of a proxy, as text",
    answer: () => json("upstream connect error", 503, { "content-type": "text/plain" }),
    tag: "ServerError",
    retryable: true
  },
  ...[504, 524].map((status): Row => ({
    name: `${status} of a proxy that waited for the API in vain`,
    answer: () => json("<html>Gateway time-out</html>", status, { "content-type": "text/html" }),
    tag: "ServerError",
    retryable: true,
    billed: "unknown"
  })),
  {
    name: "a redirect",
    answer: () => json("", 302),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason: "malformed" }
  },
  {
    name: "503 with a code",
    answer: () => apiError(503, "api_error", { code: "cmek_key_unreachable" }),
    tag: "ServerError",
    retryable: true
  },
  {
    name: "504",
    answer: () => apiError(504, "timeout_error"),
    tag: "ServerError",
    retryable: true,
    fields: { overloaded: false }
  },
  {
    name: "520 of the edge",
    answer: () => json("error code: 520", 520, { "content-type": "text/plain" }),
    tag: "ServerError",
    retryable: true,
    billed: "unknown"
  },
  {
    name: "529",
    answer: () => apiError(529, "overloaded_error"),
    tag: "ServerError",
    retryable: true,
    fields: { overloaded: true }
  },
  {
    name: "529 compaction",
    answer: () => apiError(529, "overloaded_error", { code: "compaction_unavailable" }),
    tag: "ServerError",
    retryable: true,
    fields: { overloaded: true }
  },
  {
    name: "a host that is not found",
    answer: system("ENOTFOUND"),
    tag: "ConnectionError",
    retryable: true,
    billed: "no",
    fields: { reason: "dns", code: "ENOTFOUND" }
  },
  {
    name: "a refused connection",
    answer: system("ECONNREFUSED"),
    tag: "ConnectionError",
    retryable: true,
    billed: "no",
    fields: { reason: "refused" }
  },
  {
    name: "a reset before the head",
    answer: system("ECONNRESET"),
    tag: "ConnectionError",
    retryable: true,
    billed: "unknown",
    fields: { reason: "reset" }
  },
  {
    name: "a certificate nobody trusts",
    answer: system("DEPTH_ZERO_SELF_SIGNED_CERT"),
    tag: "ConnectionError",
    retryable: true,
    billed: "no",
    fields: { reason: "tls" }
  },
  {
    name: "a connect timeout of the runtime",
    answer: system("UND_ERR_CONNECT_TIMEOUT"),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason: "timeout", code: "UND_ERR_CONNECT_TIMEOUT" }
  },
  {
    name: "a connect timeout of the system, to each of several addresses",
    answer: failing(
      Object.assign(new TypeError("fetch failed"), {
        cause: Object.assign(
          new AggregateError([
            Object.assign(new Error("a"), { code: "ETIMEDOUT", syscall: "connect" }),
            Object.assign(new Error("b"), { code: "ENETUNREACH", syscall: "connect" })
          ]),
          { code: "ETIMEDOUT" }
        )
      })
    ),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason: "timeout" }
  },
  {
    name: "a timeout of the system on a connection",
    answer: system("ETIMEDOUT"),
    tag: "ConnectionError",
    retryable: true,
    billed: "unknown",
    fields: { reason: "timeout" }
  },
  ...([
    ["Client network socket disconnected before secure TLS connection was established", "reset"],
    ["Proxy response (407) !== 200 when HTTP Tunneling", "refused"]
  ] as const).map(([text, reason]): Row => ({
    name: `a failure with the message: ${text}`,
    answer: failing(
      Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error(text), { code: "ECONNRESET" }) })
    ),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason }
  })),
  {
    name: "a handshake in another protocol",
    answer: system("EPROTO"),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason: "tls" }
  },
  {
    name: "a failure without a code",
    answer: failing(new TypeError("fetch failed")),
    tag: "ConnectionError",
    retryable: true,
    billed: "unknown",
    fields: { reason: "unknown" }
  },
  {
    name: "200 with a page of a proxy",
    answer: () => json("<html>Welcome</html>", 200, { "content-type": "text/html" }),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason: "malformed" }
  },
  {
    name: "200 with JSON cut short",
    answer: () => json(JSON.stringify(message).slice(0, 60)),
    tag: "ConnectionError",
    retryable: true,
    billed: "yes",
    fields: { reason: "truncated" }
  },
  {
    name: "200 with other JSON",
    answer: () => json({ hello: "world" }),
    tag: "ConnectionError",
    retryable: false,
    billed: "unknown",
    fields: { reason: "malformed" }
  },
  {
    name: "200 with nothing",
    answer: () => json("", 200, { "content-type": "text/plain" }),
    tag: "ConnectionError",
    retryable: false,
    billed: "unknown",
    fields: { reason: "malformed" }
  },
  {
    name: "200 with an error envelope",
    answer: () => apiError(200, "overloaded_error"),
    tag: "ServerError",
    retryable: true,
    billed: "unknown",
    fields: { overloaded: true }
  }
]

const inStream: ReadonlyArray<Row> = [
  {
    name: "overloaded_error",
    answer: () =>
      sse([
        encode(
          event("error", {
            type: "error",
            error: { type: "overloaded_error", message: "Overloaded" },
            request_id: "req_1"
          })
        )
      ]),
    tag: "ServerError",
    retryable: true,
    billed: "unknown",
    fields: { overloaded: true, requestId: "req_1" }
  },
  {
    name: "api_error",
    answer: () => sse([encode(event("error", { type: "error", error: { type: "api_error", message: "x" } }))]),
    tag: "ServerError",
    retryable: true,
    billed: "unknown",
    fields: { overloaded: false }
  },
  {
    name: "rate_limit_error",
    answer: () => sse([encode(event("error", { type: "error", error: { type: "rate_limit_error", message: "x" } }))]),
    tag: "RateLimitError",
    retryable: true,
    billed: "unknown"
  },
  {
    name: "invalid_request_error",
    answer: () =>
      sse([encode(event("error", { type: "error", error: { type: "invalid_request_error", message: "x" } }))]),
    tag: "BadRequestError",
    retryable: false,
    billed: "unknown"
  },
  {
    name: "an error whose body is no JSON",
    answer: () => sse([encode("event: error\ndata: oh no\n\n")]),
    tag: "ServerError",
    retryable: true,
    billed: "unknown"
  },
  {
    name: "an end before any event",
    answer: () => sse([]),
    tag: "ConnectionError",
    retryable: true,
    billed: "unknown",
    fields: { reason: "truncated" }
  },
  {
    name: "a reset before any event",
    answer: () =>
      sse(
        [],
        (controller) =>
          controller.error(
            Object.assign(new TypeError("terminated"), {
              cause: Object.assign(new Error("reset"), { code: "ECONNRESET" })
            })
          )
      ),
    tag: "ConnectionError",
    retryable: true,
    billed: "unknown",
    fields: { reason: "reset" }
  },
  {
    name: "bytes that are no text",
    answer: () => sse([new Uint8Array([0xff, 0xfe, 0x00, 0xc3, 0x28])]),
    tag: "ConnectionError",
    retryable: false,
    billed: "unknown",
    fields: { reason: "malformed" }
  },
  {
    name: "an event that is no JSON",
    answer: () => sse([encode("event: message_start\ndata: {oops\n\n")]),
    tag: "ConnectionError",
    retryable: false,
    billed: "unknown",
    fields: { reason: "malformed" }
  },
  {
    name: "a page of a proxy",
    answer: () => json("<html>Welcome</html>", 200, { "content-type": "text/html" }),
    tag: "ConnectionError",
    retryable: true,
    fields: { reason: "malformed" }
  },
  {
    name: "529 instead of a stream",
    answer: () => apiError(529, "overloaded_error"),
    tag: "ServerError",
    retryable: true,
    fields: { overloaded: true }
  }
]

const check = (row: Row, call: Effect.Effect<unknown, ClaudeError.StreamError, ClaudeService.ClaudeService>) =>
  Effect.gen(function*() {
    const { fetch, state } = fetchOf(row.answer)
    const exit = yield* driven(Effect.provide(Effect.flip(call), over(fetch)))
    assert.isTrue(Exit.isSuccess(exit), String(exit))
    if (!Exit.isSuccess(exit) || !ClaudeError.isApiError(exit.value)) return assert.fail(String(exit))
    const error = exit.value
    assert.strictEqual(error._tag, row.tag)
    assert.strictEqual(error.isRetryable, row.retryable)
    assert.strictEqual(error.billed, row.billed ?? "no")
    if (row.dated !== true) {
      const expected = row.retryAfter === undefined ? undefined : Duration.toMillis(row.retryAfter)
      assert.strictEqual(error.retryAfter === undefined ? undefined : Duration.toMillis(error.retryAfter), expected)
    }
    const sent = row.retryable && row.tooLong !== true ? 4 : 1
    assert.strictEqual(state.requests, sent)
    assert.strictEqual(error.attempts, sent)
    for (const [field, value] of Object.entries(row.fields ?? {})) {
      assert.deepStrictEqual((error as unknown as Record<string, unknown>)[field], value, field) // read by name
    }
    if (error._tag === "AuthError" || error._tag === "RateLimitError") {
      assert.deepInclude(error, { keyLabel: "test", keyGroup: "org" })
      assert.include(error.message, "key test")
    }
    assert.notInclude(JSON.stringify(error), "Say hello")
    assert.notInclude(JSON.stringify(error) + error.message, "sk-ant")
  })

describe("each answer of the API becomes the right error, after the right number of requests", () => {
  for (const row of rows) it.effect(row.name, () => check(row, ClaudeService.create(hello)))
})

describe("each failure of a stream before its content becomes the right error", () => {
  for (const row of inStream) it.effect(row.name, () => check(row, Stream.runDrain(ClaudeService.stream(hello))))
})

/** A plain answer whose body is these pieces, and then ends as told. */
const body = (pieces: ReadonlyArray<string>, end: (controller: ReadableStreamDefaultController<Uint8Array>) => void) =>
  sse(pieces.map(encode), end, { "content-type": "application/json" })

const breaks = (controller: ReadableStreamDefaultController<Uint8Array>) => controller.error(new Error("reset"))
const hangs = () => {}

describe("an answer that was paid for", () => {
  const whole = JSON.stringify(message)
  for (const [name, end] of [["breaks", breaks], ["hangs", hangs]] as const) {
    for (const pieces of [[whole], [whole.slice(0, 40), whole.slice(40)]]) {
      it.effect(`is used where it came whole in ${pieces.length} and the connection ${name} then`, () =>
        Effect.gen(function*() {
          const { fetch, state } = fetchOf(() => body(pieces, end))
          const exit = yield* driven(Effect.provide(ClaudeService.create(hello), over(fetch)))
          assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { id: "msg_1" })
          assert.strictEqual(state.requests, 1)
        }))
    }
    it.effect(`is the error that it is where the connection ${name} then`, () =>
      Effect.gen(function*() {
        const error = JSON.stringify({ type: "error", error: { type: "invalid_request_error", message: "no" } })
        const { fetch, state } = fetchOf(() => body([error], end))
        const exit = yield* driven(Effect.provide(Effect.flip(ClaudeService.create(hello)), over(fetch)))
        assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "BadRequestError" })
        assert.strictEqual(state.requests, 1)
      }))
  }

  it.effect("is not bought again where it takes longer than the call may", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => body([whole.slice(0, 40)], hangs))
      const exit = yield* driven(
        Effect.provide(
          Effect.flip(ClaudeService.create(hello)),
          over(fetch, { api: { timeouts: { call: "30 seconds" } } })
        )
      )
      const error = Exit.isSuccess(exit) ? exit.value : exit
      assert.deepInclude(error, {
        _tag: "ConnectionError",
        limit: "call",
        billed: "yes",
        isRetryable: false,
        attempts: 1
      })
      assert.strictEqual(state.requests, 1)
    }))
})
