/** Every kind of block of an answer, as parts, and back again as the same block. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as Tools from "effect-claude/ClaudeLanguageModel/Tools"
import * as ClaudeService from "effect-claude/ClaudeService"
import type * as Request from "effect-claude/Request"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { type AiError, LanguageModel, Prompt, type Response, Tool, Toolkit } from "effect/ai"
import { type Asked, type Block, kit, modelId, plain, streamed, ways, whole } from "../utils/languageModel.ts"

const Now = Tool.make("now", {
  parameters: Schema.Struct({ zone: Schema.optionalKey(Schema.String) }),
  success: Schema.String
})
const Ping = Tool.make("ping")
const server = Tools.mcpServer({ name: "issues", url: "https://mcp.example.com" })
const toolkit = kit(
  Now,
  Ping,
  server,
  Tools.WebSearch_20250305({}),
  Tools.WebFetch_20250910({}),
  Tools.CodeExecution_20250825({}),
  Tools.ToolSearchBM25_20251119({}),
  Tools.Memory_20250818({})
)

const direct = { caller: { type: "direct" } }
const cited = { cited_text: "blue", document_index: 0, document_title: null, file_id: null }
const found = {
  type: "web_search_result",
  url: "https://example.com/a",
  title: "A",
  page_age: "1 day",
  encrypted_content: "x"
}
const text = (text: string): Block => ({ type: "text", text })
const kept = (block: object) => ({ metadata: { anthropic: { block } } })

const search = { type: "server_tool_use", id: "srv_1", name: "web_search", input: { query: "sky" }, ...direct }
const searched = { type: "web_search_tool_result", tool_use_id: "srv_1", content: [found], ...direct }
const notSearched = { ...searched, content: { type: "web_search_tool_result_error", error_code: "unavailable" } }
const fetchPage = {
  type: "server_tool_use",
  id: "srv_2",
  name: "web_fetch",
  input: { url: "https://example.com" },
  ...direct
}
const page = {
  type: "web_fetch_tool_result",
  tool_use_id: "srv_2",
  content: {
    type: "web_fetch_result",
    url: "https://example.com",
    retrieved_at: null,
    content: {
      type: "document",
      title: "Home",
      citations: null,
      source: { type: "text", media_type: "text/plain", data: "Hi" }
    }
  },
  ...direct
}
const bash = { type: "server_tool_use", id: "srv_3", name: "bash_code_execution", input: { command: "ls" }, ...direct }
const ran = {
  type: "bash_code_execution_tool_result",
  tool_use_id: "srv_3",
  content: { type: "bash_code_execution_result", content: [], stdout: "a", stderr: "", return_code: 0 }
}
const edit = {
  type: "server_tool_use",
  id: "srv_4",
  name: "text_editor_code_execution",
  input: { command: "view", path: "/a" },
  ...direct
}
const notEdited = {
  type: "text_editor_code_execution_tool_result",
  tool_use_id: "srv_4",
  content: { type: "text_editor_code_execution_tool_result_error", error_code: "unavailable", error_message: null }
}
const find = {
  type: "server_tool_use",
  id: "srv_5",
  name: "tool_search_tool_bm25",
  input: { query: "clock" },
  ...direct
}
const references = [{ type: "tool_reference", tool_name: "now" }]
const foundTools = {
  type: "tool_search_tool_result",
  tool_use_id: "srv_5",
  content: { type: "tool_search_tool_search_result", tool_references: references }
}
const mcp = { type: "mcp_tool_use", id: "mcp_1", name: "list", server_name: "issues", input: { open: true } }
const listed = {
  type: "mcp_tool_result",
  tool_use_id: "mcp_1",
  is_error: false,
  content: [{ type: "text", text: "14" }]
}
const other = { type: "mcp_tool_use", id: "mcp_2", name: "list", server_name: "unknown", input: {} }
const upload = { type: "container_upload", file_id: "file_1" }
const source = { type: "source", id: "ID" }
const call = (id: string, name: string, params: unknown, block: object) => ({
  type: "tool-call",
  id,
  name,
  params,
  providerExecuted: true,
  ...kept(block)
})
const result = (id: string, name: string, result: unknown, block: object, isFailure = false) => ({
  type: "tool-result",
  id,
  name,
  isFailure,
  result,
  encodedResult: result,
  providerExecuted: true,
  preliminary: false,
  ...kept(block)
})
const document = (anthropic: object, more: object = {}) => ({
  ...source,
  sourceType: "document",
  mediaType: "text/plain",
  title: "colours.txt",
  fileName: "colours.txt",
  metadata: { anthropic: { source: "document", citedText: "blue", ...anthropic } },
  ...more
})

interface Case {
  readonly content: ReadonlyArray<Block>
  readonly parts: ReadonlyArray<object>
  /** The types of a stream's parts, pieces of text and input taken as one. */
  readonly order: string
}

const citing = (
  citation: object
): ReadonlyArray<Block> => [{ type: "text", text: "It is blue.", citations: [citation] }]

const cases: Readonly<Record<string, Case>> = {
  "a text": { content: [text("Hi.")], parts: [text("Hi.")], order: "text-start text-delta text-end" },
  "two texts": {
    content: [text("Hi."), text("Bye.")],
    parts: [text("Hi."), text("Bye.")],
    order: "text-start text-delta text-end text-start text-delta text-end"
  },
  "thinking, signed": {
    content: [{ type: "thinking", thinking: "Hm.", signature: "s" }, text("Hi.")],
    parts: [
      { type: "reasoning", text: "Hm.", metadata: { anthropic: { type: "thinking", signature: "s" } } },
      text("Hi.")
    ],
    order: "reasoning-start reasoning-delta reasoning-end text-start text-delta text-end"
  },
  "redacted thinking": {
    content: [{ type: "redacted_thinking", data: "xyz" }, text("Hi.")],
    parts: [
      { type: "reasoning", text: "", metadata: { anthropic: { type: "redacted_thinking", redactedData: "xyz" } } },
      text("Hi.")
    ],
    order: "reasoning-start reasoning-end text-start text-delta text-end"
  },
  "a tool call": {
    content: [{ type: "tool_use", id: "toolu_1", name: "now", input: { zone: "UTC" }, ...direct }],
    parts: [{
      type: "tool-call",
      id: "toolu_1",
      name: "now",
      params: { zone: "UTC" },
      providerExecuted: false,
      metadata: { anthropic: direct }
    }],
    order: "tool-params-start tool-params-delta tool-params-end tool-call"
  },
  "a tool call without input": {
    content: [{ type: "tool_use", id: "toolu_1", name: "ping", input: {}, ...direct }],
    parts: [{
      type: "tool-call",
      id: "toolu_1",
      name: "ping",
      params: {},
      providerExecuted: false,
      metadata: { anthropic: direct }
    }],
    order: "tool-params-start tool-params-delta tool-params-end tool-call"
  },
  "a call of a tool that the API defines and we run": {
    content: [{
      type: "tool_use",
      id: "toolu_1",
      name: "memory",
      input: { command: "view", path: "/memories" },
      ...direct
    }],
    parts: [{
      type: "tool-call",
      id: "toolu_1",
      name: "AnthropicMemory",
      params: { command: "view", path: "/memories" },
      providerExecuted: false,
      metadata: { anthropic: direct }
    }],
    order: "tool-params-start tool-params-delta tool-params-end tool-call"
  },
  "a search and what it found": {
    content: [search, searched, text("Blue.")],
    parts: [
      call("srv_1", "AnthropicWebSearch", { query: "sky" }, search),
      result("srv_1", "AnthropicWebSearch", [found], searched),
      {
        ...source,
        sourceType: "url",
        url: "https://example.com/a",
        title: "A",
        metadata: { anthropic: { source: "web", pageAge: "1 day" } }
      },
      text("Blue.")
    ],
    order:
      "tool-params-start tool-params-delta tool-params-end tool-call tool-result source text-start text-delta text-end"
  },
  "a search that failed": {
    content: [search, notSearched, text("Sorry.")],
    parts: [
      call("srv_1", "AnthropicWebSearch", { query: "sky" }, search),
      result("srv_1", "AnthropicWebSearch", notSearched.content, notSearched, true),
      text("Sorry.")
    ],
    order: "tool-params-start tool-params-delta tool-params-end tool-call tool-result text-start text-delta text-end"
  },
  "a page and a citation of it": {
    content: [
      fetchPage,
      page,
      ...citing({ ...cited, document_index: 1, type: "char_location", start_char_index: 0, end_char_index: 2 })
    ],
    parts: [
      call("srv_2", "AnthropicWebFetch", { url: "https://example.com" }, fetchPage),
      result("srv_2", "AnthropicWebFetch", page.content, page),
      text("It is blue."),
      {
        ...source,
        sourceType: "document",
        mediaType: "text/plain",
        title: "Home",
        metadata: {
          anthropic: {
            source: "document",
            type: "char_location",
            citedText: "blue",
            startCharIndex: 0,
            endCharIndex: 2
          }
        }
      }
    ],
    order:
      "tool-params-start tool-params-delta tool-params-end tool-call tool-result text-start text-delta source text-end"
  },
  "commands in a container": {
    content: [bash, ran, edit, notEdited, text("Done.")],
    parts: [
      call("srv_3", "AnthropicCodeExecution", { command: "ls" }, bash),
      result("srv_3", "AnthropicCodeExecution", ran.content, ran),
      call("srv_4", "AnthropicCodeExecution", { command: "view", path: "/a" }, edit),
      result("srv_4", "AnthropicCodeExecution", notEdited.content, notEdited, true),
      text("Done.")
    ],
    order:
      "tool-params-start tool-params-delta tool-params-end tool-call tool-result tool-params-start tool-params-delta " +
      "tool-params-end tool-call tool-result text-start text-delta text-end"
  },
  "a search for tools": {
    content: [find, foundTools, text("Found.")],
    parts: [
      call("srv_5", "AnthropicToolSearchBM25", { query: "clock" }, find),
      result("srv_5", "AnthropicToolSearchBM25", references, foundTools),
      text("Found.")
    ],
    order: "tool-params-start tool-params-delta tool-params-end tool-call tool-result text-start text-delta text-end"
  },
  "a block that has no part": {
    content: [upload, text("Hi.")],
    parts: [{ type: "reasoning", text: "", metadata: { anthropic: { type: "block", block: upload } } }, text("Hi.")],
    order: "reasoning-start reasoning-end text-start text-delta text-end"
  },
  "a citation of characters": {
    content: citing({ ...cited, type: "char_location", start_char_index: 4, end_char_index: 8 }),
    parts: [text("It is blue."), document({ type: "char_location", startCharIndex: 4, endCharIndex: 8 })],
    order: "text-start text-delta source text-end"
  },
  "a citation of pages": {
    content: citing({
      ...cited,
      document_title: "Colours",
      type: "page_location",
      start_page_number: 1,
      end_page_number: 2
    }),
    parts: [
      text("It is blue."),
      document({ type: "page_location", startPageNumber: 1, endPageNumber: 2 }, { title: "Colours" })
    ],
    order: "text-start text-delta source text-end"
  },
  "a citation of blocks": {
    content: citing({ ...cited, type: "content_block_location", start_block_index: 0, end_block_index: 1 }),
    parts: [text("It is blue."), document({ type: "content_block_location", startBlockIndex: 0, endBlockIndex: 1 })],
    order: "text-start text-delta source text-end"
  },
  "a citation of a page of the web": {
    content: citing({
      type: "web_search_result_location",
      cited_text: "blue",
      url: "https://example.com/a",
      title: null,
      encrypted_index: "e"
    }),
    parts: [text("It is blue."), {
      ...source,
      sourceType: "url",
      url: "https://example.com/a",
      title: "https://example.com/a",
      metadata: { anthropic: { source: "url", citedText: "blue", encryptedIndex: "e" } }
    }],
    order: "text-start text-delta source text-end"
  },
  "a citation of a search result": {
    content: citing({
      type: "search_result_location",
      cited_text: "blue",
      source: "shelf 4",
      title: "Shelf",
      search_result_index: 0,
      start_block_index: 0,
      end_block_index: 1
    }),
    parts: [text("It is blue."), {
      ...source,
      sourceType: "document",
      mediaType: "text/plain",
      title: "Shelf",
      metadata: {
        anthropic: {
          source: "document",
          type: "search_result_location",
          citedText: "blue",
          startBlockIndex: 0,
          endBlockIndex: 1
        }
      }
    }],
    order: "text-start text-delta source text-end"
  },
  "no citation of a kind that is not known": {
    content: citing({ type: "rumour_location", cited_text: "blue" }),
    parts: [text("It is blue.")],
    order: "text-start text-delta text-end"
  }
}

/** Blocks that the simulator does not answer with. */
const scripted: Readonly<Record<string, Case>> = {
  "a call of an MCP server": {
    content: [mcp, listed, text("One.")],
    parts: [
      call("mcp_1", "issues", { tool: "list", input: { open: true } }, mcp),
      result("mcp_1", "issues", listed.content, listed),
      text("One.")
    ],
    order: "tool-params-start tool-params-delta tool-params-end tool-call tool-result text-start text-delta text-end"
  },
  "a call of an MCP server that failed": {
    content: [mcp, { ...listed, is_error: true }, text("None.")],
    parts: [
      call("mcp_1", "issues", { tool: "list", input: { open: true } }, mcp),
      result("mcp_1", "issues", listed.content, { ...listed, is_error: true }, true),
      text("None.")
    ],
    order: "tool-params-start tool-params-delta tool-params-end tool-call tool-result text-start text-delta text-end"
  },
  "a call of a server that the toolkit does not have": {
    content: [other, { ...listed, tool_use_id: "mcp_2" }, text("One.")],
    parts: [
      { type: "reasoning", text: "", metadata: { anthropic: { type: "block", block: other } } },
      {
        type: "reasoning",
        text: "",
        metadata: { anthropic: { type: "block", block: { ...listed, tool_use_id: "mcp_2" } } }
      },
      text("One.")
    ],
    order: "reasoning-start reasoning-end reasoning-start reasoning-end text-start text-delta text-end"
  },
  "a block of a type to come": {
    content: [{ type: "compaction", content: "Before." }, text("Hi.")],
    parts: [
      {
        type: "reasoning",
        text: "",
        metadata: { anthropic: { type: "block", block: { type: "compaction", content: "Before." } } }
      },
      text("Hi.")
    ],
    order: "reasoning-start reasoning-end text-start text-delta text-end"
  }
}

const prompt: Prompt.RawInput = [{
  role: "user",
  content: [
    {
      type: "file",
      mediaType: "text/plain",
      fileName: "colours.txt",
      data: new TextEncoder().encode("The sky is blue.")
    },
    { type: "text", text: "What colour?" }
  ]
}]

/** Without the two parts that every answer has, ids of sources as one, and citations of texts apart. */
const contentOf = (parts: ReadonlyArray<Block>): ReadonlyArray<Block> =>
  parts.filter(({ type }) => type !== "response-metadata" && type !== "finish").map((part) => {
    const { metadata, ...fields } = plain(part)
    if (part.type === "text") return fields as Block
    return (part.type === "source" ? { ...fields, id: "ID", metadata } : plain(part)) as Block
  })

/** A stream's parts as those of a whole answer; sources come after the text that cites. */
const joined = (parts: ReadonlyArray<Block>): ReadonlyArray<Block> => {
  const open = new Map<unknown, Record<string, unknown>>()
  const all: Array<Block> = []
  for (const part of parts) {
    const [kind, step] = /^(text|reasoning)-(.*)$/.exec(part.type)?.slice(1) ?? []
    if (step === "start") {
      const whole = { type: kind!, text: "", metadata: part["metadata"] }
      open.set(part["id"], whole)
      all.push(whole)
    } else if (step === "delta") open.get(part["id"])!["text"] += String(part["delta"])
    else if (step === "end") {
      const whole = open.get(part["id"])!
      whole["metadata"] = { ...(whole["metadata"] as object), ...(part["metadata"] as object) }
    } else if (!part.type.startsWith("tool-params")) all.push(part)
  }
  return all
}

const orderOf = (parts: ReadonlyArray<Block>): string =>
  parts.map(({ type }) => type).filter((type) => type !== "response-metadata" && type !== "finish")
    .filter((type, index, types) => !(type.endsWith("-delta") && type === types[index - 1])).join(" ")

type Ask = (asked: Asked) => Effect.Effect<ReadonlyArray<Block>, unknown, LanguageModel.LanguageModel>

/** Asks once more with the answer as history: the first parts, and the assistant's turn of the second request. */
const twice = (claude: Layer.Layer<ClaudeService.ClaudeService>, ask: Ask) => {
  let last: Request.Request | undefined
  const recording = Effect.map(ClaudeService.ClaudeService, (claude) => ({
    ...claude,
    createWithReport: (request: Request.Request) => claude.createWithReport(last = request),
    streamWithReport: <R>(
      request: Request.Request,
      onEnd: (report: ClaudeService.StreamReport) => Effect.Effect<void, never, R>
    ) => claude.streamWithReport(last = request, onEnd)
  }))
  const model = ClaudeLanguageModel.layer({ model: modelId, maxTokens: 4_000 }).pipe(
    Layer.provide(Layer.effect(ClaudeService.ClaudeService, recording)),
    Layer.provide(claude)
  )
  return Effect.gen(function*() {
    const parts = yield* ask({ prompt, toolkit })
    const answered = Prompt.concat(Prompt.make(prompt), Prompt.fromResponseParts(parts as never))
    const history = Prompt.concat(answered, Prompt.make("And then?"))
    // What is stored and read again is the same.
    const stored = JSON.parse(JSON.stringify(Schema.encodeSync(Prompt.Prompt)(history)))
    yield* Effect.exit(ask({ prompt: Schema.decodeUnknownSync(Prompt.Prompt)(stored), toolkit }))
    const turn = last?.messages.find(({ role }) => role === "assistant")
    return [parts, JSON.parse(JSON.stringify(turn?.content)) as ReadonlyArray<Block>] as const
  }).pipe(Effect.provide(model))
}

const check = (name: string, { content, order, parts }: Case, claude: Layer.Layer<ClaudeService.ClaudeService>) => {
  it.effect(`has ${name}`, () =>
    Effect.gen(function*() {
      const [got] = yield* twice(claude, whole)
      assert.deepStrictEqual(contentOf(got), parts as ReadonlyArray<Block>)
      assert.strictEqual(got[0]?.type, "response-metadata")
      assert.strictEqual(got.at(-1)?.type, "finish")
    }))

  it.effect(`streams ${name}`, () =>
    Effect.gen(function*() {
      const [got] = yield* twice(claude, streamed)
      assert.strictEqual(orderOf(got), order)
      assert.deepStrictEqual(contentOf(joined(got)), parts as ReadonlyArray<Block>)
      assert.strictEqual(got[0]?.type, "response-metadata")
      assert.strictEqual(got.at(-1)?.type, "finish")
      for (const start of got.filter(({ type }) => type === "tool-params-start")) {
        const deltas = got.filter(({ id, type }) => id === start["id"] && type === "tool-params-delta")
        const input = deltas.map(({ delta }) => delta).join("") || "{}"
        assert.deepStrictEqual(JSON.parse(input), content.find(({ id }) => id === start["id"])?.["input"])
      }
    }))

  it.effect.each(Object.entries({ whole, streamed }))(
    `sends ${name} back as it was, %s`,
    ([, ask]) =>
      Effect.gen(function*() {
        const [, again] = yield* twice(claude, ask)
        assert.deepStrictEqual(again, content)
      })
  )
}

describe("an answer of the simulator", () => {
  for (const [name, one] of Object.entries(cases)) {
    const content = one.content as unknown as ReadonlyArray<Simulator.AnswerBlock>
    check(name, one, Simulator.layerClaude({ answer: () => ({ content }) }))
  }
})

describe("an answer of a script", () => {
  for (const [name, one] of Object.entries(scripted)) {
    const content = one.content.map((block) =>
      block.type === "text" ? String(block["text"]) : ClaudeTest.block(block as never)
    )
    check(name, one, ClaudeTest.layer(ClaudeTest.forever({ content })))
  }
})

const ends = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  model_context_window_exceeded: "length",
  pause_turn: "pause",
  refusal: "content-filter",
  something_new: "other"
} as const

describe.each(Object.entries(ways))("the end of an answer, %s", (_way, ask) => {
  const answered = (reply: ClaudeTest.Answer, asked: Asked = {}) =>
    Effect.provide(
      ask(asked),
      Layer.provide(ClaudeLanguageModel.layer({ model: modelId, maxTokens: 4_000 }), ClaudeTest.layer(reply))
    )

  it.effect.each(Object.entries(ends))("is, for %s, %s", ([stopReason, reason]) =>
    Effect.gen(function*() {
      const parts = yield* answered({ content: ["Hi."], stopReason: stopReason as "end_turn" })
      const { metadata, reason: given } = plain(parts.at(-1)!)
      assert.strictEqual(given, reason)
      assert.strictEqual((metadata as { anthropic: { stopReason: string } }).anthropic.stopReason, stopReason)
    }))

  it.effect("says which tools are to be called", () =>
    Effect.gen(function*() {
      const parts = yield* answered(ClaudeTest.toolUse("ping", {}), { toolkit })
      assert.strictEqual(parts.at(-1)?.["reason"], "tool-calls")
    }))

  it.effect("has all tokens, those of caches and of thought among them", () =>
    Effect.gen(function*() {
      const parts = yield* answered({
        content: ["Hi."],
        usage: {
          input_tokens: 10,
          cache_read_input_tokens: 200,
          cache_creation_input_tokens: 30,
          output_tokens: 50,
          output_tokens_details: { thinking_tokens: 40 }
        }
      })
      assert.deepStrictEqual(plain(parts.at(-1)!)["usage"] as unknown, {
        inputTokens: { uncached: 10, total: 240, cacheRead: 200, cacheWrite: 30 },
        outputTokens: { total: 50, text: 10, reasoning: 40 }
      })
    }))

  it.effect("has what the call took", () =>
    Effect.gen(function*() {
      const parts = yield* answered("Hi.")
      const { anthropic } = plain(parts.at(-1)!)["metadata"] as { anthropic: Record<string, unknown> }
      assert.deepInclude(anthropic, { attempts: 1, requestId: "req_test_1", model: modelId })
      assert.isAbove(anthropic["costNanoUsd"] as number, 0)
      if (ask === streamed) assert.strictEqual(anthropic["timeToFirstChunkMillis"], 0)
    }))

  it.effect("comes after what says who answered", () =>
    Effect.gen(function*() {
      const parts = yield* answered({ content: ["Hi."], model: "claude-sonnet-4-6-of-theirs" })
      const { id, modelId, timestamp, type } = plain(parts[0]!)
      assert.deepStrictEqual({ id, modelId, timestamp, type }, {
        type: "response-metadata",
        id: "msg_test_1",
        modelId: "claude-sonnet-4-6-of-theirs",
        timestamp: "1970-01-01T00:00:00.000Z"
      })
    }))

  it.effect("a call of a tool that the toolkit lacks is an error, unless somebody else checks calls", () =>
    Effect.gen(function*() {
      const call = ClaudeTest.toolUse("fly", { to: "the moon" }, { id: "toolu_1" })
      const error = (yield* Effect.flip(answered(call, { toolkit: kit(Now) }))) as AiError.AiError
      assert.deepInclude(error.reason, { _tag: "ToolNotFoundError", toolName: "fly", availableTools: ["now"] })
      for (const asked of [{ toolkit: kit(Now) }, {}]) {
        const parts = yield* answered(call, { ...asked, toolCallValidation: "deferred" })
        assert.deepInclude(plain(parts.find(({ type }) => type === "tool-call")!), {
          name: "fly",
          params: { to: "the moon" }
        })
      }
    }))
})

describe("input that was cut", () => {
  const cut = {
    content: [ClaudeTest.toolUse("now", {}, { id: "toolu_1", pieces: ["{\"zone\"", ": \"U"] })],
    stopReason: "max_tokens" as const
  }
  const claude = Layer.provide(ClaudeLanguageModel.layer({ model: modelId, maxTokens: 100 }), ClaudeTest.layer(cut))

  it.effect("runs no handler, and is answered as interrupted", () =>
    Effect.gen(function*() {
      let runs = 0
      const own = Toolkit.make(Now)
      const handlers = own.toLayer({ now: () => Effect.sync(() => String(++runs)) })
      const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Hi.", toolkit: own })).pipe(
        Effect.provide(handlers)
      )
      assert.strictEqual(runs, 0)
      const called = parts.find((part): part is Response.ToolCallPart<"now", unknown> => part.type === "tool-call")
      assert.strictEqual(called?.params, "{\"zone\": \"U")
      assert.isTrue(parts.some((part) => part.type === "tool-result" && part.isFailure))
    }).pipe(Effect.provide(claude)))
})
