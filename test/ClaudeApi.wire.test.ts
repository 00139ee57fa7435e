/** What goes over the wire is what the SDK would send, though the SDK makes only the first request of each shape. */
import Anthropic from "@anthropic-ai/sdk"
import type { MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Stream } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { heapUsed } from "./utils/endings.ts"
import { Chance } from "./utils/mutate.ts"

const key = { label: "test", group: "test", secret: Redacted.make("sk-ant-wire") }

const message = {
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-opus-4-6",
  content: [],
  stop_reason: "end_turn",
  usage: { input_tokens: 1, output_tokens: 1 }
}

interface Sent {
  readonly url: string
  readonly method: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

/** A `fetch` that notes what it was given. */
const noting = () => {
  const sent: Array<Sent> = []
  const fetch = (input: unknown, init: RequestInit = {}) => {
    sent.push({
      url: String(input),
      method: init.method,
      headers: Object.fromEntries(new Headers(init.headers)),
      body: init.body
    })
    return Promise.resolve(Response.json(message))
  }
  return { sent, fetch }
}

/** What the SDK sends. */
const bySdk = async (params: object, endpoint: "create" | "countTokens" = "create"): Promise<Sent> => {
  const { fetch, sent } = noting()
  const { messages } = new Anthropic({
    apiKey: "",
    baseURL: "https://api.anthropic.com",
    maxRetries: 0,
    timeout: 601_000,
    logLevel: "off",
    fetch
  })
  const headers = { authorization: "Bearer sk-ant-wire", "x-api-key": null }
  await messages[endpoint](params as MessageCreateParamsNonStreaming, { headers }).asResponse()
  assert.strictEqual(sent.length, 1)
  return sent[0]!
}

const hello = { model: "claude-opus-4-6", max_tokens: 64, messages: [{ role: "user" as const, content: "Hi" }] }

const attemptOf = (request: Attempt.Request): Attempt.MessageAttempt => ClaudeTest.attempt({ request, key })

const sending = (port: ClaudeApi.ClaudeApi["Service"], request: object, more: Partial<Attempt.MessageAttempt> = {}) =>
  port.send({ ...attemptOf(request as Attempt.Request), ...more })

/** Values of every field of a request that the SDK's types know, in any order. */
const requestOf = (chance: Chance): object => {
  const fields: Record<string, unknown> = {
    system: chance.one<unknown>(["Be brief.", [{ type: "text", text: "Zürich 🌦 \u2028" }]]),
    temperature: chance.one([0, 0.5, 1]),
    top_k: 5,
    top_p: 0.9,
    metadata: { user_id: chance.one(["u", null]) },
    stop_sequences: ["END"],
    service_tier: "auto",
    speed: "fast",
    thinking: chance.one<unknown>([{ type: "adaptive" }, { type: "disabled" }]),
    output_config: { effort: "low" },
    tools: [{ name: "weather", input_schema: { type: "object" } }],
    tool_choice: { type: "auto" },
    container: "c",
    inference_geo: "us",
    cache_control: { type: "ephemeral" },
    user_profile_id: chance.one(["uprof_1", "uprof_2"]),
    workspace_id: "wrkspc_1",
    betas: ["one"],
    absent: undefined,
    unknown_field: { deep: [1, { a: "b" }] }
  }
  const given = Object.entries({ ...hello, ...fields }).filter(([name]) => name in hello || chance.next() < 0.2)
  return Object.fromEntries(given.sort(() => chance.next() - 0.5))
}

describe("the wire", () => {
  it.effect("carries what the SDK would send, the first time and later", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch })
      const chance = new Chance(20_261_126)
      for (let i = 0; i < 150; i++) {
        const request = requestOf(chance)
        const expected = yield* Effect.promise(() => bySdk(request))
        for (let time = 0; time < 2; time++) {
          yield* sending(port, request)
          assert.deepStrictEqual(sent.at(-1), expected, `request ${i}, time ${time}`)
        }
      }
    }).pipe(TestClock.withLive))

  it.effect("streams and counts the same way", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch })
      const { max_tokens: _, ...counted } = hello
      for (let time = 0; time < 3; time++) {
        yield* Effect.exit(Stream.runDrain(port.stream(attemptOf(hello))))
        assert.deepStrictEqual(sent.at(-1), yield* Effect.promise(() => bySdk({ ...hello, stream: true })))
        yield* Effect.exit(port.countTokens(attemptOf(hello), counted))
        assert.deepStrictEqual(sent.at(-1), yield* Effect.promise(() => bySdk(counted, "countTokens")))
      }
    }).pipe(TestClock.withLive))

  it.effect("takes a field without a value for none", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch })
      for (const user_profile_id of [undefined, "uprof_1", undefined, "uprof_2"]) {
        const request = { ...hello, user_profile_id, workspace_id: undefined }
        yield* sending(port, request)
        assert.deepStrictEqual(sent.at(-1), yield* Effect.promise(() => bySdk(request)))
      }
      yield* sending(port, { ...hello, "metadata,user_profile_id": "one name" })
      const named = { ...hello, metadata: { user_id: "u" }, user_profile_id: "uprof_3" }
      yield* sending(port, named)
      assert.deepStrictEqual(sent.at(-1), yield* Effect.promise(() => bySdk(named)))
    }).pipe(TestClock.withLive))

  it.effect("keeps no request", () =>
    Effect.gen(function*() {
      const port = ClaudeApi.make({ fetch: () => Promise.resolve(Response.json(message)) })
      const text = "x".repeat(1_000_000)
      yield* sending(port, hello)
      const before = yield* heapUsed
      for (let i = 0; i < 40; i++) yield* sending(port, { ...hello, system: `${i} ${text}`, [`field_${i}`]: i })
      assert.isBelow((yield* heapUsed) - before, 20e6)
    }).pipe(TestClock.withLive))

  it.effect("says which helpers of the SDK made the tools and turns", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch })
      const own = { name: "t", input_schema: { type: "object" as const } }
      const { mcpContent, mcpMessage, mcpTool } = yield* Effect.promise(() =>
        import("@anthropic-ai/sdk/helpers/beta/mcp")
      )
      const made = mcpTool({ name: "t", inputSchema: { type: "object" } }, {
        callTool: () => Promise.reject(new Error("unused"))
      })
      const text = { type: "text" as const, text: "Hi" }
      for (let time = 0; time < 2; time++) {
        for (
          const request of [
            { ...hello, tools: [own] },
            { ...hello, tools: [own, made] },
            { ...hello, tools: [own], messages: [mcpMessage({ role: "user", content: text })] },
            { ...hello, tools: [own], messages: [{ role: "user", content: [mcpContent(text)] }] }
          ]
        ) {
          yield* sending(port, request)
          assert.deepStrictEqual(sent.at(-1), yield* Effect.promise(() => bySdk(request)))
        }
      }
    }).pipe(TestClock.withLive))

  it.effect("carries the headers of each call and of each key, and no other's", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch, headers: { "x-all": "1" } })
      const other = {
        label: "o",
        group: "o",
        secret: Redacted.make("sk-ant-other"),
        headers: { "anthropic-beta": "oauth" }
      }
      const { context } = attemptOf(hello)
      for (let time = 0; time < 2; time++) {
        yield* sending(port, hello)
        assert.include(sent.at(-1)?.headers, { authorization: "Bearer sk-ant-wire", "x-all": "1" })
        assert.notProperty(sent.at(-1)?.headers, "x-own")
        yield* sending(port, hello, { context: { ...context, headers: { "x-own": "2", "anthropic-beta": "a" } } })
        assert.include(sent.at(-1)?.headers, { "x-own": "2", "anthropic-beta": "a", "x-all": "1" })
        yield* sending(port, hello, { key: other })
        assert.include(sent.at(-1)?.headers, { authorization: "Bearer sk-ant-other", "anthropic-beta": "oauth" })
      }
    }).pipe(TestClock.withLive))

  it.effect("tells each span from the last", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch, traceparent: true })
      for (let time = 0; time < 3; time++) {
        const span = yield* Effect.withSpan(Effect.andThen(sending(port, hello), Effect.currentSpan), "call")
        const { traceparent } = sent.at(-1)!.headers
        assert.include(traceparent, span.spanId)
      }
    }).pipe(TestClock.withLive))

  it.effect("refuses what JSON cannot say also where the shape is known, unsent", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch })
      const known = { ...hello, metadata: { user_id: "u" } }
      yield* sending(port, known)
      const attempt = attemptOf({ ...hello, metadata: { user_id: 1n as never } })
      const error = yield* Effect.flip(port.send(attempt))
      assert.deepInclude(error, { _tag: "BadRequestError", billed: "no" })
      assert.strictEqual(attempt.outcome._tag, "NotSent")
      assert.strictEqual(sent.length, 1)
    }).pipe(TestClock.withLive))

  it.effect("repairs half a character in every request", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch })
      for (let time = 0; time < 2; time++) {
        yield* sending(port, { ...hello, system: "cut \ud83d" })
        assert.include(String(sent.at(-1)?.body), "cut \ufffd")
      }
    }).pipe(TestClock.withLive))

  it.effect("serves more shapes than it keeps", () =>
    Effect.gen(function*() {
      const { fetch, sent } = noting()
      const port = ClaudeApi.make({ fetch })
      for (let i = 0; i < 600; i++) {
        const request = { ...hello, [`field_${i % 300}`]: i }
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(sending(port, request))))
        assert.strictEqual(sent.at(-1)?.body, JSON.stringify(request))
      }
    }).pipe(TestClock.withLive))
})
