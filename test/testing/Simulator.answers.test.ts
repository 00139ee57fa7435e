import type { ContentBlock, Message, RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MessageStream from "../../src/MessageStream.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as Asking from "../utils/asking.ts"

const { answer, events, question } = Asking

const using = (options?: Simulator.Options) => Effect.provide(Simulator.layer(options))

const weather = {
  name: "get_weather",
  input_schema: {
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer", minimum: 1, maximum: 7 } },
    required: ["city", "days"]
  }
}
const clock = { name: "get_time", input_schema: { type: "object", properties: {} } }

const typesOf = ({ content }: Message) => content.map(({ type }) => type)
const useOf = ({ content }: Message) => content.find((block) => block.type === "tool_use")

/** The message that a stream comes to, folded by hand. */
const folded = (stream: ReadonlyArray<RawMessageStreamEvent>): ReadonlyArray<ContentBlock> => {
  const blocks: Array<Record<string, unknown> & { json?: string }> = []
  for (const event of stream) {
    if (event.type === "content_block_start") blocks.push(structuredClone({ ...event.content_block }))
    if (event.type !== "content_block_delta") continue
    const block = blocks[event.index]!
    const { delta } = event
    if (delta.type === "text_delta") block["text"] += delta.text
    if (delta.type === "thinking_delta") block["thinking"] += delta.thinking
    if (delta.type === "signature_delta") block["signature"] += delta.signature
    if (delta.type === "input_json_delta") block.json = (block.json ?? "") + delta.partial_json
    if (delta.type === "citations_delta") (block["citations"] as Array<unknown>).push(delta.citation)
  }
  return blocks.map(({ json, ...block }) =>
    (json === undefined ? block : { ...block, input: JSON.parse(json) }) as unknown as ContentBlock
  )
}

describe("Simulator answers", () => {
  describe("without an answerer", () => {
    it.effect("call a tool with input that fits its schema, then speak of the result", () =>
      Effect.gen(function*() {
        const first = yield* answer({ tools: [weather, clock] })
        assert.deepStrictEqual([first.stop_reason, typesOf(first)], ["tool_use", ["tool_use"]])
        const use = useOf(first)!
        const { city, days } = use.input as { readonly city: string; readonly days: number }
        assert.isTrue(use.name === "get_weather" && city.length > 0 && days >= 1 && days <= 7)
        const result = { type: "tool_result", tool_use_id: use.id, content: "Rain." }
        const messages = [question, { role: "assistant", content: first.content }, { role: "user", content: [result] }]
        const second = yield* answer({ tools: [weather, clock], messages })
        assert.deepStrictEqual([second.stop_reason, typesOf(second)], ["end_turn", ["text"]])
      }).pipe(using()))

    it.effect("call the tool that is named, by the choice or by the question", () =>
      Effect.gen(function*() {
        const tools = [weather, clock]
        const model = "claude-opus-5"
        const named = yield* answer({ model, tools, tool_choice: { type: "tool", name: "get_time" } })
        assert.strictEqual(useOf(named)?.name, "get_time")
        const asked = yield* answer({ tools, messages: [{ role: "user", content: "Use get_time, please." }] })
        assert.strictEqual(useOf(asked)?.name, "get_time")
        const any = yield* answer({ model, tools, tool_choice: { type: "any" } })
        assert.strictEqual(any.stop_reason, "tool_use")
        const none = yield* answer({ tools, tool_choice: { type: "none" } })
        assert.deepStrictEqual([none.stop_reason, typesOf(none)], ["end_turn", ["text"]])
        const later = yield* answer({ tools: [{ ...weather, defer_loading: true }, clock] })
        assert.strictEqual(useOf(later)?.name, "get_time")
      }).pipe(using()))

    it.effect("use the tools that the API defines as they are used", () =>
      Effect.gen(function*() {
        const inputOf = (tool: object) => Effect.map(answer({ tools: [tool] }), (message) => useOf(message)?.input)
        assert.deepStrictEqual(yield* inputOf({ type: "bash_20250124", name: "bash" }), { command: "ls" })
        assert.deepStrictEqual(yield* inputOf({ type: "memory_20250818", name: "memory" }), {
          command: "view",
          path: "/memories"
        })
      }).pipe(using()))

    it.effect("are JSON that fits the format, equal for equal requests", () =>
      Effect.gen(function*() {
        const schema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] }
        const output_config = { format: { type: "json_schema", schema } }
        const [block] = (yield* answer({ output_config })).content
        const value = JSON.parse(block?.type === "text" ? block.text : "")
        assert.isTrue(Number.isInteger(value.n))
        assert.deepStrictEqual(folded(yield* events({ output_config })), [block!])
      }).pipe(using()))

    it.effect("think first where they may, also before a tool", () =>
      Effect.gen(function*() {
        const thinking = { type: "adaptive" }
        assert.deepStrictEqual(typesOf(yield* answer({ thinking })), ["thinking", "text"])
        assert.deepStrictEqual(typesOf(yield* answer({ thinking, tools: [weather] })), ["thinking", "tool_use"])
        const model = "claude-opus-5"
        assert.deepStrictEqual(typesOf(yield* answer({ model, thinking: { type: "disabled" } })), ["text"])
        const [hidden] = (yield* answer({ thinking: { ...thinking, display: "omitted" } })).content
        assert.isTrue(hidden?.type === "thinking" && hidden.thinking === "" && hidden.signature !== "")
      }).pipe(using()))

    it.effect("cite a document that may be cited, and search where they may", () =>
      Effect.gen(function*() {
        const source = { type: "text", media_type: "text/plain", data: "The river has many stones." }
        const document = { type: "document", source, title: "Rivers", citations: { enabled: true } }
        const messages = [{ role: "user", content: [document, { type: "text", text: "How many?" }] }]
        const [cited] = (yield* answer({ messages })).content
        const citation = cited?.type === "text" ? cited.citations?.[0] : undefined
        assert.deepInclude(citation, { type: "char_location", cited_text: source.data, document_title: "Rivers" })
        const searched = yield* answer({ tools: [{ type: "web_search_20250305", name: "web_search" }] })
        assert.deepStrictEqual(typesOf(searched).slice(0, 2), ["server_tool_use", "web_search_tool_result"])
        assert.strictEqual(searched.usage.server_tool_use?.web_search_requests, 1)
      }).pipe(using()))

    it.effect("have no field for citations that are not there", () =>
      Effect.gen(function*() {
        assert.notInclude(JSON.stringify(yield* answer({})), "citations")
        assert.notInclude(JSON.stringify(yield* events({})), "citations")
      }).pipe(using()))
  })

  const beyond: ReadonlyArray<Simulator.AnswerBlock> = [
    { type: "redacted_thinking" },
    { type: "thinking", thinking: "The user wants to know about stones." },
    { type: "server_tool_use", name: "web_search", input: { query: "stones" }, id: "srvtoolu_1" },
    {
      type: "web_search_tool_result",
      tool_use_id: "srvtoolu_1",
      caller: { type: "direct" },
      content: [{
        type: "web_search_result",
        url: "https://example.com",
        title: "Stones",
        encrypted_content: "YQ==",
        page_age: null
      }]
    },
    {
      type: "text",
      text: "There are many stones.",
      citations: [{
        type: "web_search_result_location",
        url: "https://example.com",
        title: "Stones",
        cited_text: "many",
        encrypted_index: "YQ=="
      }]
    },
    { type: "tool_use", name: "get_weather", input: { city: "Rome", days: 2 } }
  ]

  it.effect("of every kind are the same streamed as plain, for the SDK's events and for ours", () =>
    Effect.gen(function*() {
      const plain = yield* answer({ tools: [weather] })
      const stream = yield* events({ tools: [weather] })
      const bare = (blocks: ReadonlyArray<ContentBlock>) =>
        JSON.parse(JSON.stringify(blocks).replaceAll(/sim[0-9a-z]+/g, "sim"))
      assert.deepStrictEqual(bare(folded(stream)), bare(plain.content))
      const ours = yield* MessageStream.message(Stream.fromIterable(stream))
      assert.deepStrictEqual(bare(ours.content), bare(plain.content))
      assert.deepStrictEqual(plain.content.map(({ type }) => type), beyond.map(({ type }) => type))
    }).pipe(using({ answer: () => ({ content: beyond }) })))

  it.effect("bill searches at the price of the model", () =>
    Effect.gen(function*() {
      const text = { content: "x", outputTokens: 100 }
      const costOf = (content: Simulator.Answer) =>
        Effect.gen(function*() {
          yield* answer({})
          const { rows } = yield* Simulator.Simulator.use(({ bill }) => bill)
          return rows[0]!
        }).pipe(using({ answer: () => content }))
      const without = yield* costOf(text)
      const search = { type: "server_tool_use", name: "web_search", input: {} } as const
      const withSearches = yield* costOf({ content: [search, search], outputTokens: 100 })
      assert.strictEqual(withSearches.nanoUsd! - without.nanoUsd!, 20_000_000)
      assert.strictEqual(withSearches.webSearches, 2)
    }))
})
