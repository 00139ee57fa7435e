/**
 * The checks of content blocks: types, fields, and where they may stand.
 */
import * as Predicate from "effect/Predicate"
import { bad, extra, fields, isIn, object, typed } from "./Fields.ts"
import type { Block, Refusal, Turn } from "./Wire.ts"

interface Kind {
  readonly fields: ReadonlySet<string>
  /** Fields that must be texts. */
  readonly texts: ReadonlyArray<string>
  /** The only role that may have it. Default: any. */
  readonly role?: "user" | "assistant" | undefined
  /** The beginnings of the betas that have it. Default: no beta is needed. */
  readonly betas?: ReadonlyArray<string> | undefined
}

const kind = (names: string, texts: string, more?: Pick<Kind, "role" | "betas">): Kind => ({
  fields: fields(`type ${names}`),
  texts: texts === "" ? [] : texts.split(" "),
  ...more
})

const result = kind("content tool_use_id caller cache_control", "tool_use_id")
const mcp = ["mcp-client-"]
const changes = ["mid-conversation-tool-changes-", "inline-tools-"]
const assistant = { role: "assistant" } as const

const kinds: Readonly<Record<string, Kind>> = {
  text: kind("text citations cache_control", "text"),
  image: kind("source transformations cache_control", ""),
  document: kind("source citations context title cache_control", ""),
  search_result: kind("content source title citations cache_control", "source title"),
  thinking: kind("signature thinking", "signature thinking", assistant),
  redacted_thinking: kind("data", "data", assistant),
  tool_use: kind("id input name caller toolset_name cache_control", "id name", assistant),
  tool_result: kind("tool_use_id content is_error toolset_name cache_control", "tool_use_id"),
  server_tool_use: kind("id input name caller cache_control", "id name", assistant),
  web_search_tool_result: result,
  web_fetch_tool_result: result,
  code_execution_tool_result: result,
  bash_code_execution_tool_result: result,
  text_editor_code_execution_tool_result: result,
  tool_search_tool_result: result,
  container_upload: kind("file_id cache_control", "file_id"),
  advisor_tool_result: { ...result, betas: ["advisor-tool-"] },
  mcp_tool_use: kind("id input name server_name cache_control", "id name server_name", { ...assistant, betas: mcp }),
  mcp_tool_result: kind("tool_use_id content is_error cache_control", "tool_use_id", { betas: mcp }),
  mcp_tool_listing: kind("mcp_server_name tools", "mcp_server_name", { betas: mcp }),
  compaction: kind("content encrypted_content signature tool_changes cache_control", "", { betas: ["compact-"] }),
  fallback: kind("from to trigger", "", { betas: ["server-side-fallback-"] }),
  tool_addition: kind("tool cache_control", "", { betas: changes }),
  tool_removal: kind("tool cache_control", "", { betas: changes })
}

/** What the content of a tool result may hold. */
const inResults: Readonly<Record<string, Kind>> = {
  text: kinds["text"]!,
  image: kinds["image"]!,
  document: kinds["document"]!,
  search_result: kinds["search_result"]!,
  tool_reference: kind("tool_name cache_control", "tool_name")
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const imageTypes = ["image/jpeg", "image/png", "image/gif", "image/webp"]

/** How the base64 of images begins. */
const signatures: ReadonlyArray<readonly [start: RegExp, type: string]> = [
  [/^iVBORw0KGg/, "image/png"],
  [/^\/9j\//, "image/jpeg"],
  [/^R0lGOD/, "image/gif"],
  [/^UklGR.{11}XRUJQ/, "image/webp"]
]

const isData = (data: unknown): boolean => typeof data === "string" && data !== "" && base64.test(data)

const sourceFields: Readonly<Record<string, ReadonlySet<string>>> = {
  base64: fields("type media_type data"),
  text: fields("type media_type data"),
  content: fields("type content"),
  url: fields("type url"),
  file: fields("type file_id")
}

const source = (block: Block, place: string): Refusal | undefined => {
  const value = block["source"]
  const at = `${place}.source`
  if (!Predicate.isObject(value)) return bad(`${at}: Field required`)
  const { data, file_id, media_type, type, url } = value
  const isImage = block.type === "image"
  const known = typeof type === "string" && Object.hasOwn(sourceFields, type) ? sourceFields[type] : undefined
  if (known === undefined || (isImage && (type === "text" || type === "content"))) {
    return bad(`${at}: Input tag '${String(type)}' found using 'type' does not match any of the expected tags`)
  }
  if (type === "base64") {
    const types = isImage ? imageTypes : ["application/pdf"]
    if (!types.includes(String(media_type))) return bad(`${at}.base64.media_type: Input should be ${types.join(", ")}`)
    if (!isData(data)) return bad(`${at}.base64.data: The ${block.type} is not valid base64`)
    const found = signatures.find(([start]) => start.test(String(data).slice(0, 24)))?.[1]
    if (found !== undefined && found !== media_type) {
      return bad(`${at}.base64.media_type: The ${block.type} is of the type ${found}, not ${String(media_type)}`)
    }
  }
  if (type === "text" && (media_type !== "text/plain" || typeof data !== "string")) {
    return bad(`${at}.text: Input should be a text of the media type 'text/plain'`)
  }
  if (type === "url" && !(typeof url === "string" && /^https?:\/\//.test(url))) {
    return bad(`${at}.url: Input should be a URL`)
  }
  if (type === "file" && typeof file_id !== "string") return bad(`${at}.file.file_id: Input should be a valid string`)
  return extra(value, known, `${at}.`)
}

const inside = (block: Block, place: string, betas: string): Refusal | undefined => {
  const content = block["content"]
  if (!Array.isArray(content)) return undefined
  for (let i = 0; i < content.length; i++) {
    const wrong = one(content[i], inResults, `${place}.content.${i}`, undefined, betas)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

const one = (
  block: Block,
  among: Readonly<Record<string, Kind>>,
  place: string,
  role: string | undefined,
  betas: string
): Refusal | undefined => {
  const { type } = block
  const kind = Object.hasOwn(among, type) ? among[type] : undefined
  if (kind === undefined || (kind.betas !== undefined && !isIn(betas, kind.betas))) {
    return bad(`${place}: Input tag '${type}' found using 'type' does not match any of the expected tags`)
  }
  if (role === "user" && kind.role === "assistant") {
    return bad(`${place}: \`${type}\` blocks can only be in \`assistant\` messages`)
  }
  for (const field of kind.texts) {
    if (typeof block[field] !== "string") return bad(`${place}.${type}.${field}: Input should be a valid string`)
  }
  if (type === "text" && among !== inResults && String(block["text"]).trim() === "") {
    return bad(`${place}.text.text: text content blocks must contain non-whitespace text`)
  }
  const wrong = typed(block["is_error"], "boolean", `${place}.${type}.is_error`) ??
    typed(block["title"], "string", `${place}.${type}.title`) ??
    typed(block["context"], "string", `${place}.${type}.context`) ??
    (type === "document" || type === "search_result"
      ? object(block["citations"], fields("enabled"), `${place}.${type}.citations`)
      : undefined)
  if (wrong !== undefined) return wrong
  if (type === "tool_use" || type === "server_tool_use") {
    if (!/^[\w-]+$/.test(String(block["id"]))) {
      return bad(`${place}.${type}.id: should be of letters, digits, '_' and '-'`)
    }
    if (!Predicate.isObject(block["input"])) return bad(`${place}.${type}.input: Input should be an object`)
  }
  return extra(block, kind.fields, `${place}.${type}.`) ??
    (type === "image" || type === "document" ? source(block, `${place}.${type}`) : undefined) ??
    (type === "tool_result" ? inside(block, `${place}.${type}`, betas) : undefined)
}

const turnFields = fields("role content")
const systemFields = fields("role content clear_at output_config")

/** What is wrong with the blocks of messages that have the right shape. */
export const problem = (messages: ReadonlyArray<Turn>, betas: string): Refusal | undefined => {
  for (let i = 0; i < messages.length; i++) {
    const turn = messages[i]!
    // a turn is an object with these two fields; the check looks for others
    const all = turn as unknown as Readonly<Record<string, unknown>>
    const wrong = extra(all, turn.role === "system" && betas !== "" ? systemFields : turnFields, `messages.${i}.`)
    if (wrong !== undefined) return wrong
    if (typeof turn.content === "string") continue
    for (let j = 0; j < turn.content.length; j++) {
      const wrong = one(turn.content[j]!, kinds, `messages.${i}.content.${j}`, turn.role, betas)
      if (wrong !== undefined) return wrong
    }
  }
  return undefined
}

/** What is wrong with a system prompt in blocks. */
export const systemProblem = (
  system: string | ReadonlyArray<Block> | null | undefined,
  betas: string
): Refusal | undefined => {
  if (!Array.isArray(system)) return undefined
  for (let i = 0; i < system.length; i++) {
    const wrong = one(system[i], { text: kinds["text"]! }, `system.${i}`, undefined, betas)
    if (wrong !== undefined) return wrong
  }
  return undefined
}
