/**
 * What was spent, on what and for whom: totals and groups of ledger rows as values, and as a table, CSV or JSON.
 *
 * **Example** (A report for a terminal)
 *
 * ```ts
 * import * as CostReport from "effect-claude/CostReport"
 *
 * const figures = { ...CostReport.nothing, attempts: 3, calls: 2, completed: 3, nanoUsd: 1_234_567_890 }
 * const report = new CostReport.Report({
 *   from: Date.parse("2026-11-01"),
 *   to: Date.parse("2026-11-08"),
 *   by: "tenant",
 *   groups: [{ key: "acme", ...figures }],
 *   total: figures,
 *   missingRows: 0
 * })
 *
 * CostReport.averageNanoUsd(report.total) // => 617_283_945
 * CostReport.usd(report.total.nanoUsd) // => "1.234567890"
 * CostReport.toTable(report).split("\n")[0]?.startsWith("tenant  calls") // => true
 * ```
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { Figures, names, zero } from "./internal/figures.ts"

export {
  /**
   * What rows add up to.
   *
   * @category schemas
   * @since 0.1.0
   */
  Figures
} from "./internal/figures.ts"

/**
 * What rows are grouped by; the key of rows without a value is null.
 *
 * - `key`: the label of the API key.
 * - `day`, `hour`: in the zone of the report.
 * - `tag`: the value of that tag.
 *
 * @category models
 * @since 0.1.0
 */
export type Dimension = Field | "day" | "hour" | { readonly tag: string }

/**
 * A field of a row to group and filter by.
 *
 * @category models
 * @since 0.1.0
 */
export type Field = "model" | "user" | "tenant" | "requestType" | "key"

/**
 * Selects the rows that match every field given.
 *
 * @category models
 * @since 0.1.0
 */
export type Where = { readonly [Name in Field]?: string | undefined } & {
  readonly tags?: Readonly<Record<string, string>> | undefined
}

/**
 * A query for a report.
 *
 * - `from`, `to`: attempts that were sent at `from` or later and before `to`. By default the 30 days until now.
 * - `by`: what to group by. By default only the total is reported.
 * - `zone`: of days and hours, such as `Europe/Berlin` or `+02:00`. Default UTC.
 *
 * @category models
 * @since 0.1.0
 */
export interface Query {
  readonly from?: DateTime.DateTime.Input | undefined
  readonly to?: DateTime.DateTime.Input | undefined
  readonly by?: Dimension | undefined
  readonly where?: Where | undefined
  readonly zone?: string | undefined
}

/**
 * The figures of the rows with one key.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Group = Schema.Struct({ key: Schema.NullOr(Schema.String), ...Figures.fields })

/**
 * The figures of the rows with one key.
 *
 * @category models
 * @since 0.1.0
 */
export interface Group extends Schema.Schema.Type<typeof Group> {}

/**
 * What was spent in a range of time.
 *
 * - `from`, `to`: milliseconds since the epoch.
 * - `by`: the name of the dimension; `tag NAME` for a tag.
 * - `groups`: in the order of time for days and hours, otherwise the costliest first.
 * - `missingRows`: rows that were lost or evicted since this process started, of any time. The figures may be too low by them.
 *
 * @category models
 * @since 0.1.0
 */
export class Report extends Schema.Class<Report>("effect-claude/CostReport/Report")({
  from: Schema.Int,
  to: Schema.Int,
  by: Schema.NullOr(Schema.String),
  groups: Schema.Array(Group),
  total: Figures,
  missingRows: Schema.Int
}) {}

/**
 * The figures of no rows.
 *
 * @category constructors
 * @since 0.1.0
 */
export const nothing: Figures = zero()

/**
 * The name of a dimension in a report; null for none.
 *
 * @category getters
 * @since 0.1.0
 */
export const nameOf = (by: Dimension | undefined): string | null =>
  by === undefined ? null : typeof by === "string" ? by : `tag ${by.tag}`

/**
 * The average cost of a call with all its attempts, in nano-dollars, not rounded; undefined where there were no calls.
 *
 * @category getters
 * @since 0.1.0
 */
export const averageNanoUsd = (figures: Figures): number | undefined =>
  figures.calls === 0 ? undefined : figures.nanoUsd / figures.calls

/**
 * Nano-dollars as dollars, exact, or rounded to so many decimals.
 *
 * @category getters
 * @since 0.1.0
 */
export const usd = (nanoUsd: number, decimals = 9): string => {
  const unit = 10 ** (9 - decimals)
  const rounded = BigInt(Math.round(nanoUsd / unit))
  const digits = String(rounded < 0n ? -rounded : rounded).padStart(decimals + 1, "0")
  const whole = digits.slice(0, digits.length - decimals)
  return `${rounded < 0n ? "-" : ""}${whole}${decimals === 0 ? "" : `.${digits.slice(-decimals)}`}`
}

const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ",")

const columns: ReadonlyArray<readonly [title: string, of: (figures: Figures) => string]> = [
  ["calls", ({ calls }) => grouped(calls)],
  ["attempts", ({ attempts }) => grouped(attempts)],
  ["input", ({ inputTokens }) => grouped(inputTokens)],
  ["cache read", ({ cacheReadTokens }) => grouped(cacheReadTokens)],
  ["cache write", (figures) => grouped(figures.cacheWrite5mTokens + figures.cacheWrite1hTokens)],
  ["output", ({ outputTokens }) => grouped(outputTokens)],
  ["USD", ({ nanoUsd }) => usd(nanoUsd, 6)],
  ["per call", (figures) => figures.calls === 0 ? "" : usd(figures.nanoUsd / figures.calls, 6)],
  ["not exact", (figures) => usd(figures.derivedNanoUsd + figures.estimatedNanoUsd, 6)],
  ["retries", ({ retriesNanoUsd }) => usd(retriesNanoUsd, 6)],
  ["aborted", ({ abortedNanoUsd }) => usd(abortedNanoUsd, 6)],
  ["in doubt", ({ doubtfulNanoUsd }) => usd(doubtfulNanoUsd, 6)],
  ["cache saved", ({ cacheSavedNanoUsd }) => usd(cacheSavedNanoUsd, 6)],
  ["unpriced", ({ unpriced }) => grouped(unpriced)]
]

/** These are shown whatever they say, so that tables have the same beginning. */
const always = new Set(["calls", "attempts", "input", "output", "USD"])

/** Users choose these texts, and a terminal obeys some of them. */
const shown = (key: string | null): string =>
  key === null ? "(none)" : key.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, "?")

/**
 * A table for a terminal, the total last. Money is in dollars, rounded to a millionth; tokens are counts. Columns beyond calls, attempts, input,
 * output and dollars are left out where they say nothing but zero.
 *
 * @category formats
 * @since 0.1.0
 */
export const toTable = (report: Report): string => {
  const all = [...report.groups, report.total]
  const visible = columns.filter(([title, of]) => always.has(title) || all.some((figures) => /[1-9]/.test(of(figures))))
  const rows = [
    [report.by === null ? "" : shown(report.by), ...visible.map(([title]) => title)],
    ...report.groups.map(({ key, ...figures }) => [shown(key), ...visible.map(([, of]) => of(figures))]),
    ["total", ...visible.map(([, of]) => of(report.total))]
  ]
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const lines = rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))
      .join("  ").trimEnd()
  )
  return lines.concat(
    report.missingRows === 0 ? [] : [`${report.missingRows} rows are missing: figures may be too low.`]
  )
    .join("\n")
}

/** A spreadsheet runs a text that begins like a formula, in the signs of any script and behind blanks. */
const formula = /^[\s\p{Cc}]*[=+\-@%|\uFF1D\uFF0B\uFF0D\uFF20]/u

/** Text that no spreadsheet splits or changes, whatever it takes for a separator. */
const plain = /^[\w.@:/ -]*$/

const cell = (text: string): string => {
  const safe = formula.test(text) ? `'${text}` : text
  return plain.test(safe) ? safe : `"${safe.replaceAll("\"", "\"\"")}"`
}

/**
 * The groups as CSV (RFC 4180) with all figures, exact: money in integer nano-dollars. Where there are no groups, the total is the only line. The last column,
 * `missingRows`, is that of the report on every line. A key that a spreadsheet would take for a formula has an apostrophe before it; a missing one is empty.
 *
 * @category formats
 * @since 0.1.0
 */
export const toCsv = ({ by, groups, missingRows, total }: Report): string =>
  [
    [by ?? "key", ...names, "missingRows"],
    ...(groups.length > 0 ? groups : [{ key: null, ...total }]).map((group) => [
      group.key ?? "",
      ...names.map((name) => String(group[name])),
      String(missingRows)
    ])
  ].map(([key = "", ...figures]) => [cell(key), ...figures].join(",") + "\r\n").join("")

const encode = Schema.encodeSync(Schema.toCodecJson(Report))

/**
 * The report as JSON; `Schema.toCodecJson(Report)` reads it back.
 *
 * @category formats
 * @since 0.1.0
 */
export const toJson = (report: Report): string => JSON.stringify(encode(report))
