/** Errors say what happened, whoever answered. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, Duration, Effect, Exit, Layer, Stream } from "effect"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import { TestClock } from "effect/testing"
import { apiError, driven, fetchOf, hello, json, over } from "./utils/http.ts"

const page = "<!DOCTYPE html><html><body>Just a moment...</body></html>"

/** The error that an answer becomes, how many requests it took, and where they went. */
const errorOf = (answer: () => Response, options: ClaudeConfig.Options = {}, request = hello) =>
  Effect.gen(function*() {
    const urls: Array<string> = []
    const fetch = ((url: string) => {
      urls.push(url)
      return Promise.resolve(answer())
    }) as typeof globalThis.fetch
    const exit = yield* driven(Effect.provide(Effect.flip(ClaudeService.create(request)), over(fetch, options)))
    if (Exit.isSuccess(exit) && ClaudeError.isApiError(exit.value)) return { error: exit.value, urls }
    return assert.fail(String(exit))
  })

describe("the text of an error stands wherever its server puts it", () => {
  const bodies: ReadonlyArray<unknown> = [
    { type: "error", error: { type: "invalid_request_error", message: "too many lamps" } },
    [{ error: { message: "too many lamps" } }],
    { error: { code: 429, message: "too many lamps", status: "RESOURCE_EXHAUSTED" } },
    { error: { message: { text: null, message: "too many lamps" } } },
    { message: "too many lamps" },
    { Message: "too many lamps", __type: "ValidationException" },
    { error: "too many lamps" },
    { error: "", message: "too many lamps" },
    { error: "invalid", error_description: "too many lamps" },
    { errors: [{ detail: "too many lamps" }] },
    { detail: "too many lamps" },
    { detail: [{ loc: ["body"], msg: "too many lamps" }] },
    { fault: { faultstring: "too many lamps", detail: { errorcode: "x" } } },
    { type: "about:blank", title: "no", status: 400, detail: "too many lamps" },
    "too many lamps",
    " too many\r\n\tlamps\0 ",
    JSON.stringify("too many lamps"),
    { Message: null, message: "too many lamps" },
    { Error: { Code: "x", Message: "too many lamps" } },
    { err: "too many lamps" },
    { "error-message": "too many lamps" },
    { error_msg: "too many lamps" },
    { ErrorMessage: "too many lamps" },
    { exception: "too many lamps" },
    { info: "too many lamps" },
    { messages: ["too many lamps"] },
    { data: { error: { message: "too many lamps" } } },
    { success: false, response: { statusMessage: "too many lamps" } },
    { code: 7, body: { envelope: { text: "too many lamps" } } },
    { error: { status: "x", cause: { message: "too many lamps" } } },
    { error: { message: JSON.stringify({ error: { message: "too many lamps" } }) } },
    JSON.stringify(JSON.stringify({ error: { message: "too many lamps" } })),
    `\ufeff${JSON.stringify({ error: { message: "too many lamps" } })}`,
    `${JSON.stringify({ error: { message: "too many lamps" } })}\n{}`,
    `event: error\ndata: ${JSON.stringify({ error: { message: "too many lamps" } })}\n\n`,
    "<?xml version=\"1.0\"?><Error><Code>x</Code><Message>too many lamps</Message></Error>",
    "<soap:Envelope><soap:Fault><faultstring xml:lang=\"en\">too many lamps</faultstring></soap:Fault></soap:Envelope>"
  ]
  for (const status of [400, 422, 429, 500]) {
    it.effect(`${status}`, () =>
      Effect.gen(function*() {
        for (const body of bodies) {
          const { error } = yield* errorOf(() => json(body, status), { retry: { retries: 0 } })
          assert.include(error.detail, "too many lamps", JSON.stringify(body))
          assert.notMatch(error.detail ?? "", /[<>{}]/)
          assert.include(error.message, "too many lamps")
          assert.strictEqual(error.status, status)
        }
      }))
  }

  it.effect("200 with an error, whose code or type says what it is", () =>
    Effect.gen(function*() {
      const rows = [
        [{ error: { code: 429, message: "x" } }, "RateLimitError"],
        [{ error: { code: "503", message: "x" } }, "ServerError"],
        [[{ error: { code: 401, message: "x" } }], "AuthError"],
        [{ error: { message: "x", type: "rate_limit_error" } }, "RateLimitError"],
        [{ error: { message: "x", status: "RESOURCE_EXHAUSTED" } }, "RateLimitError"],
        [{ error: { message: "x", code: "rate_limit_exceeded" } }, "RateLimitError"],
        [{ Error: { Message: "x", Code: "Throttling" }, errors: ["x"] }, "RateLimitError"],
        [{ errors: [{ message: "x" }], status: 503 }, "ServerError"],
        [{ __type: "AccessDeniedException", message: "x" }, "AuthError"],
        [{ type: "error", message: "x" }, "ServerError"],
        [{ type: "overloaded_error", message: "x" }, "ServerError"],
        [{ message: "x" }, "ConnectionError"],
        [{ detail: "x", content: "an answer of somebody else" }, "ConnectionError"]
      ] as const
      for (const [body, tag] of rows) {
        const { error } = yield* errorOf(() => json(body), { retry: { retries: 0 } })
        assert.deepInclude(error, { _tag: tag, detail: "x" })
      }
    }))

  it.effect("400 with a code of its own, which says what it is", () =>
    Effect.gen(function*() {
      const rows = [
        [{ error: { code: 429, message: "x" } }, "RateLimitError"],
        [{ error: { code: "503", message: "x" } }, "ServerError"],
        [{ error: { code: 400, message: "x" } }, "BadRequestError"],
        [{ error: { code: "401", message: "x", type: "None" } }, "AuthError"],
        [{ error: { type: "invalid_request_error", message: "x" } }, "BadRequestError"]
      ] as const
      for (const [body, tag] of rows) {
        const { error } = yield* errorOf(() => json(body, 400), { retry: { retries: 0 } })
        assert.deepInclude(error, { _tag: tag, detail: "x", status: 400 })
      }
    }))

  it.effect("and nothing of an answer that is none of the API's", () =>
    Effect.gen(function*() {
      for (
        const body of [{ data: { text: "private" } }, { text: "private" }, { content: "private" }, {
          completion: "private"
        }]
      ) {
        const { error } = yield* errorOf(() => json(body))
        assert.deepInclude(error, { _tag: "ConnectionError", reason: "malformed" })
        assert.notInclude(error.message, "private")
      }
    }))

  it.effect("and nothing where there is none, however odd the body", () =>
    Effect.gen(function*() {
      let deep: unknown = "deep"
      for (let i = 0; i < 1_000; i++) deep = { error: deep }
      for (
        const body of ["", "null", "[]", "{}", "7", { error: null }, { message: 7 }, { __proto__: "x" }, deep, [[[[]]]]]
      ) {
        const { error } = yield* errorOf(() => json(body, 400), { retry: { retries: 0 } })
        assert.strictEqual(error._tag, "BadRequestError")
        assert.isAtMost(error.message.length, 1_000)
      }
    }))
})

describe("what the API says about large requests is told", () => {
  const texts = [
    "messages.166: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_01",
    "prompt is too long: 205351 tokens > 200000 maximum",
    "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes"
  ]
  for (const status of [400, 413]) {
    it.effect(`${status}`, () =>
      Effect.gen(function*() {
        const secret = "the vault opens with 7741-crimson-heron"
        for (const length of [1_000, 250_000, 2_000_000]) {
          const content = `${"All work and no play makes a dull day. ".repeat(length / 39)}${secret}`
          const request = { ...hello, messages: [{ role: "user" as const, content }] }
          for (const text of texts) {
            const answer = () => apiError(status, "invalid_request_error", { message: `${text} near '${secret}'` })
            const { error } = yield* errorOf(answer, {}, request)
            assert.include(error.detail, text.slice(0, 30), `${length}`)
            assert.notInclude(error.message, "crimson")
          }
        }
      }))
  }
})

describe("somebody before the API who answered", () => {
  const foreign: ReadonlyArray<readonly [name: string, answer: () => Response]> = [
    [
      "403 with a challenge page",
      () => json(page, 403, { "content-type": "text/html; charset=UTF-8", "cf-mitigated": "challenge" })
    ],
    ["403 with a challenge", () => json("", 403, { "content-type": "text/plain", "cf-mitigated": "challenge" })],
    ["403 of a mesh", () => json("RBAC: access denied", 403, { "content-type": "text/plain" })],
    ["401 with a page", () => json(page, 401, { "content-type": "text/html" })],
    ["400 with a page", () => json(page, 400, { "content-type": "text/html" })],
    ["404 with a page", () => json(page, 404, { "content-type": "text/html" })],
    ["404 with a page without a type", () => json(`\n${page}`, 404, { "content-type": "" })],
    ["405 with XHTML", () => json("<?xml version=\"1.0\"?><html/>", 405, { "content-type": "application/xhtml+xml" })],
    ["407 with a page", () => json(page, 407, { "content-type": "text/html" })],
    ["407 of a proxy", () => json("Proxy authentication required", 407, { "content-type": "text/plain" })],
    ["407 of a proxy without a word", () => json("", 407, { "proxy-authenticate": "Basic" })],
    ["403 without a word", () => json("", 403, { "content-type": "" })],
    ["400 with a page that has no head", () => json("<center><h1>400</h1></center>", 400, { "content-type": "" })],
    ["404 with a page behind a comment", () => json(`<!-- x -->${page}`, 404, { "content-type": "text/plain" })],
    ["404 with XHTML without a type", () => json(`<?xml version="1.0"?>\n${page}`, 404, { "content-type": "" })],
    [
      "429 with a challenge",
      () => json(page, 429, { "content-type": "text/html", "cf-mitigated": "challenge", "x-should-retry": "false" })
    ],
    ["200 with a page", () => json(page, 200, { "content-type": "text/html" })]
  ]
  for (const [name, answer] of foreign) {
    it.effect(`gives no verdict on the key, and is named: ${name}`, () =>
      Effect.gen(function*() {
        const baseUrl = "https://gateway.example/anthropic"
        const { error } = yield* errorOf(answer, { api: { baseUrl } })
        assert.deepInclude(error, { _tag: "ConnectionError", reason: "malformed", billed: "no" })
        assert.include(error.message, baseUrl)
        assert.notInclude(error.message, "<")
      }))
  }

  it.effect("is asked once where it said 4xx", () =>
    Effect.gen(function*() {
      for (const [name, answer] of foreign.slice(0, -1)) {
        const { error, urls } = yield* errorOf(answer)
        assert.strictEqual(urls.length, 1, name)
        assert.isFalse(error.isRetryable)
      }
    }))

  it.effect("with 404 and JSON of its own names the base URL too", () =>
    Effect.gen(function*() {
      const baseUrl = "https://gateway.example/openai"
      for (const body of [{ detail: "Not Found" }, "404 page not found", ""]) {
        const { error } = yield* errorOf(() => json(body, 404), { api: { baseUrl } })
        assert.strictEqual(error._tag, "BadRequestError")
        assert.include(error.message, baseUrl)
      }
      const { error } = yield* errorOf(() => apiError(404, "not_found_error", { message: "model: x" }), {
        api: { baseUrl }
      })
      assert.strictEqual(error.detail, "model: x")
    }))

  it.effect("with a page about size, limits or its own failure is believed", () =>
    Effect.gen(function*() {
      const tags = { 413: "BadRequestError", 429: "RateLimitError", 503: "ServerError", 529: "ServerError" }
      for (const [status, tag] of Object.entries(tags)) {
        const { error } = yield* errorOf(() => json(page, Number(status), { "content-type": "text/html" }), {
          retry: { retries: 0 }
        })
        assert.strictEqual(error._tag, tag)
        assert.notInclude(error.message, "<")
      }
    }))

  it.effect("is believed about a key where it speaks JSON or text", () =>
    Effect.gen(function*() {
      for (const body of [{ error: { message: "bad key" } }, "bad key"]) {
        assert.strictEqual((yield* errorOf(() => json(body, 401))).error._tag, "AuthError")
      }
      assert.strictEqual((yield* errorOf(() => json({ message: "no" }, 403))).error._tag, "AuthError")
    }))
})

describe("a server that sends elsewhere", () => {
  for (const status of [301, 302, 303, 307, 308]) {
    it.effect(`with ${status} is named`, () =>
      Effect.gen(function*() {
        const baseUrl = "https://gateway.example/anthropic"
        const answer = () => json("", status, { location: "https://other.example" })
        const { error } = yield* errorOf(answer, { api: { baseUrl }, retry: { retries: 0 } })
        assert.deepInclude(error, { _tag: "ConnectionError", reason: "malformed", billed: "no", status })
        assert.include(error.message, `${baseUrl} redirects`)
      }))
  }
})

describe("a base URL", () => {
  const urls = {
    "https://a.example": "https://a.example/v1/messages",
    "https://a.example/": "https://a.example/v1/messages",
    "https://a.example/v1": "https://a.example/v1/messages",
    "https://a.example/v1/": "https://a.example/v1/messages",
    "https://a.example/v1/messages": "https://a.example/v1/messages",
    "https://a.example/anthropic": "https://a.example/anthropic/v1/messages",
    "https://a.example/anthropic/v1//": "https://a.example/anthropic/v1/messages",
    " https://a.example/v1beta ": "https://a.example/v1beta/v1/messages",
    "http://localhost:4000/v1": "http://localhost:4000/v1/messages",
    "https://a.example/V1": "https://a.example/v1/messages",
    "https://a.example/v1/v1": "https://a.example/v1/messages",
    "https://a.example/v1/messages/count_tokens": "https://a.example/v1/messages",
    "https://a.example/x/v1/messages/batches/": "https://a.example/x/v1/messages",
    "https://a.example/v1/models": "https://a.example/v1/messages",
    "https://a.example/v1/proxy": "https://a.example/v1/proxy/v1/messages"
  }
  for (const [baseUrl, url] of Object.entries(urls)) {
    it.effect(`${JSON.stringify(baseUrl)} has each route once`, () =>
      Effect.gen(function*() {
        const { urls } = yield* errorOf(() => apiError(400, "invalid_request_error"), { api: { baseUrl } })
        assert.deepStrictEqual(urls, [url])
      }))
  }

  it.effect.each([
    "https://a.example/?version=1",
    "https://a.example/#x",
    "https://user:pass@a.example",
    "https://a.example?"
  ])(
    "%j is refused before anything is sent",
    (baseUrl) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Layer.build(ClaudeApi.layer({ baseUrl })).pipe(Effect.scoped))
        const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
        assert.instanceOf(error, Config.ConfigError)
        assert.include(error?.message, "base URL")
      })
  )
})

describe("services of AWS", () => {
  const rows = [
    ["ThrottlingException", "RateLimitError"],
    ["ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", "RateLimitError"],
    ["com.amazon.bedrock#ServiceQuotaExceededException", "RateLimitError"],
    ["TooManyRequestsException", "RateLimitError"],
    ["ModelNotReadyException", "ServerError"],
    ["InternalServerException", "ServerError"],
    ["AccessDeniedException", "AuthError"],
    ["ExpiredTokenException", "AuthError"],
    ["Throttling", "RateLimitError"],
    ["RequestThrottledException", "RateLimitError"],
    ["throttlingException", "RateLimitError"],
    ["TooManyRequestsException, x", "RateLimitError"],
    ["LimitExceededException", "RateLimitError"],
    ["SlowDown", "RateLimitError"],
    ["ServiceUnavailable", "ServerError"],
    ["InternalServerError", "ServerError"],
    ["RequestTimeoutException", "ServerError"],
    ["ModelTimeoutException", "ServerError"],
    ["SignatureDoesNotMatch", "AuthError"],
    ["InvalidClientTokenId", "AuthError"],
    ["ResourceNotFoundException", "BadRequestError"],
    ["ValidationException", "BadRequestError"],
    ["constructor", "BadRequestError"],
    ["", "BadRequestError"]
  ] as const
  for (const [type, tag] of rows) {
    it.effect(`say ${JSON.stringify(type)} with 400, which is ${tag}`, () =>
      Effect.gen(function*() {
        const bodies = [
          () => json({ message: "Too many tokens" }, 400, { "x-amzn-errortype": type }),
          () => json({ __type: type, message: "Too many tokens" }, 400),
          () =>
            apiError(400, "invalid_request_error", {
              message: "Too many tokens",
              headers: { "x-amzn-errortype": type }
            })
        ]
        for (const answer of bodies) {
          const { error, urls } = yield* errorOf(answer)
          assert.deepInclude(error, { _tag: tag, detail: "Too many tokens" })
          assert.strictEqual(urls.length, tag === "RateLimitError" || tag === "ServerError" ? 4 : 1)
        }
      }))
  }
})

describe("a wait", () => {
  const now = Date.parse("2026-11-26T12:00:00Z")
  const at = (seconds: number) => new Date(now + seconds * 1_000)
  const spellings: ReadonlyArray<readonly [text: string, seconds: number | undefined]> = [
    ["30", 30],
    ["+30", 30],
    ["1.5", 1.5],
    [".5", 0.5],
    ["30s", 30],
    ["30 seconds", 30],
    ["\"30\"", 30],
    ["1500ms", 1.5],
    ["2m", 120],
    ["1h", 3_600],
    ["5, 60", 60],
    ["5; 60", 60],
    ["60 5", 60],
    ["0, 7", 7],
    ["30,", 30],
    [`${at(30).toUTCString()}, 45`, 45],
    [`45, ${at(60).toUTCString()}`, 60],
    [`${at(-30).toUTCString()}, 45`, 45],
    [at(30).toUTCString().toLowerCase(), 30],
    ["Thu, 26 Nov 2026 13:00:30 +0100", 30],
    ["Thu, 26 Nov 2026 12:00:30 UTC", 30],
    ["26 Nov 2026 12:00:30 GMT", 30],
    ["Thursday, 26-Nov-26 12:00:30 GMT", 30],
    ["Thu Nov 26 12:00:30 2026", 30],
    ["2026-11-26T12:00:30Z", 30],
    ["2026-11-26 12:00:30", 30],
    ["2026-11-26T13:00:30+01:00", 30],
    [String(at(30).getTime() / 1_000), 30],
    [String(at(30).getTime()), 30],
    ["0", undefined],
    ["-5", undefined],
    ["soon", undefined],
    ["0x1e", undefined],
    ["Infinity", undefined],
    ["9".repeat(300), undefined],
    ["99999999", undefined],
    [at(-30).toUTCString(), undefined],
    [String(at(-30).getTime()), undefined]
  ]
  for (const [text, seconds] of spellings) {
    it.effect(`is read in ${text.slice(0, 40)}`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(now)
        const answer = () => apiError(429, "rate_limit_error", { headers: { "retry-after": text } })
        const { error } = yield* errorOf(answer, { retry: { retries: 0 } })
        assert.strictEqual(error.retryAfter && Duration.toSeconds(error.retryAfter), seconds)
      }))
  }
})

describe("a wait until a date", () => {
  it.effect("counts by the clock of the server that names it", () =>
    Effect.gen(function*() {
      const minutes = 5 * 60_000
      const headers = {
        "date": new Date(minutes).toUTCString(),
        "retry-after": new Date(minutes + 30_000).toUTCString()
      }
      const answer = () => apiError(429, "rate_limit_error", { headers })
      const { error } = yield* errorOf(answer, { retry: { retries: 0 } })
      assert.strictEqual(Duration.toSeconds(error.retryAfter ?? 0), 30)
    }))
})

describe("a stream", () => {
  it.effect("says the same of a page and of an error of another make", () =>
    Effect.gen(function*() {
      for (
        const [answer, text] of [
          [() => json(page, 200, { "content-type": "text/html" }), "https://api.anthropic.com"],
          [() => json({ message: "too many lamps" }, 400), "too many lamps"]
        ] as const
      ) {
        const { fetch } = fetchOf(answer)
        const exit = yield* driven(
          Effect.provide(Effect.flip(Stream.runDrain(ClaudeService.stream(hello))), over(fetch))
        )
        assert.include(Exit.isSuccess(exit) ? exit.value.message : String(exit), text)
      }
    }))
})
