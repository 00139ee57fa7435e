/** What was asked and answered, as the conventions of OpenTelemetry show it: only where somebody asked for it, redacted and bounded. */
import type { ContentBlock, Message } from "@anthropic-ai/sdk/resources/messages"
import * as Result from "effect/Result"
import type { Request } from "../../Request.ts"

/**
 * Where prompts and answers are shown: nowhere, on the spans of calls, in events of the log, or both.
 *
 * @category models
 * @since 0.1.0
 */
export type Content = "none" | "spans" | "events" | "all"

/** The values of `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`; anything else shows nothing. */
const named: ReadonlyMap<string, Content> = new Map([
  ["SPAN_ONLY", "spans"],
  ["EVENT_ONLY", "events"],
  ["SPAN_AND_EVENT", "all"]
])

export const contentOf = (variable: string): Content => named.get(variable.trim().toUpperCase()) ?? "none"

export interface Settings {
  readonly redact: ((text: string) => string) | undefined
  readonly maxLength: number
}

/** Texts of one attribute: each redacted as a whole, all together at most `maxLength` long. */
const texts = ({ maxLength, redact }: Settings) => {
  let left = maxLength
  return (text: string): string => {
    if (left <= 0) return ""
    const shown = redact === undefined
      ? text
      : Result.getOrElse(Result.try(() => String(redact(text))), () => "[not redacted]")
    const cut = shown.length > left ? `${shown.slice(0, left)}…` : shown
    left -= shown.length
    return cut
  }
}

type Texts = ReturnType<typeof texts>

type Part = { readonly type: string } & Readonly<Record<string, unknown>>

type Block = Exclude<Request["messages"][number]["content"], string>[number] | ContentBlock

const json = (value: unknown): string => JSON.stringify(value) ?? ""

/** Images and documents are named, and not shown. */
const partOf = (block: Block, show: Texts): Part => {
  switch (block.type) {
    case "text":
      return { type: "text", content: show(block.text) }
    case "thinking":
      return { type: "reasoning", content: show(block.thinking) }
    case "tool_use":
      return { type: "tool_call", id: block.id, name: block.name, arguments: show(json(block.input)) }
    case "tool_result":
      return { type: "tool_call_response", id: block.tool_use_id, response: show(json(block.content)) }
    case "server_tool_use":
      return { type: "server_tool_call", id: block.id, name: block.name, server_tool_call: { type: block.name } }
    default:
      return { type: block.type }
  }
}

const partsOf = (content: string | ReadonlyArray<Block>, show: Texts): ReadonlyArray<Part> =>
  typeof content === "string"
    ? [{ type: "text", content: show(content) }]
    : content.map((block) => partOf(block, show))

/** The newest turns have the room: what comes before them is left out first. */
const inputOf = (messages: Request["messages"], settings: Settings): string => {
  const show = texts(settings)
  return json(
    [...messages].reverse().map(({ content, role }) => ({ role, parts: partsOf(content, show) })).reverse()
  )
}

/** The attributes that show a call. */
export const contentAttributes = (
  request: Request | undefined,
  message: Message | undefined,
  settings: Settings
): Readonly<Record<string, string>> => ({
  ...(request === undefined ? undefined : { "gen_ai.input.messages": inputOf(request.messages, settings) }),
  ...(request?.system === undefined
    ? undefined
    : { "gen_ai.system_instructions": json(partsOf(request.system, texts(settings))) }),
  ...(message === undefined ? undefined : {
    "gen_ai.output.messages": json([{
      role: message.role,
      parts: partsOf(message.content, texts(settings)),
      finish_reason: message.stop_reason ?? "error"
    }])
  })
})
