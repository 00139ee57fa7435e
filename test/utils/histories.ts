/** Random conversations that the API accepts, for laws about requests. */
import type { ContentBlockParam, MessageParam, ToolUseBlockParam } from "@anthropic-ai/sdk/resources/messages"
import { Schema } from "effect"
import { type Attempt, Model } from "effect-claude"
import * as Thinking from "../../src/testing/simulator/internal/Thinking.ts"
import * as Validate from "../../src/testing/simulator/internal/Validate.ts"
import type { Turn } from "../../src/testing/simulator/internal/Wire.ts"
import { between } from "./between.ts"

export const at = Date.parse("2026-11-22")

const Exchange = Schema.Struct({
  kind: Schema.Literals([
    "plain",
    "twoQuestions",
    "tool",
    "toolLoop",
    "image",
    "document",
    "webSearch",
    "pause",
    "system"
  ]),
  words: between(1, 400),
  thinks: Schema.Boolean,
  marked: Schema.Boolean
})

/** What a conversation is made of; `conversation` builds it. */
export const Plan = Schema.Struct({
  model: Schema.Literals([
    "claude-fable-5-2",
    "claude-mythos-5-2",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-6",
    "claude-opus-4-5",
    "claude-sonnet-5-5",
    "claude-sonnet-4-6",
    "claude-haiku-5-5",
    "claude-haiku-4-5"
  ]),
  exchanges: Schema.Array(Exchange).check(Schema.isMaxLength(12)),
  system: Schema.Literals(["none", "text", "blocks", "marked"]),
  tools: Schema.Boolean,
  endsWithResult: Schema.Boolean,
  beginsWithSystem: Schema.Boolean,
  maxTokens: between(1, 8_000)
})

export type Plan = typeof Plan.Type

const user = (content: string | Array<ContentBlockParam>): MessageParam => ({ role: "user", content })
const words = (n: number): string => "word ".repeat(n).trim()

/** Freezes a value and all that is in it. */
export const frozen = <A>(value: A): A => {
  if (typeof value === "object" && value !== null) Object.values(value).forEach(frozen)
  return Object.freeze(value)
}

/** The request for the whole of a plan, or for its first exchanges. */
export const conversation = (plan: Plan, exchanges = plan.exchanges.length): Attempt.Request => {
  const messages: Array<MessageParam> = []
  let marks = plan.system === "marked" ? 1 : 0
  let id = 0
  const control = (marked: boolean) =>
    marked && marks < 3 && ++marks ? { cache_control: { type: "ephemeral" as const } } : {}
  const assistant = (thinks: boolean, ...content: Array<ContentBlockParam>) => {
    const thinking = `Let me think about turn ${messages.length}.`
    const body = { model: plan.model, max_tokens: plan.maxTokens, messages: messages as ReadonlyArray<Turn> }
    const signature = Thinking.sign(String(messages.length), body, Model.find(plan.model)?.line, thinking)
    messages.push({
      role: "assistant",
      content: thinks ? [{ type: "thinking", thinking, signature }, ...content] : content
    })
  }
  const use = (): ToolUseBlockParam => ({ type: "tool_use", id: `t${++id}`, name: "look", input: { at: "stone" } })
  const result = (use: ToolUseBlockParam, n: number): ContentBlockParam => ({
    type: "tool_result",
    tool_use_id: use.id,
    content: words(n)
  })

  if (plan.beginsWithSystem) messages.push({ role: "system", content: "Be kind." })
  for (const { kind, marked, thinks, words: n } of plan.exchanges.slice(0, exchanges)) {
    const text: ContentBlockParam = { type: "text", text: words(n) }
    const question: ContentBlockParam = { ...text, ...control(marked) }
    switch (kind) {
      case "plain":
        messages.push(user(words(n)))
        assistant(thinks, text)
        break
      case "twoQuestions":
        messages.push(user([question]), user(words(n)))
        assistant(thinks, text)
        break
      case "tool": {
        messages.push(user([question]))
        const look = use()
        assistant(thinks, text, look)
        messages.push(user([result(look, n)]))
        assistant(false, text)
        break
      }
      case "toolLoop": {
        messages.push(user([question]))
        const [first, second, third] = [use(), use(), use()]
        assistant(thinks, first, second)
        messages.push(user([result(first, n), result(second, n)]))
        assistant(thinks, third)
        messages.push(user([result(third, n), { type: "text", text: "Go on." }]))
        assistant(false, text)
        break
      }
      case "image":
        messages.push(user([{ type: "image", source: { type: "url", url: "https://api.test/a.png" } }, question]))
        assistant(thinks, text)
        break
      case "document":
        messages.push(user([{ type: "document", source: { type: "text", media_type: "text/plain", data: words(n) } }]))
        assistant(thinks, {
          type: "text",
          text: words(n),
          citations: [{
            type: "char_location",
            cited_text: "word",
            document_index: 0,
            document_title: null,
            start_char_index: 0,
            end_char_index: 4
          }]
        })
        break
      case "webSearch":
        messages.push(user([question]))
        assistant(
          thinks,
          { type: "server_tool_use", id: `srvtoolu_${++id}`, name: "web_search", input: { query: "stones" } },
          { type: "web_search_tool_result", tool_use_id: `srvtoolu_${id}`, content: [] },
          text
        )
        break
      case "pause": {
        messages.push(user([question]))
        const search = `srvtoolu_${++id}`
        assistant(thinks, { type: "server_tool_use", id: search, name: "web_search", input: { query: "stones" } })
        assistant(false, { type: "web_search_tool_result", tool_use_id: search, content: [] }, text)
        break
      }
      case "system":
        messages.push(user([question]), { role: "system", content: "The user is in a hurry." })
        assistant(thinks, text)
    }
  }
  messages.push(user("And now, which stone is the oldest?"))
  if (plan.endsWithResult) {
    const last = use()
    assistant(true, last)
    messages.push(user([result(last, 10)]))
  }
  return {
    model: plan.model,
    max_tokens: plan.maxTokens,
    messages,
    ...(plan.tools
      ? { tools: [{ name: "look", description: words(300), input_schema: { type: "object" as const } }] }
      : {}),
    ...(plan.system === "none"
      ? {}
      : plan.system === "text"
      ? { system: words(500) }
      : {
        system: [{
          type: "text" as const,
          text: words(500),
          ...(plan.system === "marked" ? { cache_control: { type: "ephemeral" as const } } : {})
        }]
      })
  }
}

/** What the simulator has against a request. */
export const problem = (request: Attempt.Request): string | undefined => {
  const checked = Validate.check(JSON.parse(JSON.stringify(request)), {
    version: "2026-10-21",
    counting: false,
    marked: true,
    extra: new Set(),
    catalogue: Model.catalogue,
    now: at
  })
  return "status" in checked ? checked.message : undefined
}
