/** The rows of the ledger, and what a store of them is asked and answers: plain data. */
import * as Schema from "effect/Schema"
import type { Field, Group, Where } from "../../CostReport.ts"
import { Usage } from "../../Usage.ts"

const optionalString = Schema.optional(Schema.String)
const nanoUsd = Schema.NullOr(Schema.Int)

/**
 * One attempt that was sent, as it is recorded.
 *
 * - `at`: when it was sent, in milliseconds since the epoch. It decides the price and the day.
 * - `latencyMillis`: from there to its end; for a stream, as long as it was read.
 * - `askedModel`, `sentModel`, `model`: the model that the caller asked for, the one that the optimizer or a fallback sent, and the one that served it and is
 *   charged, by its id where an alias was sent; the one that was sent where no answer named one.
 * - `rules`: the optimizer rules that were applied, and `fallback:` with the reason where another model was asked for one of `Fallback.Cause`, `hedge` for the second attempt at a late stream; `optimizerSavedNanoUsd`: their estimated saving.
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

/**
 * Rows of attempts that were sent at `from` or later and before `to`, in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Range {
  readonly from: number
  readonly to: number
}

/**
 * The last row of a page: when it was sent, and its number in the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Cursor {
  readonly at: number
  readonly id: number
}

/**
 * What a store is asked, as plain data; `Infinity` may stand for an open end.
 *
 * - `Write`: all of `rows` or none. A row whose `callId` and `attempt` are stored already is skipped, so a write whose reply was lost can be
 *   repeated.
 * - `Aggregate`: the figures of the rows of a range that match `where`, grouped by what `by` names; one group with the key `null` where it names
 *   nothing, no group for no rows.
 * - `Page`: the first `limit` rows of a range, oldest first, from where the page before ended.
 * - `Span`: when the first and the last row were sent.
 * - `Trim`: removes, oldest first, at most `limit` of the rows that were sent before `before` or that are not among the `keep` newest.
 *
 * @category models
 * @since 0.1.0
 */
export type Command =
  | { readonly _tag: "Write"; readonly rows: ReadonlyArray<Row> }
  | {
    readonly _tag: "Aggregate"
    readonly range: Range
    readonly by: Field | { readonly tag: string } | undefined
    readonly where: Where
  }
  | {
    readonly _tag: "Page"
    readonly range: Range
    readonly limit: number
    readonly after: Cursor | undefined
  }
  | { readonly _tag: "Span" }
  | { readonly _tag: "Trim"; readonly before: number; readonly keep: number; readonly limit: number }

/**
 * The reply to a `Command`, under its tag.
 *
 * - `Write`: how many older rows a store of bounded size evicted.
 * - `Page`: `next` is undefined where no more rows follow.
 * - `Span`: undefined for no rows.
 * - `Trim`: how many rows were removed.
 *
 * @category models
 * @since 0.1.0
 */
export type Reply =
  | { readonly _tag: "Write"; readonly evicted: number }
  | { readonly _tag: "Aggregate"; readonly groups: ReadonlyArray<Group> }
  | { readonly _tag: "Page"; readonly rows: ReadonlyArray<Row>; readonly next: Cursor | undefined }
  | { readonly _tag: "Span"; readonly span: { readonly oldest: number; readonly newest: number } | undefined }
  | { readonly _tag: "Trim"; readonly removed: number }

/** A row in memory: its number, and about how many bytes it takes. */
export interface Stored {
  readonly id: number
  readonly row: Row
  readonly bytes: number
}

/**
 * All rows of a store in memory.
 *
 * - `byAttempt`: in the order of writing, by attempt and call.
 * - `byTime`: in the order of time; undefined after a change.
 * - `bytes`: about how much memory they take.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rows {
  readonly byAttempt: Map<string, Stored>
  byTime: ReadonlyArray<Stored> | undefined
  lastId: number
  bytes: number
}
