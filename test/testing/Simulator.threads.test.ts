import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as Asking from "../utils/asking.ts"

const { ask, model, question } = Asking
const headers = { "anthropic-beta": "message-threads-2026-08-12" }
const using = (options?: Simulator.Options) => Effect.provide(Simulator.layer(options))

const send = (fields: object, more: Readonly<Record<string, string>> = {}) =>
  Asking.send({ ...ask, ...fields }, { headers: { ...headers, ...more } })
const create = (fields: object = {}) => send({ thread: { type: "create" }, ...fields })
const go = (previous_message_id: unknown, fields: object = {}) =>
  send({ thread: { type: "continue", previous_message_id }, ...fields })

const code = ({ json, status }: Asking.Answered) => [status, json.error?.details?.error_code]

describe("Simulator threads", () => {
  it.effect("hold the conversation, with its system prompt and its tools", () => {
    const seen: Array<unknown> = []
    const answer: Simulator.Answerer = ({ messages, system, tools }) => {
      seen.push([
        messages.map(({ content }) => typeof content === "string" ? content : "blocks"),
        system,
        tools?.length
      ])
      return "Yes."
    }
    return Effect.gen(function*() {
      const tools = [{ name: "look", input_schema: { type: "object" } }]
      const first = yield* create({ system: "Be short.", tools })
      const next = { messages: [{ role: "user", content: "And now?" }] }
      const second = yield* go(first.json.id, next)
      const third = yield* go(second.json.id, next)
      assert.deepStrictEqual([first.status, second.status, third.status], [200, 200, 200])
      assert.deepStrictEqual(seen, [
        [[question.content], "Be short.", 1],
        [[question.content, "blocks", "And now?"], "Be short.", 1],
        [[question.content, "blocks", "And now?", "blocks", "And now?"], "Be short.", 1]
      ])
      assert.isAbove(third.json.usage.input_tokens, second.json.usage.input_tokens)
    }).pipe(using({ answer }))
  })

  it.effect("are continued from their last answer, once, by their own workspace", () =>
    Effect.gen(function*() {
      const first = (yield* create()).json.id
      assert.deepStrictEqual(code(yield* go("msg_unknown")), [404, "thread_not_found"])
      assert.deepStrictEqual(code(yield* go(7)), [404, "thread_not_found"])
      const theirs = { thread: { type: "continue", previous_message_id: first } }
      assert.deepStrictEqual(code(yield* send(theirs, { "x-api-key": "sk-other" })), [404, "thread_not_found"])
      assert.strictEqual((yield* go(first)).status, 200)
      assert.deepStrictEqual(code(yield* go(first)), [400, "thread_already_continued"])
      const alone = (yield* send({})).json.id
      assert.deepStrictEqual(code(yield* go(alone)), [404, "thread_not_found"])
    }).pipe(using({
      keys: [
        { key: Simulator.apiKey, label: "a", organization: "org", workspace: "one" },
        { key: "sk-other", label: "b", organization: "org", workspace: "two" }
      ]
    })))

  it.effect("keep their model, system prompt and tools, and refuse what they cannot hold", () =>
    Effect.gen(function*() {
      const first = (yield* create()).json.id
      assert.deepStrictEqual(code(yield* go(first, { model: "claude-sonnet-5-5" })), [
        400,
        "thread_fingerprint_mismatch"
      ])
      assert.strictEqual((yield* go(first, { system: "Be long." })).status, 400)
      assert.strictEqual((yield* go(first, { messages: [] })).status, 400)
      const unsupported = yield* create({ cache_control: { type: "ephemeral" } })
      assert.deepStrictEqual(code(unsupported), [400, "thread_unsupported_request"])
      assert.deepStrictEqual(unsupported.json.error.details.unsupported, ["cache_control"])
      assert.strictEqual((yield* send({ thread: { type: "fork" } })).status, 400)
      assert.strictEqual((yield* send({ thread: null })).status, 200)
      assert.strictEqual((yield* go(first)).status, 200)
    }).pipe(using()))

  it.effect("wait for the answer of a request that continues them, and are free again when it had none", () =>
    Effect.gen(function*() {
      const { inject } = yield* Simulator.Simulator
      const first = yield* Effect.forkChild(create())
      yield* TestClock.adjust("1 minute")
      const { id } = (yield* Fiber.join(first)).json
      const slow = yield* Effect.forkChild(go(id))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(code(yield* go(id)), [400, "thread_continue_in_flight"])
      yield* TestClock.adjust("1 minute")
      const second = (yield* Fiber.join(slow)).json.id
      yield* inject(Simulator.Fault.Truncate({ after: { events: 3 } }))
      const cut = yield* Effect.forkChild(go(second, { stream: true }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(cut)).status, 200)
      const last = yield* Effect.forkChild(go(second, { stream: true }))
      yield* TestClock.adjust("1 minute")
      assert.include((yield* Fiber.join(last)).text, "message_stop")
      assert.deepStrictEqual(code(yield* go(second)), [400, "thread_already_continued"])
    }).pipe(using({ latency: { firstToken: "10 seconds" } })))

  it.effect("resume a paused turn from no message", () =>
    Effect.gen(function*() {
      const first = (yield* create()).json
      assert.strictEqual(first.stop_reason, "pause_turn")
      assert.strictEqual((yield* go(first.id, { messages: [] })).status, 200)
    }).pipe(using({
      answer: () => ({
        content: [{ type: "server_tool_use", name: "web_search", input: { query: "x" } }],
        stopReason: "pause_turn"
      })
    })))
})

describe("Simulator diagnostics", () => {
  const asked = (previous_message_id: string | null, fields: object = {}) =>
    Effect.map(Asking.answer({ diagnostics: { previous_message_id }, ...fields }), ({ diagnostics, id }) => ({
      id,
      reason: diagnostics?.cache_miss_reason?.type ?? null
    }))

  it.effect("say what changed since the request before", () =>
    Effect.gen(function*() {
      assert.isNull((yield* Asking.answer({})).diagnostics)
      const first = yield* asked(null)
      assert.isNull(first.reason)
      const more = { messages: [question, { role: "assistant", content: "Many." }, question] }
      assert.isNull((yield* asked(first.id, more)).reason)
      const reasonOf = (fields: object) => Effect.map(asked(first.id, fields), ({ reason }) => reason)
      assert.strictEqual(yield* reasonOf({ model: "claude-opus-5" }), "model_changed")
      assert.strictEqual(yield* reasonOf({ system: "Be short." }), "system_changed")
      const tools = [{ name: "look", input_schema: { type: "object" } }]
      assert.strictEqual(yield* reasonOf({ tools, tool_choice: { type: "none" } }), "tools_changed")
      assert.strictEqual(yield* reasonOf({ messages: [{ role: "user", content: "Why?" }] }), "messages_changed")
      assert.strictEqual(yield* reasonOf({ thinking: { type: "adaptive" } }), "unavailable")
      assert.strictEqual((yield* asked("msg_unknown")).reason, "previous_message_not_found")
      const silent = yield* Asking.answer({})
      assert.strictEqual((yield* asked(silent.id)).reason, "previous_message_not_found")
    }).pipe(using()))

  it.effect("are null for a model that is not asked for them", () =>
    Effect.map(Asking.answer({ model }), ({ diagnostics }) => assert.isNull(diagnostics)).pipe(using()))
})
