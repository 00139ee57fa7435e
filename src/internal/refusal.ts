/** How a model refused, read from the end of an answer. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import type { Refusal } from "../Attempt.ts"

/** Undefined where it did not. */
export const refusalOf = (
  end: Partial<Pick<Message, "stop_reason" | "stop_details">>,
  beforeOutput: boolean
): Refusal | undefined =>
  end.stop_reason === "refusal" ? { category: end.stop_details?.category ?? undefined, beforeOutput } : undefined

/** A text that was begun and never filled is no output. */
const isEmpty = (block: Message["content"][number]): boolean => block.type === "text" && block.text === ""

export const refusalOfMessage = (message: Message): Refusal | undefined =>
  refusalOf(message, message.content.every(isEmpty))
