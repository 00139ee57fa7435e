/**
 * `ai` with `@ai-sdk/anthropic`.
 */
import { createAnthropic } from "@ai-sdk/anthropic"
import { APICallError, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai"
import assert from "node:assert/strict"
import { describe, it, type TestContext } from "node:test"
import * as z from "zod/v4"
import { apiKey, breaks, longPrompt, pdf, png, refusals, serve, type Served } from "./serve.ts"

const prompt = "How many stones are there?"
const quiet = { onError: () => {} }

const connect = async (test: TestContext) => {
  const served: Served = await serve(test)
  const anthropic = createAnthropic({ apiKey, baseURL: `${served.url}/v1` })
  return { ...served, anthropic, model: anthropic("claude-sonnet-5-5"), maxRetries: 0 }
}

const weather = (calls: Array<unknown>) => ({
  get_weather: tool({
    description: "The weather of a city",
    inputSchema: z.object({ city: z.string().min(2), days: z.number().int().min(1).max(7) }),
    execute: (input) => {
      calls.push(input)
      return "Rain."
    }
  })
})

const book = z.object({
  title: z.string().min(3).max(40),
  pages: z.number().int().min(10).max(20),
  tags: z.array(z.enum(["fiction", "poetry"])).min(2).max(3)
})

describe("ai with @ai-sdk/anthropic", () => {
  it("generateText", async (test) => {
    const { maxRetries, model } = await connect(test)
    const { finishReason, text, usage } = await generateText({ model, maxRetries, prompt, system: "Be short." })
    assert.equal(finishReason, "stop")
    assert.match(text, /stones/)
    assert.ok(usage.inputTokens! > 5 && usage.outputTokens! > 5)
  })

  it("streamText", async (test) => {
    const { maxRetries, model } = await connect(test)
    const result = streamText({ model, maxRetries, prompt })
    let text = ""
    for await (const delta of result.textStream) text += delta
    assert.match(text, /stones/)
    assert.equal(await result.finishReason, "stop")
  })

  it("generateText and streamText with tools in several steps", async (test) => {
    const { maxRetries, model } = await connect(test)
    const calls: Array<unknown> = []
    const options = { model, maxRetries, prompt, tools: weather(calls), stopWhen: stepCountIs(5) }
    const generated = await generateText(options)
    assert.equal(generated.steps.length, 2)
    assert.notEqual(generated.text, "")
    const streamed = streamText(options)
    await streamed.consumeStream()
    assert.equal((await streamed.steps).length, 2)
    assert.notEqual(await streamed.text, "")
    assert.equal(calls.length, 2)
  })

  for (const id of ["claude-sonnet-5-5", "claude-sonnet-4-6", "claude-haiku-4-5"]) {
    it(`generateObject and streamObject of ${id}`, async (test) => {
      const { anthropic, maxRetries } = await connect(test)
      const options = { model: anthropic(id), maxRetries, prompt, schema: book }
      const { object } = await generateObject(options)
      assert.ok(object.pages >= 10)
      const streamed = streamObject({ ...options, ...quiet })
      for await (const part of streamed.partialObjectStream) assert.ok(typeof part === "object")
      assert.deepEqual(await streamed.object, object)
    })
  }

  it("generateObject by a forced tool", async (test) => {
    const { anthropic, maxRetries } = await connect(test)
    const { object } = await generateObject({
      model: anthropic("claude-sonnet-4-6"),
      maxRetries,
      prompt,
      schema: book,
      providerOptions: { anthropic: { structuredOutputMode: "jsonTool" } }
    })
    assert.ok(object.pages >= 10)
  })

  it("image and PDF", async (test) => {
    const { maxRetries, model } = await connect(test)
    const { finishReason } = await generateText({
      model,
      maxRetries,
      messages: [{
        role: "user",
        content: [
          { type: "image", image: Buffer.from(png, "base64"), mediaType: "image/png" },
          {
            type: "file",
            data: Buffer.from(pdf, "base64"),
            mediaType: "application/pdf",
            providerOptions: { anthropic: { citations: { enabled: true } } }
          },
          { type: "text", text: prompt }
        ]
      }]
    })
    assert.equal(finishReason, "stop")
  })

  it("thinking, with tools in several steps", async (test) => {
    const { maxRetries, model } = await connect(test)
    const { steps } = await generateText({
      model,
      maxRetries,
      prompt,
      tools: weather([]),
      stopWhen: stepCountIs(5),
      providerOptions: { anthropic: { thinking: { type: "adaptive" } } }
    })
    assert.equal(steps.length, 2)
    assert.notEqual(steps[0]!.reasoningText, undefined)
  })

  it("caching", async (test) => {
    const { maxRetries, model } = await connect(test)
    const messages = [
      {
        role: "system" as const,
        content: longPrompt,
        providerOptions: { anthropic: { cacheControl: { type: "ephemeral" } } }
      },
      { role: "user" as const, content: prompt }
    ]
    await generateText({ model, maxRetries, messages })
    const { usage } = await generateText({ model, maxRetries, messages })
    assert.ok(usage.inputTokenDetails.cacheReadTokens! > 1_000)
  })

  for (const { fault, name, status } of refusals) {
    it(name, async (test) => {
      const { maxRetries, model, script } = await connect(test)
      script(fault, fault)
      const isRight = (error: unknown) => APICallError.isInstance(error) && error.statusCode === status
      await assert.rejects(generateText({ model, maxRetries, prompt }), isRight)
      await assert.rejects(async () => streamText({ model, maxRetries, prompt, ...quiet }).text)
      assert.equal((await generateText({ model, maxRetries, prompt })).finishReason, "stop")
    })
  }

  for (const { fault, name } of breaks) {
    it(name, async (test) => {
      const { maxRetries, model, script } = await connect(test)
      script(fault)
      const result = streamText({ model, maxRetries, prompt, ...quiet })
      const finished = await result.finishReason.then((reason) => reason, () => "failed")
      assert.notEqual(finished, "stop")
      assert.equal((await generateText({ model, maxRetries, prompt })).finishReason, "stop")
    })
  }
})
