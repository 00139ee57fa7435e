/**
 * Message threads: conversations that the API keeps under the id of their last answer, so that a request sends only what is new.
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Predicate from "effect/Predicate"
import { BoundedMap } from "../../../internal/boundedMap.ts"
import type { Body, Refusal, Turn } from "./Wire.ts"
import { refuse, withoutBreakpoints } from "./Wire.ts"

/** A conversation up to an answer. */
interface Conversation {
  readonly workspace: string
  readonly model: unknown
  readonly system: unknown
  readonly tools: unknown
  readonly messages: ReadonlyArray<Turn>
  /** The answer stopped in the middle of a turn, which a request without messages resumes. */
  readonly isUnfinished: boolean
  state: "open" | "continuing" | "continued"
}

/** A request that is part of a thread. */
export interface Thread {
  /** The request with the whole conversation. */
  readonly body: Readonly<Record<string, unknown>>
  /** Keeps the conversation under the id of the answer. */
  readonly commit: (body: Body, message: Message) => void
  /** The request is over: if it had no answer, the one before can be continued again. */
  readonly release: () => void
}

const unsupported = ["cache_control", "context_management", "fallbacks"]

const notFound = (id: unknown): Refusal =>
  refuse(404, `thread.previous_message_id: no thread was found for ${String(id)}.`, "thread_not_found")

export const make = (capacity: number) => {
  const conversations = new BoundedMap<string, Conversation>(capacity)

  const keep = (workspace: string) => (body: Body, message: Message) => {
    // what was answered has the shape of what is asked, field by field
    const answer = { role: "assistant", content: message.content as unknown as Turn["content"] }
    conversations.set(message.id, {
      workspace,
      model: body.model,
      system: body.system,
      tools: body.tools,
      messages: [...body.messages, answer].map(withoutBreakpoints),
      isUnfinished: message.stop_reason === "pause_turn",
      state: "open"
    })
  }

  const resume = (
    body: Readonly<Record<string, unknown>>,
    id: unknown,
    workspace: string
  ): Thread | Refusal => {
    const conversation = typeof id === "string" ? conversations.get(id) : undefined
    if (conversation === undefined || conversation.workspace !== workspace) return notFound(id)
    const { isUnfinished, messages, model, state, system, tools } = conversation
    if (state === "continued") {
      return refuse(400, "The response has already been continued.", "thread_already_continued")
    }
    if (state === "continuing") {
      return refuse(400, "Another request continues from this response.", "thread_continue_in_flight")
    }
    const repeated = ["system", "tools"].find((field) => body[field] !== undefined)
    if (repeated !== undefined) return refuse(400, `${repeated}: cannot be set when a thread is continued.`)
    if (body["model"] !== model) {
      return refuse(400, "model: differs from that of the thread.", "thread_fingerprint_mismatch")
    }
    const added = body["messages"]
    if (!Array.isArray(added) || (added.length === 0 && !isUnfinished)) {
      return refuse(400, "messages: at least one message is required")
    }
    conversation.state = "continuing"
    const commit = keep(workspace)
    return {
      body: {
        ...body,
        ...(system === undefined ? undefined : { system }),
        ...(tools === undefined ? undefined : { tools }),
        messages: [...messages, ...added]
      },
      commit: (body, message) => {
        conversation.state = "continued"
        commit(body, message)
      },
      release: () => {
        if (conversation.state === "continuing") conversation.state = "open"
      }
    }
  }

  /** The thread of a request; undefined for one without, or with one that the checks of fields refuse. */
  const open = (body: unknown, workspace: string, betas: string): Thread | Refusal | undefined => {
    const thread = Predicate.isObject(body) ? body["thread"] : undefined
    if (!Predicate.isObject(body) || !Predicate.isObject(thread) || !betas.includes("message-threads-")) {
      return undefined
    }
    const refused = unsupported.filter((field) => body[field] !== undefined && body[field] !== null)
    if (refused.length > 0) {
      const why = `thread: cannot be combined with ${refused.join(", ")}.`
      return refuse(400, why, "thread_unsupported_request", { unsupported: refused })
    }
    return thread["type"] === "continue"
      ? resume(body, thread["previous_message_id"], workspace)
      : thread["type"] === "create"
      ? { body, commit: keep(workspace), release: () => {} }
      : refuse(400, "thread: Input should be of type 'create' or 'continue'")
  }

  return { open }
}
