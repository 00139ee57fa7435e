/**
 * Why a prompt could not reuse the cache of the one before, for requests with `diagnostics`.
 */
import type { CacheMissReason, Diagnostics } from "@anthropic-ai/sdk/resources/messages"
import * as Predicate from "effect/Predicate"
import { BoundedMap } from "../../../internal/boundedMap.ts"
import * as Hash from "../../../internal/contentHash.ts"
import type { Body } from "./Wire.ts"

/** What is remembered of a request: the hashes of its parts. */
interface Fingerprint {
  readonly workspace: string
  readonly model: string
  readonly system: string
  readonly tools: string
  readonly rest: string
  readonly messages: ReadonlyArray<string>
  readonly tokens: number
}

const hashOf = (value: unknown): string => Hash.nameOf(Hash.add(Hash.start, value))

const fingerprint = (body: Body, workspace: string, tokens: number): Fingerprint => ({
  workspace,
  model: `${body.model} ${body.speed ?? "standard"}`,
  system: hashOf(body.system),
  tools: hashOf(body.tools),
  rest: hashOf([body["thinking"], body["tool_choice"], body["output_config"]]),
  messages: body.messages.map(({ content, role }) =>
    hashOf([role, typeof content === "string" ? [{ type: "text", text: content }] : content])
  ),
  tokens
})

const reasonOf = (before: Fingerprint | undefined, now: Fingerprint): CacheMissReason | null => {
  if (before === undefined) return { type: "previous_message_not_found" }
  const cache_missed_input_tokens = before.tokens
  if (before.model !== now.model) return { type: "model_changed", cache_missed_input_tokens }
  if (before.system !== now.system) return { type: "system_changed", cache_missed_input_tokens }
  if (before.tools !== now.tools) return { type: "tools_changed", cache_missed_input_tokens }
  if (before.messages.some((hash, i) => hash !== now.messages[i])) {
    return { type: "messages_changed", cache_missed_input_tokens }
  }
  return before.rest === now.rest ? null : { type: "unavailable" }
}

export const make = (capacity: number) => {
  const known = new BoundedMap<string, Fingerprint>(capacity)

  /** The diagnostics of the answer `id` to a request of so many tokens. Only requests that ask for them are remembered. */
  return (body: Body, workspace: string, id: string, tokens: number): Diagnostics | null => {
    const asked = body["diagnostics"]
    if (!Predicate.isObject(asked)) return null
    const now = fingerprint(body, workspace, tokens)
    known.set(id, now)
    const previous = asked["previous_message_id"]
    if (typeof previous !== "string") return { cache_miss_reason: null }
    const before = known.get(previous)
    return { cache_miss_reason: reasonOf(before?.workspace === workspace ? before : undefined, now) }
  }
}
