/** How a row of the ledger lies in a SQL table: its columns, and the sums over them. */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Field, Figures } from "../../CostReport.ts"
import * as Sums from "../../internal/figures.ts"
import { Row } from "./data.ts"

/**
 * Each column with its type and what a row has for it. Integers are as wide as they get. What is usual is null, which takes no room: no
 * tags, no rules, and that the model that was asked for is the one that served.
 */
export const columns: ReadonlyArray<
  readonly [name: string, type: "TEXT" | "BIGINT", of: (row: Row) => string | number | null]
> = [
  ["call_id", "TEXT", (row) => row.callId],
  ["attempt", "BIGINT", (row) => row.attempt],
  ["at", "BIGINT", (row) => row.at],
  ["latency_millis", "BIGINT", (row) => row.latencyMillis],
  ["user_id", "TEXT", (row) => row.user ?? null],
  ["tenant", "TEXT", (row) => row.tenant ?? null],
  ["request_type", "TEXT", (row) => row.requestType ?? null],
  ["tags", "TEXT", ({ tags }) => Object.keys(tags).length === 0 ? null : JSON.stringify(tags)],
  ["key_label", "TEXT", (row) => row.key ?? null],
  ["asked_model", "TEXT", (row) => row.askedModel === row.model ? null : row.askedModel],
  ["sent_model", "TEXT", (row) => row.sentModel === row.model ? null : row.sentModel],
  ["model", "TEXT", (row) => row.model],
  ["rules", "TEXT", (row) => row.rules.length === 0 ? null : JSON.stringify(row.rules)],
  ["optimizer_saved_nano_usd", "BIGINT", (row) => row.optimizerSavedNanoUsd],
  ["input_tokens", "BIGINT", ({ usage }) => usage.inputTokens],
  ["output_tokens", "BIGINT", ({ usage }) => usage.outputTokens],
  ["cache_read_tokens", "BIGINT", ({ usage }) => usage.cacheReadTokens],
  ["cache_write_5m_tokens", "BIGINT", ({ usage }) => usage.cacheWrite5mTokens],
  ["cache_write_1h_tokens", "BIGINT", ({ usage }) => usage.cacheWrite1hTokens],
  ["thinking_tokens", "BIGINT", ({ usage }) => usage.thinkingTokens],
  ["web_search_requests", "BIGINT", ({ usage }) => usage.webSearchRequests],
  ["service_tier", "TEXT", ({ usage }) => usage.serviceTier ?? null],
  ["speed", "TEXT", ({ usage }) => usage.speed ?? null],
  ["inference_geo", "TEXT", ({ usage }) => usage.inferenceGeo ?? null],
  ["nano_usd", "BIGINT", (row) => row.nanoUsd],
  ["cache_saved_nano_usd", "BIGINT", (row) => row.cacheSavedNanoUsd],
  ["confidence", "TEXT", (row) => row.confidence],
  ["outcome", "TEXT", (row) => row.outcome],
  ["error", "TEXT", (row) => row.error ?? null],
  ["stop_reason", "TEXT", (row) => row.stopReason ?? null],
  ["billed", "TEXT", (row) => row.billed],
  ["request_id", "TEXT", (row) => row.requestId ?? null]
]

export const values = columns.map(([, , of]) => of)

export const required = new Set(["call_id", "attempt", "at", "model"])

export const fieldColumns: Readonly<Record<Field, string>> = {
  model: "model",
  user: "user_id",
  tenant: "tenant",
  requestType: "request_type",
  key: "key_label"
}

/** What is added up for each figure, and of which rows. */
const sums: Readonly<Record<keyof Figures, readonly [what: string, where?: string]>> = {
  attempts: ["1"],
  calls: ["1", "attempt = 1"],
  completed: ["1", "outcome = 'completed'"],
  failed: ["1", "outcome = 'failed'"],
  aborted: ["1", "outcome = 'aborted'"],
  unpriced: ["1", "nano_usd IS NULL"],
  nanoUsd: ["nano_usd"],
  exactNanoUsd: ["nano_usd", "confidence = 'exact'"],
  derivedNanoUsd: ["nano_usd", "confidence = 'derived'"],
  estimatedNanoUsd: ["nano_usd", "confidence = 'estimated'"],
  retriesNanoUsd: ["nano_usd", "attempt <> 1"],
  failedNanoUsd: ["nano_usd", "outcome = 'failed'"],
  abortedNanoUsd: ["nano_usd", "outcome = 'aborted'"],
  doubtfulNanoUsd: ["nano_usd", "billed = 'unknown'"],
  cacheSavedNanoUsd: ["cache_saved_nano_usd"],
  optimizerSavedNanoUsd: ["optimizer_saved_nano_usd"],
  inputTokens: ["input_tokens"],
  outputTokens: ["output_tokens"],
  cacheReadTokens: ["cache_read_tokens"],
  cacheWrite5mTokens: ["cache_write_5m_tokens"],
  cacheWrite1hTokens: ["cache_write_1h_tokens"],
  thinkingTokens: ["thinking_tokens"],
  webSearchRequests: ["web_search_requests"]
}

/** As text, since a sum may be larger than what a driver makes a number of. */
export const figures = Sums.names.map((name) => {
  const [what, where] = sums[name]
  const sum = what === "1" ? "count(*)" : `sum(${what})`
  return `CAST(coalesce(${sum}${where === undefined ? "" : ` FILTER (WHERE ${where})`}, 0) AS TEXT)`
}).join(", ")

/** Has all that a report by model reads, so that SQLite reads nothing else. */
export const summed = [
  "model",
  "\"at\"",
  "attempt",
  "outcome",
  "billed",
  "confidence",
  ...new Set(Sums.names.flatMap((name) => sums[name][0] === "1" ? [] : [sums[name][0]]))
].join(", ")

const decodeRow = Schema.decodeUnknownEffect(Schema.Struct({
  ...Row.fields,
  tags: Schema.fromJsonString(Row.fields.tags),
  rules: Schema.fromJsonString(Row.fields.rules)
}))

/** Drivers give wide integers as texts, as `bigint` or as numbers. */
const number = (value: unknown): unknown => value === null ? null : Number(value)

const text = (value: unknown): unknown => value ?? undefined

export const rowOf = (found: Readonly<Record<string, unknown>>): Effect.Effect<Row, Schema.SchemaError> =>
  decodeRow({
    callId: found["call_id"],
    attempt: number(found["attempt"]),
    at: number(found["at"]),
    latencyMillis: number(found["latency_millis"]),
    user: text(found["user_id"]),
    tenant: text(found["tenant"]),
    requestType: text(found["request_type"]),
    tags: found["tags"] ?? "{}",
    key: text(found["key_label"]),
    askedModel: found["asked_model"] ?? found["model"],
    sentModel: found["sent_model"] ?? found["model"],
    model: found["model"],
    rules: found["rules"] ?? "[]",
    optimizerSavedNanoUsd: number(found["optimizer_saved_nano_usd"]),
    usage: {
      inputTokens: number(found["input_tokens"]),
      outputTokens: number(found["output_tokens"]),
      cacheReadTokens: number(found["cache_read_tokens"]),
      cacheWrite5mTokens: number(found["cache_write_5m_tokens"]),
      cacheWrite1hTokens: number(found["cache_write_1h_tokens"]),
      thinkingTokens: number(found["thinking_tokens"]),
      webSearchRequests: number(found["web_search_requests"]),
      ...(found["service_tier"] === null ? undefined : { serviceTier: found["service_tier"] }),
      ...(found["speed"] === null ? undefined : { speed: found["speed"] }),
      ...(found["inference_geo"] === null ? undefined : { inferenceGeo: found["inference_geo"] })
    },
    nanoUsd: number(found["nano_usd"]),
    cacheSavedNanoUsd: number(found["cache_saved_nano_usd"]),
    confidence: found["confidence"],
    outcome: found["outcome"],
    error: text(found["error"]),
    stopReason: text(found["stop_reason"]),
    billed: found["billed"],
    requestId: text(found["request_id"])
  })
