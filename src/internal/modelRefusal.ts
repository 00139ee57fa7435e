/** How a model refused, read from the end of an answer. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"

/**
 * A refusal by the model (`stop_reason: "refusal"`): the category that the answer names, and whether it came before any output.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelRefusal {
  readonly category: string | undefined
  readonly beforeOutput: boolean
}

/** Undefined where it did not refuse. */
export const refusalOf = (
  end: Partial<Pick<Message, "stop_reason" | "stop_details">>,
  beforeOutput: boolean
): ModelRefusal | undefined =>
  end.stop_reason === "refusal" ? { category: end.stop_details?.category ?? undefined, beforeOutput } : undefined

/** A text that was begun and never filled is no output. */
const isEmpty = (block: Message["content"][number]): boolean => block.type === "text" && block.text === ""

export const refusalOfMessage = (message: Message): ModelRefusal | undefined =>
  message.stop_reason === "refusal" ? refusalOf(message, message.content.every(isEmpty)) : undefined
