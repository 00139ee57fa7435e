/** Requests to the simulator and recordings as nobody means them: an answer as the API would give it, or words that name what is wrong. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import * as Recording from "effect-claude/testing/Recording"
import * as Simulator from "effect-claude/testing/Simulator"
import { ask, question, send } from "./utils/asking.ts"
import * as Mutate from "./utils/mutate.ts"

const secret = "sk-ant-api03-planted-0123456789"

const look = {
  name: "look",
  description: "Looks",
  input_schema: {
    type: "object",
    properties: { at: { type: "string", minLength: 2 }, deep: { $ref: "#/$defs/deep" } },
    required: ["at"],
    $defs: { deep: { anyOf: [{ type: "null" }, { type: "array", items: { type: "integer", minimum: 3 } }] } }
  }
}

const requests: ReadonlyArray<object> = [
  { ...ask, tools: [look], tool_choice: { type: "auto" }, thinking: { type: "adaptive" }, metadata: { user_id: "u" } },
  {
    ...ask,
    stream: true,
    system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral", ttl: "1h" } }],
    output_config: { effort: "low", format: { type: "json_schema", schema: look.input_schema } }
  },
  {
    ...ask,
    tools: [look, { type: "web_search_20250305", name: "web_search", max_uses: 2 }],
    messages: [
      question,
      { role: "assistant", content: [{ type: "tool_use", id: "t1", name: "look", input: { at: "it" } }] },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "t1", content: [{ type: "text", text: "a stone" }] },
          { type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" } },
          { type: "document", title: "a", source: { type: "text", media_type: "text/plain", data: "x" } }
        ]
      }
    ]
  },
  { requests: [{ custom_id: "a", params: ask }, { custom_id: "b", params: { ...ask, max_tokens: 5 } }] }
]

const recording = JSON.stringify({
  log: {
    entries: [{
      request: {
        method: "POST",
        url: `https://api.anthropic.com/v1/messages?key=${secret}`,
        headers: [{ name: "x-api-key", value: secret }],
        postData: { text: JSON.stringify({ ...ask, system: secret }) }
      },
      response: {
        status: 200,
        headers: [{ name: "Content-Type", value: "application/json" }],
        content: { size: 40, text: btoa(JSON.stringify({ type: "message", key: secret })), encoding: "base64" }
      }
    }]
  }
})

const lines = `${JSON.stringify({ request: { path: "/v1/models" }, response: { status: 200, body: { data: [] } } })}\n`

describe("what a simulator is given", () => {
  it.effect("is answered as the API would, or refused in words: requests", () =>
    Effect.gen(function*() {
      let count = 0
      yield* Mutate.each(requests, Mutate.json as Mutate.Mutator<object>, (request) =>
        Effect.gen(function*() {
          const routes = ["messages", "messages/count_tokens", "messages/batches"]
          const path = `/v1/${routes[count++ % 7 === 0 ? 1 : Object.hasOwn(Object(request), "requests") ? 2 : 0]}`
          const headers = count % 2 === 0 ? { "anthropic-beta": "context-management-2025-06-27" } : {}
          const { json, status, text } = yield* send(request, { path, headers })
          assert.include([200, 400, 404, 413], status, text)
          if (status === 200) return
          assert.strictEqual(json.type, "error")
          assert.isTrue(typeof json.error.message === "string" && json.error.message.length < 20_000, text)
        }))
    }).pipe(Effect.provide(Simulator.layer())), 3_600_000)

  it.effect(
    "is answered again, or refused in words: recordings",
    () =>
      Mutate.each([recording, lines], Mutate.jsonText, (text) =>
        Effect.gen(function*() {
          const exit = yield* Effect.exit(Recording.parse(text))
          if (Exit.isFailure(exit)) {
            const error = exit.cause.reasons.find(Cause.isFailReason)?.error
            if (error === undefined) throw new Error(Cause.pretty(exit.cause))
            return assert.isAtMost(error.message.length, 1_000)
          }
          const written = Recording.toJsonLines(exit.value)
          assert.deepStrictEqual(yield* Recording.parse(written), exit.value)
          const { body, method, path, status } = exit.value[0]!
          if (method !== "POST" || typeof body !== "object" || body === null) return
          yield* Effect.gen(function*() {
            const { fetch } = yield* Simulator.Simulator
            const init = { method, headers: { "x-api-key": Simulator.apiKey }, body: JSON.stringify(body) }
            const answer = yield* Effect.promise(() => fetch(`https://api.test${path}`, init))
            assert.strictEqual(answer.status, status)
            yield* Effect.promise(() => answer.text())
          }).pipe(Effect.provide(Simulator.layer({ recording: exit.value })))
        })),
    3_600_000
  )
})
