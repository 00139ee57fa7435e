/** Renders a scripted answer as a message and as the events of a stream. */
import type {
  ContentBlock,
  Message,
  RawContentBlockDelta,
  RefusalStopDetails,
  StopReason,
  Usage as SdkUsage
} from "@anthropic-ai/sdk/resources/messages"
import type { ModelInfo } from "@anthropic-ai/sdk/resources/models"
import * as Duration from "effect/Duration"
import type { ApiError } from "../../ClaudeError.ts"
import type { Event } from "../../MessageStream.ts"
import * as Model from "../../Model.ts"
import type { Request } from "../../Request.ts"
import * as Models from "../simulator/internal/Models.ts"
import * as Tokens from "../simulator/internal/Tokens.ts"
import type * as Wire from "../simulator/internal/Wire.ts"

/**
 * A content block and its pieces in a stream. A stream delivers a block without pieces complete.
 *
 * @category models
 * @since 0.1.0
 */
export interface Block {
  readonly block: ContentBlock
  readonly pieces: ReadonlyArray<string>
}

/**
 * An answer with several blocks, or with more than content.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reply {
  readonly content: ReadonlyArray<string | Block>
  /** Default: `tool_use` when the last block is one, else `end_turn`. */
  readonly stopReason?: StopReason | undefined
  /** The category of a refusal. */
  readonly stopDetails?: RefusalStopDetails | undefined
  /** Overrides the counted usage that the answer reports. */
  readonly usage?: Partial<SdkUsage> | undefined
  /** The model that served it. Default: that of the request. */
  readonly model?: string | undefined
  /** The wait before each piece. A whole answer takes as long as all its pieces. */
  readonly every?: Duration.Input | undefined
  /**
   * The error that ends the answer after this content: a stream fails with it before its last block is finished, and a
   * whole answer fails with it. Through `ClaudeService` a stream that had content ends with `StreamInterruptedError`.
   */
  readonly error?: ApiError | undefined
}

/** An event of a stream, the wait before it, and the output tokens that were produced by then. */
export interface Step {
  readonly event: Event
  readonly millis: number
  readonly outputTokens: number
}

/** With `error` the message is never complete, and the steps end earlier. */
export interface Rendered {
  readonly requestId: string
  readonly message: Message
  readonly steps: ReadonlyArray<Step>
  readonly error: ApiError | undefined
}

/** The models of the catalogue that are not retired, as the simulator lists them on the day of the catalogue. */
export const models = (): ReadonlyArray<ModelInfo> =>
  Models.all(Model.catalogue, Date.parse(Model.asOf)).filter(({ lifecycle }) => lifecycle !== "retired")

/** The prompt as the simulator counts it: a request of the SDK is a body that was never encoded as JSON. */
export const inputTokens = (request: object & { readonly model: string }): number =>
  Tokens.ofBody(request as unknown as Wire.Body, Model.tokenizer(request.model))

const withoutContent = (block: ContentBlock): ContentBlock =>
  block.type === "text"
    ? { ...block, text: "" }
    : block.type === "thinking"
    ? { ...block, thinking: "", signature: "" }
    : block.type === "tool_use"
    ? { ...block, input: {} }
    : block

const deltaOf = (block: ContentBlock, piece: string): RawContentBlockDelta =>
  block.type === "thinking"
    ? { type: "thinking_delta", thinking: piece }
    : block.type === "tool_use"
    ? { type: "input_json_delta", partial_json: piece }
    : { type: "text_delta", text: piece }

const blockOf = (content: string | Block): Block =>
  typeof content === "string"
    ? { block: { type: "text", text: content, citations: null }, pieces: [content] }
    : content

/** Renders an answer to the call with this number. */
export const render = (answer: string | Block | Reply, request: Request, number: number): Rendered => {
  const reply: Reply = typeof answer === "string" || "block" in answer ? { content: [answer] } : answer
  const tokenizer = Model.tokenizer(request.model)
  const millis = Duration.toMillis(reply.every ?? 0)
  const blocks = reply.content.map(blockOf).map(({ block, pieces }, index) => ({
    block: block.type === "tool_use" && block.id === "" ? { ...block, id: `toolu_test_${number}_${index}` } : block,
    pieces
  }))
  const last = blocks.at(-1)?.block
  const outputTokens = blocks.reduce((sum, { block }) => sum + Tokens.ofBlock({ ...block }, tokenizer), 0)
  const thinkingTokens = blocks.reduce(
    (sum, { block }) => sum + (block.type === "thinking" ? Tokens.ofBlock({ ...block }, tokenizer) : 0),
    0
  )
  const message: Message = {
    id: `msg_test_${number}`,
    type: "message",
    role: "assistant",
    model: reply.model ?? request.model,
    content: blocks.map(({ block }) => block),
    container: null,
    diagnostics: null,
    stop_reason: reply.stopReason ?? (last?.type === "tool_use" ? "tool_use" : "end_turn"),
    stop_sequence: null,
    stop_details: reply.stopDetails ?? null,
    usage: {
      input_tokens: inputTokens(request),
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      cache_creation: null,
      output_tokens: outputTokens,
      output_tokens_details: thinkingTokens === 0 ? null : { thinking_tokens: thinkingTokens },
      inference_geo: null,
      server_tool_use: null,
      service_tier: "standard",
      speed: null,
      ...reply.usage
    }
  }
  const { content: _, stop_details, stop_reason, usage, ...rest } = message

  const steps: Array<Step> = []
  let length = 0
  let produced = 1
  const push = (event: Event, millis = 0): void => void steps.push({ event, millis, outputTokens: produced })
  push({
    type: "message_start",
    message: {
      ...rest,
      content: [],
      stop_reason: null,
      stop_details: null,
      usage: { ...usage, output_tokens: produced, output_tokens_details: null }
    }
  })
  blocks.forEach(({ block, pieces }, index) => {
    push({ type: "content_block_start", index, content_block: pieces.length === 0 ? block : withoutContent(block) })
    for (const piece of pieces) {
      length += piece.length
      produced = Math.min(usage.output_tokens, Tokens.ofLength(length, tokenizer))
      push({ type: "content_block_delta", index, delta: deltaOf(block, piece) }, millis)
    }
    if (reply.error !== undefined && index === blocks.length - 1) return
    if (block.type === "thinking" && pieces.length > 0) {
      push({ type: "content_block_delta", index, delta: { type: "signature_delta", signature: block.signature } })
    }
    push({ type: "content_block_stop", index })
  })
  if (reply.error === undefined) {
    produced = usage.output_tokens
    push({
      type: "message_delta",
      delta: { container: null, stop_reason, stop_sequence: null, stop_details },
      usage: {
        input_tokens: usage.input_tokens,
        cache_creation_input_tokens: usage.cache_creation_input_tokens,
        cache_read_input_tokens: usage.cache_read_input_tokens,
        output_tokens: usage.output_tokens,
        output_tokens_details: usage.output_tokens_details,
        server_tool_use: usage.server_tool_use
      }
    })
    push({ type: "message_stop" })
  }
  return { requestId: `req_test_${number}`, message, steps, error: reply.error }
}
