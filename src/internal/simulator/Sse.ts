/**
 * The events of a streamed answer, each as its text on the wire.
 */
import type { MessageDeltaUsage, RawMessageStreamEvent, Usage } from "@anthropic-ai/sdk/resources/messages"
import type * as Answer from "./Answer.ts"

const event = (value: RawMessageStreamEvent): string => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`

export const ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n"

export const messageStart = (id: string, model: string, usage: Usage): string =>
  event({
    type: "message_start",
    message: {
      id,
      type: "message",
      role: "assistant",
      model,
      content: [],
      container: null,
      diagnostics: null,
      stop_reason: null,
      stop_sequence: null,
      stop_details: null,
      usage
    }
  })

/** The events that carry one piece of the answer. */
export function* piece(plan: Answer.Plan, piece: Answer.Piece): Generator<string> {
  const { first, index, last, text } = piece
  const block = plan.content[index]!
  const delta = (value: Extract<RawMessageStreamEvent, { type: "content_block_delta" }>["delta"]) =>
    event({ type: "content_block_delta", index, delta: value })
  if (first) {
    const content_block = block.type === "text"
      ? { ...block, text: "" }
      : block.type === "thinking"
      ? { ...block, thinking: "", signature: "" }
      : block.type === "tool_use"
      ? { ...block, input: {} }
      : block
    yield event({ type: "content_block_start", index, content_block })
    if (index === 0) yield ping
    if (block.type === "tool_use") yield delta({ type: "input_json_delta", partial_json: "" })
  }
  if (block.type === "text") yield delta({ type: "text_delta", text })
  if (block.type === "thinking") yield delta({ type: "thinking_delta", thinking: text })
  if (block.type === "tool_use") yield delta({ type: "input_json_delta", partial_json: text })
  if (last) {
    if (block.type === "thinking") yield delta({ type: "signature_delta", signature: block.signature })
    yield event({ type: "content_block_stop", index })
  }
}

export const messageDelta = (plan: Answer.Plan, usage: MessageDeltaUsage): string =>
  event({
    type: "message_delta",
    delta: {
      container: null,
      stop_reason: plan.stopReason,
      stop_sequence: plan.stopSequence,
      stop_details: plan.stopDetails
    },
    usage
  })

export const messageStop = event({ type: "message_stop" })

export const error = (envelope: string): string => `event: error\ndata: ${envelope}\n\n`
