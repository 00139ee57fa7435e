/** Blocks of an answer as parts of a response. */
import type { ContentBlock, Message, TextCitation, WebSearchResultBlock } from "@anthropic-ai/sdk/resources/messages"
import * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { Report } from "../../ClaudeService.ts"
import * as Usage from "../../Usage.ts"
import { type Block, blockOf, json } from "./metadata.ts"
import type { Prepared } from "./request.ts"
import { isStrict, ownInput } from "./tools.ts"

export type Part = Response.PartEncoded & Response.StreamPartEncoded

/** A block of any type, also one that the SDK does not know. */
export type AnyBlock = ContentBlock | Block

/** What the blocks of one answer are read with. */
export interface Reading extends Prepared {
  readonly messageId: string
  /** Calls that the server runs, by their ids, so that results know their names. */
  readonly serverCalls: Map<string, string>
  sources: number
}

export const reading = (prepared: Prepared, messageId: string): Reading => ({
  ...prepared,
  documents: [...prepared.documents],
  messageId,
  serverCalls: new Map(),
  sources: 0
})

const field = (block: AnyBlock, name: string): unknown => (block as Block)[name]

const textOf = (block: AnyBlock, name: string): string => {
  const value = field(block, name)
  return typeof value === "string" ? value : ""
}

/** A block that has no part of its own: it comes back to Claude as it was, and shows nothing. */
export const opaque = (block: AnyBlock) => ({ type: "block", block: blockOf(block as ContentBlock) }) as const

export const thinking = (signature: string) => ({ anthropic: { type: "thinking", signature } }) as const

export const redacted = (block: AnyBlock) =>
  ({ anthropic: { type: "redacted_thinking", redactedData: textOf(block, "data") } }) as const

export interface Call {
  readonly id: string
  /** The name in the toolkit; undefined for a tool that it does not have. */
  readonly name: string | undefined
  readonly wireName: string
  readonly isServers: boolean
}

/** The call that a block is; undefined for a block that is none, and for what a server ran without a tool in the toolkit. */
export const callIn = (block: AnyBlock, { names }: Reading): Call | undefined => {
  const call = { id: textOf(block, "id"), wireName: textOf(block, "name") }
  if (block.type === "tool_use") return { ...call, name: names.declared(call.wireName), isServers: false }
  const name = block.type === "server_tool_use"
    ? names.declared(call.wireName.replace(/^.*(?=code_execution$)/, ""))
    : block.type === "mcp_tool_use"
    ? names.mcp(textOf(block, "server_name"))
    : undefined
  return name === undefined ? undefined : { ...call, name, isServers: true }
}

/** Input of a tool as it came in pieces. What is not JSON, because the answer was cut, is given as it is. */
export const parsed = (text: string): unknown =>
  text.trim() === "" ? {} : Result.getOrElse(Result.try(() => Tool.unsafeSecureJsonParse(text)), () => text)

/** The part of a call whose input is complete, or why there can be none. */
export const callPart = (
  call: Call,
  block: AnyBlock,
  reading: Reading
): Result.Result<Response.ToolCallPartEncoded, AiError.AiErrorReason> => {
  const { names, options, provider } = reading
  const { id, isServers, wireName } = call
  const input = field(block, "input") ?? {}
  if (isServers) {
    const params = block.type === "mcp_tool_use" ? { tool: wireName, input } : input
    const name = call.name ?? wireName
    reading.serverCalls.set(id, name)
    return Result.succeed({
      type: "tool-call",
      id,
      name,
      params,
      providerExecuted: true,
      metadata: { anthropic: { block: blockOf({ ...block, input } as ContentBlock) } }
    })
  }
  if (call.name === undefined && provider.toolCallValidation !== "deferred") {
    return Result.fail(new AiError.ToolNotFoundError({ toolName: wireName, availableTools: names.all }))
  }
  const name = call.name ?? wireName
  const tool = names.tool(name)
  const caller = field(block, "caller")
  return Result.succeed({
    type: "tool-call",
    id,
    name,
    params: tool !== undefined && isStrict(tool, options) ? ownInput(tool, input) : input,
    ...(Predicate.isObject(caller) ? { metadata: { anthropic: { caller: json({ ...caller }) } } } : undefined)
  })
}

const source = (reading: Reading): { readonly type: "source"; readonly id: string } => ({
  type: "source",
  id: `${reading.messageId}_source_${reading.sources++}`
})

const urlSource = (reading: Reading, url: string, title: unknown, anthropic: object): ReadonlyArray<Part> =>
  URL.canParse(url)
    ? [{
      ...source(reading),
      sourceType: "url",
      url,
      title: typeof title === "string" ? title : url,
      metadata: { anthropic: json({ ...anthropic }) }
    }]
    : []

const documentSource = (
  reading: Reading,
  document: Partial<Reading["documents"][number]>,
  title: string | null | undefined,
  anthropic: object
): ReadonlyArray<Part> => [{
  ...source(reading),
  sourceType: "document",
  mediaType: document.mediaType ?? "text/plain",
  title: title ?? document.title ?? document.fileName ?? "Untitled document",
  ...(document.fileName === undefined ? undefined : { fileName: document.fileName }),
  metadata: { anthropic: json({ source: "document", ...anthropic }) }
}]

/** What a citation names, as a source. A kind of citation that is not known is none. */
export const sourcesOf = (citation: TextCitation, reading: Reading): ReadonlyArray<Part> => {
  const citedText = citation.cited_text
  switch (citation.type) {
    case "web_search_result_location":
      return urlSource(reading, citation.url, citation.title, {
        source: "url",
        citedText,
        encryptedIndex: citation.encrypted_index
      })
    case "search_result_location": {
      const { end_block_index: endBlockIndex, start_block_index: startBlockIndex, title, type } = citation
      const said = { type, citedText, startBlockIndex, endBlockIndex }
      const found = urlSource(reading, citation.source, title, { source: "url", ...said })
      return found.length > 0 ? found : documentSource(reading, { title: citation.source }, title, said)
    }
    case "char_location":
    case "page_location":
    case "content_block_location": {
      const document = reading.documents[citation.document_index] ?? {}
      const place = citation.type === "char_location"
        ? { startCharIndex: citation.start_char_index, endCharIndex: citation.end_char_index }
        : citation.type === "page_location"
        ? { startPageNumber: citation.start_page_number, endPageNumber: citation.end_page_number }
        : { startBlockIndex: citation.start_block_index, endBlockIndex: citation.end_block_index }
      return documentSource(reading, document, citation.document_title, { type: citation.type, citedText, ...place })
    }
    default:
      return []
  }
}

const isResult = ({ type }: AnyBlock): boolean => type.endsWith("_tool_result")

const hasFailed = (block: AnyBlock, content: unknown): boolean =>
  field(block, "is_error") === true ||
  (Predicate.hasProperty(content, "type") && String(content.type).endsWith("_error"))

/** The parts of a result that the server got, with the pages that it found; undefined for any other block. */
export const resultParts = (block: AnyBlock, reading: Reading): ReadonlyArray<Part> | undefined => {
  const id = textOf(block, "tool_use_id")
  const name = reading.serverCalls.get(id) ??
    reading.names.declared(block.type.replace(/^.*(?=code_execution_)/, "").replace(/_tool_result$/, ""))
  if (!isResult(block) || name === undefined || reading.names.tool(name) === undefined) return undefined
  const content = field(block, "content")
  const isFailure = hasFailed(block, content)
  const found = block.type === "web_search_tool_result" && Array.isArray(content)
    ? (content as Array<WebSearchResultBlock>).flatMap(({ page_age, title, url }) =>
      urlSource(reading, url, title, { source: "web", pageAge: page_age ?? null })
    )
    : []
  // Citations count the fetched page among the documents.
  if (block.type === "web_fetch_tool_result" && !isFailure && Predicate.hasProperty(content, "content")) {
    const page = content.content as { readonly title?: string; readonly source?: { readonly media_type?: string } }
    reading.documents.push({
      title: page.title ?? (Predicate.hasProperty(content, "url") ? String(content.url) : undefined),
      fileName: undefined,
      mediaType: page.source?.media_type ?? "text/plain"
    })
  }
  const references = Predicate.hasProperty(content, "tool_references") ? content.tool_references : undefined
  return [{
    type: "tool-result",
    id,
    name,
    isFailure,
    result: references ?? content,
    providerExecuted: true,
    metadata: { anthropic: { block: blockOf(block as ContentBlock) } }
  }, ...found]
}

const finishReasons: Readonly<Record<string, Response.FinishReason | undefined>> = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  model_context_window_exceeded: "length",
  tool_use: "tool-calls",
  pause_turn: "pause",
  refusal: "content-filter"
}

/** How an answer ended, and what it took. */
export type End =
  & Partial<Pick<Message, "stop_reason" | "stop_sequence" | "stop_details" | "container">>
  & { readonly usage: Usage.Reported | undefined; readonly firstChunkMillis?: number | undefined }

export const usageOf = (reported: Usage.Reported | undefined): typeof Response.Usage.Encoded => {
  const usage = Usage.fromReported(reported ?? {})
  const { inputTokens, outputTokens, thinkingTokens } = usage
  const isSplit = typeof reported?.output_tokens_details?.thinking_tokens === "number"
  return {
    inputTokens: {
      uncached: inputTokens,
      total: Usage.promptTokens(usage),
      cacheRead: usage.cacheReadTokens,
      cacheWrite: usage.cacheWrite5mTokens + usage.cacheWrite1hTokens
    },
    outputTokens: {
      total: outputTokens,
      ...(isSplit ? { text: Math.max(0, outputTokens - thinkingTokens), reasoning: thinkingTokens } : undefined)
    }
  }
}

export const finishPart = (end: End, report: Report | undefined): Response.FinishPartEncoded => ({
  type: "finish",
  reason: typeof end.stop_reason === "string" ? finishReasons[end.stop_reason] ?? "other" : "unknown",
  usage: usageOf(end.usage),
  metadata: {
    anthropic: json({
      usage: json({ ...end.usage }),
      stopReason: end.stop_reason ?? null,
      stopSequence: end.stop_sequence ?? null,
      stopDetails: end.stop_details ?? null,
      container: end.container ?? null,
      timeToFirstChunkMillis: end.firstChunkMillis,
      ...(report === undefined ? undefined : {
        callId: report.callId,
        requestId: report.requestId,
        attempts: report.attempts,
        latencyMillis: Duration.toMillis(report.latency),
        model: report.model,
        costNanoUsd: report.costNanoUsd
      })
    })
  }
})
