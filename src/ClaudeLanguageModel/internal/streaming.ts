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

/** A block that may still grow: its parts have an id, and each kind has what its end needs. */
type Open =
  & { readonly id: string }
  & (
    | { readonly kind: "text"; readonly citations: Array<TextCitation> }
    | { readonly kind: "reasoning"; signature: string }
    | { readonly kind: "redacted" }
    | { readonly kind: "call"; readonly call: Parts.Call; readonly block: Parts.AnyBlock; input: string }
    | { readonly kind: "opaque"; readonly accumulator: MessageStream.Accumulator }
  )

type Start = Extract<MessageStream.Event, { type: "content_block_start" }>
type Delta = Extract<MessageStream.Event, { type: "content_block_delta" }>

/** What ends a stream, if anything does. */
type Problem = AiError.AiErrorReason | undefined

const isKnown = ([, value]: readonly [string, unknown]): boolean => value !== null && value !== undefined

/** Reads the events of one stream. */
export class Reader {
  /** The message as it began. */
  message: Message | undefined
  private readonly prepared: Prepared
  private readonly now: () => number
  private readonly began: number
  private readonly open = new Map<number, Open>()
  private reading: Parts.Reading
  private usage: Usage.Reported | undefined
  private end: Partial<Parts.End> = {}
  private firstChunkMillis: number | undefined
  private parts: Array<Response.StreamPartEncoded> = []

  /** `now` gives milliseconds since the epoch. */
  constructor(prepared: Prepared, now: () => number) {
    this.prepared = prepared
    this.now = now
    this.began = now()
    this.reading = Parts.reading(prepared, "")
  }

  /** The parts that were read since they were last taken. */
  take(): Array<Response.StreamPartEncoded> {
    const { parts } = this
    this.parts = []
    return parts
  }

  read(event: MessageStream.Event): Problem {
    if (this.firstChunkMillis === undefined && MessageStream.isContent(event)) {
      this.firstChunkMillis = this.now() - this.began
    }
    switch (event.type) {
      case "message_start":
        this.start(event.message)
        return undefined
      case "content_block_start": {
        const problem = this.close(event.index)
        this.begin(event)
        return problem
      }
      case "content_block_delta":
        this.grow(event)
        return undefined
      case "content_block_stop":
        return this.close(event.index)
      case "message_delta":
        this.usage = { ...this.usage, ...Object.fromEntries(Object.entries(event.usage ?? {}).filter(isKnown)) }
        this.end = { ...this.end, ...event.delta }
        return undefined
      case "message_stop":
        // A block without an end of its own ends here.
        return [...this.open.keys()].reduce<Problem>((problem, index) => this.close(index) ?? problem, undefined)
      default:
        return undefined
    }
  }

  /** The last part, when the call has settled. */
  finish(report: Report | undefined): Response.FinishPartEncoded {
    return Parts.finishPart({ ...this.end, usage: this.usage, firstChunkMillis: this.firstChunkMillis }, report)
  }

  private start(message: Message): void {
    this.message = message
    this.reading = Parts.reading(this.prepared, message.id)
    this.usage = message.usage
    const timestamp = new Date(this.now()).toISOString()
    this.parts.push({ type: "response-metadata", id: message.id, modelId: message.model, timestamp })
  }

  private begin(event: Start): void {
    const { content_block: block, index } = event
    const id = String(index)
    if (block.type === "text") {
      const citations = block.citations ?? []
      this.open.set(index, { id, kind: "text", citations: [...citations] })
      this.parts.push({ type: "text-start", id })
      if (block.text) this.parts.push({ type: "text-delta", id, delta: block.text })
      for (const citation of citations) this.parts.push(...Parts.sourcesOf(citation, this.reading))
    } else if (block.type === "thinking") {
      this.open.set(index, { id, kind: "reasoning", signature: block.signature ?? "" })
      this.parts.push({ type: "reasoning-start", id })
      if (block.thinking) this.parts.push({ type: "reasoning-delta", id, delta: block.thinking })
    } else if (block.type === "redacted_thinking") {
      this.open.set(index, { id, kind: "redacted" })
      this.parts.push({ type: "reasoning-start", id, metadata: Parts.redacted(block) })
    } else this.beginOther(event, id)
  }

  private beginOther(event: Start, id: string): void {
    const { content_block: block, index } = event
    const call = Parts.callIn(block, this.reading)
    if (call !== undefined) {
      const given = JSON.stringify("input" in block ? block.input ?? {} : {})
      const input = given === "{}" ? "" : given
      this.open.set(index, { id: call.id, kind: "call", call, block, input })
      const providerExecuted = call.isServers ? { providerExecuted: true } : undefined
      const name = call.name ?? call.wireName
      this.parts.push({ type: "tool-params-start", id: call.id, name, ...providerExecuted })
      if (input !== "") this.parts.push({ type: "tool-params-delta", id: call.id, delta: input })
      return
    }
    const result = Parts.resultParts(block, this.reading)
    if (result !== undefined) {
      this.parts.push(...result)
      return
    }
    const accumulator = MessageStream.accumulate()
    if (this.message !== undefined) accumulator.add({ type: "message_start", message: this.message })
    accumulator.add(event)
    this.open.set(index, { id, kind: "opaque", accumulator })
  }

  private grow(event: Delta): void {
    const block = this.open.get(event.index)
    if (block === undefined) return
    const { id } = block
    const { delta } = event
    if (block.kind === "opaque") block.accumulator.add(event)
    else if (delta.type === "text_delta") this.parts.push({ type: "text-delta", id, delta: delta.text })
    else if (delta.type === "thinking_delta") this.parts.push({ type: "reasoning-delta", id, delta: delta.thinking })
    else if (delta.type === "signature_delta" && block.kind === "reasoning") block.signature = delta.signature
    else if (delta.type === "citations_delta" && block.kind === "text") {
      block.citations.push(delta.citation)
      this.parts.push(...Parts.sourcesOf(delta.citation, this.reading))
    } else if (delta.type === "input_json_delta" && block.kind === "call" && delta.partial_json !== "") {
      block.input += delta.partial_json
      this.parts.push({ type: "tool-params-delta", id, delta: delta.partial_json })
    }
  }

  private close(index: number): Problem {
    const block = this.open.get(index)
    this.open.delete(index)
    if (block === undefined) return undefined
    const { id } = block
    switch (block.kind) {
      case "text": {
        const citations = block.citations.map((citation) => json({ ...citation }))
        const metadata = citations.length > 0 ? { metadata: { anthropic: { citations } } } : undefined
        this.parts.push({ type: "text-end", id, ...metadata })
        return undefined
      }
      case "reasoning":
        this.parts.push({ type: "reasoning-end", id, metadata: Parts.thinking(block.signature) })
        return undefined
      case "redacted":
        this.parts.push({ type: "reasoning-end", id })
        return undefined
      case "opaque": {
        block.accumulator.add({ type: "message_stop" })
        const [whole] = block.accumulator.message()?.content ?? []
        if (whole === undefined) return undefined
        const metadata = { anthropic: Parts.opaque(whole) }
        this.parts.push({ type: "reasoning-start", id, metadata }, { type: "reasoning-end", id })
        return undefined
      }
      case "call": {
        this.parts.push({ type: "tool-params-end", id })
        const whole = { ...block.block, input: Parts.parsed(block.input) } as Parts.AnyBlock
        return Result.match(Parts.callPart(block.call, whole, this.reading), {
          onFailure: (reason) => reason,
          onSuccess: (part) => {
            this.parts.push(part)
            return undefined
          }
        })
      }
    }
  }
}
