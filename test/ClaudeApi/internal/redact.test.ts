import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Base64, Base64Url, Hex } from "effect/encoding"
import { redact as redacting, token } from "../../../src/ClaudeApi/internal/redact.ts"

const redact = (text: string, request: Parameters<typeof redacting>[1], secrets: ReadonlyArray<string> = []) =>
  redacting(text, request, secrets)

const asking = (content: string) => ({ messages: [{ role: "user" as const, content }] })

/** Ways in which an answer may write down what it was sent. */
const writings: ReadonlyArray<readonly [name: string, write: (text: string) => string]> = [
  ["as it is", (text) => text],
  ["in lower case", (text) => text.toLowerCase()],
  ["in upper case", (text) => text.toUpperCase()],
  ["for a URL", encodeURIComponent],
  [
    "every byte for a URL",
    (text) => Array.from(new TextEncoder().encode(text), (byte) => `%${byte.toString(16).padStart(2, "0")}`).join("")
  ],
  ["for a form", (text) => new URLSearchParams({ text }).toString()],
  ["for a URL twice", (text) => encodeURIComponent(encodeURIComponent(text))],
  ["as JSON within JSON", (text) => JSON.stringify(JSON.stringify(text))],
  [
    "as escapes of JSON",
    (text) =>
      Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")
  ],
  ["as numbers of HTML", (text) => Array.from(text, (char) => `&#${char.codePointAt(0)};`).join("")],
  [
    "as hexadecimal numbers of HTML",
    (text) => Array.from(text, (char) => `&#x${char.codePointAt(0)?.toString(16)};`).join("")
  ],
  ["decomposed", (text) => text.normalize("NFD")],
  ["composed", (text) => text.normalize("NFC")],
  ["in full width", (text) => text.replace(/[!-~]/g, (char) => String.fromCharCode(char.charCodeAt(0) + 0xfee0))],
  ["wrapped", (text) => text.replace(/.{10}/gu, "$&\n  ")],
  ["with characters of no width", (text) => Array.from(text).join("\u200b")],
  ["spaced", (text) => Array.from(text).join(" ")],
  ["with characters that choose a variant", (text) => Array.from(text).join("\ufe0f")],
  ["with fillers that are not seen", (text) => Array.from(text).join("\u3164")],
  ["broken by elements of HTML", (text) => text.replace(/.{5}/gu, "$&<wbr>")],
  ["as numbers of HTML that nothing ends", (text) => Array.from(text, (char) => `&#${char.codePointAt(0)}`).join("")],
  ["with signs by their names of HTML", (text) => text.replace(/[-/+&]/g, "&hyphen;")],
  ["for a URL three times", (text) => encodeURIComponent(encodeURIComponent(encodeURIComponent(text)))],
  [
    "as JSON that escapes signs before letters",
    (text) => text.replace(/[^a-z0-9 ]/gi, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)
  ],
  [
    "as escapes of eight digits",
    (text) => Array.from(text, (char) => `\\U${char.codePointAt(0)?.toString(16).padStart(8, "0")}`).join("")
  ],
  [
    "in octal digits",
    (text) => Array.from(new TextEncoder().encode(text), (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")
  ]
]

const utf16 = (text: string): ReadonlyArray<number> => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i))

const utf8 = (text: string): ReadonlyArray<number> => Array.from(new TextEncoder().encode(text))

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
      assert.match(redact(`bad: ${leak}`, request), /^bad: ?…$/)
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
      const left = redact(`bad: ${leak}`, request).toLowerCase()
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
    assert.match(redact("unknown maidenName of Smithson", request), /^unknown ?… ?of ?…$/)
  })

  it("does not count an encoded file as content", () => {
    const source = { type: "base64" as const, media_type: "image/png" as const, data: "A".repeat(2_000_000) }
    const request = { messages: [{ role: "user" as const, content: [{ type: "image" as const, source }] }] }
    assert.strictEqual(redact("image exceeds 5 MB maximum", request), "image exceeds 5 MB maximum")
  })

  it("cuts long texts, after it looked at them", () => {
    assert.isAtMost(redact("x ".repeat(500), undefined).length, 301)
    const secret = "gw-7Vb81xq0Lr55Tz9cQm3P"
    for (let before = 250; before < 310; before++) {
      assert.notInclude(redact(`${"x".repeat(before)}${secret} and more`, undefined, [secret]), secret.slice(0, 8))
    }
    const many = redact(`${`${secret} `.repeat(300)}`, undefined, [secret])
    for (let at = 0; at + 8 <= secret.length; at++) assert.notInclude(many, secret.slice(at, at + 8))
  })

  it.each(writings)("finds secrets and content that were written %s", (name, write) => {
    const key = "sk-ant-api03-Vb81xq0Lr55Tz9cQm3PdXw"
    const token = "Gw/7Kf+2 Jq9%Ze=4Nh&8Tt"
    const prompt = "Żółta kaczka i Zoë ate 47 crêpes in Ålesund"
    const left = redact(`before: ${write(key)}, ${write(token)} and ${write(prompt)} after`, asking(prompt), [
      key,
      token
    ])
    assert.match(left, /^before: .*after$/s, name)
    assert.notMatch(left.replace(/…/g, "").slice(8), /[a-z0-9]{6}/i, name)
  })

  it.each<readonly [name: string, encode: (text: string) => string]>([
    ["base64", Base64.encode],
    ["base64 for URLs", Base64Url.encode],
    ["base64 behind a name", (text) => Base64.encode(`user:${text}`)],
    ["wrapped base64", (text) => Base64.encode(text).replace(/.{19}/g, "$&\r\n")],
    ["wrapped base64 as JSON", (text) => JSON.stringify(Base64.encode(text).replace(/.{19}/g, "$&\r\n"))],
    ["base64 for a URL", (text) => encodeURIComponent(Base64.encode(text))],
    ["base64 of base64", (text) => Base64.encode(Base64.encode(text))],
    ["base64 of escapes", (text) => Base64.encode(encodeURIComponent(text).replaceAll("-", "%2D"))],
    ["base64 of UTF-16", (text) => Base64.encode(Uint8Array.from(utf16(text).flatMap((code) => [code, 0])))],
    ["hexadecimal", Hex.encode],
    ["spaced hexadecimal", (text) => Hex.encode(text).replace(/../g, "$& ")],
    ["a list of hexadecimal numbers", (text) => Hex.encode(text).replace(/../g, "0x$&, ")],
    ["a list of code points", (text) => utf16(text).map((code) => `U+00${code.toString(16)} `).join("")],
    ["hexadecimal of base64", (text) => Hex.encode(Base64.encode(text))],
    ["a list of numbers", (text) => JSON.stringify(utf8(text))],
    ["numbers with their places", (text) => JSON.stringify({ ...utf8(text) })]
  ])("finds secrets in %s", (_, encode) => {
    for (const key of ["gw-7Vb81xq0Lr55Tz9cQm3P", "pässwörd-née"]) {
      for (const before of ["bad: ", "bad token=", "x"]) {
        const left = redact(`${before}${encode(key)}`, undefined, [key])
        const shown = encode(key).replace(/\s/g, "")
        for (let at = 0; at + 16 <= shown.length; at++) {
          assert.notInclude(left.replace(/\s/g, ""), shown.slice(at, at + 16))
        }
      }
    }
  })

  it("finds what a secret says that is encoded itself", () => {
    const secrets = [`Basic ${Base64.encode("robot-7:correct horse 9")}`, "gw%2Fpar%3D7%2Bcel%2F9x"]
    assert.strictEqual(redact("no user robot-7:correct horse 9!", undefined, secrets), "no user …!")
    assert.strictEqual(redact("no key gw/par=7+cel/9x!", undefined, secrets), "no key …!")
  })

  it("finds every part of a secret of eight characters, and short secrets as a whole", () => {
    const key = "sk-ant-api03-Vb81xq0Lr55Tz9cQm3PdXw"
    for (let at = 0; at + 8 <= key.length; at++) {
      assert.strictEqual(redact(`key ${key.slice(at, at + 8)}...`, undefined, [key]), "key …...")
    }
    assert.strictEqual(
      redact("Received gw-Vb81xq0, tok-77 and pin1", undefined, ["gw-Vb81xq0", "tok-77", "pin1"]),
      "Received …, … and …"
    )
    assert.strictEqual(redact("a short one says nothing: abc", undefined, ["abc"]), "a short one says nothing: abc")
  })

  it.each([
    [
      "messages.166: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_01A09q90qw90lq917835lq9. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
      "messages.166: `tool_use` ids were found without `tool_result` blocks immediately after: "
    ],
    ["prompt is too long: 205351 tokens > 200000 maximum", "prompt is too long: 205351 tokens > 200000 maximum"],
    ["messages.4.content.1.image.source.base64: image exceeds 5 MB maximum: 6871234 bytes > 5242880 bytes", undefined],
    ["max_tokens: 300000 > 128000, which is the maximum allowed number of output tokens for the model", undefined]
  ])("keeps what the API says of a request of any size: %s", (said, kept) => {
    const words =
      `${said} I ate forty cakes on a rainy Tuesday and found the maximum of tool_use messages without images `
    for (const size of [100, 250_000, 2_000_000, 12_000_000]) {
      const request = {
        messages: [{
          role: "user" as const,
          content: [
            {
              type: "tool_result" as const,
              tool_use_id: "toolu_01A09q90qw90lq917835lq9",
              content: "found without blocks"
            },
            { type: "text" as const, text: words.slice(said.length).repeat(Math.ceil(size / words.length)) }
          ]
        }]
      }
      const left = redact(said, request)
      assert.isTrue(left.startsWith(kept ?? said), left)
      assert.notInclude(left, "toolu_01A09q90")
      assert.notInclude(redact(`${said}: I ate forty cakes on a rainy Tuesday`, request), "cakes")
    }
  })

  it("looks at no more of hostile texts than it can in a bounded number of steps", () => {
    const request = asking("Dürfte ich um ein paar Kekse bitten, `sehr` \"gern\" 47 % \\u0041 ".repeat(4_000))
    const before = process.cpuUsage().user
    for (
      const piece of [
        "\"ab\"'cd'`",
        "%41",
        "\\u0041",
        "%25",
        "\\\\",
        "&#65;",
        "<a",
        "7,",
        "0x4",
        "VVZGVmFr",
        "`",
        "a",
        "QUJD",
        "sk-",
        "é",
        "\u200b",
        "\ud800"
      ]
    ) {
      redact(piece.repeat(300_000), request, ["gw-7Vb81xq0Lr55Tz9cQm3P", "x".repeat(300_000)])
    }
    // Of processor time. A pass over all of one of these texts for each of its characters would take hours.
    assert.isAtMost(process.cpuUsage().user - before, 5_000_000)
  })

  it.effect.prop(
    "never lets a run of sixteen characters of the content through",
    { before: Schema.String, content: Schema.String, after: Schema.String },
    ({ after, before, content }) =>
      Effect.sync(() => {
        const left = redact(`${before} ${content} ${after}`, asking(content))
        for (let i = 0; i + 16 <= content.length; i++) {
          const run = content.slice(i, i + 16)
          if (!run.includes("…") && run.trim().length > 8) assert.isFalse(left.includes(run), run)
        }
      })
  )
})

describe("token", () => {
  it("takes names alone", () => {
    for (
      const name of [
        "req_011CSHoEeqs5C35K2UUqR7Fy",
        "claude-haiku-4-5@20251001",
        "us.anthropic.claude:0",
        "a/b",
        "overloaded_error"
      ]
    ) {
      assert.strictEqual(token(name, ["sk-ant-api03-Vb81xq0Lr55Tz9cQm3PdXw"]), name)
    }
    for (
      const name of ["", "two words", "<html>", "a\nb", "é", "x".repeat(129), 7, null, undefined, { a: 1 }, "\u202ea"]
    ) {
      assert.isUndefined(token(name, []))
    }
  })

  it("takes none that has a part of a secret, however it is written", () => {
    const key = "sk-ant-api03-Vb81xq0Lr55Tz9cQm3PdXw"
    for (
      const said of [
        key,
        `req_${key}`,
        key.toLowerCase(),
        key.slice(4, 14),
        Base64.encode(key),
        Base64Url.encode(`k:${key}`),
        Base64Url.encode(Base64Url.encode(key)),
        utf8(key).join("."),
        Hex.encode(key)
      ]
    ) {
      assert.isUndefined(token(said, [key]), said)
    }
    assert.isUndefined(token("req-tok-77", ["tok-77"]))
    assert.isUndefined(token("a_b-c-d-", ["a_b-c-d-e"]))
  })
})
