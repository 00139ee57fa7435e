/** What commands other than writes do to rows in memory. */
import { tagOf } from "../../CallContext.ts"
import type { Field, Where } from "../../CostReport.ts"
import * as Figures from "../../internal/figures.ts"
import type { Command, Range, Reply, Row, Rows, Stored } from "./data.ts"

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
  const { attempt, billed, confidence, outcome, usage } = row
  const nanoUsd = row.nanoUsd ?? 0
  sums.attempts++
  if (attempt === 1) sums.calls++
  else sums.retriesNanoUsd += nanoUsd
  sums[outcome]++
  if (row.nanoUsd === null) sums.unpriced++
  sums.nanoUsd += nanoUsd
  sums[`${confidence}NanoUsd`] += nanoUsd
  if (outcome !== "completed") sums[`${outcome}NanoUsd`] += nanoUsd
  if (billed === "unknown") sums.doubtfulNanoUsd += nanoUsd
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
  for (const { bytes, row } of old) {
    rows.byAttempt.delete(`${row.attempt} ${row.callId}`)
    rows.bytes -= bytes
  }
  if (old.length > 0) rows.byTime = stored.slice(old.length)
  return { _tag: "Trim", removed: old.length }
}

export const run = (rows: Rows, command: Exclude<Command, { readonly _tag: "Write" }>): Reply => {
  switch (command._tag) {
    case "Aggregate":
      return aggregate(rows, command)
    case "Page":
      return page(rows, command)
    case "Span":
      return span(rows)
    case "Trim":
      return trim(rows, command)
  }
}
