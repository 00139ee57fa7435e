import type {
  ContentBlockParam,
  MessageCreateParams,
  MessageParam,
  ToolUnion
} from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Estimate from "effect-claude/Estimate"
import { deflateSync } from "node:zlib"

const models = ["claude-sonnet-4-5", "claude-sonnet-5-5", "claude-of-tomorrow"]

const request = (content: MessageParam["content"], more?: Partial<MessageCreateParams>): MessageCreateParams =>
  ({
    model: "claude-sonnet-4-5",
    max_tokens: 100,
    messages: [{ role: "user", content }],
    ...more
  }) as MessageCreateParams // spreading a part of a union loses which member it was

const tokens = (content: MessageParam["content"], more?: Partial<MessageCreateParams>): number =>
  Estimate.inputTokens(request(content, more))

/** What a block adds to a message that has none. */
const blockTokens = (block: unknown, more?: Partial<MessageCreateParams>): number =>
  tokens([block as ContentBlockParam], more) - tokens([], more) // odd blocks are the point

const toolTokens = (tool: unknown, more?: Partial<MessageCreateParams>): number =>
  tokens("hi", { tools: [tool as ToolUnion], ...more }) - tokens("hi", more)

const image = (data: Uint8Array | string): unknown => ({
  type: "image",
  source: {
    type: "base64",
    media_type: "image/png",
    data: typeof data === "string" ? data : Buffer.from(data).toString("base64")
  }
})

const padded = (bytes: ReadonlyArray<number>): Uint8Array =>
  Uint8Array.from([...bytes, ...Array.from({ length: 200 }, () => 7)])

const png = (width: number, height: number): Uint8Array => {
  const bytes = Buffer.from(
    padded([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52])
  )
  bytes.writeUInt32BE(width, 16)
  bytes.writeUInt32BE(height, 20)
  return bytes
}

const gif = (width: number, height: number): Uint8Array => {
  const bytes = Buffer.from(padded([...Buffer.from("GIF89a")]))
  bytes.writeUInt16LE(width, 6)
  bytes.writeUInt16LE(height, 8)
  return bytes
}

const jpeg = (width: number, height: number): Uint8Array => {
  const thumbnail = [0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0, 1, 0, 1]
  const frame = [0xff, 0xc2, 0, 17, 8, height >> 8, height & 255, width >> 8, width & 255, 3]
  const tables = [0xff, 0xc4, 0, 4, 1, 2]
  return padded([0xff, 0xd8, 0xff, 0xe1, 0, 2 + thumbnail.length, ...thumbnail, ...tables, 0xff, ...frame])
}

const webp = (kind: string, header: ReadonlyArray<number>): Uint8Array =>
  padded([...Buffer.from(`RIFF....WEBP${kind}`), 0, 0, 0, 0, ...header])

const lossy = (width: number, height: number): Uint8Array =>
  webp("VP8 ", [0, 0, 0, 0x9d, 0x01, 0x2a, width & 255, width >> 8 | 0x40, height & 255, height >> 8])

const extended = (width: number, height: number): Uint8Array =>
  webp("VP8X", [0, 0, 0, 0, width - 1 & 255, width - 1 >> 8, 0, height - 1 & 255, height - 1 >> 8, 0])

const lossless = (width: number, height: number): Uint8Array => {
  const bits = width - 1 | height - 1 << 14
  return webp("VP8L", [0x2f, bits & 255, bits >> 8 & 255, bits >> 16 & 255, bits >> 24 & 255])
}

const assertCount = (count: number): void =>
  assert.isTrue(Number.isInteger(count) && count >= 0, `${count} is no count`)

const model = Schema.Literals(models)
const tokenizer = Schema.Literals(["classic", "dense"])

describe("Estimate", () => {
  describe("textTokens", () => {
    it.prop(
      "is an integer that never shrinks when text is added",
      { before: Schema.String, after: Schema.String, tokenizer },
      ({ after, before, tokenizer }) => {
        const all = Estimate.textTokens(before + after, tokenizer)
        assertCount(all)
        assert.isAtLeast(all, Estimate.textTokens(before, tokenizer))
        assert.isAtLeast(all, Estimate.textTokens(after, tokenizer))
      }
    )

    it.prop("counts more with the dense tokenizer", { text: Schema.String }, ({ text }) => {
      assert.isAtLeast(Estimate.textTokens(text, "dense"), Estimate.textTokens(text, "classic"))
    })

    it("counts nothing for no text", () => {
      assert.strictEqual(Estimate.textTokens("", "dense"), 0)
    })

    it("counts a third of a token for an English character and about 30 % more with the dense tokenizer", () => {
      const text = "We hold these truths to be self-evident, that all men are created equal, and so on. ".repeat(100)
      const classic = Estimate.textTokens(text, "classic")
      assert.isTrue(text.length / classic > 3.2 && text.length / classic < 4, `${text.length / classic}`)
      assert.approximately(Estimate.textTokens(text, "dense") / classic, 1.3, 0.001)
    })

    it("counts scripts other than Latin, punctuation, and strings that are no words higher than words", () => {
      const perCharacter = (text: string) => Estimate.textTokens(text.repeat(100), "classic") / (text.length * 100)
      const english = perCharacter("the same words ")
      for (
        const text of [
          "{[\"\"]}",
          "0123 ",
          "те же слова ",
          "同じ言葉",
          "\u{1F600}",
          "qwertyuiopasdfghjklzxcvbnmqwertyuiopasdfghjklzxcvbnm "
        ]
      ) {
        assert.isAbove(perCharacter(text), 1.3 * english, text)
      }
    })
  })

  describe("inputTokens", () => {
    it.prop(
      "adds messages up",
      { model, texts: Schema.Array(Schema.String) },
      ({ model, texts }) => {
        const messages = texts.map((content): MessageParam => ({ role: "user", content }))
        const alone = (all: Array<MessageParam>) => Estimate.inputTokens({ model, max_tokens: 1, messages: all })
        const none = alone([])
        assert.strictEqual(
          alone(messages) - none,
          messages.reduce((sum, message) => sum + alone([message]) - none, 0)
        )
      }
    )

    it.prop(
      "gives a count for any JSON in the place of a block, and never less for more",
      { model, odd: Schema.Json, text: Schema.String },
      ({ model, odd, text }) => {
        const block = odd as unknown as ContentBlockParam // odd blocks are the point
        const one = tokens([block], { model })
        assertCount(one)
        assert.isAtLeast(tokens([block, { type: "text", text }], { model }), one)
        assert.isAtLeast(
          tokens([{ type: "text", text }, block], { model }),
          tokens([{ type: "text", text }], { model })
        )
        assertCount(Estimate.inputTokens({ model, max_tokens: 1, messages: odd, tools: odd, system: odd } as never)) // odd on purpose
      }
    )

    it.prop(
      "gives a count for known block types whose fields are odd",
      {
        type: Schema.Literals([
          "text",
          "image",
          "document",
          "thinking",
          "redacted_thinking",
          "tool_use",
          "tool_result",
          "search_result"
        ]),
        odd: Schema.Json
      },
      ({ odd, type }) => {
        assertCount(
          blockTokens({
            type,
            text: odd,
            source: odd,
            content: odd,
            input: odd,
            data: odd,
            thinking: odd,
            signature: odd
          })
        )
        assertCount(blockTokens({ type, source: { type: "base64", data: odd, content: odd } }))
        assertCount(blockTokens({ type, source: { type: "content", content: odd } }))
      }
    )

    it("ends on values that contain themselves", () => {
      const odd: Record<string, unknown> = { type: "strange" }
      Object.assign(odd, { a: odd, b: odd, c: [odd, odd] })
      assertCount(blockTokens(odd))
      const document = { type: "document", source: { type: "content", content: [] as Array<unknown> } }
      document.source.content.push(document, document)
      assertCount(blockTokens(document))
    })

    it("ends on values that are nested without end", () => {
      let odd: unknown = "deep"
      for (let i = 0; i < 100_000; i++) odd = [odd]
      assertCount(blockTokens({ type: "strange", odd }))
      assertCount(blockTokens(odd))
    })

    it("adds something for each message, even an empty one", () => {
      const empty: MessageParam = { role: "user", content: "" }
      const count = (messages: Array<MessageParam>) => tokens("", { messages })
      assert.strictEqual(count([empty, empty]) - count([empty]), 4)
    })

    it("counts what only the server can read below its length as text", () => {
      const content = "kB3x".repeat(1_000)
      const result = (more: object) => blockTokens({ type: "web_search_result", ...more })
      assert.approximately(result({ encrypted_content: content }), 1_100, 25)
      assert.isAbove(result({ title: content }), 2_000)
    })

    it("counts what appears twice twice", () => {
      const part = { type: "strange", words: "the same words" }
      assert.strictEqual(tokens([part, part] as never) - tokens([]), 2 * blockTokens(part)) // an unknown type on purpose
    })

    it("counts system prompt, string and blocks alike", () => {
      const text = "You are a helpful assistant. ".repeat(10)
      const plain = tokens("hi", { system: text }) - tokens("hi")
      assert.isAbove(plain, text.length / 4)
      assert.strictEqual(tokens("hi", { system: [{ type: "text", text }] }) - tokens("hi"), plain)
      assert.strictEqual(tokens(text), tokens([{ type: "text", text }]))
    })

    it.each([
      ["PNG", png],
      ["GIF", gif],
      ["JPEG, past a thumbnail and fill bytes", jpeg],
      ["WebP, lossy", lossy],
      ["WebP, lossless", lossless],
      ["WebP, extended", extended]
    ])("counts an image by its pixels: %s", (_, make) => {
      assert.strictEqual(blockTokens(image(make(750, 300))), 330)
      assert.strictEqual(blockTokens(image(make(1, 1))), 1)
      assert.strictEqual(blockTokens(image(make(4_000, 3_000))), 1_600)
      assert.strictEqual(blockTokens(image(make(4_000, 3_000)), { model: "claude-opus-5" }), 4_800)
    })

    it("counts an image whose size it cannot see as the largest", () => {
      for (
        const source of [
          { type: "url", url: "https://example.com/a.png" },
          { type: "file", file_id: "file_1" },
          { type: "base64", media_type: "image/png", data: "bm90IGFuIGltYWdl" },
          { type: "base64", media_type: "image/jpeg", data: "/9j/" },
          undefined
        ]
      ) assert.strictEqual(blockTokens({ type: "image", source }), 1_600)
    })

    it("finds images in tool results", () => {
      const result = (content: unknown) => blockTokens({ type: "tool_result", tool_use_id: "toolu_1", content })
      const added = result([image(png(750, 300))]) - result([])
      assert.isTrue(added >= 330 && added < 340, `${added}`)
    })

    it("counts a PDF by its size in bytes and one that it cannot see as 30 pages", () => {
      const pdf = (bytes: number) => ({
        type: "base64",
        media_type: "application/pdf",
        data: "A".repeat(bytes / 3 * 4)
      })
      const document = (source: unknown) => blockTokens({ type: "document", source })
      assert.strictEqual(document(pdf(3)), 3_300)
      assert.strictEqual(document(pdf(120_000)), 9_900)
      assert.strictEqual(document(pdf(30_000_000)), 1_980_000)
      assert.strictEqual(document({ type: "url", url: "https://example.com/a.pdf" }), 99_000)
      assert.strictEqual(document({ type: "file", file_id: "file_1" }), 99_000)
    })

    it("counts a document of text or blocks by what it says, with title and context", () => {
      const text = "Some words to read. ".repeat(20)
      const plain = blockTokens({ type: "text", text })
      const document = (source: unknown, more?: object) => blockTokens({ type: "document", source, ...more })
      assert.strictEqual(document({ type: "text", media_type: "text/plain", data: text }), plain)
      assert.strictEqual(document({ type: "content", content: text }), plain)
      assert.strictEqual(document({ type: "content", content: [{ type: "text", text }] }), plain)
      assert.strictEqual(document({ type: "content", content: text }, { title: text, context: text }), 3 * plain)
    })

    it("counts the thinking, and where it is hidden its signature", () => {
      const thinking = "Let me think about that. ".repeat(10)
      assert.strictEqual(
        blockTokens({ type: "thinking", thinking, signature: "s".repeat(4_000) }),
        blockTokens({ type: "text", text: thinking })
      )
      assert.strictEqual(blockTokens({ type: "thinking", thinking: "", signature: "s".repeat(4_000) }), 1_100)
      assert.strictEqual(blockTokens({ type: "redacted_thinking", data: "s".repeat(4_000) }), 1_100)
    })

    it("counts the input and the result of tools, search results and unknown blocks by their length", () => {
      const words = "Some words to read. ".repeat(50)
      const plain = blockTokens({ type: "text", text: words })
      for (
        const block of [
          { type: "tool_use", id: "toolu_1", name: "read", input: { deep: [{ words }] } },
          { type: "tool_result", tool_use_id: "toolu_1", content: words },
          { type: "tool_result", tool_use_id: "toolu_1", content: [{ type: "text", text: words }] },
          { type: "search_result", source: "s", title: "t", content: [{ type: "text", text: words }] },
          { type: "block_of_tomorrow", words }
        ]
      ) {
        const count = blockTokens(block)
        assert.isTrue(count > plain && count < plain + 60, `${block.type}: ${count - plain}`)
      }
    })

    it("adds the hidden prompt of the model once when there are tools, more when one must be used", () => {
      const tool = { name: "now", input_schema: { type: "object" } } as const
      const definition = toolTokens(tool) - 496
      assert.isAbove(definition, 0)
      assert.strictEqual(tokens("hi", { tools: [tool, tool] }) - tokens("hi"), 496 + 2 * definition)
      assert.strictEqual(toolTokens(tool, { tool_choice: { type: "any" } }) - 588, definition)
      assert.strictEqual(toolTokens(tool, { tool_choice: { type: "tool", name: "now" } }) - 588, definition)
      assert.strictEqual(tokens("hi", { tools: [] }), tokens("hi"))
    })

    it("adds the published sizes of the API's own tools", () => {
      const bare = toolTokens({ type: "custom", name: "bash" })
      const size = (type: string, model?: string) =>
        toolTokens({ type, name: "bash" }, model === undefined ? {} : { model }) - bare
      assert.approximately(size("bash_20250124"), 244, 12)
      assert.approximately(size("text_editor_20250728"), 700, 12)
      assert.approximately(size("computer_toolset_20260801"), 4_500, 12)
      assert.approximately(size("browser_toolset_20260801"), 6_600, 12)
      assert.approximately(size("bash_20250124", "claude-opus-4-7"), 675 - 496 + 325, 12)
    })

    it("counts the schema of a structured answer", () => {
      const schema = { type: "object", properties: { city: { type: "string" } } }
      assert.isAbove(tokens("hi", { output_config: { format: { type: "json_schema", schema } } }), tokens("hi") + 15)
    })
  })

  it("makes an estimate of prompt and largest answer, whatever max_tokens is", () => {
    assert.deepStrictEqual(Estimate.make(request("hi")), { inputTokens: tokens("hi"), maxOutputTokens: 100 })
    for (const odd of [Number.NaN, -1, undefined, Infinity]) {
      assert.strictEqual(Estimate.make(request("hi", { max_tokens: odd as number })).maxOutputTokens, 0) // odd on purpose
    }
  })
})

describe("the pages of a PDF", () => {
  const tokens = (pdf: string, length = 4_000_000) => {
    const data = Buffer.from(`%PDF-1.7\n${pdf}\n${"x".repeat(length - pdf.length)}`, "latin1").toString("base64")
    const source = { type: "base64" as const, media_type: "application/pdf" as const, data }
    return Estimate.inputTokens({
      model: "claude-haiku-4-5",
      max_tokens: 1,
      messages: [{ role: "user", content: [{ type: "document", source }] }]
    })
  }
  const pages = (pdf: string) => Math.round((tokens(pdf) - 8) / 3_300)
  const page = (n: number) => `${n} 0 obj\n<< /Type /Page /Parent 2 0 R >>\nendobj\n`

  it("are as many as it tells, by its tree, its pages or its head, and the most of these", () => {
    const kids = Array.from({ length: 600 }, (_, n) => `${n} 0 R`).join(" ")
    assert.strictEqual(pages("2 0 obj << /Type /Pages /Kids [3 0 R] /Count 3 >> endobj"), 3)
    assert.strictEqual(pages(`2 0 obj << /Count 7 /Kids [${kids}] /Type/Pages >> endobj`), 7)
    assert.strictEqual(pages("1 0 obj << /Linearized 1 /L 4000 /N 12 >> endobj 5 0 obj << /Type /ObjStm >> endobj"), 12)
    assert.strictEqual(pages(`2 0 obj << /Type /Pages /Count 1 >> endobj ${[1, 2, 3, 4].map(page).join("")}`), 4)
    assert.strictEqual(
      pages("9 0 obj << /Type /Outlines /Count 50 >> endobj 2 0 obj << /Type /Pages /Count 2 >> endobj"),
      2
    )
    assert.strictEqual(pages("2 0 obj << /Type /Pages /Count 999999 >> endobj"), 600)
  })

  /** A stream of objects, as most programs write them. */
  const stream = (objects: ReadonlyArray<string>, pack: (bytes: Buffer) => Buffer = deflateSync) => {
    const offsets = objects.map((_, index) => objects.slice(0, index).join("\n").length + Math.min(index, 1))
    const head = `${offsets.map((offset, index) => `${index + 10} ${offset}`).join(" ")} `
    const packed = pack(Buffer.from(head + objects.join("\n"), "latin1"))
    return `7 0 obj\n<</Filter/FlateDecode/First ${head.length}/N ${objects.length}/Length ${packed.length}/Type/ObjStm>>stream\r\n` +
      `${packed.toString("latin1")}\r\nendstream\rendobj\n`
  }

  it("are read in packed objects too", () => {
    const outlines = "<</Type/Outlines/Count 90>>"
    const leaves = Array.from({ length: 3 }, (_, n) => `<</Type/Page/Parent 2 0 R/Contents ${n} 0 R>>`)
    assert.strictEqual(pages(stream([outlines, "<</Type/Pages/Kids[3 0 R]/Count 23>>", outlines])), 23)
    assert.strictEqual(pages(stream([outlines, ...leaves]) + stream(["<</Type/Pages/Count 2>>"])), 3)
    assert.strictEqual(pages(stream(leaves) + page(9)), 4)
  })

  it("are not read in what is packed otherwise, or much", () => {
    assert.strictEqual(pages(stream(["<</Type/Pages/Count 23>>"], (bytes) => Buffer.from(bytes).reverse())), 101)
    assert.strictEqual(pages(stream(["<</Type/Pages/Count 23>>", " ".repeat(9_000_000)])), 101)
    assert.strictEqual(pages(stream(["<</Type/Pages/Count 23>>"]) + stream(["<</A 1>>"], (bytes) => bytes)), 101)
  })

  it("follow from its length where it does not tell them", () => {
    assert.strictEqual(pages("5 0 obj << /Type /ObjStm >> stream"), 101)
    assert.strictEqual(pages("no object at all"), 101)
  })
})
