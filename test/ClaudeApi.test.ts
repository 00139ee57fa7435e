import { assert, describe, it, vi } from "@effect/vitest"
import { Cause, Clock, Config, Effect, Exit, Fiber, Redacted, Schema, Stream, Tracer } from "effect"
import * as Attempt from "effect-claude/Attempt"
import { type CallContext } from "effect-claude/CallContext"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import type * as ClaudeError from "effect-claude/ClaudeError"
import * as MessageStream from "effect-claude/MessageStream"
import * as PriceBook from "effect-claude/PriceBook"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { answer, apiError, driven, fetchOf, hello, json, message, settle, sse } from "./utils/http.ts"

const attemptOf = (request: Attempt.Request = hello, context: Partial<CallContext> = {}): Attempt.MessageAttempt =>
  ClaudeTest.attempt({ request, context, key: { label: "a", group: "org", secret: Redacted.make("sk-ant-test") } })

/** A body that gives its pieces as virtual time says, and then stays open. */
const never = (): Promise<never> => new Promise(() => {})

const parts = (text: string): ReadonlyArray<Uint8Array> =>
  text.split("\n\n").filter((part) => part !== "").map((part) => new TextEncoder().encode(`${part}\n\n`))

const events = parts(answer.toString("utf8"))

const failure = <A>(exit: Exit.Exit<A, ClaudeError.ApiError>): ClaudeError.ApiError => {
  const reason = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason) : undefined
  if (reason === undefined) throw new Error(`expected a failure, got ${exit}`)
  return reason.error
}

describe("cache writes without a split", () => {
  it.effect("are those that the request asked for, plain and streamed", () =>
    Effect.gen(function*() {
      const usage = { input_tokens: 9, output_tokens: 4, cache_creation_input_tokens: 2_000, cache_creation: null }
      const start = { type: "message_start", message: { ...message, content: [], stop_reason: null, usage } }
      const end = [
        { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { ...usage, output_tokens: 5 } },
        { type: "message_stop" }
      ]
      const streamed = [start, ...end].map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(
        ""
      )
      for (const ttl of ["5m", "1h"] as const) {
        const attempt = () => attemptOf({ ...hello, cache_control: { type: "ephemeral", ttl } })
        const [plain, stream] = [attempt(), attempt()]
        yield* ClaudeApi.make({ fetch: fetchOf(() => json({ ...message, usage })).fetch }).send(plain)
        yield* Stream.runDrain(ClaudeApi.make({ fetch: fetchOf(() => sse(parts(streamed))).fetch }).stream(stream))
        for (const { outcome } of [plain, stream]) {
          if (outcome._tag !== "Completed") return assert.fail(outcome._tag)
          const { cacheWrite1hTokens, cacheWrite5mTokens } = outcome.usage
          assert.deepStrictEqual([cacheWrite5mTokens, cacheWrite1hTokens], ttl === "1h" ? [0, 2_000] : [2_000, 0])
        }
      }
    }))
})

describe("what is billed", () => {
  const iteration = (type: string, model: string | undefined, input: number, output: number) => ({
    type,
    ...(model === undefined ? undefined : { model }),
    input_tokens: input,
    output_tokens: output,
    cache_read_input_tokens: 0,
    cache_creation_input_tokens: 0,
    cache_creation: null
  })
  const sonnet = "claude-sonnet-4-6"

  it.effect.each([
    {
      name: "a compaction that the totals leave out",
      model: sonnet,
      ttl: undefined,
      usage: { input_tokens: 23_000, output_tokens: 1_000 },
      end: {
        iterations: [iteration("compaction", undefined, 180_000, 3_500), iteration("message", undefined, 23_000, 1_000)]
      },
      nanoUsd: 676_500_000
    },
    {
      name: "an advisor at the price of its own model",
      model: sonnet,
      ttl: undefined,
      usage: { input_tokens: 2_000, output_tokens: 500 },
      end: {
        iterations: [
          iteration("message", sonnet, 1_000, 100),
          iteration("advisor_message", "claude-opus-4-8", 159_419, 7_805),
          iteration("message", sonnet, 1_000, 400)
        ]
      },
      nanoUsd: 1_005_720_000
    },
    {
      name: "cache writes that came later, at the time to live that was asked for",
      model: "claude-opus-5-5",
      ttl: "1h" as const,
      usage: {
        input_tokens: 10,
        output_tokens: 50,
        cache_creation_input_tokens: 1_000,
        cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 1_000 }
      },
      end: { cache_creation_input_tokens: 50_000, cache_creation: undefined },
      nanoUsd: 401_040_000
    }
  ])("is $name, plain and streamed", ({ end, model, nanoUsd, ttl, usage }) =>
    Effect.gen(function*() {
      const request = {
        ...hello,
        model,
        ...(ttl === undefined ? undefined : { cache_control: { type: "ephemeral" as const, ttl } })
      }
      const [plain, streamed] = [attemptOf(request), attemptOf(request)]
      const whole = { ...message, model, usage: { ...usage, ...end } }
      const events = [
        { type: "message_start", message: { ...whole, content: [], stop_reason: null, usage } },
        {
          type: "message_delta",
          delta: { stop_reason: "end_turn" },
          usage: { input_tokens: usage.input_tokens, output_tokens: usage.output_tokens, ...end }
        },
        { type: "message_stop" }
      ]
      const bytes = parts(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(""))
      yield* ClaudeApi.make({ fetch: fetchOf(() => json(whole)).fetch }).send(plain)
      yield* Stream.runDrain(ClaudeApi.make({ fetch: fetchOf(() => sse(bytes)).fetch }).stream(streamed))
      for (const attempt of [plain, streamed]) {
        const charged = Attempt.costOf(PriceBook.make(), attempt, Date.parse("2026-11-22"))
        assert.deepStrictEqual([charged?.cost?.nanoUsd, charged?.confidence], [nanoUsd, "exact"])
      }
    }))
})

describe("send", () => {
  it.effect("gives the message untouched and writes down what it used", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() =>
        json(message, 200, {
          "anthropic-ratelimit-requests-limit": "50",
          "anthropic-ratelimit-requests-remaining": "49",
          "anthropic-ratelimit-requests-reset": "1970-01-01T00:00:02Z"
        })
      )
      const attempt = attemptOf()
      assert.deepStrictEqual(yield* ClaudeApi.make({ fetch }).send(attempt), message as never)
      assert.deepStrictEqual(
        attempt.outcome,
        Attempt.Outcome.Completed({
          usage: Usage.make({ inputTokens: 9, outputTokens: 4 }),
          limits: {
            requests: { limit: 50, remaining: 49, resetAt: 2000 },
            tokens: undefined,
            inputTokens: undefined,
            outputTokens: undefined
          },
          model: "claude-opus-4-6",
          requestId: "req_1",
          stopReason: "end_turn"
        })
      )
    }))

  it.effect("reads each rate limit, and leaves out what was not sent or makes no sense", () =>
    Effect.gen(function*() {
      const limitsIn = (headers: Record<string, string>) =>
        Effect.gen(function*() {
          const attempt = attemptOf()
          yield* ClaudeApi.make({ fetch: fetchOf(() => json(message, 200, headers)).fetch }).send(attempt)
          return attempt.outcome._tag === "Completed" ? attempt.outcome.limits : assert.fail(attempt.outcome._tag)
        })
      assert.deepStrictEqual(
        yield* limitsIn({
          "anthropic-ratelimit-requests-limit": "50",
          "anthropic-ratelimit-requests-remaining": "49",
          "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:01Z",
          "anthropic-ratelimit-input-tokens-limit": "lots",
          "anthropic-ratelimit-input-tokens-remaining": "9",
          "anthropic-ratelimit-output-tokens-limit": "1000",
          "anthropic-ratelimit-output-tokens-remaining": "-20"
        }),
        {
          requests: { limit: 50, remaining: 49, resetAt: Date.parse("2026-11-23T12:00:01Z") },
          tokens: undefined,
          inputTokens: undefined,
          outputTokens: { limit: 1000, remaining: -20, resetAt: undefined }
        }
      )
      assert.isUndefined(yield* limitsIn({}))
      assert.isUndefined(
        yield* limitsIn({
          "anthropic-ratelimit-requests-limit": "9".repeat(400),
          "anthropic-ratelimit-requests-remaining": "9"
        })
      )
    }))

  it.effect("sends the body that the caller gave, with the key, and nothing of the environment", () =>
    Effect.gen(function*() {
      let sent: { url: string; init: RequestInit } | undefined
      const fetch = ((url: string, init: RequestInit) => {
        sent = { url, init }
        return Promise.resolve(json(message))
      }) as typeof globalThis.fetch
      const before = { ...process.env }
      process.env["ANTHROPIC_BASE_URL"] = "https://elsewhere.example"
      process.env["ANTHROPIC_CUSTOM_HEADERS"] = "Authorization: Bearer theirs\nX-Api-Key: theirs"
      process.env["ANTHROPIC_API_KEY"] = "sk-ant-of-the-environment"
      const api = ClaudeApi.make({ fetch, headers: { "x-team": "a", Authorization: "Bearer theirs" } })
      yield* api.send(attemptOf(hello, { headers: { "anthropic-beta": "b-1", "x-api-key": "theirs" } }))
      // Another object would no longer be the environment of the process.
      for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name]
      Object.assign(process.env, before)
      const headers = new Headers(sent?.init.headers)
      assert.strictEqual(sent?.url, "https://api.anthropic.com/v1/messages")
      assert.deepStrictEqual(JSON.parse(String(sent?.init.body)), hello)
      assert.strictEqual(headers.get("authorization"), "Bearer sk-ant-test")
      assert.strictEqual(headers.get("x-api-key"), null)
      assert.strictEqual(headers.get("x-team"), "a")
      assert.strictEqual(headers.get("anthropic-beta"), "b-1")
      assert.strictEqual(headers.get("x-stainless-retry-count"), "0")
    }))

  it.effect("sends the span of the attempt where it may, and none where there is no span", () =>
    Effect.gen(function*() {
      const sent: Array<string | null> = []
      const { fetch } = fetchOf((_, init) => {
        sent.push(new Headers(init.headers).get("traceparent"))
        return json(message)
      })
      const { spanId, traceId } = yield* Effect.makeSpan("outer")
      const spans = [
        Tracer.externalSpan({ spanId, traceId }),
        Tracer.externalSpan({ spanId: "ab", traceId: "cd", sampled: false })
      ]
      const api = ClaudeApi.make({ fetch, traceparent: true })
      for (const span of spans) yield* Effect.withParentSpan(api.send(attemptOf(hello)), span)
      yield* api.send(attemptOf(hello))
      yield* Effect.withParentSpan(ClaudeApi.make({ fetch }).send(attemptOf(hello)), spans[0]!)
      assert.deepStrictEqual(sent, [
        `00-${traceId}-${spanId}-01`,
        `00-${"cd".padStart(32, "0")}-${"ab".padStart(16, "0")}-00`,
        null,
        null
      ])
    }))

  it.effect("sends the headers that a key needs, and asks for its betas beside those of the call and of all calls", () =>
    Effect.gen(function*() {
      let sent: Headers | undefined
      const { fetch } = fetchOf((_, init) => {
        sent = new Headers(init.headers)
        return json(message)
      })
      const api = ClaudeApi.make({ fetch, headers: { "Anthropic-Beta": "all", "x-team": "a" } })
      const attempt = attemptOf(hello, { headers: { "anthropic-beta": "call, both", "x-call": "b" } })
      attempt.key = {
        ...attempt.key!,
        headers: {
          "anthropic-beta": "both,oauth",
          "anthropic-workspace-id": "wrkspc_1",
          "Authorization": "Bearer theirs"
        }
      }
      yield* api.send(attempt)
      assert.strictEqual(sent?.get("anthropic-beta"), "all,call,both,oauth")
      assert.deepStrictEqual(
        ["x-team", "x-call", "anthropic-workspace-id", "authorization"].map((name) => sent?.get(name)),
        ["a", "b", "wrkspc_1", "Bearer sk-ant-test"]
      )
    }))

  it.effect("does not stream, whatever a caller without types asks for", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf((_, init) => {
        assert.strictEqual(JSON.parse(String(init.body)).stream, false)
        return json(message)
      })
      // What a JavaScript caller may pass.
      yield* ClaudeApi.make({ fetch }).send(attemptOf({ ...hello, stream: true } as Attempt.Request))
    }))

  it.effect("answers a request that cannot be encoded with a bad request, unsent", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => json(message))
      const { send, stream } = ClaudeApi.make({ fetch })
      for (const call of [send, (attempt: Attempt.MessageAttempt) => Stream.runDrain(stream(attempt))]) {
        const attempt = attemptOf({ ...hello, metadata: { user_id: 1n as never } }) // no JSON
        const error = yield* Effect.flip(Effect.asVoid(call(attempt)))
        assert.deepInclude(error, { _tag: "BadRequestError", billed: "no" })
        assert.deepInclude(attempt, { outcome: Attempt.Outcome.NotSent(), sentAt: undefined })
      }
      assert.strictEqual(state.requests, 0)
    }))

  it.effect("counts what the caller left behind as aborted, and ends the request on the wire", () =>
    Effect.gen(function*() {
      let signal: AbortSignal | null | undefined
      const { fetch } = fetchOf((_, init) => {
        signal = init.signal
        return never()
      })
      const attempt = attemptOf()
      const fiber = yield* Effect.forkChild(ClaudeApi.make({ fetch }).send(attempt))
      yield* settle
      assert.isFalse(signal?.aborted)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(signal?.aborted)
      assert.strictEqual(attempt.outcome._tag, "Aborted")
    }))

  it.effect("gives up an answer larger than maxBytes", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => json({ ...message, padding: "x".repeat(5000) }))
      const error = yield* Effect.flip(ClaudeApi.make({ fetch, maxBytes: 4000 }).send(attemptOf()))
      assert.deepInclude(error, { _tag: "ConnectionError", reason: "malformed" })
    }))

  it.effect("reads the rate-limit headers of a response once, for the error and for the outcome", () =>
    Effect.gen(function*() {
      const response = apiError(429, "rate_limit_error", {
        headers: { "anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "0" }
      })
      const get = vi.spyOn(response.headers, "get")
      const attempt = attemptOf()
      const error = yield* Effect.flip(ClaudeApi.make({ fetch: fetchOf(() => response).fetch }).send(attempt))
      assert.deepInclude(error, { _tag: "RateLimitError", limit: "requests" })
      assert.deepInclude(attempt.outcome, {
        limits: {
          requests: { limit: 50, remaining: 0, resetAt: undefined },
          tokens: undefined,
          inputTokens: undefined,
          outputTokens: undefined
        }
      })
      const reads = get.mock.calls.filter(([name]) => name === "anthropic-ratelimit-requests-limit")
      assert.strictEqual(reads.length, 1)
    }))

  const limits = [
    {
      name: "no head in time",
      timeouts: { headers: "5 seconds" },
      answer: never,
      limit: "headers",
      billed: "unknown",
      at: 5
    },
    {
      name: "no body in time",
      timeouts: { call: "7 seconds" },
      answer: () => new Response(new ReadableStream({}), { headers: { "content-type": "application/json" } }),
      limit: "call",
      billed: "yes",
      at: 7
    },
    {
      name: "silence amid the body",
      timeouts: { idle: "3 seconds" },
      answer: () =>
        new Response(
          new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode("{")) }),
          { headers: { "content-type": "application/json" } }
        ),
      limit: "idle",
      billed: "yes",
      at: 3
    }
  ] as const
  for (const row of limits) {
    it.effect(`fails when there is ${row.name}`, () =>
      Effect.gen(function*() {
        const { fetch } = fetchOf(row.answer)
        const fiber = yield* Effect.forkChild(ClaudeApi.make({ fetch, timeouts: row.timeouts }).send(attemptOf()))
        yield* settle
        yield* TestClock.adjust((row.at - 1) * 1000)
        yield* settle
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1000)
        const error = failure(yield* Fiber.await(fiber))
        assert.deepInclude(error, { _tag: "ConnectionError", limit: row.limit, billed: row.billed })
      }))
  }

  it.effect("does not outlive the deadline of the caller", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(never)
      const exit = yield* driven(ClaudeApi.make({ fetch }).send(attemptOf(hello, { deadline: 3000 })))
      assert.deepInclude(failure(exit), { reason: "timeout", limit: "deadline" })
    }))

  it.effect("ends each of many at its own time limit, whatever others of the same port wait for", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(never)
      const api = ClaudeApi.make({ fetch, timeouts: { idle: "7 seconds" } })
      const ended: Array<readonly [number, number]> = []
      const call = (deadline: number) =>
        Effect.gen(function*() {
          yield* Effect.exit(api.send(attemptOf(hello, { deadline })))
          ended.push([deadline, yield* Clock.currentTimeMillis])
        })
      const first = yield* Effect.forEach(
        [60_000, 9_000, 30_000, 2_000],
        (deadline) => Effect.forkChild(call(deadline))
      )
      yield* settle
      // Those that leave or come later change nothing for the others.
      yield* Fiber.interrupt(first[2]!)
      const other = Effect.provideService(call(5_000), Clock.Clock, { ...yield* Clock.Clock })
      const later = yield* Effect.forEach([call(4_000), other], (each) => Effect.forkChild(each))
      yield* settle
      for (let second = 0; second < 60; second++) {
        yield* TestClock.adjust("1 second")
        yield* settle
      }
      yield* Fiber.awaitAll([...first, ...later])
      assert.deepStrictEqual(ended, [2_000, 4_000, 5_000, 9_000, 60_000].map((at) => [at, at] as const))
    }))
})

describe("stream", () => {
  const of = (response: () => Response, options: ClaudeApi.Options = {}) =>
    ClaudeApi.make({ ...options, fetch: fetchOf(response).fetch })

  it.effect("gives every event but pings, and the totals of the last report", () =>
    Effect.gen(function*() {
      const attempt = attemptOf()
      const all = yield* Stream.runCollect(of(() => sse([answer])).stream(attempt))
      assert.strictEqual(all[0]?.type, "message_start")
      assert.strictEqual(all.at(-1)?.type, "message_stop")
      assert.isTrue(all.some((event) => (event.type as string) === "something_new"))
      assert.isFalse(all.some((event) => (event.type as string) === "ping"))
      assert.deepInclude(attempt.outcome, {
        _tag: "Completed",
        model: "claude-opus-4-6",
        stopReason: "tool_use",
        requestId: "req_1",
        usage: {
          inputTokens: 10_682,
          outputTokens: 510,
          cacheReadTokens: 1024,
          cacheWrite5mTokens: 100,
          cacheWrite1hTokens: 200,
          thinkingTokens: 120,
          webSearchRequests: 1,
          serviceTier: "standard",
          speed: "standard",
          inferenceGeo: "global"
        }
      })
    }))

  const whole = Effect.runPromise(MessageStream.message(of(() => sse([answer])).stream(attemptOf())))

  it.effect("adds up to the message that was meant, however the bytes are cut into pieces", () =>
    Effect.gen(function*() {
      const expected = yield* Effect.promise(() => whole)
      assert.deepStrictEqual(expected.content.map((block) => block.type), ["thinking", "text", "tool_use"])
      assert.deepInclude(expected.content[2], { input: { city: "Zürich", days: 3 } })
      assert.deepInclude(expected.content[1], { text: "Let me look at the weather in Zürich — one moment… 🌦" })
      for (const size of [1, 2, 3, 7, 64, 1000]) {
        const pieces = Array.from(
          { length: Math.ceil(answer.length / size) },
          (_, i) => answer.subarray(i * size, (i + 1) * size)
        )
        assert.deepStrictEqual(yield* MessageStream.message(of(() => sse(pieces)).stream(attemptOf())), expected)
      }
    }))

  it.effect("cut at any byte gives the whole message or a typed error, never a shorter message", () =>
    Effect.gen(function*() {
      const expected = yield* Effect.promise(() => whole)
      let wholes = 0
      let cut = 0
      const api = of(() => sse([answer.subarray(0, cut)]))
      for (; cut <= answer.length; cut++) {
        const attempt = attemptOf()
        const result = yield* Effect.result(MessageStream.message(api.stream(attempt)))
        if (result._tag === "Success") {
          wholes++
          assert.deepStrictEqual(result.success, expected)
          assert.strictEqual(attempt.outcome._tag, "Completed")
        } else {
          assert.deepInclude(result.failure, { _tag: "ConnectionError", reason: "truncated" }, `cut at ${cut}`)
          assert.strictEqual(attempt.outcome._tag, "Failed")
        }
      }
      // It is whole once it said why it stopped, and that event needs no blank line behind it.
      assert.strictEqual(wholes, answer.length - answer.indexOf("\n\nevent: message_stop") + 1)
    }))

  it.effect.prop(
    "with any one byte replaced gives some whole message or a typed error",
    {
      at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: answer.length - 1 })),
      byte: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
    },
    ({ at, byte }) =>
      Effect.gen(function*() {
        const bytes = Uint8Array.from(answer)
        bytes[at] = byte
        const exit = yield* Effect.exit(MessageStream.message(of(() => sse([bytes])).stream(attemptOf())))
        if (Exit.isFailure(exit)) assert.include(["ConnectionError", "ServerError"], failure(exit)._tag)
      })
  )

  it.effect("with any byte of an event made a space gives some whole message or a typed error", () =>
    Effect.gen(function*() {
      for (let at = 0; at < answer.length; at++) {
        const bytes = Uint8Array.from(answer)
        bytes[at] = 32
        const exit = yield* Effect.exit(MessageStream.message(of(() => sse([bytes])).stream(attemptOf())))
        if (Exit.isFailure(exit)) assert.include(["ConnectionError", "ServerError"], failure(exit)._tag, `byte ${at}`)
      }
    }))

  it.effect("ends with the error event of the API, after the events before it", () =>
    Effect.gen(function*() {
      const error =
        `event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n`
      const attempt = attemptOf()
      const seen: Array<string> = []
      const stream = of(() => sse([...events.slice(0, 6), ...parts(error), ...events.slice(6)])).stream(attempt)
      const failed = yield* Effect.flip(Stream.runForEach(stream, (event) => Effect.sync(() => seen.push(event.type))))
      assert.deepInclude(failed, { _tag: "ServerError", overloaded: true, billed: "unknown" })
      assert.strictEqual(seen.length, 5) // a ping is not shown
      assert.isTrue(attempt.outcome._tag === "Failed" && attempt.outcome.usage.inputTokens === 2679)
    }))

  it.effect("counts output that no total covered from what arrived", () =>
    Effect.gen(function*() {
      const attempt = attemptOf()
      yield* Stream.runDrain(Stream.take(of(() => sse(events)).stream(attempt), 8))
      assert.strictEqual(attempt.outcome._tag, "Aborted")
      if (attempt.outcome._tag !== "Aborted") return
      assert.isAtLeast(attempt.outcome.usage.outputTokens, 15)
      assert.strictEqual(attempt.outcome.usage.inputTokens, 2679)
    }))

  it.effect("says of a stream that is under way who serves it, under which id and limits", () =>
    Effect.gen(function*() {
      const attempt = attemptOf()
      const headers = { "anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49" }
      yield* Stream.runDrain(Stream.take(of(() => sse(events, undefined, headers)).stream(attempt), 2))
      const { _tag, limits, model, requestId } = attempt.outcome as Extract<Attempt.Outcome, { _tag: "Aborted" }>
      assert.strictEqual(attempt.sentAt, 0)
      assert.deepStrictEqual([_tag, model, requestId, limits?.requests?.remaining], [
        "Aborted",
        "claude-opus-4-6",
        "req_1",
        49
      ])
    }))

  it.effect("ends the request on the wire when its reader stops", () =>
    Effect.gen(function*() {
      let signal: AbortSignal | null | undefined
      const { fetch } = fetchOf((_, init) => {
        signal = init.signal
        return sse(events)
      })
      yield* Stream.runDrain(Stream.take(ClaudeApi.make({ fetch }).stream(attemptOf()), 2))
      assert.isTrue(signal?.aborted)
    }))

  it.effect("leaves the connection alone when it was read to its end", () =>
    Effect.gen(function*() {
      let signal: AbortSignal | null | undefined
      const { fetch } = fetchOf((_, init) => {
        signal = init.signal
        return sse(events)
      })
      yield* Stream.runDrain(ClaudeApi.make({ fetch }).stream(attemptOf()))
      assert.isFalse(signal?.aborted)
    }))

  it.effect("reads no further than its reader asks for", () =>
    Effect.gen(function*() {
      let pulled = 0
      const body = new ReadableStream<Uint8Array>({
        pull: (controller) => {
          controller.enqueue(events[Math.min(pulled++, 5)]!)
        }
      }, { highWaterMark: 0 })
      const { fetch } = fetchOf(() => new Response(body, { headers: { "content-type": "text/event-stream" } }))
      yield* Stream.runDrain(Stream.take(ClaudeApi.make({ fetch }).stream(attemptOf()), 3))
      assert.strictEqual(pulled, 4) // the second piece is a ping
    }))

  it.effect("gives up a stream larger than maxBytes", () =>
    Effect.gen(function*() {
      const endless = () =>
        new Response(new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(events[4]!) }), {
          headers: { "content-type": "text/event-stream" }
        })
      const error = yield* Effect.flip(Stream.runDrain(of(endless, { maxBytes: 10_000 }).stream(attemptOf())))
      assert.deepInclude(error, { _tag: "ConnectionError", reason: "malformed" })
    }))

  /** Pieces that arrive at given virtual seconds; then the stream stays open. */
  const timed = (pieces: ReadonlyArray<readonly [second: number, piece: Uint8Array]>) =>
    Effect.gen(function*() {
      const context = yield* Effect.context<never>()
      return () => {
        let next = 0
        let now = 0
        const body = new ReadableStream<Uint8Array>({
          pull: async (controller) => {
            const piece = pieces[next++]
            if (piece === undefined) return never()
            await Effect.runPromiseWith(context)(Effect.sleep((piece[0] - now) * 1000))
            now = piece[0]
            controller.enqueue(piece[1])
          }
        }, { highWaterMark: 0 })
        return new Response(body, { headers: { "content-type": "text/event-stream" } })
      }
    })

  const endsAt = (pieces: Parameters<typeof timed>[0], timeouts: ClaudeApi.Timeouts, deadline?: number) =>
    Effect.gen(function*() {
      const response = yield* timed(pieces)
      const attempt = attemptOf(hello, { deadline })
      const exit = yield* driven(Stream.runDrain(of(response, { timeouts }).stream(attempt)))
      return { error: failure(exit), seconds: Math.floor((yield* Clock.currentTimeMillis) / 1000) }
    })

  const [start, ping, blockStart, delta] = events as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]

  it.effect("fails when nothing at all comes for the idle time", () =>
    Effect.gen(function*() {
      const { error, seconds } = yield* endsAt([[1, start], [2, blockStart], [3, delta]], { idle: "10 seconds" })
      assert.deepInclude(error, { reason: "idle", limit: "idle" })
      assert.strictEqual(seconds, 13)
    }))

  it.effect("takes pings for life, but not for content", () =>
    Effect.gen(function*() {
      const pings = Array.from({ length: 20 }, (_, i) => [2 + i * 4, ping] as const)
      const { error, seconds } = yield* endsAt([[1, start], ...pings], {
        idle: "5 seconds",
        firstContent: "30 seconds"
      })
      assert.deepInclude(error, { reason: "timeout", limit: "firstContent" })
      assert.strictEqual(seconds, 30)
    }))

  it.effect("fails when the whole call takes too long, whatever comes", () =>
    Effect.gen(function*() {
      const deltas = Array.from({ length: 99 }, (_, i) => [2 + i, delta] as const)
      const { error, seconds } = yield* endsAt([[1, start], [1, blockStart], ...deltas], { call: "42 seconds" })
      assert.deepInclude(error, { reason: "timeout", limit: "call" })
      assert.strictEqual(seconds, 42)
    }))

  it.effect("fails when the whole call takes too long, also for a reader that paused longer than silence may last", () =>
    Effect.gen(function*() {
      const response = yield* timed([[1, start], [1, blockStart], [2, delta]])
      const timeouts = { idle: "10 seconds", call: "35 seconds" } as const
      const slow = Stream.runForEach(
        of(response, { timeouts }).stream(attemptOf()),
        (event) => event.type === "content_block_delta" ? Effect.sleep("30 seconds") : Effect.void
      )
      assert.deepInclude(failure(yield* driven(slow)), { reason: "timeout", limit: "call" })
      assert.strictEqual(yield* Clock.currentTimeMillis, 35_000)
    }))

  it.effect("does not outlive the deadline of the caller", () =>
    Effect.gen(function*() {
      const deltas = Array.from({ length: 99 }, (_, i) => [2 + i, delta] as const)
      const { error, seconds } = yield* endsAt([[1, start], [1, blockStart], ...deltas], {}, 20_000)
      assert.deepInclude(error, { reason: "timeout", limit: "deadline" })
      assert.strictEqual(seconds, 20)
    }))
})

describe("a refusal by the model", () => {
  const text = (text: string) => ({ type: "text", text, citations: null })
  const details = (category: string | null) => ({ type: "refusal", category, explanation: null })
  const start = { type: "message_start", message: { ...message, content: [], stop_reason: null } }
  const piece = (index: number, block: unknown, ...deltas: ReadonlyArray<unknown>) => [
    { type: "content_block_start", index, content_block: block },
    ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
    { type: "content_block_stop", index }
  ]
  const said = (text: string) => ({ type: "text_delta", text })
  const cases: ReadonlyArray<{
    readonly name: string
    readonly content: ReadonlyArray<unknown>
    readonly events: ReadonlyArray<{ readonly type: string }>
    readonly stopDetails: unknown
    readonly refusal: Attempt.ModelRefusal
  }> = [
    {
      name: "before any output",
      content: [],
      events: [],
      stopDetails: details("bio"),
      refusal: { category: "bio", beforeOutput: true }
    },
    {
      name: "before any output, with a text that was begun",
      content: [text("")],
      events: piece(0, text(""), said("")),
      stopDetails: details("cyber"),
      refusal: { category: "cyber", beforeOutput: true }
    },
    {
      name: "without a category",
      content: [],
      events: [],
      stopDetails: details(null),
      refusal: { category: undefined, beforeOutput: true }
    },
    {
      name: "without details",
      content: [],
      events: [],
      stopDetails: undefined,
      refusal: { category: undefined, beforeOutput: true }
    },
    {
      name: "after output had begun",
      content: [text("Take")],
      events: piece(0, text(""), said("Take")),
      stopDetails: details("bio"),
      refusal: { category: "bio", beforeOutput: false }
    },
    {
      name: "after thinking",
      content: [{ type: "thinking", thinking: "Well", signature: "s" }],
      events: piece(0, { type: "thinking", thinking: "", signature: "" }, { type: "thinking_delta", thinking: "Well" }),
      stopDetails: details("cyber"),
      refusal: { category: "cyber", beforeOutput: false }
    }
  ]
  for (const { content, events, name, refusal, stopDetails } of cases) {
    const end = { stop_reason: "refusal", stop_sequence: null, stop_details: stopDetails }
    it.effect(`is written down: ${name}`, () =>
      Effect.gen(function*() {
        const plain = attemptOf()
        yield* ClaudeApi.make({ fetch: fetchOf(() => json({ ...message, ...end, content })).fetch }).send(plain)
        assert.deepInclude(plain.outcome, { _tag: "Completed", refusal })
        const streamed = attemptOf()
        const stream = [
          start,
          ...events,
          { type: "message_delta", delta: end, usage: { output_tokens: 4 } },
          { type: "message_stop" }
        ].map((event) => new TextEncoder().encode(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`))
        yield* Stream.runDrain(ClaudeApi.make({ fetch: fetchOf(() => sse(stream)).fetch }).stream(streamed))
        assert.deepInclude(streamed.outcome, { _tag: "Completed", refusal })
      }))
  }

  it.effect("is none where the model did not refuse", () =>
    Effect.gen(function*() {
      const attempt = attemptOf()
      const { fetch } = fetchOf(() => json({ ...message, stop_details: details("bio"), content: [] }))
      yield* ClaudeApi.make({ fetch }).send(attempt)
      assert.notProperty(attempt.outcome, "refusal")
    }))
})

describe("the other endpoints", () => {
  it.effect("counts tokens", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => json({ input_tokens: 12 }))
      const { max_tokens: _, ...params } = hello
      assert.deepStrictEqual(yield* ClaudeApi.make({ fetch }).countTokens(attemptOf(), params), { input_tokens: 12 })
    }))

  it.effect("lists the models of all pages", () =>
    Effect.gen(function*() {
      const pages = [{ data: [{ id: "a" }, { id: "b" }], has_more: true, last_id: "b" }, {
        data: [{ id: "c" }],
        has_more: false,
        last_id: "c"
      }]
      const { fetch } = fetchOf((n) => json(pages[n - 1]))
      const models = yield* ClaudeApi.make({ fetch }).models(attemptOf())
      assert.deepStrictEqual(models.map((model) => model.id), ["a", "b", "c"])
    }))

  it.effect("retrieves a model, and tells which is not there", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf((n) =>
        n === 1
          ? json({ id: "a" })
          : json({ type: "error", error: { type: "not_found_error", message: "model: b" } }, 404)
      )
      const api = ClaudeApi.make({ fetch })
      assert.strictEqual((yield* api.model(attemptOf(), "a")).id, "a")
      assert.strictEqual((yield* Effect.flip(api.model(attemptOf(), "b")))._tag, "BadRequestError")
    }))
})

describe("layer", () => {
  it.effect.each(["", "api.anthropic.com", "ftp://example.com", "http://"])(
    "refuses the base URL %j",
    (baseUrl) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.provide(ClaudeApi.ClaudeApi, ClaudeApi.layer({ baseUrl })))
        assert.isTrue(Exit.isFailure(exit))
        const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
        assert.instanceOf(error, Config.ConfigError)
        assert.include(error?.message, "base URL")
      })
  )
})
