/**
 * What the simulated model says, cut to what the request allows, and the pieces in which it is said.
 */
import type { Message, MessageCreateParams, RefusalStopDetails, StopReason } from "@anthropic-ai/sdk/resources/messages"
import type * as Model from "../../../Model.ts"
import * as Thinking from "./Thinking.ts"
import * as Tokens from "./Tokens.ts"
import type { Body } from "./Wire.ts"

/**
 * A content block of an answer. `id` of a tool use and `signature` of a thinking block are made up when left out.
 *
 * @category models
 * @since 0.1.0
 */
export type AnswerBlock =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "tool_use"; readonly name: string; readonly input: unknown; readonly id?: string | undefined }
  | { readonly type: "thinking"; readonly thinking: string; readonly signature?: string | undefined }

/**
 * What the simulated model answers: a text, or content with more detail. Whatever exceeds `max_tokens` is cut off, with the stop
 * reason `max_tokens`; text behind a stop sequence is cut off too. A refusal is `{ content: "", stopReason: "refusal" }`, with its category
 * in `stopDetails`; with content it is one that came after output had begun, and is charged.
 *
 * @category models
 * @since 0.1.0
 */
export type Answer = string | {
  readonly content: string | ReadonlyArray<AnswerBlock>
  /** Default: `tool_use` when the last block is one, else `end_turn`. */
  readonly stopReason?: StopReason | undefined
  readonly stopDetails?: RefusalStopDetails | undefined
  /** Tokens to report and bill instead of those counted. At most `max_tokens` of them are. */
  readonly outputTokens?: number | undefined
}

/**
 * How the simulated model answers a request.
 *
 * @category models
 * @since 0.1.0
 */
export type Answerer = (request: MessageCreateParams) => Answer

/** An answer that fits its request. */
export interface Plan {
  readonly content: ReadonlyArray<Message["content"][number]>
  readonly stopReason: StopReason
  readonly stopSequence: string | null
  readonly stopDetails: RefusalStopDetails | null
  readonly outputTokens: number
  readonly thinkingTokens: number
}

const words =
  ("the answer depends on how many tokens a reader wants to see and each sentence of this text was made by " +
    "a small generator that knows no facts but likes to talk about rivers stones lamps maps and quiet afternoons")
    .split(" ")

const mix = (value: number): number => {
  let x = Math.imul(value ^ (value >>> 16), 0x45d9f3b)
  x = Math.imul(x ^ (x >>> 16), 0x45d9f3b)
  return (x ^ (x >>> 16)) >>> 0
}

const prose = Array.from({ length: 2_000 }, (_, i) => words[mix(i) % words.length] + (i % 11 === 10 ? "." : "")).join(
  " "
)

const hashOf = (text: string): number => {
  let x = 0x811c9dc5
  for (let i = 0; i < text.length; i++) x = Math.imul(x ^ text.charCodeAt(i), 0x01000193)
  return mix(x)
}

const question = (body: Body): string => {
  const turn = body.messages.at(-1)!
  if (typeof turn.content === "string") return turn.content
  const texts = turn.content.filter((block) => block.type === "text")
  const text = texts.at(-1)?.["text"]
  return typeof text === "string" ? text : ""
}

/** The answer of a simulator without an answerer: it repeats the question and goes on for 20 to 120 tokens or so. */
export const byDefault = (seed: string, body: Body): Answer => {
  const asked = question(body)
  const chance = hashOf(`${seed} ${body.model} ${asked}`)
  const start = prose.indexOf(" ", chance % 8_000) + 1
  const end = prose.indexOf(" ", start + 80 + (chance >>> 8) % 400)
  return `You asked: "${asked.slice(0, 200)}". ${prose.slice(start, end).replace(/\W$/, "")}.`
}

/** Where a text may be cut: never between the halves of a surrogate pair. */
const boundary = (text: string, at: number): number => {
  const code = text.charCodeAt(at - 1)
  return code >= 0xd800 && code <= 0xdbff && at < text.length ? at + 1 : at
}

/** Fits an answer to the limits of its request. `id` is a prefix for the ids it makes up. */
export const plan = (answer: Answer, body: Body, { line, tokenizer }: Model.Model, id: string): Plan => {
  const { content, outputTokens, stopDetails, stopReason } = typeof answer === "string"
    ? { content: answer, outputTokens: undefined, stopDetails: undefined, stopReason: undefined }
    : answer
  const blocks: ReadonlyArray<AnswerBlock> = typeof content === "string"
    ? content === "" ? [] : [{ type: "text", text: content }]
    : content
  const out: Array<Message["content"][number]> = []
  let left = body.max_tokens
  let thinkingTokens = 0
  let stop: StopReason | undefined
  let stopSequence: string | null = null
  for (let i = 0; i < blocks.length && stop === undefined; i++) {
    const block = blocks[i]!
    if (left <= 0) {
      stop = "max_tokens"
    } else if (block.type === "tool_use") {
      const tokens = Tokens.ofBlock({ ...block }, tokenizer)
      if (tokens > left) {
        stop = "max_tokens"
        continue
      }
      left -= tokens
      out.push({
        type: "tool_use",
        id: block.id ?? `toolu_${id}${i}`,
        caller: { type: "direct" },
        name: block.name,
        input: block.input ?? {}
      })
    } else {
      let text = block.type === "text" ? block.text : block.thinking
      for (const sequence of block.type === "text" ? body.stop_sequences ?? [] : []) {
        const at = text.indexOf(sequence)
        if (at < 0) continue
        text = text.slice(0, at)
        stop = "stop_sequence"
        stopSequence = sequence
      }
      const most = Tokens.lengthOf(left, tokenizer)
      if (outputTokens === undefined && text.length > most) {
        const at = boundary(text, most)
        text = text.slice(0, at > most ? at - 2 : at)
        stop = "max_tokens"
        stopSequence = null
      }
      const tokens = Tokens.ofLength(text.length, tokenizer)
      left -= outputTokens === undefined ? tokens : 0
      if (block.type === "text") out.push({ type: "text", text, citations: null })
      else {
        thinkingTokens += tokens
        out.push({
          type: "thinking",
          thinking: text,
          signature: block.signature ?? Thinking.sign(`${id}${i}`, body, line, text)
        })
      }
    }
  }
  if (outputTokens !== undefined && outputTokens > body.max_tokens) stop = "max_tokens"
  if (body.max_tokens === 0) stop = "max_tokens"
  const total = Math.min(body.max_tokens, outputTokens ?? Math.max(body.max_tokens - left, 1))
  return {
    content: body.max_tokens === 0 ? [] : out,
    stopReason: stop ?? stopReason ?? (out.at(-1)?.type === "tool_use" ? "tool_use" : "end_turn"),
    stopSequence,
    stopDetails: stop === undefined ? stopDetails ?? null : null,
    outputTokens: total,
    thinkingTokens: Math.min(thinkingTokens, total)
  }
}

const perPiece = 16

/** A fragment of a block, and how many of the answer's tokens have been produced when it is out. */
export interface Piece {
  readonly index: number
  readonly first: boolean
  readonly last: boolean
  readonly text: string
  readonly produced: number
}

const textOf = (block: Plan["content"][number]): string =>
  block.type === "text"
    ? block.text
    : block.type === "thinking"
    ? block.thinking
    : block.type === "tool_use"
    ? JSON.stringify(block.input)
    : ""

/** The answer in fragments of 16 characters, as the deltas of a stream carry it. */
export function* pieces(plan: Plan): Generator<Piece> {
  const texts = plan.content.map(textOf)
  const all = texts.reduce((sum, text) => sum + text.length, 0)
  let done = 0
  for (let index = 0; index < texts.length; index++) {
    const text = texts[index]!
    for (let from = 0, first = true; first || from < text.length; first = false) {
      const to = boundary(text, Math.min(text.length, from + perPiece))
      done += to - from
      const last = to >= text.length
      const produced = last && index === texts.length - 1
        ? plan.outputTokens
        : Math.floor(plan.outputTokens * done / Math.max(1, all))
      yield { index, first, last, text: text.slice(from, to), produced }
      from = to
    }
  }
}
