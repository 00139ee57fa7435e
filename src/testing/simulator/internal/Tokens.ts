/**
 * Token counting of the simulator: one token for each four UTF-16 code units, rounded up for each piece, and 1.3 times that with the
 * dense tokenizer. A message costs 4 more, a request with tools 300 more, an image 1,500, as does a document by URL or of
 * an uploaded file, and any other document one token for each 24 characters of its base64 data.
 */
import * as Predicate from "effect/Predicate"
import * as Model from "../../../Model.ts"
import type { Block, Body } from "./Wire.ts"

const perCharacter = (tokenizer: Model.Tokenizer): number => Model.tokenizers[tokenizer].density / 4

/** Tokens of a text of this length. */
export const ofLength = (length: number, tokenizer: Model.Tokenizer): number =>
  Math.ceil(length * perCharacter(tokenizer))

/** How long a text may be that has at most so many tokens. */
export const lengthOf = (tokens: number, tokenizer: Model.Tokenizer): number =>
  Math.floor(tokens / perCharacter(tokenizer))

const sourceOf = (block: Block): Record<string, unknown> => Predicate.isObject(block["source"]) ? block["source"] : {}

const characters = (value: unknown): number =>
  typeof value === "string" ? value.length : value === undefined ? 0 : JSON.stringify(value).length

/** Tokens of one content block. */
export const ofBlock = (block: Block, tokenizer: Model.Tokenizer): number => {
  switch (block.type) {
    case "text":
      return ofLength(characters(block["text"]), tokenizer)
    case "thinking":
      return ofLength(characters(block["thinking"]), tokenizer)
    case "image":
      return 1_500
    case "document": {
      const source = sourceOf(block)
      if (source["type"] === "text") return ofLength(characters(source["data"]), tokenizer)
      if (source["type"] === "content") return ofLength(characters(source["content"]), tokenizer)
      return source["type"] === "base64" ? Math.ceil(characters(source["data"]) / 24) : 1_500
    }
    case "tool_use":
      return ofLength(characters(block["name"]) + characters(block["input"]), tokenizer)
    case "tool_result": {
      const content = block["content"]
      if (typeof content === "number") return 0 // its blocks were counted one by one
      return Array.isArray(content)
        ? content.reduce((sum: number, part) => sum + ofBlock(part, tokenizer), 0)
        : ofLength(characters(content), tokenizer)
    }
    default:
      return ofLength(JSON.stringify(block).length, tokenizer)
  }
}

/** A piece of the prompt at whose end a cache breakpoint may stand. */
export interface Segment {
  readonly tokens: number
  readonly value: unknown
}

/** The blocks in a tool result: a breakpoint may stand at each of them. */
const within = ({ content, type }: Block): ReadonlyArray<Block> =>
  type === "tool_result" && Array.isArray(content) ? content : []

/** The pieces of the prompt in the order in which the cache reads them: tools, system, messages. */
export const segments = (body: Body, tokenizer: Model.Tokenizer): ReadonlyArray<Segment> => {
  const out: Array<Segment> = []
  const tools = body.tools ?? []
  tools.forEach((tool, index) =>
    out.push({
      tokens: ofLength(JSON.stringify(withoutBreakpoint(tool)).length, tokenizer) + (index === 0 ? 300 : 0),
      value: tool
    })
  )
  const push = (block: Block, extra: number, value: unknown = block) =>
    out.push({ tokens: ofBlock(block, tokenizer) + extra, value })
  if (typeof body.system === "string") push({ type: "text", text: body.system }, 0)
  else body.system?.forEach((block) => push(block, 0))
  for (const { content, role } of body.messages) {
    if (typeof content === "string") push({ type: "text", text: content }, 4, { type: "text", text: content, role })
    else {
      content.forEach((block, index) => {
        const inner = within(block)
        for (const part of inner) push(part, 0, { ...part, role, of: block["tool_use_id"] })
        const rest = inner.length === 0 ? block : { ...block, content: inner.length }
        push(rest, index === 0 ? 4 : 0, { ...rest, role })
      })
    }
  }
  return out
}

/** Tokens of the whole prompt. */
export const ofBody = (body: Body, tokenizer: Model.Tokenizer): number =>
  segments(body, tokenizer).reduce((sum, segment) => sum + segment.tokens, 0)

/** The same object without the mark of a breakpoint, which is no part of what is cached. */
export const withoutBreakpoint = (value: unknown): unknown =>
  Predicate.isObject(value) && "cache_control" in value ? { ...value, cache_control: undefined } : value
