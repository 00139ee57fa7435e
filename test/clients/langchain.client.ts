/**
 * `@langchain/anthropic`, which brings an older SDK and the version of the API before.
 */
import { ChatAnthropic } from "@langchain/anthropic"
import { HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages"
import { tool } from "@langchain/core/tools"
import assert from "node:assert/strict"
import { describe, it, type TestContext } from "node:test"
import * as z from "zod/v4"
import { apiKey, breaks, longPrompt, pdf, png, refusals, serve, type Served } from "./serve.ts"

/** The type of an answer tells nothing of its usage, which is there. */
const usageOf = (answer: object) =>
  (answer as {
    readonly usage_metadata: {
      readonly input_tokens: number
      readonly input_token_details: { readonly cache_read: number }
    }
  }).usage_metadata

const prompt = "How many stones are there?"

const connect = async (test: TestContext, model = "claude-sonnet-5-5", more: object = {}) => {
  const served: Served = await serve(test)
  const chat = new ChatAnthropic({
    model,
    apiKey,
    anthropicApiUrl: served.url,
    maxRetries: 0,
    maxTokens: 1_000,
    ...more
  })
  return { ...served, chat }
}

const weather = tool(() => "Rain.", {
  name: "get_weather",
  description: "The weather of a city",
  schema: z.object({ city: z.string(), days: z.number().int().min(1).max(7) })
})

describe("@langchain/anthropic", () => {
  it("plain", async (test) => {
    const { chat } = await connect(test)
    const answer = await chat.invoke(prompt)
    assert.match(answer.text, /stones/)
    assert.ok(usageOf(answer).input_tokens > 5)
  })

  it("streamed", async (test) => {
    const { chat } = await connect(test)
    let text = ""
    for await (const chunk of await chat.stream(prompt)) text += chunk.text
    assert.match(text, /stones/)
  })

  it("tools in several steps", async (test) => {
    const { chat } = await connect(test)
    const bound = chat.bindTools([weather])
    const question = new HumanMessage(prompt)
    const asked = await bound.invoke([question])
    const [call] = asked.tool_calls!
    assert.equal(call!.name, "get_weather")
    assert.ok(call!.args["days"] >= 1 && call!.args["days"] <= 7)
    const answer = await bound.invoke([question, asked, new ToolMessage({ content: "Rain.", tool_call_id: call!.id! })])
    assert.notEqual(answer.text, "")
    assert.equal(answer.tool_calls?.length ?? 0, 0)
  })

  for (
    const [model, method] of [["claude-sonnet-4-6", "functionCalling"], ["claude-sonnet-5-5", "jsonSchema"]] as const
  ) {
    it(`objects by ${method}`, async (test) => {
      const { chat } = await connect(test, model)
      const shape = z.object({ title: z.string(), pages: z.number().int() })
      const object = await chat.withStructuredOutput(shape, { method }).invoke(prompt)
      assert.ok(Number.isInteger(object.pages))
    })
  }

  it("image and PDF", async (test) => {
    const { chat } = await connect(test)
    const answer = await chat.invoke([
      new HumanMessage({
        content: [
          { type: "image", source: { type: "base64", media_type: "image/png", data: png } },
          { type: "document", source: { type: "base64", media_type: "application/pdf", data: pdf } },
          { type: "text", text: prompt }
        ]
      })
    ])
    assert.notEqual(answer.text, "")
  })

  it("thinking", async (test) => {
    const { chat } = await connect(test, "claude-opus-5-5", { thinking: { type: "adaptive" } })
    const question = new HumanMessage(prompt)
    const first = await chat.invoke([question])
    const second = await chat.invoke([question, first, new HumanMessage("And now?")])
    for (const { content } of [first, second]) {
      assert.equal((content as ReadonlyArray<{ readonly type: string }>)[0]?.type, "thinking")
    }
  })

  it("caching", async (test) => {
    const { chat } = await connect(test)
    const system = new SystemMessage({
      content: [{ type: "text", text: longPrompt, cache_control: { type: "ephemeral" } }]
    })
    await chat.invoke([system, new HumanMessage(prompt)])
    const again = await chat.invoke([system, new HumanMessage(prompt)])
    assert.ok(usageOf(again).input_token_details.cache_read > 1_000)
  })

  for (const { fault, name, status } of refusals) {
    it(name, async (test) => {
      const { chat, script } = await connect(test)
      script(fault)
      await assert.rejects(chat.invoke(prompt), (error: { readonly status?: number }) => error.status === status)
      assert.match((await chat.invoke(prompt)).text, /stones/)
    })
  }

  for (const { fault, name } of breaks) {
    it(name, async (test) => {
      const { chat, script } = await connect(test)
      script(fault)
      const read = async () => {
        let last: unknown
        for await (const chunk of await chat.stream(prompt)) last = chunk.response_metadata["stop_reason"] ?? last
        return last
      }
      // the SDK ends a truncated stream silently; what tells is the missing stop reason
      assert.notEqual(await read().then((reason) => reason, () => "failed"), "end_turn")
      assert.match((await chat.invoke(prompt)).text, /stones/)
    })
  }
})
