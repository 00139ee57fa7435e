import Anthropic, { APIConnectionError, APIError } from "@anthropic-ai/sdk"
import type { MessageCreateParamsNonStreaming, RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Predicate, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Model from "../../src/Model.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import { between } from "../utils/between.ts"
import { settle } from "../utils/http.ts"

const { Fault } = Simulator

const ask: MessageCreateParamsNonStreaming = {
  model: "claude-opus-5-5",
  max_tokens: 1_000,
  messages: [{ role: "user", content: "How many stones are in the river?" }]
}

const client = Effect.map(
  Simulator.Simulator,
  ({ fetch }) => new Anthropic({ apiKey: Simulator.apiKey, fetch, maxRetries: 0, logLevel: "off" })
)

const fastMode = { "anthropic-beta": "fast-mode-2026-02-01" }

const create = Effect.fnUntraced(function*(
  params: Partial<MessageCreateParamsNonStreaming> = {},
  headers: Readonly<Record<string, string>> = {}
) {
  const { messages } = yield* client
  // what the SDK rejects with is its own error or the one of fetch, and both are looked at by field
  return yield* Effect.tryPromise({
    try: (signal) => messages.create({ ...ask, ...params }, { signal, headers }),
    catch: (error) => error as APIError
  })
})

/** The events of a stream, and what it failed with. */
const stream = Effect.fnUntraced(function*(params: Partial<MessageCreateParamsNonStreaming> = {}) {
  const { messages } = yield* client
  const events: Array<RawMessageStreamEvent> = []
  const error = yield* Effect.promise(async (signal) => {
    try {
      for await (const event of await messages.create({ ...ask, ...params, stream: true }, { signal })) {
        events.push(event)
      }
      return undefined
    } catch (error) {
      return error
    }
  })
  return { events, error, types: events.map((event) => event.type) }
})

interface Raw {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly error: { type: string; message: string; details?: { error_code: string } }
  readonly requestId: string
}

const send = Effect.fnUntraced(function*(
  body: unknown,
  headers: Record<string, string> = {},
  path = "/v1/messages"
) {
  const { fetch } = yield* Simulator.Simulator
  const response = yield* Effect.promise(() =>
    fetch(`https://api.test${path}`, {
      method: "POST",
      headers: { "x-api-key": Simulator.apiKey, "anthropic-version": "2026-10-21", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body)
    })
  )
  const text = yield* Effect.promise(() => response.text())
  const parsed: unknown = text.startsWith("{") ? JSON.parse(text) : {}
  return {
    status: response.status,
    headers: response.headers,
    text,
    ...(Predicate.isObject(parsed) ? { error: parsed["error"], requestId: parsed["request_id"] } : {})
  } as Raw
})

const rows = Simulator.Simulator.use(({ bill }) => Effect.map(bill, (bill) => bill.rows))
const using = (options?: Simulator.Options) => Effect.provide(Simulator.layer(options))
const text = (length: number) => "word ".repeat(length / 5)

describe("Simulator", () => {
  describe("keys", () => {
    const key = (fields: Partial<Simulator.Key>): Simulator.Key => ({
      key: "sk-one",
      label: "one",
      organization: "org",
      workspace: "space",
      ...fields
    })
    const refusals: ReadonlyArray<[string, Partial<Simulator.Key>, Record<string, string>, number, string, string?]> = [
      ["an unknown key", {}, { "x-api-key": "sk-other" }, 401, "authentication_error"],
      ["a revoked key", { revoked: true }, {}, 401, "authentication_error"],
      ["an expired key", { expiresAt: 0 }, {}, 401, "authentication_error"],
      ["another workspace", {}, { "anthropic-workspace-id": "x" }, 403, "permission_error"],
      ["a model that the key may not use", { models: ["claude-opus-5"] }, {}, 403, "permission_error"],
      ["a key with a payment problem", { billing: "unpaid" }, {}, 402, "billing_error"],
      ["a key without credit", { billing: "lowCredit" }, {}, 400, "invalid_request_error"],
      ["an organization on hold", { billing: "onHold" }, {}, 400, "invalid_request_error", "organization_on_hold"]
    ]
    for (const [name, fields, headers, status, type, code] of refusals) {
      it.effect(`refuses ${name} with ${status}`, () =>
        Effect.gen(function*() {
          const answer = yield* send(ask, { "x-api-key": "sk-one", ...headers })
          assert.strictEqual(answer.status, status)
          assert.strictEqual(answer.error.type, type)
          assert.strictEqual(answer.error.details?.error_code, code)
          assert.strictEqual(answer.requestId, answer.headers.get("request-id"))
          const account = answer.headers.get("anthropic-organization-id")
          assert.strictEqual(account, fields.billing === undefined && fields.models === undefined ? null : "org")
          assert.notInclude(answer.text, "sk-")
          assert.lengthOf(yield* rows, 0)
        }).pipe(using({ keys: [key(fields)] })))
    }

    it.effect("accepts the key as a bearer token and as x-api-key", () =>
      Effect.gen(function*() {
        const { fetch } = yield* Simulator.Simulator
        const ways: ReadonlyArray<Record<string, string>> = [
          { "x-api-key": "sk-one" },
          { authorization: "Bearer sk-one" },
          { authorization: "bearer sk-one", "x-api-key": "" }
        ]
        for (const headers of ways) {
          const response = yield* Effect.promise(() => fetch("https://api.test/v1/models", { headers }))
          assert.strictEqual(response.status, 200)
          assert.strictEqual(response.headers.get("anthropic-organization-id"), "org")
          assert.strictEqual(response.headers.get("anthropic-workspace-id"), "space")
        }
      }).pipe(using({ keys: [key({})] })))

    it.effect("refuses a key from the moment it is revoked or expires", () =>
      Effect.gen(function*() {
        const { revoke } = yield* Simulator.Simulator
        const status = (key: string) => Effect.map(send(ask, { "x-api-key": key }), (_) => _.status)
        assert.deepStrictEqual([yield* status("sk-one"), yield* status("sk-two")], [200, 200])
        yield* revoke("one")
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([yield* status("sk-one"), yield* status("sk-two")], [401, 401])
      }).pipe(using({ keys: [key({}), key({ key: "sk-two", label: "two", expiresAt: 60_000 })] })))
  })

  describe("validation", () => {
    const user = (content: unknown) => ({ role: "user", content })
    const assistant = (content: unknown) => ({ role: "assistant", content })
    const cached = (ttl: string) => ({ type: "text", text: "x", cache_control: { type: "ephemeral", ttl } })
    const look = { name: "look", input_schema: { type: "object" } }
    const toolUse = { type: "tool_use", id: "t1", name: "look", input: {} }
    const toolResult = { type: "tool_result", tool_use_id: "t1", content: "a stone" }
    const document = { type: "document", source: { type: "text", media_type: "text/plain", data: "x" } }
    const cited = { type: "text", text: "x", citations: [{}] }
    const old = { "anthropic-version": "2023-06-01" }
    const betweenTools = (effort: string) => ({
      model: "claude-sonnet-5-5",
      thinking: { type: "between_tools" },
      output_config: { effort }
    })
    const cases: ReadonlyArray<[string, Record<string, unknown>, number, Record<string, string>?]> = [
      ["a missing version header", {}, 400, { "anthropic-version": "" }],
      ["an unknown version", {}, 400, { "anthropic-version": "2020-01-01" }],
      ["an unknown model", { model: "claude-nobody" }, 404],
      ["a retired model", { model: "claude-opus-4-1-20250805" }, 404],
      ["temperature", { temperature: 1 }, 400],
      ["top_p", { top_p: 0.5 }, 400],
      ["top_k", { top_k: 5 }, 400],
      ["temperature of an old model under the old version", { model: "claude-opus-4-6", temperature: 0.3 }, 200, old],
      ["the default temperature of a new model under the old version", { temperature: 1 }, 200, old],
      ["a temperature of a new model under the old version", { temperature: 0.3 }, 400, old],
      ["no max_tokens", { max_tokens: undefined }, 400],
      ["a max_tokens that is no integer", { max_tokens: 1.5 }, 400],
      ["a negative max_tokens", { max_tokens: -1 }, 400],
      ["the largest max_tokens", { max_tokens: 128_000 }, 200],
      ["a larger max_tokens", { max_tokens: 128_001 }, 400],
      ["no output with stream", { max_tokens: 0, stream: true }, 400],
      ["no messages", { messages: undefined }, 400],
      ["empty messages", { messages: [] }, 400],
      ["an empty message", { messages: [user("")] }, 400],
      ["an unknown role", { messages: [{ role: "robot", content: "x" }] }, 400],
      ["content that is a number", { messages: [user(1)] }, 400],
      ["a message that is a string", { messages: ["x"] }, 400],
      ["a system that is a number", { system: 1 }, 400],
      ["stop sequences that are numbers", { stop_sequences: [1] }, 400],
      ["tools that are a string", { tools: "x" }, 400],
      ["a tool use with its result", { messages: [user("x"), assistant([toolUse]), user([toolResult])] }, 200],
      ["a tool use without its result", { messages: [user("x"), assistant([toolUse]), user("y")] }, 400],
      ["a tool use at the end", { model: "claude-opus-4-5", messages: [user("x"), assistant([toolUse])] }, 400],
      ["a tool result without its tool use", { messages: [user([toolResult])] }, 400],
      ["a prefill", { messages: [user("x"), assistant("The")] }, 400],
      ["a prefill of an old model", { model: "claude-opus-4-5", messages: [user("x"), assistant("The")] }, 200],
      ["a forced tool", { tools: [look], tool_choice: { type: "any" } }, 400],
      ["a forced tool of an older model", { model: "claude-opus-5", tools: [look], tool_choice: { type: "any" } }, 200],
      ["disabled thinking", { thinking: { type: "disabled" } }, 400],
      ["disabled thinking of an older model", { model: "claude-opus-5", thinking: { type: "disabled" } }, 200],
      ["a thinking budget", { max_tokens: 5_000, thinking: { type: "enabled", budget_tokens: 2_000 } }, 400],
      ["a thinking budget above max_tokens", {
        model: "claude-opus-4-6",
        thinking: { type: "enabled", budget_tokens: 2_000 }
      }, 400],
      ["inference_geo of an old model", { model: "claude-haiku-4-5", inference_geo: "us" }, 400],
      ["inference_geo", { inference_geo: "us" }, 200],
      ["four cache breakpoints", { messages: [user(Array(4).fill(cached("5m")))] }, 200],
      ["five cache breakpoints", { messages: [user(Array(5).fill(cached("5m")))] }, 400],
      ["a fifth breakpoint at the top", {
        cache_control: { type: "ephemeral" },
        messages: [user(Array(4).fill(cached("5m")))]
      }, 400],
      ["1h before 5m", { messages: [user([cached("1h"), cached("5m")])] }, 200],
      ["1h after 5m", { messages: [user([cached("5m"), cached("1h")])] }, 400],
      ["a document in an assistant message", { messages: [user("x"), assistant([document]), user("y")] }, 400],
      ["the same under the old version", { messages: [user("x"), assistant([document]), user("y")] }, 200, old],
      ["citations in a user message", { messages: [user([cited])] }, 400],
      ["citations in a tool result", {
        messages: [user("x"), assistant([toolUse]), user([{ ...toolResult, content: [cited] }])]
      }, 400],
      ["citations in a search result", { messages: [user([{ type: "search_result", content: [cited] }])] }, 400],
      ["an unknown ttl", { messages: [user([cached("2h")])] }, 400],
      ["an unknown kind of cache_control", { cache_control: { type: "persistent" } }, 400],
      ["no cache_control", { cache_control: null }, 200],
      ["thinking between tools", betweenTools("high"), 200],
      ["thinking between tools at an effort above high", betweenTools("max"), 400],
      ["fast mode", { speed: "fast" }, 200],
      ["fast mode of a model that ignores it", { model: "claude-opus-4-6", speed: "fast" }, 200],
      ["fast mode of a model that lost it", { model: "claude-opus-4-7", speed: "fast" }, 400],
      ["fast mode of a model that never had it", { model: "claude-haiku-5-5", speed: "fast" }, 400],
      ["an unknown speed", { speed: "slow" }, 400],
      ["a prompt longer than the context", { model: "claude-haiku-4-5", messages: [user(text(800_000))] }, 400]
    ]
    for (const [name, fields, status, headers] of cases) {
      it.effect(`answers ${status} to ${name}`, () =>
        Effect.gen(function*() {
          const { fetch } = yield* Simulator.Simulator
          const { "anthropic-version": version = "2026-10-21" } = headers ?? {}
          const response = yield* Effect.promise(() =>
            fetch("https://api.test/v1/messages", {
              method: "POST",
              headers: { "x-api-key": Simulator.apiKey, ...(version === "" ? {} : { "anthropic-version": version }) },
              body: JSON.stringify({ ...ask, ...fields })
            })
          )
          assert.strictEqual(response.status, status, yield* Effect.promise(() => response.text()))
          assert.lengthOf(yield* rows, status === 200 ? 1 : 0)
        }).pipe(using()))
    }

    it.effect("answers 400 to a body that is not JSON, 413 to one that is too long, 404 to an unknown path", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* send("{\"model\": ")).status, 400)
        assert.strictEqual((yield* send("")).status, 400)
        assert.strictEqual((yield* send("[1]")).status, 400)
        const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
        const tools = JSON.stringify({ ...ask, tools: [{ name: "look", input_schema: "deep" }] })
        assert.strictEqual((yield* send(tools.replace("\"deep\"", deep))).status, 400)
        const large = yield* send({ ...ask, system: "ü".repeat(600_000) })
        assert.deepStrictEqual([large.status, large.error.type], [413, "request_too_large"])
        assert.strictEqual((yield* send({ ...ask, system: "u".repeat(600_000) })).status, 200)
        const lost = yield* send(ask, {}, "/v1/nowhere")
        assert.deepStrictEqual([lost.status, lost.error.type], [404, "not_found_error"])
      }).pipe(using({ bodyLimit: 1_000_000 })))

    it.effect.prop(
      "answers any JSON whatever, and never as a failure of its own",
      {
        field: Schema.Literals([
          "messages",
          "content",
          "block",
          "system",
          "tools",
          "thinking",
          "stop_sequences",
          "all"
        ]),
        value: Schema.Json,
        counting: Schema.Boolean
      },
      ({ counting, field, value }) =>
        Effect.gen(function*() {
          const content = field === "content"
            ? value
            : [field === "block" ? { type: "tool_result", content: value } : {}]
          const turns = { messages: [{ role: "user", content }] }
          const body = field === "all"
            ? value
            : { ...ask, ...turns, ...(field === "content" ? {} : { [field]: value }) }
          const { status, text } = yield* send(body, {}, counting ? "/v1/messages/count_tokens" : "/v1/messages")
          assert.include([200, 400, 404], status, text)
        }).pipe(using()),
      { arbitrary: { runs: 300 } }
    )

    it.effect("accepts models that the options add", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* create({ model: "in-house" })).model, "in-house")
        assert.strictEqual((yield* Effect.flip(create({ model: "elsewhere" }))).status, 404)
      }).pipe(using({ models: ["in-house"] })))
  })

  describe("answers", () => {
    it.effect.prop(
      "gives the same answer and usage plain and streamed, and never more than max_tokens",
      { question: Schema.NonEmptyString, max_tokens: between(1, 200), haiku: Schema.Boolean },
      ({ haiku, max_tokens, question }) =>
        Effect.gen(function*() {
          const params = {
            model: haiku ? "claude-haiku-4-5" : "claude-opus-5-5",
            max_tokens,
            // Half a character is refused.
            messages: [{ role: "user" as const, content: question.replace(/\p{Cs}/gu, "?") }]
          }
          const plain = yield* create(params)
          const anthropic = yield* client
          const streamed = yield* Effect.promise(() => anthropic.messages.stream({ ...ask, ...params }).finalMessage())
          assert.deepStrictEqual(
            streamed.content.map((block) => block.type === "text" ? block.text : ""),
            plain.content.map((block) => block.type === "text" ? block.text : "")
          )
          assert.deepStrictEqual(streamed.usage, plain.usage)
          assert.strictEqual(streamed.stop_reason, plain.stop_reason)
          assert.isAtMost(plain.usage.output_tokens, max_tokens)
          const [first, second] = yield* rows
          assert.deepStrictEqual(first?.usage, second?.usage)
        }).pipe(using()),
      { arbitrary: { runs: 50 } }
    )

    it.effect("echoes the question and stops where max_tokens says", () =>
      Effect.gen(function*() {
        const message = yield* create()
        assert.include(JSON.stringify(message.content), "stones are in the river")
        for (let i = 0; i < 40; i++) {
          const { content } = yield* create({ messages: [{ role: "user", content: `Number ${i}` }] })
          assert.notInclude(JSON.stringify(content), "..")
        }
        assert.strictEqual(message.stop_reason, "end_turn")
        const short = yield* create({ max_tokens: 10 })
        assert.strictEqual(short.stop_reason, "max_tokens")
        const none = yield* create({ max_tokens: 0 })
        assert.deepStrictEqual([none.content, none.stop_reason, none.usage.output_tokens], [[], "max_tokens", 0])
      }).pipe(using()))

    it.effect("answers what the answerer says, with thinking and tools", () =>
      Effect.gen(function*() {
        const plain = yield* create()
        assert.deepStrictEqual(plain.content.map((block) => block.type), ["thinking", "text", "tool_use"])
        assert.strictEqual(plain.stop_reason, "tool_use")
        const thought = plain.usage.output_tokens_details?.thinking_tokens ?? 0
        assert.isTrue(thought > 0 && thought < plain.usage.output_tokens)
        const anthropic = yield* client
        const streamed = yield* Effect.promise(() => anthropic.messages.stream(ask).finalMessage())
        const shape = (message: typeof plain) =>
          message.content.map((block) =>
            block.type === "tool_use" ? block.input : block.type === "text" ? block.text : block
          )
        // the SDK's accumulator gives the input of a tool lazily, so compare what it holds
        assert.strictEqual(
          JSON.stringify(shape(streamed)).replaceAll(/sim0*\d/g, "sim"),
          JSON.stringify(shape(plain)).replaceAll(/sim0*\d/g, "sim")
        )
        assert.deepStrictEqual(streamed.usage, plain.usage)
      }).pipe(using({
        answer: () => ({
          content: [
            { type: "thinking", thinking: "Stones are many. ".repeat(5) },
            { type: "text", text: "Let me count them." },
            { type: "tool_use", name: "count", input: { what: "stones", where: ["river", "lake"] } }
          ]
        })
      })))

    it.effect("reports the tokens, stop reason and details that an answer names", () =>
      Effect.gen(function*() {
        const message = yield* create()
        assert.strictEqual(message.usage.output_tokens, 700)
        assert.strictEqual(message.stop_reason, "refusal")
        assert.strictEqual(message.stop_details?.category, "bio")
        const cut = yield* create({ max_tokens: 500 })
        assert.deepStrictEqual([cut.usage.output_tokens, cut.stop_reason], [500, "max_tokens"])
      }).pipe(using({
        answer: () => ({
          content: "No.",
          outputTokens: 700,
          stopReason: "refusal",
          stopDetails: { type: "refusal", category: "bio", explanation: null }
        })
      })))

    it.effect("answers 500 when the answerer throws, without a row on the bill", () =>
      Effect.gen(function*() {
        const answer = yield* send(ask)
        assert.deepStrictEqual([answer.status, answer.error.type], [500, "api_error"])
        assert.lengthOf(yield* rows, 0)
        const { requests } = yield* Simulator.Simulator
        assert.deepInclude(yield* requests, { open: 0 })
      }).pipe(using({
        answer: () => {
          throw new Error("out of ideas")
        }
      })))

    it.effect("never cuts a character in two, neither between events nor at max_tokens", () =>
      Effect.gen(function*() {
        for (const max_tokens of [20, 21, 22, 23, 24, 1_000]) {
          const { events } = yield* stream({ max_tokens })
          const texts = events.flatMap((event) =>
            event.type === "content_block_delta" && event.delta.type === "text_delta" ? [event.delta.text] : []
          )
          assert.isAbove(texts.length, 1)
          for (const text of texts) assert.doesNotThrow(() => encodeURIComponent(text))
        }
      }).pipe(using({ answer: () => `${"stones ".repeat(3)}${"\u{1f642}x\u{1f642}".repeat(40)}` })))

    it.effect("stops at a stop sequence", () =>
      Effect.gen(function*() {
        const message = yield* create({ stop_sequences: ["four"] })
        assert.strictEqual(message.content[0]?.type === "text" ? message.content[0].text : "", "one two three ")
        assert.deepStrictEqual([message.stop_reason, message.stop_sequence], ["stop_sequence", "four"])
      }).pipe(using({ answer: () => "one two three four five" })))

    it.effect("streams the documented events in order, with a placeholder first and totals last", () =>
      Effect.gen(function*() {
        const { events, types } = yield* stream()
        assert.deepStrictEqual([...new Set(types)], [
          "message_start",
          "content_block_start",
          "content_block_delta",
          "content_block_stop",
          "message_delta",
          "message_stop"
        ])
        const [start] = events
        assert.isTrue(
          start?.type === "message_start" && start.message.usage.output_tokens === 1 &&
            start.message.content.length === 0
        )
        const delta = events.at(-2)
        assert.isTrue(delta?.type === "message_delta" && delta.usage.output_tokens > 20)
        assert.include((yield* send({ ...ask, stream: true })).text, "event: ping\ndata: {\"type\":\"ping\"}\n\n")
      }).pipe(using()))
  })

  describe("tokens", () => {
    it.effect("counts what it then charges, and 1.3 times as much with the newer tokenizer", () =>
      Effect.gen(function*() {
        const anthropic = yield* client
        const messages = [{ role: "user" as const, content: text(4_000) }]
        for (const [model, tokens] of [["claude-opus-4-6", 1_004], ["claude-opus-5-5", 1_304]] as const) {
          const count = yield* Effect.promise(() => anthropic.messages.countTokens({ model, messages }))
          assert.strictEqual(count.input_tokens, tokens)
          assert.strictEqual((yield* create({ model, messages })).usage.input_tokens, tokens)
        }
        const counted = (yield* rows).filter((row) => row.endpoint === "count_tokens")
        assert.deepStrictEqual(counted.map((row) => row.usage.input), [0, 0])
      }).pipe(using()))

    it.effect("counts system, tools, images, documents and tool results", () =>
      Effect.gen(function*() {
        const count = (fields: object) =>
          Effect.map(send({ ...ask, ...fields }, {}, "/v1/messages/count_tokens"), (_) =>
            Number(JSON.parse(_.text).input_tokens))
        const plain = yield* count({})
        assert.strictEqual((yield* count({ system: text(400) })) - plain, 130)
        assert.isAbove((yield* count({ tools: [{ name: "look", input_schema: { type: "object" } }] })) - plain, 300)
        const content = (block: object) =>
          count({ messages: [...ask.messages, { role: "user", content: [block] }] })
        assert.strictEqual(
          (yield* content({ type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } })) -
            plain,
          1_504
        )
        const pdf = {
          type: "document",
          source: { type: "base64", media_type: "application/pdf", data: "A".repeat(2_400) }
        }
        assert.strictEqual((yield* content(pdf)) - plain, 104)
      }).pipe(using()))
  })

  describe("prompt cache", () => {
    const system = (ttl?: "5m" | "1h", length = 4_000) => [{
      type: "text" as const,
      text: text(length),
      cache_control: { type: "ephemeral" as const, ...(ttl === undefined ? {} : { ttl }) }
    }]
    const usage = (params: Partial<MessageCreateParamsNonStreaming>) =>
      Effect.map(create(params), ({ usage }) => ({
        input: usage.input_tokens,
        read: usage.cache_read_input_tokens,
        written: usage.cache_creation_input_tokens,
        w5m: usage.cache_creation?.ephemeral_5m_input_tokens,
        w1h: usage.cache_creation?.ephemeral_1h_input_tokens
      }))
    const written = { input: 15, read: 0, written: 1_300, w5m: 1_300, w1h: 0 }
    const read = { input: 15, read: 1_300, written: 0, w5m: 0, w1h: 0 }

    it.effect("writes a prefix once and reads it afterwards", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* usage({ system: system() }), written)
        assert.deepStrictEqual(yield* usage({ system: system() }), read)
        const [first, second] = yield* rows
        assert.deepStrictEqual([first?.usage.cacheWrite5m, second?.usage.cacheRead], [1_300, 1_300])
      }).pipe(using()))

    it.effect("takes breakpoints inside tool results, and finds them again when the mark has moved on", () =>
      Effect.gen(function*() {
        const use = (id: string) => ({
          role: "assistant" as const,
          content: [{ type: "tool_use" as const, id, name: "look", input: {} }]
        })
        const result = (id: string, mark: boolean) => {
          const part = {
            type: "text" as const,
            text: text(4_000),
            ...(mark ? { cache_control: { type: "ephemeral" as const } } : {})
          }
          return {
            role: "user" as const,
            content: [{ type: "tool_result" as const, tool_use_id: id, content: [part] }]
          }
        }
        const messages = (marked: boolean) => [...ask.messages, use("t1"), result("t1", marked)]
        const first = yield* usage({ messages: messages(true) })
        assert.isAbove(first.written!, 1_300)
        assert.deepInclude(yield* usage({ messages: messages(true) }), { read: first.written, written: 0 })
        const moved = yield* usage({ messages: [...messages(false), use("t2"), result("t2", true)] })
        assert.strictEqual(moved.read, first.written)
        assert.isAbove(moved.written!, 1_300)
        const five = Array.from({ length: 5 }, (_, i) => [use(`t${i}`), result(`t${i}`, true)]).flat()
        assert.strictEqual((yield* send({ ...ask, messages: [...ask.messages, ...five] })).status, 400)
      }).pipe(using()))

    it.effect("forgets a prefix five minutes after its last use, or an hour", () =>
      Effect.gen(function*() {
        yield* usage({ system: system() })
        yield* TestClock.adjust("4 minutes")
        assert.deepStrictEqual(yield* usage({ system: system() }), read)
        yield* TestClock.adjust("4 minutes")
        assert.deepStrictEqual(yield* usage({ system: system() }), read)
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual(yield* usage({ system: system() }), written)
        const long = { ...written, w5m: 0, w1h: 1_300 }
        assert.deepStrictEqual(yield* usage({ model: "claude-opus-5", system: system("1h") }), long)
        yield* TestClock.adjust("59 minutes")
        assert.deepStrictEqual(yield* usage({ model: "claude-opus-5", system: system("1h") }), read)
        yield* TestClock.adjust("60 minutes")
        assert.deepStrictEqual(yield* usage({ model: "claude-opus-5", system: system("1h") }), long)
      }).pipe(using()))

    it.effect("does not cache below the minimum of the model, without an error", () =>
      Effect.gen(function*() {
        const uncached = { input: 15 + 325, read: 0, written: 0, w5m: 0, w1h: 0 }
        assert.deepStrictEqual(yield* usage({ system: system("5m", 1_000) }), uncached)
        const opus = { model: "claude-opus-4-6", system: system("5m", 8_000) }
        assert.deepInclude(yield* usage(opus), { read: 0, written: 0 })
      }).pipe(using()))

    it.effect("keeps models and workspaces apart, and shares among the keys of a workspace", () =>
      Effect.gen(function*() {
        const read = (key: string, model: string) =>
          Effect.map(
            send({ ...ask, model, system: system() }, { "x-api-key": key }),
            (_) => JSON.parse(_.text).usage.cache_read_input_tokens
          )
        assert.strictEqual(yield* read("a", "claude-opus-5"), 0)
        assert.strictEqual(yield* read("b", "claude-opus-5"), 1_300)
        assert.strictEqual(yield* read("c", "claude-opus-5"), 0)
        assert.strictEqual(yield* read("a", "claude-sonnet-5"), 0)
      }).pipe(using({
        keys: [["a", "w1"], ["b", "w1"], ["c", "w2"]].map(([key = "", workspace = ""]) => ({
          key,
          label: key,
          organization: "org",
          workspace
        }))
      })))

    it.effect("has a prefix only once the first answer has begun, and counts its life from the start", () =>
      Effect.gen(function*() {
        const first = yield* Effect.forkChild(usage({ system: system() }))
        yield* TestClock.adjust("1 second")
        const early = yield* Effect.forkChild(usage({ system: system() }))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([yield* Fiber.join(first), yield* Fiber.join(early)], [written, written])
        // the write of the early one counts from second 1
        yield* TestClock.adjust("239 seconds")
        const last = yield* Effect.forkChild(usage({ system: system() }))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* Fiber.join(last), read)
      }).pipe(using({ latency: { firstToken: "30 seconds" } })))

    it.effect("reads the longest live prefix and writes the rest of a growing conversation", () =>
      Effect.gen(function*() {
        const turns = (n: number) =>
          Array.from({ length: n }, (_, i) => ({
            role: i % 2 === 0 ? "user" as const : "assistant" as const,
            content: text(1_000)
          }))
        const at = (n: number) => usage({ messages: turns(n), cache_control: { type: "ephemeral" } })
        assert.deepStrictEqual(yield* at(3), { input: 0, read: 0, written: 987, w5m: 987, w1h: 0 })
        assert.deepStrictEqual(yield* at(5), { input: 0, read: 987, written: 658, w5m: 658, w1h: 0 })
      }).pipe(using()))

    it.effect("holds no more prefixes than it may", () =>
      Effect.gen(function*() {
        const of = (model: string) => Effect.map(usage({ model, system: system() }), (_) => _.read)
        yield* of("claude-opus-5")
        yield* of("claude-sonnet-5-5")
        yield* of("claude-haiku-5-5")
        assert.strictEqual(yield* of("claude-opus-5"), 0)
        assert.strictEqual(yield* of("claude-haiku-5-5"), 1_300)
      }).pipe(using({ cacheEntries: 2 })))
  })

  describe("limits", () => {
    const header = (raw: Raw, name: string) => raw.headers.get(`anthropic-ratelimit-${name}`)

    it.effect("tells limits, what remains and when the bucket is full, in the documented formats", () =>
      Effect.gen(function*() {
        const answer = yield* send({ ...ask, system: text(200_000) })
        assert.strictEqual(header(answer, "requests-limit"), "1000")
        assert.strictEqual(header(answer, "requests-remaining"), "999")
        assert.strictEqual(header(answer, "requests-reset"), "1970-01-01T00:00:01Z")
        assert.strictEqual(header(answer, "input-tokens-limit"), "2000000")
        assert.strictEqual(header(answer, "input-tokens-remaining"), "1935000")
        assert.strictEqual(header(answer, "input-tokens-reset"), "1970-01-01T00:00:02Z")
        assert.strictEqual(header(answer, "output-tokens-limit"), "400000")
        assert.strictEqual(header(answer, "tokens-limit"), "2400000")
        assert.strictEqual(header(answer, "tokens-remaining"), "2335000")
      }).pipe(using({ limits: Simulator.tier("start") })))

    it("has the published limits of each group of models", () => {
      const start = Simulator.tier("start")
      assert.deepInclude(start("fable-5", "org"), { inputTokensPerMinute: 500_000, outputTokensPerMinute: 100_000 })
      assert.deepInclude(start("haiku-3-5", "org"), { inputTokensPerMinute: 100_000, outputTokensPerMinute: 20_000 })
      assert.deepInclude(start("opus-5", "org"), { inputTokensPerMinute: 2_000_000, outputTokensPerMinute: 400_000 })
    })

    it.effect("refuses with 429, the limiter's name and a wait that is enough, and not a second too long", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* send(ask)).status, 200)
        assert.strictEqual((yield* send(ask)).status, 200)
        const refused = yield* send(ask)
        assert.deepStrictEqual([refused.status, refused.error.type], [429, "rate_limit_error"])
        assert.match(refused.error.message, /2 requests per minute/)
        assert.strictEqual(header(refused, "requests-remaining"), "0")
        assert.strictEqual(refused.headers.get("retry-after"), "30")
        yield* TestClock.adjust("29 seconds")
        assert.strictEqual((yield* send(ask)).status, 429)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* send(ask)).status, 200)
        assert.lengthOf(yield* rows, 3)
      }).pipe(using({ limits: { requestsPerMinute: 2 } })))

    it.effect("keeps groups and organizations apart", () =>
      Effect.gen(function*() {
        const status = (key: string, model: string) =>
          Effect.map(send({ ...ask, model }, { "x-api-key": key }), (_) => _.status)
        assert.strictEqual(yield* status("a", "claude-opus-4-8"), 200)
        assert.strictEqual(yield* status("b", "claude-opus-4-7"), 429)
        assert.strictEqual(yield* status("b", "claude-opus-5"), 200)
        assert.strictEqual(yield* status("c", "claude-opus-4-8"), 200)
      }).pipe(using({
        limits: { requestsPerMinute: 1 },
        keys: [["a", "o1"], ["b", "o1"], ["c", "o2"]].map(([key = "", organization = ""]) => ({
          key,
          label: key,
          organization,
          workspace: "w"
        }))
      })))

    it.effect("does not count cache reads as input, and counts cache writes", () =>
      Effect.gen(function*() {
        const system = [{ type: "text", text: text(4_000), cache_control: { type: "ephemeral" } }]
        assert.strictEqual((yield* send({ ...ask, system })).status, 200)
        assert.strictEqual((yield* send({ ...ask, system })).status, 200)
        assert.strictEqual((yield* send({ ...ask, system: text(4_000) })).status, 429)
      }).pipe(using({ limits: { inputTokensPerMinute: 1_500 } })))

    it.effect("refuses a request that is larger than the bucket without telling when to come back", () =>
      Effect.gen(function*() {
        const refused = yield* send({ ...ask, system: text(4_000) })
        assert.strictEqual(refused.status, 429)
        assert.isFalse(refused.headers.has("retry-after"))
      }).pipe(using({ limits: { inputTokensPerMinute: 100 } })))

    it.effect("charges output as it is produced and refuses while the bucket is below zero", () =>
      Effect.gen(function*() {
        const slow = yield* Effect.forkChild(create())
        yield* TestClock.adjust("10 seconds")
        // 96 tokens are out, the first after 1.6 seconds, and 8.4 came back since
        assert.strictEqual(
          header(yield* send({ ...ask, max_tokens: 0 }), "output-tokens-reset"),
          "1970-01-01T00:01:38Z"
        )
        yield* TestClock.adjust("5 minutes")
        assert.strictEqual((yield* Fiber.join(slow)).usage.output_tokens, 600)
        const late = yield* send({ ...ask, max_tokens: 0 })
        assert.strictEqual(late.status, 429)
        assert.match(late.error.message, /output tokens/)
        yield* TestClock.adjust(`${Number(late.headers.get("retry-after"))} seconds`)
        assert.strictEqual((yield* send({ ...ask, max_tokens: 0 })).status, 200)
      }).pipe(using({
        limits: { outputTokensPerMinute: 60, burstMinutes: 2 },
        latency: { perToken: "100 millis" },
        answer: () => ({ content: text(600), outputTokens: 600 })
      })))

    it.effect("keeps buckets of their own for fast requests, and tells of them in headers of their own", () =>
      Effect.gen(function*() {
        const fast = yield* send({ ...ask, speed: "fast" })
        assert.strictEqual(fast.status, 200)
        assert.strictEqual(fast.headers.get("anthropic-fast-input-tokens-limit"), "60000")
        assert.isNull(header(fast, "requests-limit"))
        assert.strictEqual((yield* send({ ...ask, speed: "fast" })).status, 429)
        assert.strictEqual(header(yield* send(ask), "requests-remaining"), "0")
      }).pipe(using({ limits: { requestsPerMinute: 1, inputTokensPerMinute: 60_000 } })))

    it.effect("serves a model that ignores fast mode at the standard speed, from the standard buckets", () =>
      Effect.gen(function*() {
        const speeds = yield* Effect.forEach(
          ["claude-opus-4-6", "claude-opus-5-5"],
          (model) =>
            Effect.map(send({ ...ask, model, speed: "fast" }), (raw) => [
              JSON.parse(raw.text).usage.speed,
              header(raw, "requests-remaining")
            ])
        )
        assert.deepStrictEqual(speeds, [["standard", "0"], ["fast", null]])
      }).pipe(using({ limits: { requestsPerMinute: 1 } })))

    it.effect("keeps a bucket of its own for counting tokens", () =>
      Effect.gen(function*() {
        const count = send(ask, {}, "/v1/messages/count_tokens")
        assert.strictEqual((yield* count).status, 200)
        const refused = yield* count
        assert.deepStrictEqual([refused.status, refused.headers.get("retry-after")], [429, "60"])
        assert.strictEqual((yield* send(ask)).status, 200)
        const { setLimits } = yield* Simulator.Simulator
        yield* setLimits({ countTokensPerMinute: 10 })
        assert.strictEqual((yield* count).headers.get("retry-after"), "6")
      }).pipe(using({ limits: { countTokensPerMinute: 1 } })))

    it.effect("follows new limits at once", () =>
      Effect.gen(function*() {
        const { setLimits } = yield* Simulator.Simulator
        assert.strictEqual((yield* send(ask)).status, 200)
        yield* setLimits({ requestsPerMinute: 1 })
        assert.strictEqual((yield* send(ask)).status, 200)
        assert.strictEqual((yield* send(ask)).status, 429)
        yield* setLimits({})
        assert.strictEqual((yield* send(ask)).status, 200)
      }).pipe(using()))

    it.effect("refuses steep growth with the code of the acceleration limit, and lets steady growth pass", () =>
      Effect.gen(function*() {
        const admitted = Effect.fnUntraced(function*(tries: number) {
          const answers = yield* Effect.forEach(Array.from({ length: tries }), () => send(ask))
          return { n: answers.filter((_) => _.status === 200).length, last: answers.at(-1)! }
        })
        const first = yield* admitted(20)
        assert.strictEqual(first.n, 10)
        assert.strictEqual(first.last.error.details?.error_code, "ramp_limit_exceeded")
        yield* TestClock.adjust(`${Number(first.last.headers.get("retry-after"))} seconds`)
        assert.strictEqual((yield* admitted(30)).n, 20)
        yield* TestClock.adjust("3 minutes")
        assert.strictEqual((yield* admitted(30)).n, 10)
      }).pipe(using({ ramp: { requestsPerMinute: 10, growth: 2 } })))

    const spends = [
      ["enforced", 429, "enforced_spend_limit_reached", /monthly spend limit/],
      ["contract", 429, "contract_spend_limit_reached", /contract/],
      ["organization", 400, undefined, /^You have reached your specified API usage limits/],
      ["workspace", 400, undefined, /^You have reached your specified workspace API usage limits/]
    ] as const
    for (const [kind, status, code, message] of spends) {
      it.effect(`refuses with ${status} when the ${kind} spend limit is reached, until the month ends`, () =>
        Effect.gen(function*() {
          assert.strictEqual((yield* send(ask)).status, 200)
          const refused = yield* send(ask)
          assert.deepStrictEqual([refused.status, refused.error.details?.error_code], [status, code])
          assert.match(refused.error.message, message)
          assert.isFalse(refused.headers.has("retry-after"))
          yield* TestClock.adjust("31 days")
          assert.strictEqual((yield* send(ask)).status, 200)
        }).pipe(using({ spend: { kind, limit: 1 } })))
    }

    it.effect.prop(
      "tells a wait that is enough whenever it tells one, and never admits more than bucket and refill hold",
      {
        requests: between(1, 50),
        input: between(20, 2_000),
        burst: between(1, 120),
        pauses: Schema.Array(between(0, 20_000)).check(Schema.isMinLength(5), Schema.isMaxLength(25))
      },
      ({ burst, input, pauses, requests }) =>
        Effect.gen(function*() {
          const admitted: Array<{ at: number; tokens: number }> = []
          let now = 0
          const at = Effect.fnUntraced(function*() {
            const answer = yield* send({ ...ask, max_tokens: 0 })
            if (answer.status === 200) {
              admitted.push({ at: now, tokens: JSON.parse(answer.text).usage.input_tokens })
            }
            return answer
          })
          const wait = (millis: number) => {
            now += millis
            return TestClock.adjust(millis)
          }
          for (const pause of pauses) {
            const answer = yield* at()
            const hint = answer.headers.get("retry-after")
            if (hint !== null) {
              assert.match(hint, /^[1-9]\d*$/)
              yield* wait(Number(hint) * 1_000)
              assert.strictEqual((yield* at()).status, 200)
            }
            yield* wait(pause)
          }
          for (const { at } of admitted) {
            const minute = admitted.filter((_) => _.at >= at && _.at <= at + 60_000)
            const most = (rate: number) => rate + Math.max(1, Math.round(rate * burst / 60))
            assert.isAtMost(minute.length, most(requests))
            assert.isAtMost(minute.reduce((sum, _) => sum + _.tokens, 0), most(input))
          }
        }).pipe(
          using({ limits: { requestsPerMinute: requests, inputTokensPerMinute: input, burstMinutes: burst / 60 } })
        ),
      { arbitrary: { runs: 60 } }
    )
  })

  describe("latency", () => {
    it.effect("answers after the time to the first token and the time of each token", () =>
      Effect.gen(function*() {
        const call = yield* Effect.forkChild(create())
        yield* TestClock.adjust("1999 millis")
        assert.isUndefined(call.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(call)).usage.output_tokens, 100)
      }).pipe(using({
        latency: { firstToken: "1 second", perToken: "10 millis" },
        answer: () => ({ content: text(160), outputTokens: 100 })
      })))

    it.effect("sends each event of a stream when it is produced", () =>
      Effect.gen(function*() {
        const anthropic = yield* client
        const seen: Array<string> = []
        yield* Effect.forkChild(Effect.promise(async () => {
          for await (const event of await anthropic.messages.create({ ...ask, stream: true })) seen.push(event.type)
        }))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(seen, ["message_start"])
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(seen, ["message_start", "content_block_start", "content_block_delta"])
        yield* TestClock.adjust("900 millis")
        assert.strictEqual(seen.at(-1), "message_stop")
      }).pipe(using({
        latency: { firstToken: "1 second", perToken: "10 millis" },
        answer: () => ({ content: text(160), outputTokens: 100 })
      })))

    it.effect("draws times from the seed", () =>
      Effect.gen(function*() {
        const times = (seed: string) =>
          Effect.gen(function*() {
            const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
            const fiber = yield* Effect.forkChild(Effect.forEach([1, 2, 3, 4, 5], () =>
              Effect.andThen(
                create(),
                Effect.clockWith((clock) => Effect.map(clock.currentTimeMillis, (now) => now - began))
              )))
            yield* TestClock.adjust("1 hour")
            return yield* Fiber.join(fiber)
          }).pipe(using({ seed, latency: { firstToken: { median: "1 second", sigma: 0.5 } } }))
        const first = yield* times("a")
        const [again, other] = [yield* times("a"), yield* times("b")]
        assert.deepStrictEqual(first, again)
        assert.notDeepEqual(first, other)
      }))
  })

  describe("faults", () => {
    it.effect("answers a status with the envelope, a given body, and given headers", () =>
      Effect.gen(function*() {
        const { script } = yield* Simulator.Simulator
        yield* script([
          Fault.Status({ status: 529 }),
          Fault.Status({ status: 502, body: "<html>bad gateway</html>" }),
          Fault.None(),
          Fault.Status({ status: 503, body: { a: 1 }, headers: { "retry-after": "7", "x-should-retry": "true" } })
        ])
        const overloaded = yield* send(ask)
        assert.deepStrictEqual([overloaded.status, overloaded.error.type], [529, "overloaded_error"])
        assert.strictEqual(overloaded.requestId, overloaded.headers.get("request-id"))
        const html = yield* send(ask)
        assert.deepStrictEqual([html.status, html.text], [502, "<html>bad gateway</html>"])
        assert.strictEqual((yield* send(ask)).status, 200)
        const other = yield* send(ask)
        assert.deepStrictEqual([other.text, other.headers.get("retry-after")], ["{\"a\":1}", "7"])
        assert.strictEqual((yield* send(ask)).status, 200)
        assert.lengthOf(yield* rows, 2)
      }).pipe(using()))

    it.effect("fails the way a fetch fails when there is no connection", () =>
      Effect.gen(function*() {
        const { fetch, inject, requests } = yield* Simulator.Simulator
        const code = Effect.promise(() =>
          fetch("https://api.test/v1/models").catch((error) => [error.constructor, error.message, error.cause.code])
        )
        yield* inject(Fault.Refused())
        assert.deepStrictEqual(yield* code, [TypeError, "fetch failed", "ECONNREFUSED"])
        yield* inject(Fault.ResetBeforeHeaders())
        assert.deepStrictEqual(yield* code, [TypeError, "fetch failed", "ECONNRESET"])
        yield* inject(Fault.Refused())
        assert.strictEqual((yield* Effect.flip(create())).constructor, APIConnectionError)
        assert.deepInclude(yield* requests, { total: 3, open: 0, unanswered: 3 })
      }).pipe(using()))

    it.effect("cuts a stream with a reset, an error event, or cleanly", () =>
      Effect.gen(function*() {
        const { inject } = yield* Simulator.Simulator
        yield* inject(Fault.ResetMidStream({ after: { events: 4 } }))
        const reset = yield* stream()
        // four events with the ping, which the SDK does not show
        assert.deepStrictEqual(reset.types, ["message_start", "content_block_start", "content_block_delta"])
        assert.instanceOf(reset.error, TypeError)
        yield* inject(Fault.ErrorEvent({ type: "overloaded_error", after: { events: 1 } }))
        const event = yield* stream()
        assert.deepStrictEqual(event.types, ["message_start"])
        assert.isTrue(event.error instanceof APIError && event.error.type === "overloaded_error")
        yield* inject(Fault.Truncate({ after: { bytes: 690 } }))
        const truncated = yield* stream()
        assert.deepStrictEqual([truncated.types, truncated.error], [["message_start"], undefined])
        const outcomes = yield* rows
        assert.deepStrictEqual(outcomes.map((row) => row.outcome), ["failed", "failed", "failed"])
        assert.isTrue(outcomes.every((row) => row.usage.output > 0 && row.usage.output < 20))
      }).pipe(using()))

    it.effect("does to a plain answer what is nearest", () =>
      Effect.gen(function*() {
        const { inject } = yield* Simulator.Simulator
        yield* inject(Fault.Truncate({ after: { events: 1 } }))
        assert.strictEqual((yield* Effect.flip(create())).constructor, SyntaxError)
        yield* inject(Fault.Garbage({ after: { bytes: 30 } }))
        assert.strictEqual((yield* Effect.flip(create())).constructor, SyntaxError)
        yield* inject(Fault.ResetMidStream({ after: { bytes: 1_000_000 } }))
        assert.strictEqual((yield* Effect.flip(create())).constructor, TypeError)
        yield* inject(Fault.ErrorEvent({ type: "overloaded_error", after: { events: 3 } }))
        assert.strictEqual((yield* Effect.flip(create())).status, 529)
      }).pipe(using()))

    it.effect("puts garbage into a stream", () =>
      Effect.gen(function*() {
        const { inject } = yield* Simulator.Simulator
        yield* inject(Fault.Garbage({ after: { events: 2 } }))
        const { error, types } = yield* stream()
        assert.deepStrictEqual(types, ["message_start", "content_block_start"])
        assert.instanceOf(error, SyntaxError)
      }).pipe(using()))

    it.effect("stalls until the reader goes away, and bills what was produced", () =>
      Effect.gen(function*() {
        const { inject, requests } = yield* Simulator.Simulator
        yield* inject(Fault.Stall({ after: { events: 6 } }))
        const fiber = yield* Effect.forkChild(stream())
        yield* TestClock.adjust("1 day")
        assert.isUndefined(fiber.pollUnsafe())
        assert.deepInclude(yield* requests, { open: 1, aborted: 0 })
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust(0)
        assert.deepInclude(yield* requests, { open: 0, aborted: 1 })
        const [row] = yield* rows
        assert.strictEqual(row?.outcome, "aborted")
        assert.isTrue(row !== undefined && row.usage.output > 0 && row.usage.output < 60)
      }).pipe(using()))

    it.effect("drips a body at its pace", () =>
      Effect.gen(function*() {
        const { inject } = yield* Simulator.Simulator
        yield* inject(Fault.Drip({ bytes: 100, every: "1 second" }))
        const fiber = yield* Effect.forkChild(create())
        yield* TestClock.adjust("3 seconds")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(fiber)).stop_reason, "end_turn")
      }).pipe(using()))

    it.effect("strikes when its rule says: times, window, predicate, probability", () =>
      Effect.gen(function*() {
        const status = (stream = false) => Effect.map(send({ ...ask, stream }), (_) => _.status)
        assert.deepStrictEqual([yield* status(true), yield* status(true), yield* status(true)], [500, 500, 200])
        assert.strictEqual(yield* status(), 200)
        yield* TestClock.adjust("1 minute")
        const wave = yield* Effect.forEach(Array.from({ length: 200 }), () => status())
        const hit = wave.filter((_) => _ === 529).length
        assert.isTrue(hit > 70 && hit < 130, `${hit} of 200`)
        assert.strictEqual(wave.filter((_) => _ === 200).length, 200 - hit)
        yield* TestClock.adjust("1 minute")
        const after = yield* Effect.forEach(Array.from({ length: 20 }), () => status())
        assert.isTrue(after.every((_) => _ === 200))
      }).pipe(using({
        faults: [
          { fault: Fault.Status({ status: 500 }), when: { times: 2, request: (request) => request.stream } },
          Simulator.overload({ from: "1 minute", until: "2 minutes", probability: 0.5 })
        ]
      })))

    it.effect("repeats itself with the same seed", () =>
      Effect.gen(function*() {
        const statuses = (seed: string) =>
          Effect.forEach(Array.from({ length: 50 }), () => Effect.map(send(ask), (_) => _.status)).pipe(
            using({ seed, faults: [Simulator.overload({ probability: 0.3 })] })
          )
        assert.deepStrictEqual(yield* statuses("a"), yield* statuses("a"))
        assert.notDeepEqual(yield* statuses("a"), yield* statuses("b"))
      }))

    it.effect("forgets injected faults when told", () =>
      Effect.gen(function*() {
        const { clearFaults, inject } = yield* Simulator.Simulator
        yield* inject(Fault.Status({ status: 500 }), {})
        assert.deepStrictEqual([(yield* send(ask)).status, (yield* send(ask)).status], [500, 500])
        yield* clearFaults
        assert.strictEqual((yield* send(ask)).status, 200)
      }).pipe(using()))

    it.effect.prop(
      "never shows message_stop in a truncated stream, wherever it is cut",
      { after: Schema.Union([Schema.Struct({ events: between(0, 60) }), Schema.Struct({ bytes: between(0, 6_000) })]) },
      ({ after }) =>
        Effect.gen(function*() {
          const { inject } = yield* Simulator.Simulator
          yield* inject(Fault.Truncate({ after }))
          const { text } = yield* send({ ...ask, stream: true })
          assert.notInclude(text, "event: message_stop\n")
          const [row] = yield* rows
          assert.strictEqual(row?.outcome, "failed")
        }).pipe(using()),
      { arbitrary: { runs: 200 } }
    )
  })

  describe("readers that go away", () => {
    it.effect("rejects with the reason of the signal and sees the abort", () =>
      Effect.gen(function*() {
        const { fetch, requests } = yield* Simulator.Simulator
        const controller = new AbortController()
        const init = { headers: { "x-api-key": Simulator.apiKey }, signal: controller.signal }
        const call = (body: object) =>
          fetch("https://api.test/v1/messages", {
            ...init,
            method: "POST",
            headers: { ...init.headers, "anthropic-version": "2026-10-21" },
            body: JSON.stringify({ ...ask, ...body })
          })
        const open = yield* Effect.forkChild(Effect.promise(() => call({}).catch((error) => error)))
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* requests).open, 1)
        controller.abort()
        const error = yield* Fiber.join(open)
        assert.isTrue(error instanceof DOMException && error.name === "AbortError")
        assert.deepInclude(yield* requests, { open: 0, aborted: 1 })
        const already = yield* Effect.promise(() => call({}).catch((error) => error.name))
        assert.strictEqual(already, "AbortError")
        assert.strictEqual((yield* requests).total, 1)
        assert.deepStrictEqual((yield* rows).map((row) => [row.outcome, row.usage.output]), [["aborted", 0]])
      }).pipe(using({ latency: { firstToken: "5 seconds" } })))

    it.effect("counts an answer as complete when its reader leaves after the last event", () =>
      Effect.gen(function*() {
        const anthropic = yield* client
        yield* Effect.promise(async () => {
          for await (const event of await anthropic.messages.create({ ...ask, stream: true })) {
            if (event.type === "message_stop") break
          }
        })
        assert.deepStrictEqual((yield* rows).map((row) => row.outcome), ["complete"])
      }).pipe(using()))

    it.effect("stops the clock that an abandoned answer waited for", () =>
      Effect.gen(function*() {
        const clock = yield* Effect.clockWith(Effect.succeed)
        const sleeping = { now: 0 }
        const counting = Object.assign(Object.create(clock), {
          sleep: () =>
            Effect.acquireUseRelease(
              Effect.sync(() => sleeping.now++),
              () => Effect.never,
              () => Effect.sync(() => sleeping.now--)
            )
        })
        const { fetch } = yield* Effect.provideService(
          Simulator.make({ latency: { firstToken: "1 hour" } }),
          Clock.Clock,
          counting
        )
        const anthropic = new Anthropic({ apiKey: Simulator.apiKey, fetch, maxRetries: 0 })
        const controller = new AbortController()
        const call = anthropic.messages.create(ask, { signal: controller.signal }).catch(() => "gone")
        yield* TestClock.adjust(0)
        assert.strictEqual(sleeping.now, 1)
        controller.abort()
        yield* Effect.promise(() => call)
        yield* TestClock.adjust(0)
        assert.strictEqual(sleeping.now, 0)
      }))

    it.effect("fails the body of an aborted stream, and stops producing when the body is cancelled", () =>
      Effect.gen(function*() {
        const anthropic = yield* client
        const { requests } = yield* Simulator.Simulator
        const reader = yield* Effect.promise(async () => {
          const controller = new AbortController()
          const { response } = await anthropic.messages.create({ ...ask, stream: true }, { signal: controller.signal })
            .withResponse()
          const reader = response.body!.getReader()
          await reader.read()
          controller.abort()
          return reader.read().catch((error) => error)
        })
        assert.isTrue(reader instanceof DOMException && reader.name === "AbortError")
        yield* Effect.promise(async () => {
          const response = await anthropic.messages.create({ ...ask, stream: true }).asResponse()
          const reader = response.body!.getReader()
          for (let i = 0; i < 6; i++) await reader.read()
          await reader.cancel()
        })
        assert.deepInclude(yield* requests, { open: 0, aborted: 2 })
        const [first, second] = yield* rows
        assert.isTrue(first?.usage.output === 0 && second !== undefined && second.usage.output > 0)
        assert.isTrue(second !== undefined && second.usage.output < 50)
      }).pipe(using()))

    it.effect("cuts every open answer when its scope closes", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { fetch, requests } = yield* Scope.provide(
          Simulator.make({ faults: [{ fault: Fault.Stall({ after: "nothing" }) }] }),
          scope
        )
        const open = yield* Effect.forkChild(
          Effect.promise(() => fetch("https://api.test/v1/models").catch((error) => error.cause.code))
        )
        yield* TestClock.adjust(0)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* Fiber.join(open), "ECONNRESET")
        assert.deepInclude(yield* requests, { open: 0, aborted: 1 })
        const late = yield* Effect.promise(() => fetch("https://api.test/v1/models").catch((error) => error.cause.code))
        assert.strictEqual(late, "ECONNREFUSED")
        assert.deepInclude(yield* requests, { total: 1 })
      }))
  })

  it.effect("is called like a fetch: with a URL, with a Request, with bytes", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const url = "https://api.test/v1/messages"
      const init = {
        method: "POST",
        headers: { "x-api-key": Simulator.apiKey, "anthropic-version": "2026-10-21" },
        body: JSON.stringify(ask)
      }
      const status = (...args: Parameters<typeof fetch>) =>
        Effect.promise(() => fetch(...args).then((response) => response.status, (error) => error.constructor))
      assert.strictEqual(yield* status(new URL(url), init), 200)
      assert.strictEqual(yield* status(new Request(url, init)), 200)
      assert.strictEqual(yield* status(url, { ...init, body: new TextEncoder().encode(init.body) }), 200)
      assert.strictEqual(yield* status(new Request(url, { ...init, signal: AbortSignal.abort() })), DOMException)
      const leaving = new AbortController()
      const left = yield* Effect.forkChild(status(new Request(url, { ...init, signal: leaving.signal })))
      yield* Effect.yieldNow
      leaving.abort()
      assert.strictEqual(yield* Fiber.join(left), DOMException)
      assert.strictEqual(yield* status(url, { ...init, headers: { "not a name": "x" } }), TypeError)
      assert.strictEqual(yield* status("nowhere", init), TypeError)
    }).pipe(using()))

  describe("bill", () => {
    it.effect.prop(
      "has exactly one row for each request that was served, and totals that add up",
      {
        plan: Schema.Array(Schema.Literals(["plain", "stream", "count", "bad", "overload", "cut", "leave"])).check(
          Schema.isMaxLength(15)
        )
      },
      ({ plan }) =>
        Effect.gen(function*() {
          const { bill, fetch, inject, requests } = yield* Simulator.Simulator
          const served = plan.filter((kind) => kind !== "bad" && kind !== "overload").length
          for (const kind of plan) {
            if (kind === "overload") yield* inject(Fault.Status({ status: 529 }))
            if (kind === "cut") yield* inject(Fault.ResetMidStream({ after: { events: 5 } }))
            if (kind === "count") yield* send(ask, {}, "/v1/messages/count_tokens")
            else if (kind === "bad") yield* send({ ...ask, max_tokens: -1 })
            else if (kind === "plain" || kind === "overload") yield* send(ask)
            else {
              yield* Effect.promise(async () => {
                const response = await fetch("https://api.test/v1/messages", {
                  method: "POST",
                  headers: { "x-api-key": Simulator.apiKey, "anthropic-version": "2026-10-21" },
                  body: JSON.stringify({ ...ask, stream: true })
                })
                if (kind === "leave") return response.body!.cancel()
                return response.text().catch(() => "")
              })
            }
          }
          const { dropped, rows, totals } = yield* bill
          assert.strictEqual(rows.length, Math.min(served, 5))
          assert.strictEqual(dropped, Math.max(0, served - 5))
          assert.strictEqual(totals.requests, served)
          assert.strictEqual(new Set(rows.map((row) => row.requestId)).size, rows.length)
          if (dropped === 0) {
            assert.strictEqual(totals.output, rows.reduce((sum, row) => sum + row.usage.output, 0))
            assert.strictEqual(totals.input, rows.reduce((sum, row) => sum + row.usage.input, 0))
          }
          const seen = yield* requests
          assert.deepInclude(seen, { total: plan.length, open: 0, aborted: plan.filter((_) => _ === "leave").length })
        }).pipe(using({ billRows: 5 })),
      { arbitrary: { runs: 60 } }
    )

    it.effect("says who asked what, never with which key", () =>
      Effect.gen(function*() {
        yield* create({ model: "claude-haiku-4-5" })
        const [row] = yield* rows
        assert.deepInclude(row, {
          key: "default",
          organization: "org_sim",
          workspace: "wrkspc_sim",
          model: "claude-haiku-4-5-20251001",
          endpoint: "messages",
          stream: false,
          outcome: "complete",
          at: 0
        })
        assert.notInclude(JSON.stringify(row), Simulator.apiKey)
      }).pipe(using()))

    /** A prompt of 1,000 tokens with the classic tokenizer, and one of 1,300 with the dense one. */
    const thousand = { messages: [{ role: "user" as const, content: "x".repeat(3_984) }] }
    const hundred = { answer: () => ({ content: "Yes.", outputTokens: 100 }) }
    const opus = { ...thousand, model: "claude-opus-4-6" }
    const dear = { messages: [{ role: "user" as const, content: "x".repeat(3_987) }], model: "claude-opus-5" }

    it.effect("is in dollars, by the table of prices", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(Date.parse("2026-11-22"))
        yield* create(opus)
        yield* create({ ...opus, inference_geo: "us" })
        yield* create({ ...opus, speed: "fast" })
        yield* create(dear)
        yield* create({ ...dear, speed: "fast" }, fastMode)
        yield* create({ ...dear, speed: "fast", inference_geo: "us" }, fastMode)
        yield* create({ ...dear, model: "in-house" })
        yield* create({ ...opus, inference_geo: "moon" })
        yield* send(opus, {}, "/v1/messages/count_tokens")
        const { rows, totals } = yield* Simulator.Simulator.use(({ bill }) => bill)
        assert.deepStrictEqual(rows.map(({ nanoUsd, usage }) => [usage.input, nanoUsd]), [
          // 1,000 x 5 + 100 x 25 millionths of a dollar, also at the fast speed that this model does not have
          [1_000, 7_500_000],
          [1_000, 8_250_000],
          [1_000, 7_500_000],
          // 1,300 x 5 + 100 x 25, and twice that
          [1_300, 9_000_000],
          [1_300, 18_000_000],
          [1_300, 19_800_000],
          [1_300, undefined],
          [1_000, undefined],
          [0, 0]
        ])
        assert.deepInclude(totals, { nanoUsd: 70_050_000, unpriced: 2 })
      }).pipe(using({ ...hundred, models: ["in-house"] })))

    it.effect("prices by the day of the request, and by the length of the prompt", () =>
      Effect.gen(function*() {
        const cached = {
          model: "claude-sonnet-5-5",
          messages: [{ role: "user" as const, content: "x".repeat(39_987) }],
          cache_control: { type: "ephemeral" as const }
        }
        yield* TestClock.setTime(Date.parse("2026-10-06T23:58:00Z"))
        for (let i = 0; i < 3; i++) {
          yield* create(cached)
          yield* TestClock.adjust("1 minute")
        }
        yield* create({ model: "claude-haiku-5-5", messages: [{ role: "user", content: "x".repeat(307_680) }] })
        yield* create({ model: "claude-haiku-5-5", messages: [{ role: "user", content: "x".repeat(307_683) }] })
        yield* create({
          model: "claude-haiku-5-5",
          messages: [{ role: "user", content: "x".repeat(39_990) }],
          cache_control: { type: "ephemeral" },
          inference_geo: "us"
        })
        const billed = yield* rows
        assert.deepStrictEqual(
          billed.map(({ nanoUsd, usage }) => [usage.input, usage.cacheWrite5m, usage.cacheRead, nanoUsd]),
          [
            [0, 13_000, 0, 33_500_000],
            [0, 0, 13_000, 3_600_000],
            [0, 0, 13_000, 2_300_000],
            [100_000, 0, 0, 10_050_000],
            [100_001, 0, 0, 50_250_500],
            // 13,001 x 0.1375 + 100 x 0.55 are 1,842,637.5 nano-dollars
            [0, 13_001, 0, 1_842_638]
          ]
        )
      }).pipe(using(hundred)))

    it.effect("charges for what was produced until its reader left or a fault struck", () =>
      Effect.gen(function*() {
        const { inject } = yield* Simulator.Simulator
        yield* TestClock.setTime(Date.parse("2026-11-22"))
        yield* inject(Fault.ResetMidStream({ after: { events: 13 } }))
        const cut = yield* Effect.forkChild(stream(opus))
        yield* settle
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(cut)
        const leaving = yield* Effect.forkChild(stream(opus))
        yield* settle
        yield* Fiber.interrupt(leaving)
        assert.deepStrictEqual(
          (yield* rows).map((row) => [row.outcome, row.usage.input, row.usage.output, row.nanoUsd]),
          [
            // the start, the beginning of the text, a ping, and ten pieces of one token; the eleventh was on its way
            ["failed", 1_000, 11, 5_275_000],
            ["aborted", 1_000, 0, 5_000_000]
          ]
        )
      }).pipe(
        using({
          answer: () => ({ content: "x".repeat(1_600), outputTokens: 100 }),
          latency: { firstToken: "1 second" }
        })
      ))

    for (
      const [category, content, day, nanoUsd] of [
        ["cyber", "", "2026-11-22", 0],
        [null, "", "2026-11-22", 0],
        ["bio", "", "2026-09-23", 0],
        ["bio", "", "2026-09-24", 5_025_000],
        ["frontier_llm", "", "2026-11-22", 5_025_000],
        ["reasoning_extraction", "", "2026-11-22", 5_025_000],
        ["cyber", "Take", "2026-11-22", 5_025_000]
      ] as const
    ) {
      const when = content === "" ? "before any output" : "after output had begun"
      it.effect(`charges a refusal of the category ${category} ${when} on ${day} with ${nanoUsd}`, () =>
        Effect.gen(function*() {
          yield* TestClock.setTime(Date.parse(day))
          const message = yield* create(opus)
          assert.deepStrictEqual([message.stop_reason, message.stop_details?.category], ["refusal", category])
          yield* stream(opus)
          assert.deepStrictEqual((yield* rows).map((row) => row.nanoUsd), [nanoUsd, nanoUsd])
          assert.deepStrictEqual((yield* rows).map(({ usage }) => [usage.input, usage.output]), [[1_000, 1], [
            1_000,
            1
          ]])
        }).pipe(using({
          answer: () => ({
            content,
            stopReason: "refusal",
            stopDetails: { type: "refusal", category, explanation: null },
            outputTokens: 1
          })
        })))
    }
  })

  describe("models", () => {
    it.effect("lists models newest first, page by page, retired ones only when asked", () =>
      Effect.gen(function*() {
        const { models } = yield* client
        const all = yield* Effect.promise(async () => {
          const ids: Array<string> = []
          for await (const model of models.list({ limit: 4 })) ids.push(model.id)
          return ids
        })
        const days = all.map((id) => Model.lookup(id).releasedOn ?? "")
        assert.deepStrictEqual(days, [...days].sort().reverse())
        assert.include(all, "claude-sonnet-4-5-20250929")
        assert.notInclude(all, "claude-opus-4-1-20250805")
        assert.strictEqual(new Set(all).size, all.length)
        const retired = yield* Effect.promise(() => models.list({ lifecycle: ["retired"] }))
        assert.isTrue(retired.data.length > 0 && retired.data.every((model) => model.lifecycle === "retired"))
      }).pipe(using()))

    it.effect("answers 400 to a page beside a model that is not in the list", () =>
      Effect.gen(function*() {
        const { models } = yield* client
        for (const page of [{ after_id: "claude-nobody" }, { before_id: "claude-nobody" }]) {
          const status = yield* Effect.promise(() => models.list(page).then(() => 200, (error) => error.status))
          assert.strictEqual(status, 400)
        }
      }).pipe(using()))

    it.effect("shows one model by id or alias, and 404 for none", () =>
      Effect.gen(function*() {
        const { models } = yield* client
        const sonnet = yield* Effect.promise(() => models.retrieve("claude-sonnet-4-5"))
        assert.deepInclude(sonnet, {
          id: "claude-sonnet-4-5-20250929",
          lifecycle: "deprecated",
          line: "sonnet",
          retires_at: "2026-11-30T00:00:00Z",
          max_tokens: 64_000
        })
        for (const name of ["claude-nobody", "claude/nobody", "100%"]) {
          const { fetch } = yield* Simulator.Simulator
          const path = `https://api.test/v1/models/${name === "100%" ? name : encodeURIComponent(name)}`
          const missing = yield* Effect.promise(() => fetch(path, { headers: { "x-api-key": Simulator.apiKey } }))
          assert.strictEqual(missing.status, 404)
          assert.include(yield* Effect.promise(() => missing.text()), `model: ${name}`)
        }
      }).pipe(using()))
  })
})
