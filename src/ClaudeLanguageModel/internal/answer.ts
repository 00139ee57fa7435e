/** A whole answer as the parts of a response. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import type * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Result from "effect/Result"
import type { CallReport } from "../../ClaudeService.ts"
import * as Parts from "./parts.ts"
import type { Prepared } from "./request.ts"

const blockParts = (
  block: Parts.AnyBlock,
  reading: Parts.Reading
): Result.Result<ReadonlyArray<Response.PartEncoded>, AiError.AiErrorReason> => {
  const known = block as Message["content"][number]
  if (known.type === "text") {
    const citations = Array.isArray(known.citations) ? known.citations : []
    return Result.succeed([{
      type: "text",
      text: known.text ?? "",
      ...(citations.length > 0
        ? { metadata: { anthropic: { citations: JSON.parse(JSON.stringify(citations)) } } }
        : undefined)
    }, ...citations.flatMap((citation) => Parts.sourcesOf(citation, reading))])
  }
  if (known.type === "thinking") {
    return Result.succeed([{
      type: "reasoning",
      text: known.thinking ?? "",
      metadata: Parts.thinking(known.signature ?? "")
    }])
  }
  if (known.type === "redacted_thinking") {
    return Result.succeed([{ type: "reasoning", text: "", metadata: Parts.redacted(known) }])
  }
  const call = Parts.callIn(block, reading)
  if (call !== undefined) {
    return Result.map(Parts.callPart(call, block, reading), (part) => [part])
  }
  return Result.succeed(
    Parts.resultParts(block, reading) ?? [{ type: "reasoning", text: "", metadata: { anthropic: Parts.opaque(block) } }]
  )
}

/** The parts of an answer that arrived at `now`, an ISO time, or why it cannot be given. */
export const parts = (
  prepared: Prepared,
  { message, ...report }: CallReport,
  now: string
): Result.Result<Array<Response.PartEncoded>, AiError.AiErrorReason> => {
  const reading = Parts.reading(prepared, message.id)
  const parts: Array<Response.PartEncoded> = [
    { type: "response-metadata", id: message.id, modelId: message.model, timestamp: now }
  ]
  for (const block of message.content) {
    const read = blockParts(block, reading)
    if (Result.isFailure(read)) return Result.fail(read.failure)
    parts.push(...read.success)
  }
  parts.push(Parts.finishPart(message, report))
  return Result.succeed(parts)
}
