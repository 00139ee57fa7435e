/** What is known of a call before it is made, and what it was about. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import type { CallContext } from "../../CallContext.ts"
import type { Request } from "../../Request.ts"
import type { Operation } from "./events.ts"

/**
 * What a call is known by when it begins. `request` is that of a call for a message, as the caller made it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Start {
  readonly callId: string
  readonly operation: Operation
  readonly stream: boolean
  readonly model: string
  readonly context: CallContext
  readonly request?: Request | undefined
}

/** What was asked at last, and what was answered. */
export interface Exchanged {
  readonly request: Request | undefined
  readonly message: Message | undefined
}
