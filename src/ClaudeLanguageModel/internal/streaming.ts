/** The events of a stream as the parts of a response, as they arrive. */
import type { Message, TextCitation } from "@anthropic-ai/sdk/resources/messages"
import type * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Result from "effect/Result"
import type { Report } from "../../ClaudeService.ts"
import * as MessageStream from "../../MessageStream.ts"
import type * as Usage from "../../Usage.ts"
import { json } from "./metadata.ts"
import * as Parts from "./parts.ts"
import type { Prepared } from "./request.ts"

type StreamPart = Response.StreamPartEncoded

/** A block that may still grow. Each kind has what its end needs. */
type Open = { readonly id: string } & (
  | { readonly kind: "text"; readonly citations: Array<TextCitation> }
  | { readonly kind: "reasoning"; signature: string }
  | { readonly kind: "redacted" }
  | { readonly kind: "call"; readonly call: Parts.Call; readonly block: Parts.AnyBlock; input: string }
  | { readonly kind: "opaque"; readonly accumulator: MessageStream.Accumulator }
)

export interface Reader {
  /** Adds the parts of an event to those before; fails with what ends the stream. */
  readonly read: (event: MessageStream.Event, parts: Array<StreamPart>) => AiError.AiErrorReason | undefined
  /** The last part, when the call has settled. */
  readonly finish: (report: Report | undefined) => Response.FinishPartEncoded
  readonly message: () => Message | undefined
}

type Start = Extract<MessageStream.Event, { type: "content_block_start" }>
type Delta = Extract<MessageStream.Event, { type: "content_block_delta" }>

const isKnown = ([, value]: readonly [string, unknown]): boolean => value !== null && value !== undefined

/** Reads one stream. `now` gives milliseconds since the epoch. */
export const make = (prepared: Prepared, now: () => number): Reader => {
  const began = now()
  const open = new Map<number, Open>()
  let message: Message | undefined
  let reading = Parts.reading(prepared, "")
  let usage: Usage.Reported | undefined
  let end: Partial<Parts.End> = {}
  let firstChunkMillis: number | undefined

  const begin = (event: Start, parts: Array<StreamPart>): void => {
    const { content_block: block, index } = event
    const id = String(index)
    if (block.type === "text") {
      open.set(index, { id, kind: "text", citations: [...block.citations ?? []] })
      parts.push({ type: "text-start", id })
      if (block.text) parts.push({ type: "text-delta", id, delta: block.text })
      parts.push(...(block.citations ?? []).flatMap((citation) => Parts.sourcesOf(citation, reading)))
      return
    }
    if (block.type === "thinking") {
      open.set(index, { id, kind: "reasoning", signature: block.signature ?? "" })
      parts.push({ type: "reasoning-start", id })
      if (block.thinking) parts.push({ type: "reasoning-delta", id, delta: block.thinking })
      return
    }
    if (block.type === "redacted_thinking") {
      open.set(index, { id, kind: "redacted" })
      parts.push({ type: "reasoning-start", id, metadata: Parts.redacted(block) })
      return
    }
    const call = Parts.callIn(block, reading)
    if (call !== undefined && !(call.isServers && call.name === undefined)) {
      const given = JSON.stringify("input" in block ? block.input ?? {} : {})
      const input = given === "{}" ? "" : given
      open.set(index, { id: call.id, kind: "call", call, block, input })
      const name = call.name ?? call.wireName
      parts.push({ type: "tool-params-start", id: call.id, name, ...(call.isServers ? { providerExecuted: true } : undefined) })
      if (input !== "") parts.push({ type: "tool-params-delta", id: call.id, delta: input })
      return
    }
    const result = Parts.resultParts(block, reading)
    if (result !== undefined) {
      parts.push(...result)
      return
    }
    const accumulator = MessageStream.accumulate()
    if (message !== undefined) accumulator.add({ type: "message_start", message })
    accumulator.add(event)
    open.set(index, { id, kind: "opaque", accumulator })
  }

  const grow = (event: Delta, parts: Array<StreamPart>): void => {
    const block = open.get(event.index)
    if (block === undefined) return
    const { id } = block
    const { delta } = event
    if (block.kind === "opaque") block.accumulator.add(event)
    else if (delta.type === "text_delta") parts.push({ type: "text-delta", id, delta: delta.text })
    else if (delta.type === "thinking_delta") parts.push({ type: "reasoning-delta", id, delta: delta.thinking })
    else if (delta.type === "signature_delta" && block.kind === "reasoning") block.signature = delta.signature
    else if (delta.type === "citations_delta" && block.kind === "text") {
      block.citations.push(delta.citation)
      parts.push(...Parts.sourcesOf(delta.citation, reading))
    } else if (delta.type === "input_json_delta" && block.kind === "call" && delta.partial_json !== "") {
      block.input += delta.partial_json
      parts.push({ type: "tool-params-delta", id, delta: delta.partial_json })
    }
  }

  const close = (index: number, parts: Array<StreamPart>): AiError.AiErrorReason | undefined => {
    const block = open.get(index)
    open.delete(index)
    if (block === undefined) return undefined
    const { id } = block
    switch (block.kind) {
      case "text": {
        const citations = block.citations.map((citation) => json({ ...citation }))
        parts.push({ type: "text-end", id, ...(citations.length > 0 ? { metadata: { anthropic: { citations } } } : undefined) })
        return undefined
      }
      case "reasoning":
        parts.push({ type: "reasoning-end", id, metadata: Parts.thinking(block.signature) })
        return undefined
      case "redacted":
        parts.push({ type: "reasoning-end", id })
        return undefined
      case "opaque": {
        block.accumulator.add({ type: "message_stop" })
        const [whole] = block.accumulator.message()?.content ?? []
        if (whole === undefined) return undefined
        parts.push({ type: "reasoning-start", id, metadata: { anthropic: Parts.opaque(whole) } }, { type: "reasoning-end", id })
        return undefined
      }
      case "call": {
        parts.push({ type: "tool-params-end", id })
        const whole = { ...block.block, input: Parts.parsed(block.input) } as Parts.AnyBlock
        return Result.match(Parts.callPart(block.call, whole, reading), {
          onFailure: (reason) => reason,
          onSuccess: (part) => {
            parts.push(part)
            return undefined
          }
        })
      }
    }
  }

  const closeAll = (parts: Array<StreamPart>): AiError.AiErrorReason | undefined => {
    let problem: AiError.AiErrorReason | undefined
    for (const index of [...open.keys()]) problem = close(index, parts) ?? problem
    return problem
  }

  const read: Reader["read"] = (event, parts) => {
    if (firstChunkMillis === undefined && MessageStream.isContent(event)) firstChunkMillis = now() - began
    switch (event.type) {
      case "message_start": {
        message = event.message
        reading = Parts.reading(prepared, message.id)
        usage = message.usage
        const timestamp = new Date(now()).toISOString()
        parts.push({ type: "response-metadata", id: message.id, modelId: message.model, timestamp })
        return undefined
      }
      case "content_block_start": {
        const problem = close(event.index, parts)
        begin(event, parts)
        return problem
      }
      case "content_block_delta":
        grow(event, parts)
        return undefined
      case "content_block_stop":
        return close(event.index, parts)
      case "message_delta":
        usage = { ...usage, ...Object.fromEntries(Object.entries(event.usage ?? {}).filter(isKnown)) }
        end = { ...end, ...event.delta }
        return undefined
      case "message_stop":
        return closeAll(parts)
      default:
        return undefined
    }
  }

  return {
    read,
    finish: (report) => Parts.finishPart({ ...end, usage, firstChunkMillis }, report),
    message: () => message
  }
}
