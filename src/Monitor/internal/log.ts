/** The request log: one record for each call, as an object that every logger writes as JSON. */
import * as Effect from "effect/Effect"
import type { CallRecord, Happening } from "./events.ts"

/** By the names of the log; what is not known is left out. */
const fieldsOf = (record: CallRecord) => {
  const { costNanoUsd, usage, waits } = record
  return {
    event: "claude.call",
    time: new Date(record.at).toISOString(),
    call_id: record.callId,
    request_id: record.requestId,
    operation: record.operation,
    stream: record.stream,
    model: record.model,
    model_served: record.servedModel,
    status: record.status,
    error: record.error,
    error_message: record.message,
    fault: record.fault,
    http_status: record.httpStatus,
    stop_reason: record.stopReason,
    input_tokens: usage.inputTokens,
    output_tokens: usage.outputTokens,
    cache_read_tokens: usage.cacheReadTokens,
    cache_write_5m_tokens: usage.cacheWrite5mTokens,
    cache_write_1h_tokens: usage.cacheWrite1hTokens,
    thinking_tokens: usage.thinkingTokens,
    cost_usd: costNanoUsd === undefined ? undefined : costNanoUsd / 1e9,
    latency_ms: record.latencyMillis,
    first_token_ms: record.firstTokenMillis,
    overhead_ms: record.overheadMillis,
    waits: waits.map(({ for: reason, millis }) => ({ for: reason, ms: millis })),
    attempts: record.attempts,
    retries: record.retries,
    moves: record.moves,
    fallbacks: record.fallbacks.map(({ because, from, skipped, to }) => ({ from, to, because, skipped })),
    hedges: record.hedges,
    key: record.keyLabel,
    user: record.user,
    tenant: record.tenant,
    request_type: record.requestType,
    priority: record.priority,
    rules: record.changes,
    metadata: record.metadata
  }
}

/** Once for each outage: at its beginning and its end. */
export const circuit = (
  { from, group, openMillis, to }: Extract<Happening, { readonly _tag: "CircuitChanged" }>
): Effect.Effect<void> => {
  const fields = { event: "claude.circuit", group, from, to, open_ms: openMillis }
  return to === "open" && from === "closed"
    ? Effect.logWarning(fields)
    : to === "closed"
    ? Effect.logInfo(fields)
    : Effect.void
}

/** Writes the record of a call. */
export const write = (record: CallRecord): Effect.Effect<void> =>
  record.status === "error"
    ? Effect.logError(fieldsOf(record))
    : record.retries + record.moves + record.fallbacks.length > 0
    ? Effect.logWarning(fieldsOf(record))
    : Effect.logInfo(fieldsOf(record))
