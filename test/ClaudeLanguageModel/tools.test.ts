/** Every kind of tool and choice, as the API gets it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schema } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as Tools from "effect-claude/ClaudeLanguageModel/Tools"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { type AiError, LanguageModel, Tool } from "effect/ai"
import { type Asked, kit, streamed, ways, whole, world } from "../utils/languageModel.ts"

const Now = Tool.make("now", {
  description: "What time it is.",
  parameters: Schema.Struct({ zone: Schema.optionalKey(Schema.String) }),
  success: Schema.String
})
const Ping = Tool.make("ping")
class Place extends Schema.Class<Place>("Place")({ city: Schema.String }) {}
interface Tree {
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Codec<Tree> = Schema.Struct({ children: Schema.Array(Schema.suspend(() => Tree)) })

const context = Effect.runSync(CallContext.current)

const object = (properties: object, more: object = {}) => ({ type: "object", properties, ...more })

const kinds: ReadonlyArray<readonly [name: string, tool: Tool.Any, wire: object]> = [
  ["a tool of the user", Now, {
    name: "now",
    description: "What time it is.",
    input_schema: object({ zone: { type: "string" } }, { additionalProperties: false })
  }],
  ["a tool without parameters", Ping, { name: "ping", input_schema: { type: "object", additionalProperties: false } }],
  ["parameters that are a class", Tool.make("weather", { parameters: Place }), {
    name: "weather",
    input_schema: object({ city: { type: "string" } }, { required: ["city"], additionalProperties: false })
  }],
  ["a strict tool", Tool.make("now", { parameters: Now.parametersSchema }).annotate(Tool.Strict, true), {
    name: "now",
    input_schema: object({ zone: { anyOf: [{ type: "string" }, { type: "null" }] } }, {
      required: ["zone"],
      additionalProperties: false
    }),
    strict: true
  }],
  [
    "a dynamic tool with a schema in JSON",
    Tool.dynamic("query", {
      description: "Asks.",
      parameters: { type: "object", properties: { sql: { type: "string" } } }
    }),
    { name: "query", description: "Asks.", input_schema: object({ sql: { type: "string" } }) }
  ],
  ["a dynamic tool that takes anything", Tool.dynamic("any"), { name: "any", input_schema: { type: "object" } }],
  [
    "web search",
    Tools.WebSearch_20250305({ max_uses: 2, user_location: { type: "approximate", city: "Paris" } }),
    {
      type: "web_search_20250305",
      name: "web_search",
      max_uses: 2,
      user_location: { type: "approximate", city: "Paris" }
    }
  ],
  ["a later web search", Tools.WebSearch_20260318({}), { type: "web_search_20260318", name: "web_search" }],
  [
    "web fetch",
    Tools.WebFetch_20250910({ citations: { enabled: true } }),
    { type: "web_fetch_20250910", name: "web_fetch", citations: { enabled: true } }
  ],
  ["a later web fetch", Tools.WebFetch_20260318({ use_cache: false }), {
    type: "web_fetch_20260318",
    name: "web_fetch",
    use_cache: false
  }],
  ["code execution", Tools.CodeExecution_20250825({}), { type: "code_execution_20250825", name: "code_execution" }],
  ["the first code execution", Tools.CodeExecution_20250522({}), {
    type: "code_execution_20250522",
    name: "code_execution"
  }],
  ["the newest code execution", Tools.CodeExecution_20260521({}), {
    type: "code_execution_20260521",
    name: "code_execution"
  }],
  ["tool search by regular expressions", Tools.ToolSearchRegex_20251119({}), {
    type: "tool_search_tool_regex_20251119",
    name: "tool_search_tool_regex"
  }],
  ["tool search by words", Tools.ToolSearchBM25_20251119({}), {
    type: "tool_search_tool_bm25_20251119",
    name: "tool_search_tool_bm25"
  }],
  ["memory, without its failure mode", Tools.Memory_20250818({ failureMode: "return" }), {
    type: "memory_20250818",
    name: "memory"
  }],
  ["bash", Tools.Bash_20250124({}), { type: "bash_20250124", name: "bash" }],
  ["the text editor", Tools.TextEditor_20250728({ max_characters: 10_000 }), {
    type: "text_editor_20250728",
    name: "str_replace_based_edit_tool",
    max_characters: 10_000
  }],
  [
    "a tool of the API that has no name here",
    Tool.providerDefined({
      id: "anthropic.web_fetch_20260209",
      customName: "Fetch",
      providerName: "web_fetch",
      args: Schema.Struct({ max_uses: Schema.Int })
    })({ max_uses: 1 }),
    { type: "web_fetch_20260209", name: "web_fetch", max_uses: 1 }
  ]
]

describe.each(Object.entries(ways))("tools, %s", (_way, ask) => {
  const sent = (asked: Asked, options: Partial<ClaudeLanguageModel.Options> = {}) =>
    Effect.gen(function*() {
      const { layer, seen } = world({ options })
      yield* Effect.provide(ask(asked), layer)
      return JSON.parse(JSON.stringify(seen[0])) as Record<string, unknown>
    })

  it.effect.each(kinds)("has %s", ([, tool, wire]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* sent({ toolkit: kit(tool) }))["tools"], [wire])
    }))

  it.effect("takes a recursive schema where the API does not hold input to it", () =>
    Effect.gen(function*() {
      const { tools } = yield* sent({ toolkit: kit(Tool.make("grow", { parameters: Tree })) })
      const [{ input_schema }] = tools as [{ input_schema: Record<string, unknown> }]
      assert.strictEqual(input_schema["type"], "object")
      assert.isDefined(input_schema["$defs"])
    }))

  it.effect("is strict where the options say so, and a tool itself comes first", () =>
    Effect.gen(function*() {
      const loose = Tool.make("loose").annotate(Tool.Strict, false)
      const { tools } = yield* sent({ toolkit: kit(Now, loose) }, { strictTools: true })
      assert.deepStrictEqual((tools as Array<{ strict?: boolean }>).map(({ strict }) => strict), [true, undefined])
    }))

  it.effect("refuses a recursive strict schema before anything is sent", () =>
    Effect.gen(function*() {
      const { layer, seen } = world({ options: { strictTools: true } })
      const error = yield* Effect.flip(
        Effect.provide(ask({ toolkit: kit(Tool.make("grow", { parameters: Tree })) }), layer)
      )
      assert.strictEqual((error as AiError.AiError).reason._tag, "UnsupportedSchemaError")
      assert.isEmpty(seen)
    }))

  it.effect.each(
    [
      ["auto", undefined, undefined],
      ["none", "none", { type: "none" }],
      ["required", "required", { type: "any" }],
      ["one", { tool: "now" }, { type: "tool", name: "now" }],
      ["one of the API's", { tool: "AnthropicMemory" }, { type: "tool", name: "memory" }],
      ["one of some", { oneOf: ["now"] }, undefined],
      ["one of some, which must be called", { mode: "required", oneOf: ["now"] }, { type: "any" }]
    ] as const
  )("has the choice %s", ([, toolChoice, choice]) =>
    Effect.gen(function*() {
      const asked = {
        toolkit: kit(Now, Tools.Memory_20250818({})),
        toolChoice: toolChoice as LanguageModel.ToolChoice<string>
      }
      const body = yield* sent(asked)
      assert.deepStrictEqual(body["tool_choice"], choice)
      const isSome = typeof toolChoice === "object" && "oneOf" in toolChoice
      assert.strictEqual((body["tools"] as Array<unknown>).length, isSome ? 1 : 2)
    }))

  it.effect.each(
    [
      [undefined, { type: "auto", disable_parallel_tool_use: true }],
      ["required", { type: "any", disable_parallel_tool_use: true }]
    ] as const
  )("allows one call at a time with the choice %s", ([toolChoice, choice]) =>
    Effect.gen(function*() {
      const body = yield* sent({ toolkit: kit(Now), toolChoice }, { disableParallelToolCalls: true })
      assert.deepStrictEqual(body["tool_choice"], choice)
    }))

  it.effect.each(
    [
      ["required", "one of the tools", { model: "claude-sonnet-5-5" }],
      [{ tool: "now" }, "the tool \"now\"", { model: "claude-opus-5-5" }],
      [{ mode: "required", oneOf: ["now"] }, "one of the tools", { thinking: { type: "adaptive" } }]
    ] as const
  )("asks for a call where it cannot be forced: %j", ([toolChoice, words, options]) =>
    Effect.gen(function*() {
      const prompt = [{ role: "system" as const, content: "Be brief." }, { role: "user" as const, content: "Hi." }]
      const asked = { prompt, toolkit: kit(Now), toolChoice: toolChoice as LanguageModel.ToolChoice<string> }
      const body = yield* sent(asked, options)
      assert.notInclude(["any", "tool"], (body["tool_choice"] as { type?: string } | undefined)?.type)
      const [first, second] = body["system"] as Array<{ text: string }>
      assert.strictEqual(first?.text, "Be brief.")
      assert.include(second?.text, words)
    }))

  it.effect("has MCP servers, their tools and the beta beside those of the caller", () =>
    Effect.gen(function*() {
      const server = Tools.mcpServer({
        name: "issues",
        url: "https://mcp.example.com",
        authorizationToken: Redacted.make("secret"),
        default_config: { enabled: false },
        configs: { list: { enabled: true } }
      })
      assert.notInclude(JSON.stringify(server), "secret")
      yield* ask({ toolkit: kit(server) })
      const [call] = yield* ClaudeTest.calls
      assert.deepInclude(call?.request as object, {
        tools: [{
          type: "mcp_toolset",
          mcp_server_name: "issues",
          default_config: { enabled: false },
          configs: { list: { enabled: true } }
        }],
        mcp_servers: [{ type: "url", name: "issues", url: "https://mcp.example.com", authorization_token: "secret" }]
      })
      assert.deepStrictEqual(call?.context.headers, { "Anthropic-Beta": "other-2026-01-01,mcp-client-2025-11-20" })
    }).pipe(
      Effect.provideService(CallContext.CallContext, { ...context, headers: { "Anthropic-Beta": "other-2026-01-01" } }),
      Effect.provide(
        Layer.provideMerge(
          ClaudeLanguageModel.layer({ model: "claude-sonnet-4-6", maxTokens: 100 }),
          ClaudeTest.layer("Fine.")
        )
      )
    ))

  it.effect("is sent with what the call asks for", () =>
    Effect.gen(function*() {
      const { layer, seen } = world({ options: { stop_sequences: ["END"], output_config: { effort: "low" } } })
      yield* ask().pipe(
        ClaudeLanguageModel.withOptions({ output_config: { effort: "high" }, model: "claude-opus-4-6" }),
        ClaudeLanguageModel.withOptions({ maxTokens: 50, model: "claude-opus-4-8" }),
        Effect.provide(layer)
      )
      const { messages: _, stream: _stream, ...body } = seen[0]!
      assert.deepStrictEqual(body as unknown, {
        model: "claude-opus-4-6",
        max_tokens: 50,
        stop_sequences: ["END"],
        output_config: { effort: "high" }
      })
    }))
})

describe("an object", () => {
  const Answer = Schema.Struct({ city: Schema.String, note: Schema.optionalKey(Schema.String) })

  it.effect("is asked for by its schema, beside the other output options", () =>
    Effect.gen(function*() {
      const { layer, seen } = world({
        content: [{ type: "text", text: "{\"city\":\"Paris\",\"note\":null}" }],
        options: { output_config: { effort: "low" } }
      })
      const { value } = yield* Effect.provide(LanguageModel.generateObject({ prompt: "Where?", schema: Answer }), layer)
      assert.deepStrictEqual(value, { city: "Paris" })
      assert.deepStrictEqual(seen[0]?.output_config as unknown, {
        effort: "low",
        format: {
          type: "json_schema",
          schema: object({ city: { type: "string" }, note: { anyOf: [{ type: "string" }, { type: "null" }] } }, {
            required: ["city", "note"],
            additionalProperties: false
          })
        }
      })
    }))

  it.effect("of a recursive schema is refused before anything is sent", () =>
    Effect.gen(function*() {
      const { layer, seen } = world()
      const asked = LanguageModel.generateObject({ prompt: "Grow.", schema: Tree })
      const error = yield* Effect.flip(Effect.provide(asked, layer))
      assert.strictEqual(error.reason._tag, "UnsupportedSchemaError")
      assert.isEmpty(seen)
    }))

  it.effect.each([
    ["refusal", "ContentPolicyError"],
    ["max_tokens", "InvalidResponseError"],
    ["model_context_window_exceeded", "InvalidResponseError"]
  ])("cannot be read where the answer ended with %s, and says so", ([stopReason, tag]) =>
    Effect.gen(function*() {
      const { layer } = world({ content: [{ type: "text", text: "{\"city\":\"Par" }], stopReason })
      const asked = LanguageModel.generateObject({ prompt: "Where?", schema: Answer })
      const error = yield* Effect.flip(Effect.provide(asked, layer))
      assert.strictEqual(error.reason._tag, tag)
      assert.isFalse(error.isRetryable)
      assert.strictEqual((ClaudeLanguageModel.original(error) as { _tag: string })._tag, "IncompleteAnswerError")
      assert.notInclude(JSON.stringify(error), "Par")
    }))

  it.effect("that does not fit its schema is an error that shows no value of it", () =>
    Effect.gen(function*() {
      const { layer } = world({ content: [{ type: "text", text: "{\"city\":41,\"note\":\"hush\"}" }] })
      const asked = LanguageModel.generateObject({ prompt: "Where?", schema: Answer })
      const error = yield* Effect.flip(Effect.provide(asked, layer))
      assert.strictEqual(error.reason._tag, "StructuredOutputError")
      assert.include(error.message, "city")
      assert.notMatch(error.message, /41|hush/)
    }))
})

describe("strict input", () => {
  const Route = Tool.make("route", {
    parameters: Schema.Struct({
      via: Schema.optionalKey(Schema.String),
      at: Schema.Tuple([Schema.Finite, Schema.Finite]),
      seats: Schema.Record(Schema.String, Schema.Finite)
    })
  }).annotate(Tool.Strict, true)
  const input = { via: null, at: { 0: 1, 1: 2 }, seats: [{ key: "front", value: 2 }] }
  const content = [{ type: "tool_use", id: "toolu_1", name: "route", input }]

  it.effect.each(Object.entries({ whole, streamed }))(
    "is given as the tool writes it, %s",
    ([, ask]) =>
      Effect.gen(function*() {
        const parts = yield* Effect.provide(ask({ toolkit: kit(Route) }), world({ content }).layer)
        const call = parts.find(({ type }) => type === "tool-call")
        assert.deepStrictEqual(call?.["params"], { at: [1, 2], seats: { front: 2 } })
      })
  )
})
