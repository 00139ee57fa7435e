import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { gzipSync } from "node:zlib"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as Asking from "../utils/asking.ts"

const { ask, question, send } = Asking

const user = (...content: ReadonlyArray<object>) => ({ messages: [{ role: "user", content }] })
const assistant = (...content: ReadonlyArray<object>) => ({
  messages: [question, { role: "assistant", content }, question]
})
const text = { type: "text", text: "x" }
const image = (source: object) => ({ type: "image", source })
const png = { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" }
const pdf = { type: "base64", media_type: "application/pdf", data: "JVBERg==" }
const look = { name: "look", input_schema: { type: "object", properties: {} } }
const use = { type: "tool_use", id: "t1", name: "look", input: {} }
const result = { type: "tool_result", tool_use_id: "t1", content: "a stone" }
const used = (use: object, ...results: ReadonlyArray<object>) => ({
  messages: [question, { role: "assistant", content: [use] }, { role: "user", content: results }]
})
const search = { type: "web_search_20250305", name: "web_search" }
const format = (more: object) => ({ output_config: { format: { type: "json_schema", schema: {}, ...more } } })

type Case = readonly [name: string, fields: object, says: RegExp | undefined, betas?: string]

const requests: ReadonlyArray<Case> = [
  ["an unknown field", { colour: "red" }, /^colour: Extra inputs/],
  ["a field that every object has", { toString: 1 }, /^toString: Extra inputs/],
  ["a field of a beta", { context_management: {} }, /^context_management: Extra inputs/],
  ["the same in its beta", { context_management: {} }, undefined, "context-management-2025-06-27"],
  ["a thread without its beta", { thread: { type: "create" } }, /^thread: Extra inputs/],
  ["stream as a text", { stream: "yes" }, /^stream: /],
  ["stream as a number", { stream: 1 }, /^stream: /],
  ["no stream", { stream: false }, undefined],
  ["an unknown service tier", { service_tier: "cheap" }, /^service_tier: /],
  ["metadata", { metadata: { user_id: "u" } }, undefined],
  ["an unknown field of metadata", { metadata: { team: "a" } }, /^metadata\.team: Extra inputs/],
  ["metadata that is a text", { metadata: "u" }, /^metadata: /],
  ["a user with a long id", { metadata: { user_id: "u".repeat(257) } }, /^metadata\.user_id: .*256/],
  ["a place that is a number", { inference_geo: 7 }, /^inference_geo: /],
  [
    "the management of a context as a text",
    { context_management: "x" },
    /^context_management: /,
    "context-management-2025-06-27"
  ],
  ["half a character", { system: "\ud83c" }, /valid JSON/],
  ["whole characters and backslashes", { system: "\\ud83c \ud83c\udf26" }, undefined],
  ["an unknown field of a breakpoint", { cache_control: { type: "ephemeral", scope: "all" } }, /^cache_control: /],
  [
    "an answer to be continued that ends in a blank",
    { model: "claude-haiku-4-5", messages: [question, { role: "assistant", content: "The river has " }] },
    /trailing whitespace/
  ],
  [
    "an answer to be continued",
    { model: "claude-haiku-4-5", messages: [question, { role: "assistant", content: "The river has" }] },
    undefined
  ],
  ["a user that is a number", { metadata: { user_id: 7 } }, /^metadata\.user_id: /],
  ["a blank stop sequence", { stop_sequences: ["a", " \n"] }, /^stop_sequences: /],
  ["an unknown kind of thinking", { thinking: { type: "deep" } }, /^thinking: /],
  ["thinking enabled without a budget", { model: "claude-haiku-4-5", thinking: { type: "enabled" } }, /budget_tokens/],
  [
    "an unknown field of thinking",
    { thinking: { type: "adaptive", budget_tokens: 2_000 } },
    /^thinking\.adaptive\.budget/
  ],
  ["an unknown display of thinking", { thinking: { type: "adaptive", display: "loud" } }, /^thinking\.display/],
  ["an unknown effort", { output_config: { effort: "huge" } }, /^output_config\.effort/],
  ["an unknown field of output_config", { output_config: { size: 1 } }, /^output_config\.size: Extra inputs/],
  ["a format", format({}), undefined],
  ["a format that is no JSON schema", format({ type: "xml" }), /^output_config\.format\.type/],
  ["a format without a schema", format({ schema: undefined }), /^output_config\.format\.schema/],
  ["fast mode without its beta", { model: "claude-opus-5", speed: "fast" }, /^speed: /],
  ["fast mode in its beta", { model: "claude-opus-5", speed: "fast" }, undefined, "fast-mode-2026-02-01"],
  ["fast mode that needs no beta", { speed: "fast" }, undefined],
  ["a container", { container: "container_1" }, undefined],
  ["an unknown field of a container", { container: { name: "x" } }, /^container\.name/]
]

const blocks: ReadonlyArray<Case> = [
  ["a block of an unknown type", user({ type: "poem", text: "x" }), /^messages\.0\.content\.0: .*'poem'/],
  ["a block whose type every object has", user({ type: "constructor" }), /^messages\.0\.content\.0: /],
  [
    "a block of a beta",
    assistant({ type: "mcp_tool_use", id: "a", name: "b", input: {}, server_name: "c" }),
    /mcp_tool_use/
  ],
  [
    "an unknown field of a block",
    user({ ...text, colour: "red" }),
    /^messages\.0\.content\.0\.text\.colour: Extra inputs/
  ],
  ["an unknown field of a message", { messages: [{ ...question, name: "Ann" }] }, /^messages\.0\.name: Extra inputs/],
  ["a text without text", user({ type: "text" }), /^messages\.0\.content\.0\.text\.text/],
  ["a text that is a number", user({ type: "text", text: 7 }), /^messages\.0\.content\.0\.text\.text/],
  ["an empty text", user({ ...text, text: "" }), /non-whitespace/],
  ["a blank text in an answer", assistant({ ...text, text: " \n" }), /non-whitespace/],
  ["a blank text in a system prompt", { system: [{ ...text, text: "" }] }, /^system\.0.*non-whitespace/],
  ["a PNG as a JPEG", user(image({ ...png, media_type: "image/jpeg" })), /media_type/],
  ["a title that is a number", user({ type: "document", title: 7, source: pdf }), /^messages\.0.*title/],
  ["citations as a text", user({ type: "document", citations: "yes", source: pdf }), /^messages\.0.*citations/],
  ["a tool result that says yes to is_error", used(use, { ...result, is_error: "yes" }), /is_error/],
  ["a tool result with an empty text", used(use, { ...result, content: [{ ...text, text: "" }] }), undefined],
  ["tool_use in a user turn", user(use), /`tool_use` blocks can only be in `assistant` messages/],
  ["thinking in a user turn", user({ type: "thinking", thinking: "x", signature: "y" }), /only be in `assistant`/],
  ["a thinking block without a signature", assistant({ type: "thinking", thinking: "x" }), /signature/],
  ["an image", user(image(png)), undefined],
  ["an image that is no base64", user(image({ ...png, data: "not base64!" })), /not valid base64/],
  ["an image whose base64 is cut", user(image({ ...png, data: "iVBORw0KGgo" })), /not valid base64/],
  ["an image with a prefix", user(image({ ...png, data: `data:image/png;base64,${png.data}` })), /not valid base64/],
  ["an empty image", user(image({ ...png, data: "" })), /not valid base64/],
  ["an image of another type", user(image({ ...png, media_type: "image/tiff" })), /media_type/],
  ["an image without a source", user({ type: "image" }), /source: Field required/],
  ["an unknown field of a source", user(image({ ...png, name: "x" })), /source\.name: Extra inputs/],
  ["an image by URL", user(image({ type: "url", url: "https://example.com/a.png" })), undefined],
  ["an image by something else", user(image({ type: "url", url: "file:///etc/passwd" })), /url/],
  ["a document", user({ type: "document", source: pdf }), undefined],
  ["a document that is no base64", user({ type: "document", source: { ...pdf, data: "?" } }), /not valid base64/],
  ["an image as a document", user({ type: "document", source: png }), /media_type/],
  ["an image in a system prompt", { system: [image(png)] }, /^system\.0: /],
  ["a tool result with an image", used(use, { ...result, content: [image(png), text] }), undefined],
  [
    "a tool result with a broken image",
    used(use, { ...result, content: [image({ ...png, data: "?" })] }),
    /tool_result\.content\.0/
  ],
  ["a tool result in a tool result", used(use, { ...result, content: [result] }), /tool_result\.content\.0/],
  ["two results for one use", used(use, result, result), /single result/],
  ["a use with a strange id", used({ ...use, id: "t 1" }, { ...result, tool_use_id: "t 1" }), /tool_use\.id/],
  ["a use without input", used({ ...use, input: undefined }, result), /tool_use\.input/],
  [
    "a use twice",
    { messages: [...used(use, result).messages, ...used(use, result).messages.slice(1)] },
    /ids must be unique/
  ]
]

const tools: ReadonlyArray<Case> = [
  ["tools", { tools: [look, search] }, undefined],
  ["duplicate tool names", { tools: [look, look] }, /names must be unique/],
  ["a server tool with the name of another", { tools: [look, { ...search, name: "look" }] }, /names must be unique/],
  ["tool_choice without tools", { tool_choice: { type: "auto" } }, /^tool_choice: .*providing `tools`/],
  ["tool_choice with empty tools", { tools: [], tool_choice: { type: "none" } }, /^tool_choice: .*providing `tools`/],
  [
    "a choice of an unknown tool",
    { model: "claude-opus-5", tools: [look], tool_choice: { type: "tool", name: "see" } },
    /'see' not found/
  ],
  ["an unknown kind of choice", { tools: [look], tool_choice: { type: "maybe" } }, /^tool_choice: /],
  ["a choice as a text", { tools: [look], tool_choice: "auto" }, /^tool_choice: /],
  [
    "an unknown field of a choice",
    { tools: [look], tool_choice: { type: "auto", name: "look" } },
    /^tool_choice\.auto\.name/
  ],
  ["a forced tool while thinking", {
    model: "claude-opus-5",
    tools: [look],
    tool_choice: { type: "any" },
    thinking: { type: "adaptive" }
  }, /^tool_choice: Thinking/],
  ["a tool without a name", { tools: [{ input_schema: look.input_schema }] }, /^tools\.0\.custom\.name/],
  ["a tool with a strange name", { tools: [{ ...look, name: "look around" }] }, /^tools\.0\.custom\.name/],
  ["a tool without a schema", { tools: [{ name: "look" }] }, /^tools\.0\.custom\.input_schema/],
  [
    "a tool whose schema is of no object",
    { tools: [{ ...look, input_schema: { type: "string" } }] },
    /input_schema\.type/
  ],
  ["a description that is a number", { tools: [{ ...look, description: 7 }] }, /^tools\.0\.custom\.description/],
  [
    "a schema that is none",
    { tools: [{ ...look, input_schema: { type: "object", properties: [] } }] },
    /^tools\.0\.custom\.input_schema: JSON schema is invalid/
  ],
  [
    "a schema that requires a text",
    { tools: [{ ...look, input_schema: { type: "object", required: "x" } }] },
    /^tools\.0\.custom\.input_schema: JSON schema is invalid/
  ],
  [
    "a choice that is no truth",
    { tools: [look], tool_choice: { type: "auto", disable_parallel_tool_use: "yes" } },
    /^tool_choice\.auto\.disable_parallel_tool_use/
  ],
  ["an unknown field of a tool", { tools: [{ ...look, colour: "red" }] }, /^tools\.0\.custom\.colour: Extra inputs/],
  ["an unknown type of tool", { tools: [{ type: "oracle_20260101", name: "oracle" }] }, /^tools\.0: /],
  [
    "an unknown field of a server tool",
    { tools: [{ ...search, colour: "red" }] },
    /^tools\.0\.web_search_20250305\.colour/
  ]
]

describe("Simulator validation", () => {
  for (const [name, fields, says, betas] of [...requests, ...blocks, ...tools]) {
    for (const path of ["/v1/messages", "/v1/messages/count_tokens"]) {
      it.effect(`${says === undefined ? "lets pass" : "refuses"} ${name}${path.endsWith("tokens") ? " in a count" : ""}`, () =>
        Effect.gen(function*() {
          const headers = betas === undefined ? {} : { "anthropic-beta": betas }
          const isOnlyOfAnswers = path.endsWith("tokens") && JSON.stringify(fields).includes("\"thread\"")
          const { json, status, text } = yield* send({ ...ask, ...fields }, { headers, path })
          if (isOnlyOfAnswers) return assert.strictEqual(status, 400)
          assert.strictEqual(status, says === undefined ? 200 : 400, text)
          if (says === undefined) return
          assert.strictEqual(json.error.type, "invalid_request_error")
          assert.match(json.error.message, says)
        }).pipe(Effect.provide(Simulator.layer())))
    }
  }

  it.effect("has a code of its own for a compressed body", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const all = [["gzip", 400], ["br", 400], ["GZIP", 400], ["identity", 200], ["Identity", 200]] as const
      for (const [encoding, status] of all) {
        const plain = JSON.stringify(ask)
        const body = status === 200 ? plain : new Uint8Array(gzipSync(plain))
        const headers = {
          "x-api-key": Simulator.apiKey,
          "anthropic-version": "2026-10-21",
          "content-encoding": encoding
        }
        for (const path of ["messages", "messages/count_tokens", "messages/batches", "files"]) {
          const response = yield* Effect.promise(() =>
            fetch(`https://api.test/v1/${path}`, { method: "POST", headers, body })
          )
          const { error } = yield* Effect.promise(() => response.json())
          const code = error?.details?.error_code
          assert.strictEqual(code, status === 200 ? undefined : "request_body_encoding_unsupported", path)
          if (path === "messages" || status !== 200) assert.strictEqual(response.status, status)
        }
      }
    }).pipe(Effect.provide(Simulator.layer())))

  it.effect("names the organization and the workspace in every answer to a key, faults included", () =>
    Effect.gen(function*() {
      const { inject } = yield* Simulator.Simulator
      const who = (headers: Headers) => ["organization", "workspace"].map((what) => headers.get(`anthropic-${what}-id`))
      const known = ["org_sim", "wrkspc_sim"]
      assert.deepStrictEqual(who((yield* send(ask)).headers), known)
      assert.deepStrictEqual(who((yield* send({})).headers), known)
      yield* inject(Simulator.Fault.Status({ status: 500 }))
      assert.deepStrictEqual(who((yield* send(ask)).headers), known)
      const stranger = yield* send(ask, { headers: { "x-api-key": "sk-unknown" } })
      assert.deepStrictEqual(who(stranger.headers), [null, null])
    }).pipe(Effect.provide(Simulator.layer())))

  it.effect("says when to come back after an injected 429, unless the fault has headers or a body of its own", () =>
    Effect.gen(function*() {
      const { script } = yield* Simulator.Simulator
      const { Status } = Simulator.Fault
      yield* script([
        Status({ status: 429 }),
        Status({ status: 429, headers: { "retry-after": "7" } }),
        Status({ status: 429, headers: {} }),
        Status({ status: 429, body: { type: "error" } }),
        Status({ status: 529 })
      ])
      const answers = yield* Effect.forEach([1, 2, 3, 4, 5], () => send(ask))
      assert.deepStrictEqual(answers.map(({ headers }) => headers.get("retry-after")), ["1", "7", null, null, null])
    }).pipe(Effect.provide(Simulator.layer())))
})
