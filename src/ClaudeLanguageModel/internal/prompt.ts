/** A prompt as the system prompt and the turns of a request. */
import * as Prompt from "effect/ai/Prompt"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Files from "./files.ts"
import { type Block, type CacheControl, said } from "./metadata.ts"
import type { Names } from "./names.ts"

/** A document of a request, by whose index in the request citations name it. */
export interface Citable {
  readonly title: string | undefined
  readonly fileName: string | undefined
  readonly mediaType: string
}

export interface Turn {
  readonly role: "user" | "assistant" | "system"
  content: Array<Block>
}

export interface Converted {
  readonly system: ReadonlyArray<Block>
  readonly turns: ReadonlyArray<Turn>
  readonly documents: Array<Citable>
  /** What Claude cannot be sent. */
  readonly problem: string | undefined
}

const hasText = (text: string): boolean => /\S/.test(text)

/** Thinking cannot be marked: the block before it is. */
const isMarkable = ({ type }: Block): boolean => type !== "thinking" && type !== "redacted_thinking"

/** Puts a breakpoint on the last block that can have one. */
const mark = (content: Array<Block>, control: CacheControl | null | undefined): void => {
  if (!control) return
  let index = content.length - 1
  while (index >= 0 && !isMarkable(content[index]!)) index--
  if (index >= 0) content[index] = { ...content[index]!, cache_control: control }
}

/** Input of a tool is an object. What the model wrote instead is kept in one, as the API documents. */
const inputOf = (params: unknown): unknown =>
  Predicate.isObject(params) ? params : params === undefined || params === null ? {} : { INVALID_JSON: params }

const isFromClaude = (part: Prompt.ToolCallPart | Prompt.ToolResultPart): boolean =>
  part.providerExecuted || said(part).block !== undefined

/** Ids of other providers may have characters that the API refuses. */
const idOf = ({ id }: { readonly id: string }): string => id.replace(/[^\w-]/g, "_")

/** The tools that the API runs. */
const serverTools = new Set([
  "web_search",
  "web_fetch",
  "code_execution",
  "bash_code_execution",
  "text_editor_code_execution",
  "tool_search_tool_regex",
  "tool_search_tool_bm25"
])

/** Whether a call, or its result, was made by the API itself, and not by another provider. */
const isKnown = (part: Prompt.ToolCallPart | Prompt.ToolResultPart, names: Names): boolean =>
  said(part).block !== undefined || names.serverOf(part.name) !== undefined || serverTools.has(names.onWire(part.name))

const serverCall = (part: Prompt.ToolCallPart, names: Names): Block => {
  const { block } = said(part)
  if (block !== undefined) return block
  const server_name = names.serverOf(part.name)
  if (server_name === undefined) {
    return { type: "server_tool_use", id: idOf(part), name: names.onWire(part.name), input: inputOf(part.params) }
  }
  const { input, tool } = inputOf(part.params) as { readonly tool?: string; readonly input?: unknown }
  return { type: "mcp_tool_use", id: idOf(part), server_name, name: tool ?? "", input: inputOf(input) }
}

/** The results of code execution are called after what was run: `bash_code_execution_result`. */
const ranBy = /^(.*code_execution)_/

const serverResult = (part: Prompt.ToolResultPart, names: Names): Block => {
  const { block } = said(part)
  if (block !== undefined) return block
  const { isFailure, result } = part
  const id = idOf(part)
  if (names.serverOf(part.name) !== undefined) {
    return { type: "mcp_tool_result", tool_use_id: id, is_error: isFailure, content: result }
  }
  const type = Predicate.isObject(result) ? String((result as Partial<Block>).type) : ""
  const name = names.onWire(part.name)
  const ran = name === "code_execution" ? ranBy.exec(type)?.[1] ?? name : name.replace(/_(?:regex|bm25)$/, "")
  return { type: `${ran}_tool_result`, tool_use_id: id, content: result }
}

/** Builds the turns: those of one role that follow each other are one. */
class Builder {
  readonly system: Array<Block> = []
  readonly turns: Array<Turn> = []
  readonly documents: Array<Citable> = []
  problem: string | undefined
  readonly names: Names

  constructor(names: Names) {
    this.names = names
  }

  private contentOf(role: Turn["role"]): Array<Block> {
    const last = this.turns.at(-1)
    if (last?.role === role) return last.content
    const content: Array<Block> = []
    this.turns.push({ role, content })
    return content
  }

  private text(content: Array<Block>, text: string, citations?: unknown): void {
    if (hasText(text)) content.push({ type: "text", text, ...(Array.isArray(citations) ? { citations } : undefined) })
  }

  private file(content: Array<Block>, part: Prompt.FilePart): void {
    Result.match(Files.block(part), {
      onFailure: (problem) => {
        this.problem ??= problem
      },
      onSuccess: (block) => {
        content.push(block)
        if (block.type !== "document") return
        const { fileName, mediaType } = part
        this.documents.push({ title: block["title"] as string | undefined, fileName, mediaType })
      }
    })
  }

  private toolResult(part: Prompt.ToolResultPart): Block {
    const { isFailure, modelOutput, result } = part
    const content: Array<Block> = []
    for (const output of isFailure ? [] : modelOutput ?? []) {
      if (output.type === "text") this.text(content, output.text)
      else this.file(content, output)
      mark(content, said(output).cacheControl)
    }
    const given = modelOutput !== undefined && !isFailure
      ? content
      : typeof result === "string" || result === undefined
      ? result
      : this.stringified(part)
    return {
      type: "tool_result",
      tool_use_id: idOf(part),
      ...(given === undefined ? undefined : { content: given }),
      ...(isFailure ? { is_error: true } : undefined)
    }
  }

  private stringified({ name, result }: Prompt.ToolResultPart): string | undefined {
    const json = Result.try(() => JSON.stringify(result))
    if (Result.isFailure(json)) this.problem ??= `The result of the tool "${name}" cannot be written as JSON.`
    return Result.getOrUndefined(json)
  }

  private result(part: Prompt.ToolResultPart): Array<Block> {
    const isServers = isFromClaude(part)
    if (isServers && !isKnown(part, this.names)) return []
    const content = this.contentOf(isServers ? "assistant" : "user")
    content.push(isServers ? serverResult(part, this.names) : this.toolResult(part))
    return content
  }

  private reasoning(content: Array<Block>, part: Prompt.ReasoningPart): void {
    const own = said(part)
    const { block, redactedData, signature, type } = own.info ?? own
    if (block !== undefined) content.push(block)
    else if (redactedData !== undefined) content.push({ type: "redacted_thinking", data: redactedData })
    // Thoughts of other models are not signed, and nothing is accepted without a signature.
    else if (type === "thinking" && signature) content.push({ type, thinking: part.text, signature })
  }

  private call(content: Array<Block>, part: Prompt.ToolCallPart): void {
    if (isFromClaude(part)) {
      if (isKnown(part, this.names)) content.push(serverCall(part, this.names))
      return
    }
    const { caller } = said(part)
    content.push({
      type: "tool_use",
      id: idOf(part),
      name: this.names.onWire(part.name),
      input: inputOf(part.params),
      ...(Predicate.isObject(caller) ? { caller } : undefined)
    })
  }

  private part(role: "user" | "assistant", part: Prompt.Part): Array<Block> {
    if (part.type === "tool-result") return this.result(part)
    if (part.type === "tool-approval-request" || part.type === "tool-approval-response") return []
    const content = this.contentOf(role)
    if (part.type === "text") this.text(content, part.text, role === "assistant" ? said(part).citations : undefined)
    else if (part.type === "reasoning") this.reasoning(content, part)
    else if (part.type === "tool-call") this.call(content, part)
    else if (role === "user") this.file(content, part)
    // An assistant's turn takes no files: they are named, so that nobody wonders what the talk is about.
    else this.text(content, Prompt.toolModelOutputToText([part]))
    return content
  }

  message(message: Prompt.Message): void {
    const { cacheControl } = said(message)
    if (message.role === "system") {
      const content = this.turns.length === 0 ? this.system : this.contentOf("system")
      this.text(content, message.content)
      mark(content, cacheControl)
      return
    }
    const role = message.role === "assistant" ? "assistant" : "user"
    message.content.forEach((part, index) => {
      const isLast = index === message.content.length - 1
      mark(this.part(role, part), said(part).cacheControl ?? (isLast ? cacheControl : undefined))
    })
  }
}

const isResult = ({ type }: Block): boolean => type === "tool_result"

/** Results stand before everything else in a turn of the user. */
const resultsFirst = ({ content, role }: Turn): Turn => ({
  role,
  content: role === "user" && content.some(isResult)
    ? [...content.filter(isResult), ...content.filter((block) => !isResult(block))]
    : content
})

/** Results for the calls of a turn that was interrupted before they had any: the API asks for one each. */
const missing = (turn: Turn, next: Turn | undefined): ReadonlyArray<Block> => {
  const results = new Set(
    next?.role === "user" ? next.content.filter(isResult).map((block) => block["tool_use_id"]) : []
  )
  return turn.content.filter(({ id, type }) => type === "tool_use" && !results.has(id)).map(({ id }) => ({
    type: "tool_result",
    tool_use_id: id,
    content: "There is no result: the call was interrupted.",
    is_error: true
  }))
}

/** Calls of the server that never got their result, in a turn after which the user spoke: the API refuses them. */
const withoutAbandoned = ({ content, role }: Turn, later: ReadonlyArray<Turn>): Turn => {
  if (role !== "assistant" || later.length === 0 || later[0]!.content.every(isResult)) return { role, content }
  const answered = new Set(
    [content, ...later.map(({ content }) => content)].flat().map((block) => block["tool_use_id"])
  )
  return {
    role,
    content: content.filter(({ id, type }) => !/^(?:server|mcp)_tool_use$/.test(type) || answered.has(id))
  }
}

/** The turns of a history that may have been interrupted anywhere, so that it can go on. */
const complete = (given: ReadonlyArray<Turn>): ReadonlyArray<Turn> => {
  const turns: Array<Turn> = []
  given.forEach((turn, index) => {
    const whole = withoutAbandoned(turn, given.slice(index + 1))
    if (whole.content.length > 0) turns.push(whole)
    if (turn.role !== "assistant") return
    const next = given[index + 1]
    const results = missing(whole, next)
    if (results.length === 0) return
    if (next?.role === "user") next.content.unshift(...results)
    else turns.push({ role: "user", content: [...results] })
  })
  return turns
}

/** The text at the very end of a prompt, which the model goes on with, may not end in white space. */
const trimmed = (turn: Turn): void => {
  const last = turn.content.at(-1)
  if (turn.role === "assistant" && last?.type === "text") {
    turn.content[turn.content.length - 1] = { ...last, text: String(last["text"]).trimEnd() }
  }
}

export const convert = (prompt: Prompt.Prompt, names: Names): Converted => {
  const builder = new Builder(names)
  for (const message of prompt.content) builder.message(message)
  const { documents, system } = builder
  const turns = complete(builder.turns.filter(({ content }) => content.length > 0).map(resultsFirst))
  if (turns.length > 0) trimmed(turns.at(-1)!)
  const problem = builder.problem ??
    (turns.length === 0 ? "The prompt has nothing to answer: it has no turn with content." : undefined)
  return { system, turns, documents, problem }
}
