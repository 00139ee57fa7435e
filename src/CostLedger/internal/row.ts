import * as Schema from "effect/Schema"
import type { AttemptCost, MessageAttempt, Outcome } from "../../Attempt.ts"
import { firstOf } from "../../internal/text.ts"
import { find } from "../../Model.ts"
import { Usage } from "../../Usage.ts"

const optionalString = Schema.optional(Schema.String)
const nanoUsd = Schema.NullOr(Schema.Int)

/**
 * One attempt that was sent, as it is recorded.
 *
 * - `at`: when it was sent, in milliseconds since the epoch. It decides the price and the day.
 * - `latencyMillis`: from there to its end; for a stream, as long as it was read.
 * - `askedModel`, `sentModel`, `model`: the model that the caller asked for, the one that the optimizer sent, and the one that served it and is
 *   charged, by its id where an alias was sent; the one that was sent where no answer named one.
 * - `rules`: the optimizer rules that were applied; `optimizerSavedNanoUsd`: their estimated saving.
 * - `nanoUsd`: integer nano-dollars; null, never zero, where the model has no price.
 * - `cacheSavedNanoUsd`: what caching saved, negative where its writes cost more than its reads saved.
 * - `confidence`: `exact` as the API reported it, `derived` from an answer that was cut short, `estimated` where nothing came back.
 * - `billed`: whether the API charges for it, where it failed or was aborted.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Row = Schema.Struct({
  callId: Schema.String,
  attempt: Schema.Int,
  at: Schema.Int,
  latencyMillis: Schema.Int,
  user: optionalString,
  tenant: optionalString,
  requestType: optionalString,
  tags: Schema.Record(Schema.String, Schema.String),
  key: optionalString,
  askedModel: Schema.String,
  sentModel: Schema.String,
  model: Schema.String,
  rules: Schema.Array(Schema.String),
  optimizerSavedNanoUsd: nanoUsd,
  usage: Usage,
  nanoUsd,
  cacheSavedNanoUsd: nanoUsd,
  confidence: Schema.Literals(["exact", "derived", "estimated"]),
  outcome: Schema.Literals(["completed", "failed", "aborted"]),
  error: optionalString,
  stopReason: optionalString,
  billed: Schema.Literals(["yes", "no", "unknown"]),
  requestId: optionalString
})

export interface Row extends Schema.Schema.Type<typeof Row> {}

const maxText = 512

const maxTags = 32

const unstorable = /[\0\p{Surrogate}]/u
const allUnstorable = new RegExp(unstorable, "gu")

/** Callers choose these texts, and one that a store refuses would keep all rows behind it from being written. */
const storable = <Text extends string | undefined>(text: Text): Text =>
  text === undefined || (text.length <= maxText && !unstorable.test(text))
    ? text
    : firstOf(text, maxText).replace(allUnstorable, "\uFFFD") as Text // it is a string

/** Users bring price books and rules, and a store refuses what is no integer. Null where nobody can count it. */
const amount = (nanoUsd: number | undefined): number | null => {
  const rounded = Math.round(nanoUsd ?? NaN)
  return Number.isSafeInteger(rounded) ? rounded : null
}

const usageOf = (usage: Usage): Usage => {
  const speed = storable(usage.speed)
  const serviceTier = storable(usage.serviceTier)
  const inferenceGeo = storable(usage.inferenceGeo)
  return speed === usage.speed && serviceTier === usage.serviceTier && inferenceGeo === usage.inferenceGeo
    ? usage
    : { ...usage, inferenceGeo, serviceTier, speed }
}

const noTags: Row["tags"] = {}
const noRules: Row["rules"] = []

const tagsOf = (tags: Readonly<Record<string, string>>): Row["tags"] => {
  const entries = Object.entries(tags)
  if (entries.length === 0) return noTags
  return Object.fromEntries(entries.slice(0, maxTags).map(([name, value]) => [storable(name), storable(value)]))
}

type Ended = Exclude<Outcome, { readonly _tag: "NotSent" }>

const endOf = (outcome: Ended): Pick<Row, "outcome" | "error" | "stopReason" | "billed" | "requestId"> => {
  switch (outcome._tag) {
    case "Aborted":
      return { outcome: "aborted", billed: "unknown", requestId: storable(outcome.requestId) }
    case "Failed": {
      const { _tag: error, billed, requestId } = outcome.error
      return { outcome: "failed", error, billed, requestId: storable(requestId) }
    }
    case "Completed": {
      const { requestId, stopReason } = outcome
      return { outcome: "completed", stopReason: storable(stopReason), billed: "yes", requestId: storable(requestId) }
    }
  }
}

/** What is written of an attempt that was sent. */
export const make = (attempt: MessageAttempt, outcome: Ended, cost: AttemptCost, at: number, endedAt: number): Row => {
  const { context, optimized } = attempt
  return {
    callId: storable(attempt.callId),
    attempt: attempt.number,
    at,
    latencyMillis: Math.max(0, endedAt - at),
    user: storable(context.user),
    tenant: storable(context.tenant),
    requestType: storable(context.requestType),
    tags: tagsOf(context.tags),
    key: storable(attempt.key?.label),
    askedModel: storable(optimized?.askedModel ?? attempt.model),
    sentModel: storable(attempt.model),
    model: storable(cost.model === attempt.model ? attempt.facts.id : find(cost.model)?.id ?? cost.model),
    rules: optimized === undefined ? noRules : optimized.changes.slice(0, maxTags).map(({ rule }) => storable(rule)),
    optimizerSavedNanoUsd: optimized === undefined
      ? null
      : amount(optimized.changes.reduce((sum, { savedNanoUsd = 0 }) => sum + savedNanoUsd, 0)),
    usage: usageOf(cost.usage),
    nanoUsd: amount(cost.cost?.nanoUsd),
    cacheSavedNanoUsd: amount(cost.cost?.cacheSavedNanoUsd),
    confidence: cost.confidence,
    ...endOf(outcome)
  }
}
