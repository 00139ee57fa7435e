/**
 * The events of a streamed answer, encoded as text.
 */
import type { Message, RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages"
import * as Answer from "./Answer.ts"

const event = (value: RawMessageStreamEvent): string => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`

export const ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n"

/** The first event. Its count of output tokens is only a placeholder. */
export const messageStart = (message: Message): string =>
  event({
    type: "message_start",
    message: {
      ...message,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      stop_details: null,
      usage: { ...message.usage, output_tokens: 1, output_tokens_details: null }
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
      ? block.citations ? { ...block, text: "", citations: [] } : { ...block, text: "" }
      : block.type === "thinking"
      ? { ...block, thinking: "", signature: "" }
      : Answer.hasInput(block)
      ? { ...block, input: {} }
      : block
    yield event({ type: "content_block_start", index, content_block })
    if (index === 0) yield ping
    if (Answer.hasInput(block)) yield delta({ type: "input_json_delta", partial_json: "" })
  }
  if (block.type === "text") yield delta({ type: "text_delta", text })
  else if (block.type === "thinking") yield delta({ type: "thinking_delta", thinking: text })
  else if (Answer.hasInput(block)) yield delta({ type: "input_json_delta", partial_json: text })
  if (last) {
    if (block.type === "text" && block.citations) {
      for (const citation of block.citations) yield delta({ type: "citations_delta", citation })
    }
    if (block.type === "thinking") yield delta({ type: "signature_delta", signature: block.signature })
    yield event({ type: "content_block_stop", index })
  }
}

/** The last event but one, with the totals of the message. */
export const messageDelta = ({ container, stop_details, stop_reason, stop_sequence, usage }: Message): string =>
  event({
    type: "message_delta",
    delta: { container, stop_reason, stop_sequence, stop_details },
    usage: {
      input_tokens: usage.input_tokens,
      cache_creation_input_tokens: usage.cache_creation_input_tokens,
      cache_read_input_tokens: usage.cache_read_input_tokens,
      output_tokens: usage.output_tokens,
      output_tokens_details: usage.output_tokens_details,
      server_tool_use: usage.server_tool_use
    }
  })

export const messageStop = event({ type: "message_stop" })

export const error = (envelope: string): string => `event: error\ndata: ${envelope}\n\n`
