/** The port of the ledger as plain data, and what each command does to rows in memory. */
import type { Field, Group, Where } from "../../CostReport.ts"
import * as Figures from "../../internal/figures.ts"
import type { Row } from "./row.ts"

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

interface Stored {
  readonly id: number
  readonly row: Row
}

/**
 * All rows of a store in memory.
 *
 * - `byAttempt`: in the order of writing, by attempt and call.
 * - `byTime`: in the order of time; undefined after a change.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rows {
  readonly byAttempt: Map<string, Stored>
  byTime: ReadonlyArray<Stored> | undefined
  lastId: number
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
      wantedTags.every(([name, value]) => row.tags[name] === value)
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

const write = (rows: Rows, added: ReadonlyArray<Row>, maxRows: number): Reply => {
  const { byAttempt } = rows
  let evicted = 0
  for (const row of added) {
    const name = `${row.attempt} ${row.callId}`
    if (byAttempt.has(name)) continue
    if (byAttempt.size >= maxRows) evicted += evict(byAttempt, maxRows)
    byAttempt.set(name, { id: ++rows.lastId, row })
    rows.byTime = undefined
  }
  return { _tag: "Write", evicted }
}

/** Makes room for more than one row: a map finds its first key slowly where many before it were deleted. */
const evict = (byAttempt: Rows["byAttempt"], maxRows: number): number => {
  const left = maxRows - 1 - Math.floor(maxRows / 64)
  let evicted = 0
  for (const oldest of byAttempt.keys()) {
    if (byAttempt.size <= left) break
    byAttempt.delete(oldest)
    evicted++
  }
  return evicted
}

const aggregate = (rows: Rows, { by, range, where }: Extract<Command, { readonly _tag: "Aggregate" }>): Reply => {
  const groups = new Map<string | null, Figures.Sums>()
  const matches = matching(where)
  for (const { row } of inRange(rows, range)) {
    if (matches?.(row) === false) continue
    const key = by === undefined ? null : (typeof by === "string" ? row[by] : row.tags[by.tag]) ?? null
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
  for (const { row } of old) rows.byAttempt.delete(`${row.attempt} ${row.callId}`)
  if (old.length > 0) rows.byTime = stored.slice(old.length)
  return { _tag: "Trim", removed: old.length }
}

/**
 * Runs a command on rows in memory and returns the rows to go on with: the reference of every store. It takes the rows over and may change them in
 * place; `undefined` is none. `maxRows` bounds them: the first written are
 * evicted, a 64th at a time.
 *
 * @category transitions
 * @since 0.1.0
 */
export const step = (
  rows: Rows = { byAttempt: new Map(), byTime: undefined, lastId: 0 },
  command: Command,
  maxRows: number = Infinity
): readonly [Rows, Reply] => {
  switch (command._tag) {
    case "Write":
      return [rows, write(rows, command.rows, maxRows)]
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
