/** What spans say: the attributes of the conventions, and ours under `claude.`. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import type * as Tracer from "effect/Tracer"
import type { Attempt, AttemptCost } from "../../Attempt.ts"
import { isApiError } from "../../ClaudeError.ts"
import type { Request } from "../../Request.ts"
import { promptTokens } from "../../Usage.ts"
import type { CallRecord, Operation } from "./events.ts"
import type { Failure } from "./fault.ts"
import { type Conventions, conventions, serverOf } from "./genAi.ts"

/** Milliseconds since the epoch as a time of spans. */
export const nanos = (millis: number): bigint => BigInt(Math.round(millis * 1_000)) * 1_000n

/** What is known before anything is sent: samplers see it. */
export const startOf = (baseUrl: string) => {
  const server = serverOf(baseUrl)
  const all = {
    "gen_ai.provider.name": "anthropic",
    ...(server === undefined ? undefined : { "server.address": server.address, "server.port": server.port })
  }
  return (operation: Operation, model: string): Record<string, unknown> =>
    model === ""
      ? { ...all, "gen_ai.operation.name": operation }
      : { ...all, "gen_ai.operation.name": operation, "gen_ai.request.model": model }
}

const errorType = (error: string): string => error === "other" ? "_OTHER" : error

/** Leaves out what is not known. */
const set = (span: Tracer.Span, name: string, value: unknown): void => {
  if (value !== undefined && value !== null) span.attribute(name, value)
}

/** Fields that the newest types of the SDK lack, though older models take them. */
interface Sampling {
  readonly temperature?: unknown
  readonly top_p?: unknown
  readonly top_k?: unknown
}

const describeRequest = (span: Tracer.Span, request: Request & Sampling): void => {
  span.attribute("gen_ai.request.max_tokens", request.max_tokens)
  set(span, "gen_ai.request.temperature", request.temperature)
  set(span, "gen_ai.request.top_p", request.top_p)
  set(span, "gen_ai.request.top_k", request.top_k)
  set(span, "gen_ai.request.stop_sequences", request.stop_sequences)
  if (request.output_config?.format) span.attribute("gen_ai.output.type", "json")
}

/** The whole of a call, when it has ended. */
export const describeCall = (
  span: Tracer.Span,
  version: Conventions,
  record: CallRecord,
  { last, message, request }: {
    readonly last: Attempt | undefined
    readonly message: Message | undefined
    readonly request: Request | undefined
  }
): void => {
  const { costNanoUsd, error, firstTokenMillis, model, operation, status, stopReason, usage } = record
  const sent = last?.model ?? model
  if (sent !== model) {
    span.attribute("gen_ai.request.model", sent)
    span.attribute("claude.asked_model", model)
  }
  if (record.stream) span.attribute("gen_ai.request.stream", true)
  if (request !== undefined) describeRequest(span, request)
  set(span, "gen_ai.response.id", message?.id)
  set(span, "gen_ai.response.model", record.servedModel)
  if (stopReason !== undefined) span.attribute("gen_ai.response.finish_reasons", [stopReason])
  // A stream that was cut or given up has no reason of its own.
  else if (record.stream && firstTokenMillis !== undefined) span.attribute("gen_ai.response.finish_reasons", ["error"])
  if (firstTokenMillis !== undefined) span.attribute("gen_ai.response.time_to_first_chunk", firstTokenMillis / 1_000)
  if (operation === "chat" && record.attempts > 0) {
    span.attribute("gen_ai.usage.input_tokens", promptTokens(usage))
    span.attribute("gen_ai.usage.output_tokens", usage.outputTokens)
    span.attribute("gen_ai.usage.cache_read.input_tokens", usage.cacheReadTokens)
    span.attribute(conventions[version].cacheWrite, usage.cacheWrite5mTokens + usage.cacheWrite1hTokens)
    if (usage.thinkingTokens > 0) span.attribute("gen_ai.usage.reasoning.output_tokens", usage.thinkingTokens)
    if (costNanoUsd !== undefined) span.attribute("claude.cost_usd", costNanoUsd / 1e9)
  }
  if (error !== undefined) span.attribute("error.type", errorType(error))
  span.attribute("claude.call_id", record.callId)
  span.attribute("claude.status", status)
  set(span, "claude.fault", record.fault)
  span.attribute("claude.attempts", record.attempts)
  span.attribute("claude.retries", record.retries)
  if (record.hedges > 0) span.attribute("claude.hedges", record.hedges)
  set(span, "claude.key", record.keyLabel)
  set(span, "claude.request_id", record.requestId)
  set(span, "claude.request_type", record.requestType)
  span.attribute("claude.priority", record.priority)
  if (record.changes.length > 0) span.attribute("claude.optimizer.rules", record.changes)
  const taken = record.fallbacks.filter(({ skipped }) => skipped === undefined)
  if (taken.length > 0) span.attribute("claude.fallbacks", taken.map(({ because, to }) => `${because} -> ${to}`))
}

/** One attempt, when it has settled. */
export const describeAttempt = (
  span: Tracer.Span,
  { key, outcome, waits = [] }: Attempt,
  what: string,
  cost: AttemptCost | undefined,
  failure: Failure | undefined,
  now: number
): void => {
  span.attribute("claude.outcome", what)
  set(span, "claude.key", key?.label)
  set(span, "claude.key_group", key?.group)
  if (outcome._tag !== "NotSent") {
    set(span, "gen_ai.response.model", outcome.model)
    set(span, "claude.request_id", outcome._tag === "Failed" ? outcome.error.requestId : outcome.requestId)
  }
  if (cost?.cost !== undefined) span.attribute("claude.cost_usd", cost.cost.nanoUsd / 1e9)
  if (failure !== undefined) {
    span.attribute("error.type", errorType(failure.error))
    if (isApiError(failure.cause)) set(span, "http.response.status_code", failure.cause.status)
  }
  for (const wait of waits) {
    span.event("claude.wait", nanos(now), { "claude.wait.for": wait.for, "claude.wait.seconds": wait.millis / 1_000 })
  }
}
