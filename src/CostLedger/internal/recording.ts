/** What the ledger records of an attempt, and how a store in this process takes it: what every attempt passes through. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import {
  admitted,
  type Attempt,
  type AttemptCost,
  billedOf,
  costOf,
  type MessageAttempt,
  type Outcome,
  type Settle
} from "../../Attempt.ts"
import type * as Feed from "../../internal/feed.ts"
import { firstOf, nameOf } from "../../internal/text.ts"
import type { Catalogue } from "../../Model.ts"
import type { PriceBook } from "../../PriceBook.ts"
import type { Usage } from "../../Usage.ts"
import type { CostLedgerError } from "./client.ts"
import type { Command, Reply, Row, Rows } from "./data.ts"
import { run } from "./queries.ts"

type Step = (command: Command) => Effect.Effect<Reply, unknown>

export interface Writer {
  readonly write: (row: Row) => Effect.Effect<void>
  /** Writes what waits now. */
  readonly flush: Effect.Effect<void, CostLedgerError>
  readonly status: () => {
    readonly pendingRows: number
    readonly lostRows: number
    readonly evictedRows: number
    readonly isDown: boolean
  }
}

/** Logged at the first eviction of a store. */
export const evicting = Effect.logInfo("CostLedger: the store is full; older rows are evicted for newer ones.")

const maxText = 512

const maxTags = 32

const unstorable = /[\0\p{Surrogate}]/u
const allUnstorable = new RegExp(unstorable, "gu")

/** Callers choose these texts, and one that a store refuses would keep all rows behind it from being written. */
const storable = <Text extends string | undefined>(text: Text): Text =>
  text === undefined || (text.length <= maxText && !unstorable.test(text))
    ? text
    : firstOf(text, maxText).replace(allUnstorable, "\uFFFD") as Text // it is a string

/** Such names are kept as they are. */
const plain = /^[\x20-\x7e]{0,66}$/

const named = <Name extends string | undefined>(name: Name): Name =>
  name === undefined || plain.test(name) ? name : nameOf(name) as Name // it is a string

/** Users bring price books and rules, and a store refuses what is no integer. Null where nobody can count it. */
const amount = (nanoUsd: number | undefined): number | null => {
  const rounded = Math.round(nanoUsd ?? NaN)
  return Number.isSafeInteger(rounded) ? rounded : null
}

/** As it is stored: what other models used is in the cost alone. */
const usageOf = (usage: Usage): Usage => {
  const speed = storable(usage.speed)
  const serviceTier = storable(usage.serviceTier)
  const inferenceGeo = storable(usage.inferenceGeo)
  const isStorable = speed === usage.speed && serviceTier === usage.serviceTier &&
    inferenceGeo === usage.inferenceGeo &&
    usage.others === undefined && usage.isAssumed === undefined
  if (isStorable) return usage
  const { isAssumed: _, others: __, ...rest } = usage
  return { ...rest, inferenceGeo, serviceTier, speed }
}

const noTags: Row["tags"] = {}
const noRules: Row["rules"] = []

const tagsOf = (tags: Readonly<Record<string, string>>): Row["tags"] => {
  const entries = Object.entries(tags)
  return entries.length === 0
    ? noTags
    : Object.fromEntries(entries.slice(0, maxTags).map(([name, value]) => [nameOf(name), nameOf(value)]))
}

type Ended = Exclude<Outcome, { readonly _tag: "NotSent" }>

const outcomes = { Aborted: "aborted", Failed: "failed", Completed: "completed" } as const

/** What is written of an attempt that was sent. */
const rowOf = (
  attempt: MessageAttempt,
  outcome: Ended,
  cost: AttemptCost,
  at: number,
  latencyMillis: number,
  catalogue: Catalogue
): Row => {
  const { context, fallbacks, optimized, race } = attempt
  const isSecond = race !== undefined && race.first !== attempt.number
  const rules = optimized === undefined
    ? noRules
    : optimized.changes.slice(0, maxTags).map(({ rule }) => storable(rule))
  // Models are named by programs, and this row says which one was asked.
  const [left] = fallbacks?.flatMap((step) => step.skipped === undefined ? [step] : []).slice(-1) ?? []
  return {
    callId: storable(attempt.callId),
    attempt: attempt.number,
    at,
    latencyMillis,
    user: named(context.user),
    tenant: named(context.tenant),
    requestType: named(context.requestType),
    tags: tagsOf(context.tags),
    key: named(attempt.key?.label),
    askedModel: named(optimized?.askedModel ?? fallbacks?.[0]?.from ?? attempt.model),
    sentModel: named(attempt.model),
    model: named(cost.model === attempt.model ? attempt.facts.id : catalogue.lookup(cost.model).id),
    rules: left === undefined && !isSecond
      ? rules
      : [...rules, ...(left === undefined ? [] : [`fallback:${left.because}`]), ...(isSecond ? ["hedge"] : [])],
    optimizerSavedNanoUsd: optimized === undefined
      ? null
      : amount(optimized.changes.reduce((sum, { savedNanoUsd = 0 }) => sum + savedNanoUsd, 0)),
    usage: usageOf(cost.usage),
    nanoUsd: amount(cost.cost?.nanoUsd),
    cacheSavedNanoUsd: amount(cost.cost?.cacheSavedNanoUsd),
    confidence: cost.confidence,
    outcome: outcomes[outcome._tag],
    error: outcome._tag === "Failed" ? outcome.error._tag : undefined,
    stopReason: outcome._tag === "Completed" ? storable(outcome.stopReason) : undefined,
    billed: billedOf(outcome),
    requestId: storable(outcome._tag === "Failed" ? outcome.error.requestId : outcome.requestId)
  }
}

/** Writes the row of each attempt that was sent, once it has ended. */
export const make = (
  book: PriceBook["Service"],
  catalogue: Catalogue,
  clock: Clock.Clock,
  writer: Writer,
  feed: Feed.Feed<Row>
) =>
(attempt: Attempt): Effect.Effect<Settle> => {
  if (attempt.endpoint !== "messages") return admitted
  return Effect.sync(() => {
    const admittedAt = clock.currentTimeMillisUnsafe()
    // The time of the system may be set while the attempt runs, but hardly between this and its sending.
    const began = clock.monotonicTimeNanosUnsafe()
    return Effect.suspend(() => {
      const { outcome } = attempt
      if (outcome._tag === "NotSent") return Effect.void
      const at = attempt.sentAt ?? admittedAt
      const cost = costOf(book, attempt, at)
      if (cost === undefined) return Effect.void
      const admittedMillis = Math.round(Number(clock.monotonicTimeNanosUnsafe() - began) / 1e6)
      const latencyMillis = Math.max(0, admittedMillis - (at - admittedAt))
      const row = rowOf(attempt, outcome, cost, at, latencyMillis, catalogue)
      const written = writer.write(row)
      return feed.subscribers === 0 ? written : Effect.andThen(feed.publish(row), written)
    })
  })
}

/** Writes rows straight into a store in memory, and at once: call it where the effect is run. */
export const direct = (store: Memory): Writer => {
  let evictedRows = 0
  return {
    write: (row) => {
      const evicted = store.write(row)
      evictedRows += evicted
      return evicted > 0 && evictedRows === evicted ? evicting : Effect.void
    },
    flush: Effect.void,
    status: () => ({ pendingRows: 0, lostRows: 0, evictedRows, isDown: false })
  }
}

/** Writes each row at once to a store in this process. A row that such a store fails to take is lost. */
export const atOnce = (step: Step): Writer => {
  let lostRows = 0
  let evictedRows = 0
  return {
    write: (row) =>
      Effect.matchCauseEffect(step({ _tag: "Write", rows: [row] }), {
        onFailure: (cause) =>
          lostRows++ > 0 ? Effect.void : Effect.logWarning("CostLedger: the store failed; rows are lost.", cause),
        onSuccess: (reply) => {
          if (reply._tag !== "Write" || reply.evicted === 0) return Effect.void
          evictedRows += reply.evicted
          return evictedRows === reply.evicted ? evicting : Effect.void
        }
      }),
    flush: Effect.void,
    status: () => ({ pendingRows: 0, lostRows, evictedRows, isDown: false })
  }
}

/** What a row takes beside its texts. */
const fixedBytes = 700

/** About how many bytes of memory a row takes: two for each character of its texts. */
export const bytesOf = (row: Row): number => {
  let length = row.callId.length + (row.user?.length ?? 0) + (row.tenant?.length ?? 0) +
    (row.requestType?.length ?? 0) +
    (row.key?.length ?? 0) + row.model.length + (row.stopReason?.length ?? 0) + (row.requestId?.length ?? 0)
  for (const name in row.tags) length += name.length + (row.tags[name]?.length ?? 0) + 16
  for (const rule of row.rules) length += rule.length
  return fixedBytes + 2 * length
}

/** Makes room for more than one row: a map finds its first key slowly where many before it were deleted. */
const evict = (rows: Rows, maxRows: number, maxBytes: number): number => {
  const leftRows = maxRows - 1 - Math.floor(maxRows / 64)
  const leftBytes = maxBytes - Math.floor(maxBytes / 64)
  let evicted = 0
  for (const [oldest, { bytes }] of rows.byAttempt) {
    if (rows.byAttempt.size <= leftRows && rows.bytes <= leftBytes) break
    rows.byAttempt.delete(oldest)
    rows.bytes -= bytes
    evicted++
  }
  return evicted
}

/** Takes in rows, and gives how many older ones were evicted. */
const add = (rows: Rows, added: ReadonlyArray<Row>, maxRows: number, maxBytes: number): number => {
  const { byAttempt } = rows
  let evicted = 0
  for (const row of added) {
    const name = `${row.attempt} ${row.callId}`
    if (byAttempt.has(name)) continue
    const bytes = bytesOf(row)
    rows.bytes += bytes
    if (byAttempt.size >= maxRows || rows.bytes > maxBytes) evicted += evict(rows, maxRows, maxBytes)
    byAttempt.set(name, { id: ++rows.lastId, row, bytes })
    rows.byTime = undefined
  }
  return evicted
}

/**
 * Runs a command on rows in memory and returns the rows to go on with: the reference of every store. It takes the rows over and may change them in
 * place; `undefined` is none. `maxRows` and `maxBytes` bound them: the first written are evicted, a 64th at a time.
 *
 * @category transitions
 * @since 0.1.0
 */
export const step = (
  rows: Rows = { byAttempt: new Map(), byTime: undefined, lastId: 0, bytes: 0 },
  command: Command,
  maxRows: number = Infinity,
  maxBytes: number = Infinity
): readonly [Rows, Reply] => {
  if (command._tag !== "Write") return [rows, run(rows, command)]
  return [rows, { _tag: "Write", evicted: add(rows, command.rows, maxRows, maxBytes) }]
}

/** A store in memory. */
export class Memory {
  readonly isLocal = true
  private readonly maxRows: number
  private readonly maxBytes: number
  private readonly rows: Rows = { byAttempt: new Map(), byTime: undefined, lastId: 0, bytes: 0 }

  constructor(maxRows: number, maxBytes: number) {
    this.maxRows = maxRows
    this.maxBytes = maxBytes
  }

  readonly step: Step = (command) => Effect.sync(() => step(this.rows, command, this.maxRows, this.maxBytes)[1])

  /** Takes in a row, and gives how many were evicted. */
  write(row: Row): number {
    return add(this.rows, [row], this.maxRows, this.maxBytes)
  }
}
