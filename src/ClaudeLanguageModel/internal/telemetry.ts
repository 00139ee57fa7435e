/** What the spans of `LanguageModel` say of a call, beside what `effect/ai` writes there. */
import type * as Response from "effect/ai/Response"
import type * as Tracer from "effect/Tracer"
import type { Report } from "../../ClaudeService.ts"
import * as Usage from "../../Usage.ts"
import type { Prepared } from "./request.ts"

const set = (span: Tracer.Span, name: string, value: unknown): void => {
  if (value !== undefined && value !== null) span.attribute(name, value)
}

export const describeRequest = ({ provider: { span }, request }: Prepared): void => {
  span.attribute("gen_ai.operation.name", "chat")
  span.attribute("gen_ai.provider.name", "anthropic")
  span.attribute("gen_ai.request.model", request.model)
  span.attribute("gen_ai.request.max_tokens", request.max_tokens)
  set(span, "gen_ai.request.stop_sequences", request.stop_sequences)
}

/** What a call took, however it ended. */
export const describeReport = (span: Tracer.Span, { attempts, callId, costNanoUsd, usage }: Report): void => {
  if (attempts > 0) {
    span.attribute("gen_ai.usage.input_tokens", Usage.promptTokens(usage))
    span.attribute("gen_ai.usage.output_tokens", usage.outputTokens)
    span.attribute("gen_ai.usage.cache_read.input_tokens", usage.cacheReadTokens)
    span.attribute("gen_ai.usage.cache_creation.input_tokens", usage.cacheWrite5mTokens + usage.cacheWrite1hTokens)
    if (usage.thinkingTokens > 0) span.attribute("gen_ai.usage.reasoning.output_tokens", usage.thinkingTokens)
    if (costNanoUsd !== undefined) span.attribute("claude.cost_usd", costNanoUsd / 1e9)
  }
  span.attribute("claude.call_id", callId)
  span.attribute("claude.attempts", attempts)
}

export const describeAnswer = (
  span: Tracer.Span,
  { id, model }: { readonly id: string; readonly model: string },
  { metadata }: Response.FinishPartEncoded
): void => {
  const end = metadata?.anthropic
  span.attribute("gen_ai.response.id", id)
  span.attribute("gen_ai.response.model", model)
  if (typeof end?.stopReason === "string") span.attribute("gen_ai.response.finish_reasons", [end.stopReason])
  if (typeof end?.timeToFirstChunkMillis === "number") {
    span.attribute("gen_ai.response.time_to_first_chunk", end.timeToFirstChunkMillis / 1_000)
  }
}
