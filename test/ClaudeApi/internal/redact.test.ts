import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { redact as redactbing } from "../../../src/ClaudeApi/internal/redact.ts"

const redact = (text: string, request: Parameters<typeof redactbing>[1], secrets: ReadonlyArray<string> = []) =>
  redactbing(text, request, secrets)

const asking = (content: string) => ({ messages: [{ role: "user" as const, content }] })

describe("redact", () => {
  it("keeps what the API says about the shape of a request", () => {
    const said = "messages.0.content.1: `tool_use` ids were found without `tool_result` blocks immediately after"
    assert.strictEqual(redact(said, asking("Please summarize my diary of last summer.")), said)
  })

  it("leaves out what the request said", () => {
    const request = asking("My secret is that I once ate forty cakes.")
    assert.strictEqual(
      redact("cannot parse: My secret is that I once ate forty cakes. at 3", request),
      "cannot parse: … at 3"
    )
    assert.strictEqual(redact("unexpected 'cakes' in text", request), "unexpected … in text")
  })

  it("finds text in every part of a request", () => {
    const request = {
      system: [{ type: "text" as const, text: "the house is called Elderwood" }],
      messages: [{
        role: "user" as const,
        content: [{ type: "tool_result" as const, tool_use_id: "t", content: "balance of account 5512-9" }]
      }],
      metadata: { user_id: "mallory@example.com" }
    }
    for (const leak of ["the house is called Elderwood", "balance of account 5512-9", "mallory@example.com"]) {
      assert.match(redact(`bad: ${leak}`, request) ?? "", /^bad: ?…$/)
    }
  })

  it("leaves out keys even where no request is known", () => {
    assert.strictEqual(redact("invalid key sk-ant-api03-abcDEF_123", undefined), "invalid key …")
  })

  it("leaves out what is short, unquoted, escaped, in another case or amid a word", () => {
    const request = asking("password hunter2\n口令是芝麻开门 number4111111111111111 Green")
    for (
      const leak of [
        "input_value=hunter2",
        "PASSWORD HUNTER2\\n口令是芝麻开门",
        "芝麻开门吧口令是芝麻开门",
        "no4111111111111111"
      ]
    ) {
      const left = redact(`bad: ${leak}`, request)?.toLowerCase() ?? ""
      for (const word of ["hunter2", "口令是芝麻开门", "411111"]) assert.notInclude(left, word)
    }
  })

  it("leaves out the names and values of tool input and schemas", () => {
    const request = {
      tools: [{
        name: "f",
        input_schema: { type: "object" as const, properties: { maidenName: { const: "Smithson" } } }
      }]
    }
    assert.match(redact("unknown maidenName of Smithson", request) ?? "", /^unknown ?… ?of ?…$/)
  })

  it("leaves out the key and the headers of the attempt", () => {
    assert.strictEqual(
      redact("Received API Key = gw-Vb81xq0, tok-77aa", undefined, ["gw-Vb81xq0", "tok-77aa"]),
      "Received API Key = …, …"
    )
  })

  it("does not count an encoded file as content", () => {
    const source = { type: "base64" as const, media_type: "image/png" as const, data: "A".repeat(2_000_000) }
    const request = { messages: [{ role: "user" as const, content: [{ type: "image" as const, source }] }] }
    assert.strictEqual(redact("image exceeds 5 MB maximum", request), "image exceeds 5 MB maximum")
  })

  it("cuts long texts", () => {
    assert.isAtMost(redact("x ".repeat(500), undefined)?.length ?? 0, 301)
  })

  it("tells nothing of a request that is too large to compare, but its size", () => {
    const request = asking("word ".repeat(300_000))
    assert.isUndefined(redact("cannot parse word word word", request))
    assert.strictEqual(
      redact("prompt is too long: 300007 tokens > 200000 maximum", request),
      "prompt is too long: 300007 tokens > 200000 maximum"
    )
  })

  it.effect.prop(
    "never lets a run of sixteen characters of the content through",
    { before: Schema.String, content: Schema.String, after: Schema.String },
    ({ after, before, content }) =>
      Effect.sync(() => {
        const redactbed = redact(`${before} ${content} ${after}`, asking(content)) ?? ""
        for (let i = 0; i + 16 <= content.length; i++) {
          const run = content.slice(i, i + 16)
          if (!run.includes("…")) assert.isFalse(redactbed.includes(run), run)
        }
      })
  )
})
