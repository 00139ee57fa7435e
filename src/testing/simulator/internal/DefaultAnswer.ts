/**
 * What the simulated model answers without an answerer: what the request asks for. It calls a tool and then talks about the result, gives
 * JSON in the format that was asked for, thinks where it may, and cites documents; else it repeats the question and goes on for a while.
 */
import * as Predicate from "effect/Predicate"
import type { Answer, AnswerBlock } from "./Answer.ts"
import * as Chance from "./Chance.ts"
import { fitting } from "./SchemaValue.ts"
import type { Block, Body } from "./Wire.ts"

type Tool = Readonly<Record<string, unknown>>

const fieldOf = (value: unknown, field: string): unknown => Predicate.isObject(value) ? value[field] : undefined

const question = (body: Body): string => {
  const turn = body.messages.at(-1)!
  if (typeof turn.content === "string") return turn.content
  const texts = turn.content.filter((block) => block.type === "text")
  const text = texts.at(-1)?.["text"]
  return typeof text === "string" ? text : ""
}

/** The input for the tools that the API defines, by the beginning of their type. */
const inputs: ReadonlyArray<readonly [string, Readonly<Record<string, string>>]> = [
  ["bash_", { command: "ls" }],
  ["text_editor_", { command: "view", path: "/" }],
  ["memory_", { command: "view", path: "/memories" }],
  ["computer_2", { action: "screenshot" }]
]

const inputOf = (tool: Tool, chance: Chance.Chance): unknown =>
  inputs.find(([type]) => String(tool["type"]).startsWith(type))?.[1] ?? fitting(tool["input_schema"], chance)

const isCallable = (tool: Tool): boolean =>
  "input_schema" in tool || inputs.some(([type]) => String(tool["type"]).startsWith(type))

/** The tool to call: the one that `tool_choice` names, or one that the question names, or the first. */
const toolOf = (body: Body, asked: string): Tool | undefined => {
  const type = fieldOf(body["tool_choice"], "type") ?? "auto"
  const tools = (body.tools ?? []).filter(isCallable)
  if (type === "none" || tools.length === 0) return undefined
  if (type === "tool") return tools.find(({ name }) => name === fieldOf(body["tool_choice"], "name"))
  const content = body.messages.at(-1)!.content
  const answers = typeof content !== "string" && content.some((block) => block.type === "tool_result")
  if (type === "auto" && (answers || body.messages.at(-1)!.role === "assistant")) return undefined
  const ready = tools.filter((tool) => tool["defer_loading"] !== true)
  return ready.find(({ name }) => asked.includes(String(name))) ?? ready[0]
}

/** The first document that may be cited, as a citation of its beginning. */
const citation = (body: Body): unknown => {
  if (body.messages.every(({ content }) => typeof content === "string")) return undefined
  const blocks = body.messages.flatMap(({ content, role }) =>
    typeof content === "string" || role !== "user" ? [] : content
  )
  const documents = blocks.filter(({ type }) => type === "document")
  const at = documents.findIndex(({ citations }) => fieldOf(citations, "enabled") === true)
  return at < 0 ? undefined : citationOf(documents[at]!, at)
}

const citationOf = ({ source, title }: Block, index: number): unknown => {
  const about = { document_index: index, document_title: title ?? null, file_id: fieldOf(source, "file_id") ?? null }
  if (fieldOf(source, "type") === "text") {
    const cited = String(fieldOf(source, "data")).slice(0, 60)
    return { type: "char_location", cited_text: cited, ...about, start_char_index: 0, end_char_index: cited.length }
  }
  if (fieldOf(source, "type") === "content") {
    const content = fieldOf(source, "content")
    const cited = typeof content === "string"
      ? content
      : String(fieldOf(Array.isArray(content) ? content[0] : {}, "text"))
    return { type: "content_block_location", cited_text: cited, ...about, start_block_index: 0, end_block_index: 1 }
  }
  return { type: "page_location", cited_text: "The first page.", ...about, start_page_number: 1, end_page_number: 2 }
}

/** A search of the web, what it found, and a sentence that cites it. */
const searched = (asked: string): ReadonlyArray<AnswerBlock> => {
  const url = "https://example.com/rivers"
  const title = "Rivers and stones"
  return [
    { type: "server_tool_use", id: "srvtoolu_search", name: "web_search", input: { query: asked.slice(0, 100) } },
    {
      type: "web_search_tool_result",
      tool_use_id: "srvtoolu_search",
      caller: { type: "direct" },
      content: [{ type: "web_search_result", url, title, encrypted_content: "c2ltdWxhdGVk", page_age: null }]
    },
    {
      type: "text",
      text: "There are many stones in the river.",
      citations: [{
        type: "web_search_result_location",
        url,
        title,
        cited_text: "Many stones.",
        encrypted_index: "c2ltdWxhdGVk"
      }]
    }
  ]
}

const thoughts = (body: Body): ReadonlyArray<AnswerBlock> => {
  const thinking = body["thinking"]
  const type = fieldOf(thinking, "type")
  if (type !== "enabled" && type !== "adaptive") return []
  return [{
    type: "thinking",
    thinking: fieldOf(thinking, "display") === "omitted" ? "" : "This needs a short answer."
  }]
}

/** The answer of a simulator without an answerer. */
export const byDefault = (seed: string, body: Body): Answer => {
  const asked = question(body)
  const name = `${seed} ${body.model} ${asked}`
  const tool = body.tools === undefined ? undefined : toolOf(body, asked)
  const first = thoughts(body)
  if (tool !== undefined) {
    return {
      content: [...first, { type: "tool_use", name: String(tool["name"]), input: inputOf(tool, Chance.make(name)) }]
    }
  }
  const format = fieldOf(body["output_config"], "format") ?? body["output_format"]
  if (Predicate.isObject(format)) {
    const json = JSON.stringify(fitting(format["schema"], Chance.make(name)))
    return first.length === 0 ? json : { content: [...first, { type: "text", text: json }] }
  }
  const hash = Chance.hashOf(name)
  const text = `You asked: "${asked.slice(0, 200)}". ${Chance.textOf(hash)}.`
  const cited = citation(body)
  const searches = body.tools?.some((tool) => String(tool["type"]).startsWith("web_search_")) === true &&
    fieldOf(body["tool_choice"], "type") !== "none"
  if (first.length === 0 && cited === undefined && !searches) return text
  return {
    content: [
      ...first,
      ...(searches ? searched(asked) : []),
      // what `citationOf` makes has the shape of the SDK's citations
      { type: "text", text, ...(cited === undefined ? undefined : { citations: [cited] as never }) }
    ]
  }
}
