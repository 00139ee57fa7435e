/** The examples of Effect's own documentation, unchanged but for where their providers come from; tool loops, and chats. */
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, type Layer, Layer as Layers, Ref, Schema, Stream } from "effect"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as Tools from "effect-claude/ClaudeLanguageModel/Tools"
import type * as ClaudeService from "effect-claude/ClaudeService"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { type AiError, Chat, LanguageModel, type Model, Prompt, Tool, Toolkit } from "effect/ai"
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { script } from "../fixtures/aiProviders.ts"
import { modelId } from "../utils/languageModel.ts"

const folder = fileURLToPath(new URL("../../.examples/ai-docs/", import.meta.url))
const docs = fileURLToPath(new URL("../../node_modules/effect/ai-docs/src/71_ai/", import.meta.url))

/** An example as a module, its providers replaced. */
const example = (name: string): Promise<Record<string, unknown>> => {
  mkdirSync(folder, { recursive: true })
  cpSync(`${docs}fixtures`, `${folder}fixtures`, { recursive: true })
  const text = readFileSync(`${docs}${name}.ts`, "utf8")
  writeFileSync(`${folder}${name}.ts`, text.replaceAll(/"@effect\/ai-\w+"/g, `"../../test/fixtures/aiProviders.ts"`))
  return import(`${folder}${name}.ts`)
}

/** A service of an example, with its layer. */
interface Service<Id, It> extends Context.Service<Id, It> {
  readonly layer: Layer.Layer<Id>
}

interface Writer {
  readonly draftAnnouncement: (product: string) => Effect.Effect<object>
  readonly extractLaunchPlan: (notes: string) => Effect.Effect<object>
  readonly streamReleaseHighlights: (version: string) => Stream.Stream<string>
}
type Assistant = Record<"chat" | "agent", (text: string) => Effect.Effect<string>>

const use = <It, A>(
  file: string,
  service: string,
  answers: ReadonlyArray<ClaudeTest.Answer>,
  run: (it: It) => Effect.Effect<A>
) =>
  Effect.gen(function*() {
    const module = yield* Effect.promise(() => example(file))
    const tag = module[service] as Service<unknown, It>
    script.answers = answers
    return yield* Effect.provide(Effect.flatMap(Effect.service(tag), run), tag.layer)
  })

const overloaded = Effect.fail(new ClaudeError.ServerError({ overloaded: true }))
const answered = (result: unknown) => JSON.stringify(result)

describe("Effect's own examples", () => {
  it.effect("LanguageModel and ExecutionPlan: the second model answers when the first one has failed three times", () =>
    Effect.gen(function*() {
      const draft = yield* use(
        "10_language-model",
        "AiWriter",
        [overloaded, overloaded, overloaded, "Effect Cloud is here."],
        (writer: Writer) => writer.draftAnnouncement("Effect Cloud")
      )
      assert.deepStrictEqual(draft, { provider: "anthropic", text: "Effect Cloud is here." })
      assert.lengthOf(yield* script.calls, 4)
    }))

  it.effect("LanguageModel: an object", () =>
    Effect.gen(function*() {
      const plan = { audience: "developers", channels: ["mail"], launchDate: "May", summary: "Soon.", keyRisks: [] }
      const value = yield* use("10_language-model", "AiWriter", [answered(plan)], (writer: Writer) =>
        writer.extractLaunchPlan("Soon."))
      assert.deepStrictEqual({ ...value } as typeof plan, plan)
    }))

  it.effect("LanguageModel: a stream", () =>
    Effect.gen(function*() {
      const pieces = yield* use(
        "10_language-model",
        "AiWriter",
        [ClaudeTest.text("- fast", "\n- safe")],
        (writer: Writer) => Stream.runCollect(writer.streamReleaseHighlights("4.1"))
      )
      assert.deepStrictEqual(pieces, ["- fast", "\n- safe"])
    }))

  it.effect("tools", () =>
    Effect.gen(function*() {
      const search = ClaudeTest.toolUse("SearchProducts", { query: "blue", maxResults: 1 })
      const answer = yield* use(
        "20_tools",
        "ProductAssistant",
        [{ content: ["One moment.", search] }],
        (assistant: { answer: (question: string) => Effect.Effect<object> }) =>
          assistant.answer("Do you have something blue?")
      )
      assert.deepStrictEqual(answer, { text: "One moment.", toolCallCount: 1 })
      const [call] = yield* script.calls
      assert.deepInclude(call?.request as object, { tool_choice: { type: "any" } })
    }))

  it.effect("Chat: turns, and a loop of tools", () =>
    Effect.gen(function*() {
      const texts = yield* use(
        "30_chat",
        "AiAssistant",
        ["Hello.", "Again.", ClaudeTest.toolUse("getCurrentTime", { id: "1" }, { id: "toolu_1" }), "It is midnight."],
        (assistant: Assistant) =>
          Effect.all([assistant.chat("Hi."), assistant.chat("And?"), assistant.agent("What time is it?")])
      )
      assert.deepStrictEqual(texts, ["Hello.", "Again.", "It is midnight."])
      const requests = (yield* script.calls).map(({ request }) =>
        request as { messages: ReadonlyArray<unknown>; system: unknown }
      )
      assert.deepStrictEqual(requests.map(({ messages }) => messages.length), [1, 3, 1, 3])
      assert.deepStrictEqual(requests[3]?.messages[2], {
        role: "user",
        content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "1970-01-01T00:00:00.000Z" }]
      })
    }))
})

describe("a loop of tools over the simulator", () => {
  const tools = Toolkit.make(
    Tool.make("add", { parameters: Schema.Struct({ a: Schema.Finite, b: Schema.Finite }), success: Schema.Finite }),
    Tool.make("fail", { success: Schema.String, failure: Schema.String, failureMode: "return" }),
    Tool.make("draw", { success: Schema.Struct({ png: Schema.String }) })
  )
  const runs: Array<string> = []
  const handlers = tools.toLayer({
    add: ({ a, b }) => Effect.sync(() => (runs.push("add"), a + b)),
    fail: () => Effect.andThen(Effect.sync(() => runs.push("fail")), Effect.fail("no luck")),
    draw: () => Effect.sync(() => (runs.push("draw"), { png: "iVBORw0KGgo=" }))
  })
  const answer: Simulator.Answerer = ({ messages }) => {
    const turn = messages.filter(({ role }) => role === "assistant").length
    return turn === 0
      ? {
        content: [
          { type: "thinking", thinking: "I need tools." },
          { type: "tool_use", name: "add", input: { a: 1, b: 2 } },
          { type: "tool_use", name: "fail", input: {} },
          { type: "tool_use", name: "draw", input: {} }
        ]
      }
      : "Three, and no luck."
  }
  const model = Layers.provideMerge(
    ClaudeLanguageModel.layer({ model: "claude-sonnet-5-5", maxTokens: 2_000 }),
    Simulator.layerClaude({ answer })
  )

  it.effect.each(["whole", "streamed"])(
    "answers each call once, and the history stays valid: %s",
    (way) =>
      Effect.gen(function*() {
        runs.length = 0
        const chat = yield* Chat.empty
        const options = { prompt: "What is one and two?" as Prompt.RawInput, toolkit: tools }
        const ask = (options: { readonly prompt: Prompt.RawInput; readonly toolkit: typeof tools }) =>
          way === "whole"
            ? Effect.asVoid(chat.generateText(options))
            : Stream.runDrain(chat.streamText(options))
        yield* ask(options)
        assert.deepStrictEqual(runs.sort(), ["add", "draw", "fail"])
        // The simulator refuses results without calls, and thinking whose turns were changed.
        yield* ask({ ...options, prompt: [] })
        const history = yield* Ref.get(chat.history)
        assert.deepStrictEqual(history.content.map(({ role }) => role), ["user", "assistant", "tool", "assistant"])
        assert.lengthOf((yield* (yield* Simulator.Simulator).bill).rows, 2)
      }).pipe(Effect.provide([model, handlers]))
  )

  it.effect("goes on where the server paused its turn", () =>
    Effect.gen(function*() {
      const chat = yield* Chat.empty
      const first = yield* chat.generateText({ prompt: "Search." })
      assert.strictEqual(first.finishReason, "pause")
      const second = yield* chat.generateText({ prompt: [] })
      assert.strictEqual(second.text, "Found.")
      assert.deepStrictEqual((yield* ClaudeTest.requests)[1]?.messages.map(({ role }) => role), ["user", "assistant"])
    }).pipe(Effect.provide(Layers.provideMerge(
      ClaudeLanguageModel.layer({ model: modelId, maxTokens: 500 }),
      ClaudeTest.layer({ content: ["Searching"], stopReason: "pause_turn" }, "Found.")
    ))))
})

describe("types", () => {
  it("of a layer: it needs ClaudeService alone, and takes the fields of the API", () => {
    const layer: Layer.Layer<LanguageModel.LanguageModel, never, ClaudeService.ClaudeService> = ClaudeLanguageModel
      .layer({
        model: modelId,
        maxTokens: 1,
        thinking: { type: "adaptive" },
        stop_sequences: ["END"] as const
      })
    // @ts-expect-error `maxTokens` is asked for
    ClaudeLanguageModel.layer({ model: modelId })
    // @ts-expect-error sampling parameters are no fields of the API any more
    ClaudeLanguageModel.layer({ model: modelId, maxTokens: 1, temperature: 0 })
    // @ts-expect-error the prompt says what is asked
    ClaudeLanguageModel.layer({ model: modelId, maxTokens: 1, messages: [] })
    assert.isDefined(layer)
  })

  it("of a model, in a plan", () => {
    const model: Model.Model<"anthropic", LanguageModel.LanguageModel, ClaudeService.ClaudeService> =
      ClaudeLanguageModel.model(
        modelId,
        { maxTokens: 1 }
      )
    assert.strictEqual(model.provider, "anthropic")
  })

  it("of the options of parts", () => {
    const marked = Prompt.textPart({
      text: "a",
      options: { anthropic: { cacheControl: { type: "ephemeral", ttl: "1h" } } }
    })
    assert.strictEqual(marked.options.anthropic?.cacheControl?.ttl, "1h")
    Prompt.makePart("file", {
      mediaType: "text/plain",
      data: "a",
      options: {
        anthropic: { citations: { enabled: true }, documentTitle: "A", documentContext: "B", fileId: "file_1" }
      }
    })
    // @ts-expect-error there is no such lifetime
    Prompt.makePart("text", { text: "a", options: { anthropic: { cacheControl: { type: "ephemeral", ttl: "2h" } } } })
    // @ts-expect-error a text has no title
    Prompt.makePart("text", { text: "a", options: { anthropic: { documentTitle: "A" } } })
  })

  it("of errors: an original is caught by its tag, and what is left is an AiError", () => {
    const failing: Effect.Effect<string, AiError.AiError> = Effect.succeed("a")
    const left: Effect.Effect<
      string,
      Exclude<AiError.AiError | ClaudeLanguageModel.CallFailure, { _tag: "BudgetExceededError" }>
    > = failing.pipe(
      Effect.mapError(ClaudeLanguageModel.original),
      Effect.catchTags({ BudgetExceededError: ({ limitNanoUsd }) => Effect.succeed(String(limitNanoUsd)) })
    )
    assert.isDefined(left)
  })

  it("of tools of the API: arguments, calls, results and handlers are narrow", () => {
    const toolkit = Toolkit.make(Tools.WebSearch_20250305({ max_uses: 1 }), Tools.Memory_20250818({}))
    // @ts-expect-error there is no such argument
    Tools.WebSearch_20250305({ maxUses: 1 })
    const asked = LanguageModel.generateText({ prompt: "a", toolkit, disableToolCallResolution: true })
    const ask = Effect.map(asked, ({ toolCalls, toolResults }) => {
      for (const call of toolCalls) {
        const name: "AnthropicWebSearch" | "AnthropicMemory" = call.name
        if (call.name === "AnthropicWebSearch") assert.isString(call.params.query)
        if (call.name === "AnthropicMemory" && call.params.command === "rename") assert.isString(call.params.old_path)
        assert.isString(name)
      }
      for (const result of toolResults) {
        if (result.name !== "AnthropicWebSearch" || result.isFailure) continue
        assert.isString(result.result[0]?.url)
      }
    })
    assert.isDefined(ask)
    toolkit.toLayer({ AnthropicMemory: (command) => Effect.succeed(command.command) })
    // @ts-expect-error memory needs a handler
    toolkit.toLayer({})
  })
})
