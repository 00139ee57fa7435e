/** What the API or HTTP refuses for certain is repaired where nothing is lost by it, else refused before anything is sent. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, Effect, Exit, Layer, Redacted, Schema, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import type { Request } from "effect-claude/Request"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { driven, fetchOf, hello, json, message, over } from "./utils/http.ts"

const half = "\ud83d"

/** The body that was sent for a request, as it is on the wire. */
const sentFor = (request: Request) =>
  Effect.gen(function*() {
    let body = ""
    const { fetch } = fetchOf((_, init) => {
      body = String(init.body)
      return json(message)
    })
    yield* ClaudeApi.make({ fetch }).send(ClaudeTest.attempt({ request }))
    return body
  })

const asking = (
  content: Request["messages"][number]["content"]
) => ({ ...hello, messages: [{ role: "user", content }] } as const)

describe("half a character", () => {
  it.effect("is replaced wherever it stands, and nothing else is", () =>
    Effect.gen(function*() {
      const texts = [`a${half}`, `${half}${half}b`, "\udc4d", `whole \ud83d\udc4d ${half} \ud83d\udc4d`]
      for (const text of texts) {
        const request = { ...asking([{ type: "text", text }]), system: text, metadata: { user_id: text } }
        const body = JSON.parse(yield* sentFor(request)) as typeof request
        const expected = text.replace(/\p{Surrogate}/gu, "\ufffd")
        assert.deepStrictEqual(body, {
          ...asking([{ type: "text", text: expected }]),
          system: expected,
          metadata: { user_id: expected }
        })
      }
    }))

  it.effect("is not found in text about it", () =>
    Effect.gen(function*() {
      for (const text of ["\\ud83d", "\\\\ud83d", "C:\\uday\\udfff", `\\${half}`, "\\u0000 \u0000"]) {
        const body = JSON.parse(yield* sentFor(asking(text))) as typeof hello
        assert.strictEqual(body.messages[0]?.content, text.replace(/\p{Surrogate}/gu, "\ufffd"))
      }
    }))

  it.effect.prop(
    "never leaves, and every other text does as it is",
    { text: Schema.String },
    ({ text }) =>
      Effect.gen(function*() {
        const cut = `${text}${half}`
        const body = JSON.parse(yield* sentFor(asking(cut))) as typeof hello
        assert.strictEqual(body.messages[0]?.content, cut.replace(/\p{Surrogate}/gu, "\ufffd"))
      })
  )
})

const use = (id: string) => ({ type: "tool_use", id, name: "f", input: {} }) as const
const result = (id: string) => ({ type: "tool_result", tool_use_id: id, content: "r" }) as const
const user = (...content: ReadonlyArray<ReturnType<typeof result> | string>) => ({
  role: "user" as const,
  content: content.map((block) => typeof block === "string" ? { type: "text" as const, text: block } : block)
})
const assistant = (...content: ReadonlyArray<ReturnType<typeof use> | string>) => ({
  role: "assistant" as const,
  content: content.map((block) => typeof block === "string" ? { type: "text" as const, text: block } : block)
})

describe("a history", () => {
  const calls = [
    ["create", (request: Request) => ClaudeService.create(request)],
    ["stream", (request: Request) => Stream.runDrain(ClaudeService.stream(request))],
    ["countTokens", ({ messages, model }: Request) => ClaudeService.countTokens({ messages, model })]
  ] as const

  const broken: ReadonlyArray<readonly [string, Request["messages"]]> = [
    ["messages.1.content.1 is a tool_use", [user("a"), assistant("b", use("1")), user("c")]],
    ["messages.1.content.0 is a tool_use", [user("a"), assistant(use("1"))]],
    ["messages.1.content.1 is a tool_use", [user("a"), assistant(use("1"), use("2")), user(result("1"))]],
    ["messages.1.content.0 is a tool_use", [
      user("a"),
      assistant(use("1")),
      user("b"),
      assistant("c"),
      user(result("1"))
    ]],
    ["messages.0.content.0 is a tool_result", [user(result("1"))]],
    ["messages.2.content.1 is a tool_result", [user("a"), assistant(use("1")), user(result("1"), result("2"))]],
    ["messages.2.content.1 is a tool_result", [user("a"), assistant(use("1")), user(result("1"), result("1"))]]
  ]
  for (const [name, call] of calls) {
    it.effect(`that lacks a use or a result of a tool is refused unsent by ${name}`, () =>
      Effect.gen(function*() {
        for (const [what, messages] of broken) {
          const { fetch, state } = fetchOf(() => json(message))
          const exit = yield* driven(
            Effect.flip(Effect.asVoid(call({ ...hello, messages }))).pipe(Effect.provide(over(fetch)))
          )
          const error = Exit.isSuccess(exit) ? exit.value : exit
          assert.deepInclude(error, { _tag: "BadRequestError", billed: "no" })
          assert.include(Exit.isSuccess(exit) ? exit.value.message : "", what)
          assert.strictEqual(state.requests, 0)
        }
      }))
  }

  it.effect("that is whole is sent", () =>
    Effect.gen(function*() {
      const whole: ReadonlyArray<Request["messages"]> = [
        [{ role: "user", content: "a" }, { role: "assistant", content: "b" }, { role: "user", content: "c" }],
        [user("a"), assistant("b", use("1"), use("2")), user(result("2"), result("1"), "go on")],
        [user("a"), assistant(use("1")), assistant(use("2")), user(result("1")), user(result("2")), assistant("b")],
        [user("a"), assistant(use("1")), user(result("1")), assistant(use("1")), user(result("1"))],
        [user("a"), {
          role: "assistant",
          content: [{ type: "server_tool_use", id: "s", name: "web_search", input: {} }]
        }],
        []
      ]
      for (const messages of whole) {
        const attempt = ClaudeTest.attempt({ request: { ...hello, messages } })
        const { fetch, state } = fetchOf(() => json(message))
        yield* ClaudeApi.make({ fetch }).send(attempt)
        assert.strictEqual(state.requests, 1)
      }
    }))

  it.effect("that goes on elsewhere is not judged", () =>
    Effect.gen(function*() {
      // A field of betas.
      const request = { ...hello, messages: [user(result("1"))], thread: { type: "continue" } } as Request
      assert.include(yield* sentFor(request), "tool_result")
    }))
})

describe("headers that no request can carry", () => {
  const wrong: ReadonlyArray<readonly [name: string, value: string, said: string]> = [
    ...[
      "transfer-encoding",
      "Content-Length",
      "expect",
      "upgrade",
      "Connection",
      "keep-alive",
      "te",
      "trailer",
      "proxy-connection"
    ]
      .map((name) => [name, "x", `the header ${name} belongs to the connection`] as const),
    ["x-team", "a\r\nauthorization: b", "the header x-team has a value"],
    ["x-team", "Zoë’s", "the header x-team has a value"],
    ["x-team", "\0", "the header x-team has a value"],
    ["x team", "a", "a header has a name"],
    ["", "a", "a header has a name"]
  ]
  it.effect("of a call are a bad request, unsent", () =>
    Effect.gen(function*() {
      for (const [name, value, said] of wrong) {
        for (const call of [ClaudeService.create(hello), Stream.runDrain(ClaudeService.stream(hello))]) {
          const { fetch, state } = fetchOf(() => json(message))
          const annotated = Effect.flip(Effect.asVoid(call)).pipe(CallContext.annotate({ headers: { [name]: value } }))
          const exit = yield* driven(Effect.provide(annotated, over(fetch)))
          assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "BadRequestError", billed: "no" })
          assert.include(Exit.isSuccess(exit) ? exit.value.message.toLowerCase() : "", said.toLowerCase())
          assert.strictEqual(state.requests, 0)
        }
      }
    }))

  it.effect("of all calls do not build the layer", () =>
    Effect.gen(function*() {
      for (const [name, value, said] of wrong) {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(ClaudeApi.layer({ headers: { [name]: value } }))))
        const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
        assert.instanceOf(error, Config.ConfigError)
        assert.include(error?.message, said)
        assert.notInclude(error?.message, "Zoë")
      }
    }))

  it.effect("are not those that are merely odd", () =>
    Effect.gen(function*() {
      let sent: Headers | undefined
      const { fetch } = fetchOf((_, init) => {
        sent = new Headers(init.headers)
        return json(message)
      })
      const headers = { "X-Team": "Zoë", "x-empty": "", "x-list": "a, b\tc" }
      yield* ClaudeService.create(hello).pipe(CallContext.annotate({ headers }), Effect.provide(over(fetch)))
      for (const [name, value] of Object.entries(headers)) assert.strictEqual(sent?.get(name), value)
    }))
})

describe("a key with something around it", () => {
  const using = (secret: string, fetch: typeof globalThis.fetch) =>
    ClaudeService.layer({
      api: { fetch },
      keys: KeyPool.layer().pipe(
        Layer.provide(KeyStore.layerKeys([{ label: "a", group: "org", secret: Redacted.make(secret) }]))
      )
    })

  it.effect("is used without white space and byte order mark", () =>
    Effect.gen(function*() {
      for (const secret of [" sk-ant-test\n", "\ufeffsk-ant-test", "\tsk-ant-test\r\n", "\u00a0sk-ant-test"]) {
        let sent: string | null = ""
        const { fetch } = fetchOf((_, init) => {
          sent = new Headers(init.headers).get("authorization")
          return json(message)
        })
        yield* ClaudeService.create(hello).pipe(Effect.provide(using(secret, fetch)))
        assert.strictEqual(sent, "Bearer sk-ant-test")
      }
    }))

  it.effect("is refused with something inside it, before anything is sent", () =>
    Effect.gen(function*() {
      for (const secret of ["sk-ant test", "sk-ant\ntest", "sk-ant-tést", "\"sk-ant-test\"", "", " "]) {
        const { fetch, state } = fetchOf(() => json(message))
        const exit = yield* driven(ClaudeService.create(hello).pipe(Effect.provide(using(secret, fetch))))
        assert.isTrue(Exit.isFailure(exit))
        assert.notInclude(String(exit), "ConnectionError")
        assert.strictEqual(state.requests, 0)
      }
    }))
})
