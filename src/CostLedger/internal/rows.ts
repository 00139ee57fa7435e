/** The rows of the ledger: what is recorded of an attempt, and what each command does to rows in memory. */
import { type AttemptCost, billedOf, type MessageAttempt, type Outcome } from "../../Attempt.ts"
import { tagOf } from "../../CallContext.ts"
import type { Field, Where } from "../../CostReport.ts"
import * as Figures from "../../internal/figures.ts"
import { firstOf, nameOf } from "../../internal/text.ts"
import { find } from "../../Model.ts"
import type { Usage } from "../../Usage.ts"
import { bytesOf } from "./backlog.ts"
import type { Command, Range, Reply, Row } from "./data.ts"

const maxText = 512

const maxTags = 32

const unstorable = /[\0\p{Surrogate}]/u
const allUnstorable = new RegExp(unstorable, "gu")

/** Callers choose these texts, and one that a store refuses would keep all rows behind it from being written. */
const storable = <Text extends string | undefined>(text: Text): Text =>
  text === undefined || (text.length <= maxText && !unstorable.test(text))
    ? text
    : firstOf(text, maxText).replace(allUnstorable, "\uFFFD") as Text // it is a string

const named = (name: string | undefined): string | undefined => name === undefined ? undefined : nameOf(name)

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
  return Object.fromEntries(entries.slice(0, maxTags).map(([name, value]) => [nameOf(name), nameOf(value)]))
}

type Ended = Exclude<Outcome, { readonly _tag: "NotSent" }>

const endOf = (outcome: Ended): Pick<Row, "outcome" | "error" | "stopReason" | "billed" | "requestId"> => {
  const billed = billedOf(outcome)
  switch (outcome._tag) {
    case "Aborted":
      return { outcome: "aborted", billed, requestId: storable(outcome.requestId) }
    case "Failed": {
      const { _tag: error, requestId } = outcome.error
      return { outcome: "failed", error, billed, requestId: storable(requestId) }
    }
    case "Completed": {
      const { requestId, stopReason } = outcome
      return { outcome: "completed", stopReason: storable(stopReason), billed, requestId: storable(requestId) }
    }
  }
}

/** What is written of an attempt that was sent. */
export const rowOf = (attempt: MessageAttempt, outcome: Ended, cost: AttemptCost, at: number, endedAt: number): Row => {
  const { context, optimized } = attempt
  return {
    callId: storable(attempt.callId),
    attempt: attempt.number,
    at,
    latencyMillis: Math.max(0, endedAt - at),
    user: named(context.user),
    tenant: named(context.tenant),
    requestType: named(context.requestType),
    tags: tagsOf(context.tags),
    key: named(attempt.key?.label),
    askedModel: nameOf(optimized?.askedModel ?? attempt.model),
    sentModel: nameOf(attempt.model),
    model: nameOf(cost.model === attempt.model ? attempt.facts.id : find(cost.model)?.id ?? cost.model),
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

interface Stored {
  readonly id: number
  readonly row: Row
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

const earlier = (one: Stored, other: Stored): number => one.row.at - other.row.at || one.id - other.id

const sorted = (rows: Rows): ReadonlyArray<Stored> => rows.byTime ??= [...rows.byAttempt.values()].sort(earlier)

/** The index of the first row that was sent at `at` or later. */
const firstFrom = (stored: ReadonlyArray<Stored>, at: number): number => {
  let [low, high] = [0, stored.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((stored[middle]?.row.at ?? at) < at) low = middle + 1
    else high = middle
  }
  return low
}

const inRange = (rows: Rows, { from, to }: Range): ReadonlyArray<Stored> => {
  const stored = sorted(rows)
  return stored.slice(firstFrom(stored, from), firstFrom(stored, to))
}

/** Whether a row matches; undefined where every row does. */
const matching = ({ tags = {}, ...fields }: Where): ((row: Row) => boolean) | undefined => {
  // The names are those of their type.
  const wanted = Object.entries(fields).filter(([, value]) => value !== undefined) as ReadonlyArray<[Field, string]>
  const wantedTags = Object.entries(tags)
  return wanted.length + wantedTags.length === 0
    ? undefined
    : (row) =>
      wanted.every(([name, value]) => row[name] === value) &&
      wantedTags.every(([name, value]) => tagOf(row.tags, name) === value)
}

const count = (sums: Figures.Sums, row: Row): void => {
  const { attempt, confidence, outcome, usage } = row
  const nanoUsd = row.nanoUsd ?? 0
  sums.attempts++
  if (attempt === 1) sums.calls++
  else sums.retriesNanoUsd += nanoUsd
  sums[outcome]++
  if (row.nanoUsd === null) sums.unpriced++
  sums.nanoUsd += nanoUsd
  sums[`${confidence}NanoUsd`] += nanoUsd
  if (outcome !== "completed") sums[`${outcome}NanoUsd`] += nanoUsd
  sums.cacheSavedNanoUsd += row.cacheSavedNanoUsd ?? 0
  sums.optimizerSavedNanoUsd += row.optimizerSavedNanoUsd ?? 0
  sums.inputTokens += usage.inputTokens
  sums.outputTokens += usage.outputTokens
  sums.cacheReadTokens += usage.cacheReadTokens
  sums.cacheWrite5mTokens += usage.cacheWrite5mTokens
  sums.cacheWrite1hTokens += usage.cacheWrite1hTokens
  sums.thinkingTokens += usage.thinkingTokens
  sums.webSearchRequests += usage.webSearchRequests
}

/** Makes room for more than one row: a map finds its first key slowly where many before it were deleted. */
const evict = (rows: Rows, maxRows: number, maxBytes: number): number => {
  const leftRows = maxRows - 1 - Math.floor(maxRows / 64)
  const leftBytes = maxBytes - Math.floor(maxBytes / 64)
  let evicted = 0
  for (const [oldest, { row }] of rows.byAttempt) {
    if (rows.byAttempt.size <= leftRows && rows.bytes <= leftBytes) break
    rows.byAttempt.delete(oldest)
    rows.bytes -= bytesOf(row)
    evicted++
  }
  return evicted
}

const aggregate = (rows: Rows, { by, range, where }: Extract<Command, { readonly _tag: "Aggregate" }>): Reply => {
  const groups = new Map<string | null, Figures.Sums>()
  const matches = matching(where)
  for (const { row } of inRange(rows, range)) {
    if (matches?.(row) === false) continue
    const key = by === undefined ? null : (typeof by === "string" ? row[by] : tagOf(row.tags, by.tag)) ?? null
    const sums = groups.get(key) ?? Figures.zero()
    groups.set(key, sums)
    count(sums, row)
  }
  return { _tag: "Aggregate", groups: [...groups].map(([key, figures]) => ({ key, ...figures })) }
}

const page = (rows: Rows, { after, limit, range }: Extract<Command, { readonly _tag: "Page" }>): Reply => {
  const rest = inRange(rows, range).filter(({ id, row }) =>
    after === undefined || row.at > after.at || (row.at === after.at && id > after.id)
  )
  const found = rest.slice(0, limit)
  const last = rest.length > limit ? found.at(-1) : undefined
  return { _tag: "Page", rows: found.map(({ row }) => row), next: last && { at: last.row.at, id: last.id } }
}

const span = (rows: Rows): Reply => {
  const [oldest, newest] = [sorted(rows)[0], sorted(rows).at(-1)]
  return { _tag: "Span", span: oldest && newest && { oldest: oldest.row.at, newest: newest.row.at } }
}

const trim = (rows: Rows, { before, keep, limit }: Extract<Command, { readonly _tag: "Trim" }>): Reply => {
  const stored = sorted(rows)
  const old = stored.slice(0, Math.min(limit, Math.max(firstFrom(stored, before), stored.length - keep)))
  for (const { row } of old) {
    rows.byAttempt.delete(`${row.attempt} ${row.callId}`)
    rows.bytes -= bytesOf(row)
  }
  if (old.length > 0) rows.byTime = stored.slice(old.length)
  return { _tag: "Trim", removed: old.length }
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
  switch (command._tag) {
    case "Write": {
      const { byAttempt } = rows
      let evicted = 0
      for (const row of command.rows) {
        const name = `${row.attempt} ${row.callId}`
        if (byAttempt.has(name)) continue
        rows.bytes += bytesOf(row)
        if (byAttempt.size >= maxRows || rows.bytes > maxBytes) evicted += evict(rows, maxRows, maxBytes)
        byAttempt.set(name, { id: ++rows.lastId, row })
        rows.byTime = undefined
      }
      return [rows, { _tag: "Write", evicted }]
    }
    case "Aggregate":
      return [rows, aggregate(rows, command)]
    case "Page":
      return [rows, page(rows, command)]
    case "Span":
      return [rows, span(rows)]
    case "Trim":
      return [rows, trim(rows, command)]
  }
}
