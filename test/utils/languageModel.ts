/** A language model over the real SDK and the simulator: what it sends, and what it makes of answers. */
import type { MessageCreateParams } from "@anthropic-ai/sdk/resources/messages"
import { Effect, Layer, Stream } from "effect"
import * as ClaudeLanguageModel from "effect-claude/ClaudeLanguageModel"
import * as Simulator from "effect-claude/testing/Simulator"
import { LanguageModel, type Prompt, type Tool, Toolkit } from "effect/ai"

export const modelId = "claude-sonnet-4-6"

/** A block of an answer, also of types that the simulator does not name. */
export type Block = { readonly type: string; readonly [field: string]: unknown }

export interface World {
  readonly content?: ReadonlyArray<Block> | undefined
  readonly stopReason?: string | undefined
  readonly options?: Partial<ClaudeLanguageModel.Options> | undefined
}

/** The model over a simulator that gives one answer; `seen` has the requests. */
export const world = ({ content, options, stopReason }: World = {}) => {
  const seen: Array<MessageCreateParams> = []
  const answer: Simulator.Answerer = (request) => {
    seen.push(request)
    return {
      content: content as ReadonlyArray<Simulator.AnswerBlock> ?? "Hello.",
      ...(stopReason === undefined ? {} : { stopReason: stopReason as "end_turn" })
    }
  }
  const layer = ClaudeLanguageModel.layer({ model: modelId, maxTokens: 4_000, ...options }).pipe(
    Layer.provideMerge(Simulator.layerClaude({ answer }))
  )
  return { seen, layer }
}

/** A toolkit whose tools nobody calls here. */
export type AnyToolkit = Toolkit.WithHandler<Record<string, Tool.Any>>

export const kit = (...tools: ReadonlyArray<Tool.Any>) => Toolkit.make(...tools) as unknown as AnyToolkit

export interface Asked {
  readonly prompt?: Prompt.RawInput | undefined
  readonly toolkit?: AnyToolkit | undefined
  readonly toolChoice?: LanguageModel.ToolChoice<string> | undefined
  readonly toolCallValidation?: "strict" | "deferred" | undefined
}

/** Calls of tools are given back as they are. */
const optionsOf = ({ prompt = "Hello?", toolCallValidation, toolChoice, toolkit }: Asked) => ({
  prompt,
  ...(toolkit === undefined ? {} : { toolkit }),
  ...(toolChoice === undefined ? {} : { toolChoice }),
  ...(toolCallValidation === undefined ? {} : { toolCallValidation }),
  disableToolCallResolution: true as const
})

export const whole = (asked: Asked = {}) =>
  Effect.map(
    LanguageModel.generateText(optionsOf(asked) as never),
    ({ content }) => content as unknown as ReadonlyArray<Block>
  )

export const streamed = (asked: Asked = {}) =>
  Effect.map(
    Stream.runCollect(LanguageModel.streamText(optionsOf(asked) as never)),
    (parts) => parts as unknown as ReadonlyArray<Block>
  )

export const ways = { whole, streamed }

/** Without what marks a part, and with no metadata where there is none. */
export const plain = (part: Block): Block => {
  const { metadata, ...fields } = JSON.parse(JSON.stringify(part)) as Record<string, unknown>
  for (const name of Object.keys(fields)) if (name.startsWith("~")) delete fields[name]
  return (Object.keys(metadata ?? {}).length === 0 ? fields : { ...fields, metadata }) as Block
}
