/** A request for another model: changed where that model needs it, and nowhere else. */
import type { Request } from "../../Attempt.ts"
import * as Model from "../../Model.ts"
import type { Block, Turn } from "../../Request.ts"

/** A request, and what was changed in it, in words that quote nothing of it. */
export interface Adapted {
  readonly request: Request
  readonly changes: ReadonlyArray<string>
}

/** Fields that the newest types of the SDK lack, though older models take them. */
type Fields = Request & Readonly<Partial<Record<"temperature" | "top_p" | "top_k", unknown>>>

/** How many tokens the second model needs for one of the first. */
export const growth = (from: Model.Model, to: Model.Model): number =>
  Math.max(1, Model.tokenizers[to.tokenizer].density / Model.tokenizers[from.tokenizer].density)

/** Room for an answer of the same length, as far as the model gives it. */
const room = (maxTokens: number, from: Model.Model, to: Model.Model): number =>
  Math.min(Math.ceil(maxTokens * growth(from, to)), to.maxOutputTokens ?? Infinity)

/** What the model makes of its thinking where the request says what it rejects. */
const thinkingFor = ({ output_config, thinking }: Request, { rejects }: Model.Model): Request["thinking"] => {
  switch (thinking?.type) {
    case "disabled":
      return rejects.includes("disabledThinking") ? undefined : thinking
    case "enabled": {
      if (!rejects.includes("thinkingBudget")) return thinking
      const { display } = thinking
      return display === undefined ? { type: "adaptive" } : { type: "adaptive", display }
    }
    case "between_tools": {
      const { effort } = output_config ?? {}
      if (rejects.includes("highEffortBetweenTools")) {
        return effort === "xhigh" || effort === "max"
          ? undefined
          : thinking
      }
      // Most models do not know it; the vendor's SDK sends this to its fallbacks.
      return rejects.includes("disabledThinking") ? undefined : { type: "disabled" }
    }
    default:
      return thinking
  }
}

const isThinking = ({ type }: Block): boolean => type === "thinking" || type === "redacted_thinking"

/** Such models accept thinking blocks of their own line alone; so may those about which nobody knows. */
const bindsThinking = ({ line, rejects, unverified }: Model.Model): boolean =>
  rejects.includes("editedThinking") || unverified.includes("rejects") || line === undefined

/** The conversation without its thinking blocks: whole ones are left out, none is altered. */
const unthought = (messages: ReadonlyArray<Turn>): ReadonlyArray<Turn> =>
  messages.flatMap((turn): ReadonlyArray<Turn> => {
    const { content } = turn
    if (typeof content === "string" || !content.some(isThinking)) return [turn]
    const rest = content.filter((block) => !isThinking(block))
    return rest.length === 0 ? [] : [{ ...turn, content: rest } as Turn] // blocks of the same turn
  })

const messagesFor = (messages: ReadonlyArray<Turn>, from: Model.Model, to: Model.Model): ReadonlyArray<Turn> => {
  // What a model that binds them has accepted is of its line.
  const isValid = !bindsThinking(to) || (bindsThinking(from) && from.line !== undefined && from.line === to.line)
  const has = ({ content }: Turn) => typeof content !== "string" && content.some(isThinking)
  return isValid || !messages.some(has) ? messages : unthought(messages)
}

/** Fast mode where the model has it, and where it takes it without a beta that the request lacks. */
const isFastFor = ({ fastMode, rejects }: Model.Model, betas: string): boolean =>
  fastMode !== "refused" && (!rejects.includes("fastModeWithoutBeta") || betas.includes("fast-mode-"))

const samplings = ["temperature", "top_p", "top_k"] as const

/** `betas` are those that the request is sent with. */
export const adapt = (asked: Request, from: Model.Model, to: Model.Model, model: string, betas: string): Adapted => {
  const { speed, thinking, ...rest }: Fields = asked
  const request: { -readonly [Name in keyof Fields]: Fields[Name] } = { ...rest, model }
  const changes: Array<string> = []
  const maxTokens = room(asked.max_tokens, from, to)
  if (maxTokens !== asked.max_tokens) {
    request.max_tokens = maxTokens
    changes.push(`max_tokens ${asked.max_tokens} -> ${maxTokens}`)
  }
  const thinks = thinkingFor(asked, to)
  if (thinks !== undefined) request.thinking = thinks
  if (thinks !== thinking) changes.push(`thinking ${thinking?.type} -> ${thinks?.type ?? "as the model does"}`)
  if (speed !== undefined) {
    if (speed !== "fast" || isFastFor(to, betas)) request.speed = speed
    else changes.push("speed fast -> standard")
  }
  if (to.rejects.includes("sampling")) {
    for (const name of samplings) {
      if (request[name] === undefined || request[name] === null) continue
      delete request[name]
      changes.push(`without ${name}`)
    }
  }
  const messages = messagesFor(asked.messages, from, to)
  if (messages !== asked.messages) {
    request.messages = messages
    changes.push("without the thinking blocks of earlier turns")
  }
  return { request, changes }
}
