/**
 * The vendor's SDK.
 */
import Anthropic, { AnthropicError, APIError, NotFoundError, toFile } from "@anthropic-ai/sdk"
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod"
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod"
import assert from "node:assert/strict"
import { describe, it, type TestContext } from "node:test"
import * as z from "zod/v4"
import { apiKey, breaks, longPrompt, pdf, png, refusals, serve, type Served } from "./serve.ts"

const model = "claude-opus-5-5"
const ask = { model, max_tokens: 1_000, messages: [{ role: "user" as const, content: "How many stones are there?" }] }

const connect = async (test: TestContext): Promise<Served & { readonly client: Anthropic }> => {
  const served = await serve(test)
  return { ...served, client: new Anthropic({ apiKey, baseURL: served.url, maxRetries: 0, logLevel: "off" }) }
}

const textOf = (message: { readonly content: ReadonlyArray<{ readonly type: string }> }): string =>
  message.content.flatMap((block) => "text" in block ? [String(block.text)] : []).join("")

const weather = (calls: Array<unknown>) =>
  betaZodTool({
    name: "get_weather",
    description: "The weather of a city",
    inputSchema: z.object({ city: z.string().min(2), days: z.number().int().min(1).max(7), unit: z.enum(["C", "F"]) }),
    run: (input) => {
      calls.push(input)
      return "Rain."
    }
  })

describe("@anthropic-ai/sdk", () => {
  it("plain, with ids and headers", async (test) => {
    const { client } = await connect(test)
    const { data, request_id, response, workspace_id } = await client.messages.create(ask).withResponse()
    assert.equal(data.stop_reason, "end_turn")
    assert.match(textOf(data), /stones/)
    assert.equal(request_id, response.headers.get("request-id"))
    assert.equal(workspace_id, "wrkspc_sim")
    assert.equal(response.headers.get("anthropic-organization-id"), "org_sim")
    assert.ok(!("citations" in data.content[0]!))
  })

  it("streamed, with every helper event", async (test) => {
    const { client } = await connect(test)
    let text = ""
    const stream = client.messages.stream(ask).on("text", (delta) => {
      text += delta
    })
    const message = await stream.finalMessage()
    assert.equal(text, textOf(message))
    assert.equal(message.stop_reason, "end_turn")
    assert.ok(message.usage.output_tokens > 10)
  })

  for (const stream of [false, true]) {
    it(`toolRunner, in a thread that the server keeps${stream ? ", streamed" : ""}`, async (test) => {
      const { bill, client } = await connect(test)
      const calls: Array<unknown> = []
      const runner = client.beta.messages.toolRunner({ ...ask, tools: [weather(calls)], max_iterations: 5, stream })
      const message = await runner.runUntilDone()
      assert.equal(calls.length, 1)
      assert.equal(message.stop_reason, "end_turn")
      assert.notEqual(textOf(message), "")
      assert.equal(bill().totals.requests, 2)
    })
  }

  it("a thread: each turn sends only its own message", async (test) => {
    const { bill, client } = await connect(test)
    const thread = client.beta.messages.thread({ model, max_tokens: 1_000, system: "Be short." })
    const first = await thread.send({ role: "user", content: "One" })
    const second = await thread.send({ role: "user", content: "Two" })
    assert.notEqual(first.id, second.id)
    assert.equal(thread.previousMessageId, second.id)
    assert.equal(thread.messages.length, 4)
    const [one, two] = bill().rows
    assert.ok(two!.usage.input > one!.usage.input)
  })

  it("tools by hand: forced, any, none", async (test) => {
    const { client } = await connect(test)
    const tools = [{
      name: "add",
      input_schema: { type: "object" as const, properties: { a: { type: "integer" } }, required: ["a"] }
    }]
    const older = { ...ask, model: "claude-opus-5", tools }
    for (const tool_choice of [{ type: "any" as const }, { type: "tool" as const, name: "add" }]) {
      const { content, stop_reason } = await client.messages.create({ ...older, tool_choice })
      assert.equal(stop_reason, "tool_use")
      const use = content.find((block) => block.type === "tool_use")
      assert.equal(use?.name, "add")
      assert.ok(Number.isInteger((use.input as { a: number }).a))
    }
    const none = await client.messages.create({ ...older, tool_choice: { type: "none" } })
    assert.equal(none.stop_reason, "end_turn")
  })

  it("parse", async (test) => {
    const { client } = await connect(test)
    const shape = z.object({
      title: z.string().min(3).max(40),
      pages: z.number().int().min(10).max(20),
      tags: z.array(z.enum(["fiction", "poetry"])).min(2).max(3),
      author: z.object({ name: z.string(), email: z.email() }).nullable(),
      printed: z.iso.date().optional()
    })
    const { parsed_output } = await client.messages.parse({ ...ask, output_config: { format: zodOutputFormat(shape) } })
    assert.ok(parsed_output !== null && parsed_output.pages >= 10)
    const stream = client.messages.stream({ ...ask, output_config: { format: zodOutputFormat(shape) } })
    assert.deepEqual((await stream.finalMessage()).parsed_output, parsed_output)
  })

  it("image and PDF, as base64 and as uploaded files", async (test) => {
    const { client } = await connect(test)
    const file = await client.files.upload({
      file: await toFile(Buffer.from(pdf, "base64"), "a.pdf", { type: "application/pdf" })
    })
    assert.equal(file.mime_type, "application/pdf")
    const image = { type: "base64" as const, media_type: "image/png" as const, data: png }
    const message = await client.messages.create({
      ...ask,
      messages: [{
        role: "user",
        content: [
          { type: "image", source: image },
          { type: "document", source: { type: "base64", media_type: "application/pdf", data: pdf } },
          { type: "document", source: { type: "file", file_id: file.id }, citations: { enabled: true } },
          { type: "text", text: "What is it?" }
        ]
      }]
    })
    assert.equal(message.stop_reason, "end_turn")
    assert.ok(message.usage.input_tokens > 1_500)
  })

  it("thinking that is sent back", async (test) => {
    const { client } = await connect(test)
    const thinking = { ...ask, thinking: { type: "adaptive" as const } }
    const first = await client.messages.create(thinking)
    assert.equal(first.content[0]?.type, "thinking")
    const messages = [
      ...ask.messages,
      { role: "assistant" as const, content: first.content },
      { role: "user" as const, content: "And now?" }
    ]
    const second = await client.messages.stream({ ...thinking, messages }).finalMessage()
    assert.equal(second.content[0]?.type, "thinking")
    assert.equal(second.stop_reason, "end_turn")
  })

  it("caching", async (test) => {
    const { client } = await connect(test)
    const system = [{ type: "text" as const, text: longPrompt, cache_control: { type: "ephemeral" as const } }]
    const first = await client.messages.create({ ...ask, system })
    const second = await client.messages.create({ ...ask, system })
    assert.ok(first.usage.cache_creation_input_tokens! > 1_000)
    assert.equal(second.usage.cache_read_input_tokens, first.usage.cache_creation_input_tokens)
  })

  it("batches", async (test) => {
    const { client } = await connect(test)
    const { messages: { batches } } = client
    const batch = await batches.create({
      requests: [{ custom_id: "good", params: ask }, { custom_id: "bad", params: { ...ask, max_tokens: -1 } }]
    })
    assert.equal(batch.processing_status, "in_progress")
    assert.equal((await batches.retrieve(batch.id)).processing_status, "ended")
    const results = new Map<string, string>()
    for await (const { custom_id, result } of await batches.results(batch.id)) results.set(custom_id, result.type)
    assert.deepEqual(results, new Map([["good", "succeeded"], ["bad", "errored"]]))
    const canceled = await batches.create({ requests: [{ custom_id: "late", params: ask }] })
    assert.equal((await batches.cancel(canceled.id)).processing_status, "canceling")
    const ids: Array<string> = []
    for await (const { id } of batches.list({ limit: 1 })) ids.push(id)
    assert.deepEqual(ids, [canceled.id, batch.id])
    assert.equal((await batches.delete(batch.id)).type, "message_batch_deleted")
  })

  it("files", async (test) => {
    const { client } = await connect(test)
    const file = await client.files.upload({
      file: await toFile(Buffer.from("Hello."), "hello.txt", { type: "text/plain" })
    })
    assert.deepEqual([file.filename, file.size_bytes, file.downloadable], ["hello.txt", 6, false])
    const ids: Array<string> = []
    for await (const { id } of client.files.list()) ids.push(id)
    assert.deepEqual(ids, [file.id])
    assert.equal((await client.files.retrieveMetadata(file.id)).id, file.id)
    assert.equal((await client.files.delete(file.id)).type, "file_deleted")
    await assert.rejects(client.files.retrieveMetadata(file.id), NotFoundError)
  })

  it("models.list", async (test) => {
    const { client } = await connect(test)
    const models = []
    for await (const info of client.models.list({ limit: 5 })) models.push(info)
    const opus = models.find(({ id }) => id === model)
    assert.equal(opus?.lifecycle, "active")
    assert.equal(opus.capabilities?.structured_outputs.supported, true)
    assert.equal(opus.capabilities.thinking.types.disabled.supported, false)
  })

  it("countTokens", async (test) => {
    const { client } = await connect(test)
    const { messages } = ask
    assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 5)
  })

  for (const { fault, name, status } of refusals) {
    it(name, async (test) => {
      const { client, script } = await connect(test)
      script(fault, fault)
      await assert.rejects(
        client.messages.create(ask),
        (error) => error instanceof APIError && error.status === status
      )
      await assert.rejects(client.messages.stream(ask).finalMessage(), APIError)
      assert.equal((await client.messages.create(ask)).stop_reason, "end_turn")
    })
  }

  it("retries a 429 after the time that it says", async (test) => {
    const { script, url } = await connect(test)
    script(refusals[2].fault)
    const message = await new Anthropic({ apiKey, baseURL: url, maxRetries: 1, logLevel: "off" }).messages.create(ask)
    assert.equal(message.stop_reason, "end_turn")
  })

  for (const { fault, name } of breaks) {
    it(name, async (test) => {
      const { client, script } = await connect(test)
      script(fault)
      await assert.rejects(client.messages.stream(ask).finalMessage(), AnthropicError)
      assert.equal((await client.messages.create(ask)).stop_reason, "end_turn")
    })
  }
})
