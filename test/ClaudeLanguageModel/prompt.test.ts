/** Every kind of part of a prompt, as the API gets it from the SDK. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { AiError, type Prompt } from "effect/ai"
import { modelId, streamed, ways, whole, world } from "../utils/languageModel.ts"

const bytes = new TextEncoder().encode("Größe: 5")
const base64 = "R3LDtsOfZTogNQ=="
const gif = "R0lGODlhAQABAAAAACw="
const png = "iVBORw0KGgo="
const marked = { anthropic: { cacheControl: { type: "ephemeral" as const } } }
const control = { cache_control: { type: "ephemeral" } }

type Messages = ReadonlyArray<Prompt.MessageEncoded>
type User = Exclude<Prompt.UserMessageEncoded["content"], string>[number]
type Assistant = Exclude<Prompt.AssistantMessageEncoded["content"], string>[number]

const user = (...content: ReadonlyArray<User>): Messages => [{ role: "user", content }]
const after = (...content: ReadonlyArray<Assistant>): Messages => [
  { role: "user", content: "Ask." },
  { role: "assistant", content },
  { role: "user", content: "Go on." }
]
const file = (mediaType: string, data: Prompt.FilePartEncoded["data"], options?: Prompt.FilePartOptions): User => ({
  type: "file",
  mediaType,
  data,
  ...(options === undefined ? {} : { options })
})
const image = (media_type: string, data: string) => ({ type: "image", source: { type: "base64", media_type, data } })
const text = (data: string) => ({ type: "document", source: { type: "text", media_type: "text/plain", data } })
const pdf = (source: object) => ({ type: "document", source })
const call = { type: "tool-call" as const, id: "toolu_1", name: "now", params: { zone: "UTC" } }
const use = { type: "tool_use", id: "toolu_1", name: "now", input: { zone: "UTC" } }
const interrupted = {
  type: "tool_result",
  tool_use_id: "toolu_1",
  content: "There is no result: the call was interrupted.",
  is_error: true
}
const result = (fields: object): Messages => [
  { role: "user", content: "Ask." },
  { role: "assistant", content: [call] },
  {
    role: "tool",
    content: [{ type: "tool-result", id: "toolu_1", name: "now", isFailure: false, result: "noon", ...fields }]
  }
]

/** The blocks of the user's only turn. */
const inUser: ReadonlyArray<readonly [name: string, messages: Messages, content: ReadonlyArray<object>]> = [
  ["a text", user({ type: "text", text: "Hi." }), [{ type: "text", text: "Hi." }]],
  ["a marked text", user({ type: "text", text: "Hi.", options: marked }), [{ type: "text", text: "Hi.", ...control }]],
  ["no blank text", user({ type: "text", text: " \n" }, { type: "text", text: "Hi." }), [{
    type: "text",
    text: "Hi."
  }]],
  [
    "a mark of a blank text on the block before it",
    user({ type: "text", text: "Hi." }, { type: "text", text: "", options: marked }),
    [{ type: "text", text: "Hi.", ...control }]
  ],
  [
    "a mark of a message on its last part",
    [{ role: "user", content: [{ type: "text", text: "1" }, { type: "text", text: "2" }], options: marked }],
    [{ type: "text", text: "1" }, { type: "text", text: "2", ...control }]
  ],
  ["an image in base64", user(file("image/png", png)), [image("image/png", png)]],
  ["an image in bytes", user(file("image/jpeg", bytes)), [image("image/jpeg", base64)]],
  ["an image of a type that it shows itself", user(file("image/*", png)), [image("image/png", png)]],
  ["an image with another name of its type", user(file("image/jpg", bytes)), [image("image/jpeg", base64)]],
  [
    "an image by URL",
    user(file("image/webp", new URL("https://example.com/a.webp"))),
    [{ type: "image", source: { type: "url", url: "https://example.com/a.webp" } }]
  ],
  ["an image by a data URL", user(file("image/*", `data:image/gif;base64,${gif}`)), [image("image/gif", gif)]],
  [
    "a PDF in base64",
    user(file("application/pdf", base64)),
    [pdf({ type: "base64", media_type: "application/pdf", data: base64 })]
  ],
  [
    "a PDF in bytes",
    user(file("application/pdf", bytes)),
    [pdf({ type: "base64", media_type: "application/pdf", data: base64 })]
  ],
  [
    "a PDF by URL",
    user(file("application/pdf", "https://example.com/a.pdf")),
    [pdf({ type: "url", url: "https://example.com/a.pdf" })]
  ],
  ["a text file in base64, as text", user(file("text/plain", base64)), [text("Größe: 5")]],
  ["a text file in bytes, as text", user(file("text/plain; charset=utf-8", bytes)), [text("Größe: 5")]],
  ["a text file that is given as its text", user(file("text/plain", "Not base64, is it?")), [
    text("Not base64, is it?")
  ]],
  ["a text file by a data URL", user(file("text/plain", "data:text/plain,a%20b")), [text("a b")]],
  [
    "a text file by URL",
    user(file("text/plain", new URL("https://example.com/a.txt"))),
    [pdf({ type: "url", url: "https://example.com/a.txt" })]
  ],
  ["JSON as text", user(file("application/json", new TextEncoder().encode("{}"))), [text("{}")]],
  ["Markdown as text", user(file("text/markdown", bytes)), [text("Größe: 5")]],
  ["a type that is based on XML as text", user(file("application/atom+xml", bytes)), [text("Größe: 5")]],
  [
    "what is to be known of a document",
    [{
      role: "user",
      content: [{
        type: "file",
        mediaType: "text/plain",
        fileName: "sizes.txt",
        data: bytes,
        options: {
          anthropic: {
            citations: { enabled: true },
            documentTitle: "Sizes",
            documentContext: "Of shoes.",
            ...marked.anthropic
          }
        }
      }]
    }],
    [{ ...text("Größe: 5"), title: "Sizes", context: "Of shoes.", citations: { enabled: true }, ...control }]
  ],
  [
    "the name of a file as its title",
    [{ role: "user", content: [{ type: "file", mediaType: "text/plain", fileName: "sizes.txt", data: bytes }] }],
    [{ ...text("Größe: 5"), title: "sizes.txt" }]
  ],
  [
    "turns of the user that follow each other as one",
    [{ role: "user", content: "1" }, { role: "user", content: "2" }],
    [{ type: "text", text: "1" }, { type: "text", text: "2" }]
  ]
]

/** The blocks of the assistant's turn between two of the user. */
const inAssistant: ReadonlyArray<readonly [name: string, messages: Messages, content: ReadonlyArray<object>]> = [
  ["a text", after({ type: "text", text: "Hi. " }), [{ type: "text", text: "Hi. " }]],
  ["a marked text", after({ type: "text", text: "Hi.", options: marked }), [{ type: "text", text: "Hi.", ...control }]],
  [
    "signed reasoning",
    after({ type: "reasoning", text: "Hm.", options: { anthropic: { type: "thinking", signature: "s" } } }, {
      type: "text",
      text: "Hi."
    }),
    [{ type: "thinking", thinking: "Hm.", signature: "s" }, { type: "text", text: "Hi." }]
  ],
  [
    "reasoning as a later provider of Effect stored it",
    after(
      {
        type: "reasoning",
        text: "Hm.",
        options: { anthropic: { info: { type: "thinking", signature: "s" } } as never }
      },
      { type: "text", text: "Hi." }
    ),
    [{ type: "thinking", thinking: "Hm.", signature: "s" }, { type: "text", text: "Hi." }]
  ],
  [
    "redacted reasoning",
    after({ type: "reasoning", text: "", options: { anthropic: { type: "redacted_thinking", redactedData: "xyz" } } }, {
      type: "text",
      text: "Hi."
    }),
    [{ type: "redacted_thinking", data: "xyz" }, { type: "text", text: "Hi." }]
  ],
  [
    "no reasoning of another model",
    after({ type: "reasoning", text: "Hm." }, { type: "text", text: "Hi." }),
    [{ type: "text", text: "Hi." }]
  ],
  [
    "a mark of reasoning on the block before it",
    after({ type: "text", text: "Hi." }, {
      type: "reasoning",
      text: "Hm.",
      options: { anthropic: { type: "thinking", signature: "s", ...marked.anthropic } }
    }),
    [{ type: "text", text: "Hi.", ...control }, { type: "thinking", thinking: "Hm.", signature: "s" }]
  ],
  [
    "a file by its name",
    after({ type: "file", mediaType: "image/png", fileName: "a.png", data: png }),
    [{ type: "text", text: "[image/png a.png omitted]" }]
  ],
  [
    "a call that the server ran, and its result",
    after(
      { type: "tool-call", id: "s1", name: "web_search", params: { query: "q" }, providerExecuted: true },
      { type: "tool-result", id: "s1", name: "web_search", isFailure: false, result: [], providerExecuted: true },
      { type: "text", text: "Nothing." }
    ),
    [
      { type: "server_tool_use", id: "s1", name: "web_search", input: { query: "q" } },
      { type: "web_search_tool_result", tool_use_id: "s1", content: [] },
      { type: "text", text: "Nothing." }
    ]
  ],
  [
    "a result of code execution by what was run",
    after(
      { type: "tool-call", id: "s1", name: "code_execution", params: { command: "ls" }, providerExecuted: true },
      {
        type: "tool-result",
        id: "s1",
        name: "code_execution",
        isFailure: false,
        result: { type: "bash_code_execution_result" },
        providerExecuted: true
      },
      { type: "text", text: "Empty." }
    ),
    [
      { type: "server_tool_use", id: "s1", name: "code_execution", input: { command: "ls" } },
      { type: "bash_code_execution_tool_result", tool_use_id: "s1", content: { type: "bash_code_execution_result" } },
      { type: "text", text: "Empty." }
    ]
  ]
]

/** All turns. */
const turns: ReadonlyArray<readonly [name: string, messages: Messages, turns: ReadonlyArray<object>]> = [
  ["a result that is a text", result({}), [
    { role: "user", content: [{ type: "text", text: "Ask." }] },
    { role: "assistant", content: [use] },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "noon" }] }
  ]],
  ["a result that is an object", result({ result: { hour: 12 } }), [
    { role: "user", content: [{ type: "text", text: "Ask." }] },
    { role: "assistant", content: [use] },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "{\"hour\":12}" }] }
  ]],
  ["a result that is nothing, marked", result({ result: undefined, options: marked }), [
    { role: "user", content: [{ type: "text", text: "Ask." }] },
    { role: "assistant", content: [use] },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", ...control }] }
  ]],
  ["a failure", result({ isFailure: true, result: { reason: "no clock" } }), [
    { role: "user", content: [{ type: "text", text: "Ask." }] },
    { role: "assistant", content: [use] },
    {
      role: "user",
      content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "{\"reason\":\"no clock\"}", is_error: true }]
    }
  ]],
  [
    "a result with files",
    result({ modelOutput: [{ type: "text", text: "A clock:" }, file("image/png", png), file("text/plain", bytes)] }),
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [use] },
      {
        role: "user",
        content: [{
          type: "tool_result",
          tool_use_id: "toolu_1",
          content: [{ type: "text", text: "A clock:" }, image("image/png", png), text("Größe: 5")]
        }]
      }
    ]
  ],
  [
    "results before all else in their turn",
    [
      { role: "user", content: "Ask." },
      { role: "assistant", content: [call] },
      { role: "user", content: "Well?" },
      { role: "tool", content: [{ type: "tool-result", id: "toolu_1", name: "now", isFailure: false, result: "noon" }] }
    ],
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [use] },
      {
        role: "user",
        content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "noon" }, { type: "text", text: "Well?" }]
      }
    ]
  ],
  [
    "input that was no JSON in an object",
    [
      { role: "user", content: "Ask." },
      { role: "assistant", content: [{ ...call, params: "{\"zone\": \"U" }] },
      { role: "tool", content: [{ type: "tool-result", id: "toolu_1", name: "now", isFailure: true, result: "cut" }] }
    ],
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [{ ...use, input: { INVALID_JSON: "{\"zone\": \"U" } }] },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "cut", is_error: true }] }
    ]
  ],
  [
    "a later system message where it stands",
    [{ role: "user", content: "1" }, { role: "assistant", content: "2" }, { role: "user", content: "3" }, {
      role: "system",
      content: "Be brief."
    }],
    [
      { role: "user", content: [{ type: "text", text: "1" }] },
      { role: "assistant", content: [{ type: "text", text: "2" }] },
      { role: "user", content: [{ type: "text", text: "3" }] },
      { role: "system", content: [{ type: "text", text: "Be brief." }] }
    ]
  ],
  [
    "a result for a call that was interrupted",
    [
      { role: "user", content: "Ask." },
      { role: "assistant", content: [{ type: "text", text: "Wait." }, call, { ...call, id: "toolu_2" }] },
      {
        role: "tool",
        content: [{ type: "tool-result", id: "toolu_2", name: "now", isFailure: false, result: "noon" }]
      },
      { role: "user", content: "Well?" }
    ],
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [{ type: "text", text: "Wait." }, use, { ...use, id: "toolu_2" }] },
      {
        role: "user",
        content: [interrupted, { type: "tool_result", tool_use_id: "toolu_2", content: "noon" }, {
          type: "text",
          text: "Well?"
        }]
      }
    ]
  ],
  [
    "a result for a call that was interrupted at the very end",
    [{ role: "user", content: "Ask." }, { role: "assistant", content: [call] }],
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [use] },
      { role: "user", content: [interrupted] }
    ]
  ],
  [
    "no call of the server that was interrupted",
    [
      { role: "user", content: "Ask." },
      {
        role: "assistant",
        content: [{ type: "text", text: "Wait." }, {
          type: "tool-call",
          id: "s1",
          name: "web_search",
          params: {},
          providerExecuted: true
        }]
      },
      { role: "user", content: "Well?" }
    ],
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [{ type: "text", text: "Wait." }] },
      { role: "user", content: [{ type: "text", text: "Well?" }] }
    ]
  ],
  [
    "nothing that a tool of another provider did, and ids that the API takes",
    [
      { role: "user", content: "Ask." },
      {
        role: "assistant",
        content: [
          { type: "tool-call", id: "ws_1", name: "OpenAiWebSearch", params: {}, providerExecuted: true },
          {
            type: "tool-result",
            id: "ws_1",
            name: "OpenAiWebSearch",
            isFailure: false,
            result: {},
            providerExecuted: true
          },
          { ...call, id: "call:1/a" }
        ]
      },
      {
        role: "tool",
        content: [{ type: "tool-result", id: "call:1/a", name: "now", isFailure: false, result: "noon" }]
      }
    ],
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [{ ...use, id: "call_1_a" }] },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "call_1_a", content: "noon" }] }
    ]
  ],
  [
    "nothing of approvals",
    [
      { role: "user", content: "Ask." },
      { role: "assistant", content: [call, { type: "tool-approval-request", approvalId: "a", toolCallId: "other" }] },
      { role: "tool", content: [{ type: "tool-result", id: "toolu_1", name: "now", isFailure: false, result: "noon" }] }
    ],
    [
      { role: "user", content: [{ type: "text", text: "Ask." }] },
      { role: "assistant", content: [use] },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "noon" }] }
    ]
  ]
]

describe.each(Object.entries(ways))("a prompt, %s", (_way, ask) => {
  const sent = (messages: Messages, options = {}) =>
    Effect.gen(function*() {
      const { layer, seen } = world({ options })
      yield* Effect.provide(ask({ prompt: messages }), layer)
      assert.strictEqual(seen.length, 1)
      return seen[0]!
    })

  it.effect.each(inUser)("has %s", ([, messages, content]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* sent(messages)).messages as unknown, [{ role: "user", content }])
    }))

  it.effect.each(inAssistant)("has, of the assistant, %s", ([, messages, content]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* sent(messages)).messages[1] as unknown, { role: "assistant", content })
    }))

  it.effect.each(turns)("has %s", ([, messages, turns]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* sent(messages)).messages as unknown, turns)
    }))

  it.effect("has system messages with their marks", () =>
    Effect.gen(function*() {
      const { messages, system } = yield* sent([
        { role: "system", content: "One.", options: marked },
        { role: "system", content: "Two." },
        { role: "user", content: "Hi." }
      ])
      assert.deepStrictEqual(system as unknown, [{ type: "text", text: "One.", ...control }, {
        type: "text",
        text: "Two."
      }])
      assert.strictEqual(messages.length, 1)
    }))

  it.effect("ends without white space where the model goes on with it", () =>
    Effect.gen(function*() {
      const { messages } = yield* sent(
        [{ role: "user", content: "Count." }, { role: "assistant", content: "1, 2, " }],
        {
          model: "claude-sonnet-4-5"
        }
      )
      assert.deepStrictEqual(messages.at(-1)?.content as unknown, [{ type: "text", text: "1, 2," }])
    }))

  it.effect("is one text where it is given as one", () =>
    Effect.gen(function*() {
      const { layer, seen } = world()
      yield* Effect.provide(ask({ prompt: "Hi." }), layer)
      assert.deepStrictEqual(seen[0]?.messages as unknown, [{ role: "user", content: [{ type: "text", text: "Hi." }] }])
    }))

  it.effect.each(
    [
      ["a file that Claude does not read", user(file("application/zip", bytes)), "application/zip"],
      ["a result that is no JSON", result({ result: 10n }), "now"],
      ["an image that Claude does not read", user(file("image/tiff", png)), "image/tiff"],
      ["nothing to answer", [{ role: "system", content: "Be brief." }] as Messages, "nothing to answer"]
    ] as const
  )("is refused before it is sent with %s", ([, messages, what]) =>
    Effect.gen(function*() {
      const { layer, seen } = world()
      const error = yield* Effect.flip(Effect.provide(ask({ prompt: messages }), layer))
      assert.isTrue(AiError.isAiError(error))
      const { reason } = error as AiError.AiError
      assert.strictEqual(reason._tag, "InvalidUserInputError")
      assert.include(reason.message, what)
      assert.isEmpty(seen)
    }))
})

it.effect("names files that were uploaded", () =>
  Effect.gen(function*() {
    const uploaded = { anthropic: { fileId: "file_1" } }
    yield* whole({ prompt: user(file("image/png", "", uploaded), file("application/pdf", "", uploaded)) })
    const source = { type: "file", file_id: "file_1" }
    assert.deepStrictEqual((yield* ClaudeTest.requests)[0]?.messages[0]?.content as unknown, [
      { type: "image", source },
      { type: "document", source }
    ])
  }).pipe(Effect.provide(
    Layer.provideMerge(ClaudeLanguageModel.layer({ model: modelId, maxTokens: 100 }), ClaudeTest.layer("Seen."))
  )))

it.effect("sends the same whole and streamed", () =>
  Effect.gen(function*() {
    for (const [, messages] of [...inUser, ...inAssistant, ...turns]) {
      const { layer, seen } = world()
      yield* Effect.provide(Effect.andThen(whole({ prompt: messages }), streamed({ prompt: messages })), layer)
      assert.deepStrictEqual({ ...seen[1], stream: false }, { ...seen[0]!, stream: false })
    }
  }))
