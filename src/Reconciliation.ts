/**
 * Compares the ledger with a bill from elsewhere, by day (UTC) and model.
 *
 * **Example** (A bill as CSV)
 *
 * ```ts
 * import * as Reconciliation from "effect-claude/Reconciliation"
 * import { Effect } from "effect"
 *
 * const bill = Reconciliation.fromCsv("day,model,input_tokens,usd\n2026-11-23,claude-sonnet-5-5,1200,0.0036\n")
 *
 * Effect.runSync(bill)[0]?.nanoUsd // => 3_600_000
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Csv from "effect/encoding/Csv"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Figures } from "./CostReport.ts"

const Amount = Schema.optional(Schema.Int)

/**
 * A line of a bill: one model on one day (`YYYY-MM-DD`, UTC). Amounts that the bill does not state are left out and not compared. Money is in
 * integer nano-dollars.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Line = Schema.Struct({
  day: Schema.String.check(Schema.isPattern(/^\d{4}-\d{2}-\d{2}$/)),
  model: Schema.String,
  inputTokens: Amount,
  outputTokens: Amount,
  cacheReadTokens: Amount,
  cacheWrite5mTokens: Amount,
  cacheWrite1hTokens: Amount,
  webSearchRequests: Amount,
  nanoUsd: Amount
})

/**
 * A line of a bill: one model on one day.
 *
 * @category models
 * @since 0.1.0
 */
export interface Line extends Schema.Schema.Type<typeof Line> {}

/**
 * The amounts that are compared.
 *
 * @category models
 * @since 0.1.0
 */
export type Category = Exclude<keyof Line, "day" | "model">

const categories: ReadonlyArray<Category> = [
  "inputTokens",
  "outputTokens",
  "cacheReadTokens",
  "cacheWrite5mTokens",
  "cacheWrite1hTokens",
  "webSearchRequests",
  "nanoUsd"
]

/**
 * The figures that the ledger recorded for one model on one day.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recorded {
  readonly day: string
  readonly model: string
  readonly figures: Figures
}

const Compared = Schema.Struct({ ledger: Schema.Int, bill: Schema.Int, drift: Schema.Int })

/**
 * One model on one day, compared.
 *
 * - `only`: the side that has it, where the other has not; null where both have it.
 * - `categories`: the amounts that the bill states; `drift` is ledger minus bill.
 * - `uncertainNanoUsd`: the part of the ledger's figure that is not exact: expect drift of up to about that much.
 * - `unpriced`: attempts in the ledger whose model has no price; no sum of money includes them.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Entry = Schema.Struct({
  day: Schema.String,
  model: Schema.String,
  only: Schema.NullOr(Schema.Literals(["ledger", "bill"])),
  categories: Schema.Record(Schema.String, Compared),
  uncertainNanoUsd: Schema.Int,
  unpriced: Schema.Int
})

/**
 * One model on one day, compared.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry extends Schema.Schema.Type<typeof Entry> {}

/**
 * The ledger against a bill, in a range of milliseconds since the epoch. `drift` is the sum of the drifts of each category.
 *
 * @category models
 * @since 0.1.0
 */
export class Reconciliation extends Schema.Class<Reconciliation>("effect-claude/Reconciliation")({
  from: Schema.Int,
  to: Schema.Int,
  entries: Schema.Array(Entry),
  drift: Schema.Record(Schema.String, Schema.Int)
}) {
  /** Ledger and bill agree on every amount. */
  get agrees(): boolean {
    return this.entries.every((entry) =>
      entry.only === null && Object.values(entry.categories).every(({ drift }) => drift === 0)
    )
  }
}

/**
 * The bill cannot be parsed; `detail` says what is wrong, and where.
 *
 * @category errors
 * @since 0.1.0
 */
export class BillFormatError
  extends Schema.TaggedError<BillFormatError>("effect-claude/BillFormatError")("BillFormatError", {
    detail: Schema.String
  })
{
  override get message(): string {
    return `The bill cannot be parsed: ${this.detail}. Correct it and try again.`
  }
}

/**
 * A request as a server lists it: a row of the simulator's bill.
 *
 * @category models
 * @since 0.1.0
 */
export interface Served {
  readonly at: number
  readonly model: string
  readonly usage: {
    readonly input: number
    readonly output: number
    readonly cacheRead: number
    readonly cacheWrite5m: number
    readonly cacheWrite1h: number
    readonly webSearch?: number | undefined
  }
  readonly nanoUsd?: number | null | undefined
}

type Amounts = { -readonly [Name in Category]?: number }

const add = (into: Amounts, more: { readonly [Name in Category]?: number | undefined }): void => {
  for (const name of categories) {
    const amount = more[name]
    if (amount !== undefined) into[name] = (into[name] ?? 0) + amount
  }
}

const separator = "\n"

/** One line for each day and model. */
const summed = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> => {
  const found = new Map<string, { readonly day: string; readonly model: string } & Amounts>()
  for (const { day, model, ...amounts } of lines) {
    const name = day + separator + model
    const line = found.get(name) ?? { day, model }
    found.set(name, line)
    add(line, amounts)
  }
  return [...found.values()]
}

const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10)

/**
 * The bill of a server that lists the requests it served. Requests without usage, such as counting tokens, are left out.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromServed = (rows: ReadonlyArray<Served>): ReadonlyArray<Line> =>
  summed(
    rows.filter(({ usage }) => Object.values(usage).some((count = 0) => count > 0)).map((
      { at, model, nanoUsd, usage }
    ) => ({
      day: dayOf(at),
      model,
      inputTokens: usage.input,
      outputTokens: usage.output,
      cacheReadTokens: usage.cacheRead,
      cacheWrite5mTokens: usage.cacheWrite5m,
      cacheWrite1hTokens: usage.cacheWrite1h,
      ...(usage.webSearch === undefined ? undefined : { webSearchRequests: usage.webSearch }),
      ...(typeof nanoUsd === "number" ? { nanoUsd } : undefined)
    }))
  )

const Tokens = Schema.optional(Schema.NullOr(Schema.Int))

/** `GET /v1/organizations/usage_report/messages`, grouped by model, in buckets of a day or less. */
const UsageReport = Schema.Struct({
  data: Schema.Array(Schema.Struct({
    starting_at: Schema.String,
    results: Schema.Array(Schema.Struct({
      model: Schema.String,
      uncached_input_tokens: Tokens,
      output_tokens: Tokens,
      cache_read_input_tokens: Tokens,
      cache_creation: Schema.optional(Schema.NullOr(Schema.Struct({
        ephemeral_5m_input_tokens: Tokens,
        ephemeral_1h_input_tokens: Tokens
      }))),
      server_tool_use: Schema.optional(Schema.NullOr(Schema.Struct({ web_search_requests: Tokens })))
    }))
  }))
})

/**
 * The bill in the usage report of the Admin API (`/v1/organizations/usage_report/messages`), grouped by model. It has tokens, no money.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromUsageReport = (json: unknown): Effect.Effect<ReadonlyArray<Line>, BillFormatError> =>
  Schema.decodeUnknownEffect(UsageReport)(json).pipe(
    Effect.mapError((error) => new BillFormatError({ detail: error.message })),
    Effect.map(({ data }) =>
      summed(data.flatMap(({ results, starting_at }) =>
        results.map((result) => ({
          day: starting_at.slice(0, 10),
          model: result.model,
          inputTokens: result.uncached_input_tokens ?? 0,
          outputTokens: result.output_tokens ?? 0,
          cacheReadTokens: result.cache_read_input_tokens ?? 0,
          cacheWrite5mTokens: result.cache_creation?.ephemeral_5m_input_tokens ?? 0,
          cacheWrite1hTokens: result.cache_creation?.ephemeral_1h_input_tokens ?? 0,
          webSearchRequests: result.server_tool_use?.web_search_requests ?? 0
        }))
      ))
    )
  )

const columnOf: { readonly [column: string]: Category } = {
  input_tokens: "inputTokens",
  output_tokens: "outputTokens",
  cache_read_tokens: "cacheReadTokens",
  cache_write_5m_tokens: "cacheWrite5mTokens",
  cache_write_1h_tokens: "cacheWrite1hTokens",
  web_searches: "webSearchRequests",
  nano_usd: "nanoUsd",
  usd: "nanoUsd"
}

/** Exact to the nano-dollar; undefined where it is no decimal number. */
const amountOf = (column: string, text: string): number | undefined => {
  const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text.trim())
  if (match === null) return undefined
  const [, sign = "", units = "0", decimals = ""] = match
  if (column !== "usd") return /^0*$/.test(decimals) ? Number(sign + units) : undefined
  const nano = Number(BigInt(units) * 1_000_000_000n + BigInt(decimals.padEnd(9, "0").slice(0, 9)))
  return sign === "-" ? -nano : nano
}

/** Records without empty lines; text that is not CSV (RFC 4180), such as a quote inside a cell, is refused rather than guessed at. */
const recordsOf = (text: string): Effect.Effect<ReadonlyArray<Csv.Row>, BillFormatError> =>
  Stream.make(text).pipe(
    Stream.pipeThroughChannel(Csv.decodeString({ ignoreEmptyLines: true, maxRecordSize: Infinity })),
    Stream.filter((record) => record.some((cell) => cell !== "")),
    Stream.runCollect,
    Effect.mapError(({ line, message }) => new BillFormatError({ detail: `line ${line}: ${message}` }))
  )

/**
 * The bill as CSV (RFC 4180) with a header line: `day` (`YYYY-MM-DD`), `model` and any of `input_tokens`, `output_tokens`, `cache_read_tokens`,
 * `cache_write_5m_tokens`, `cache_write_1h_tokens`, `web_searches`, and `usd` (decimal) or `nano_usd`. Other columns are ignored, empty cells
 * are not compared, lines of one day and model are added up.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromCsv = (text: string): Effect.Effect<ReadonlyArray<Line>, BillFormatError> =>
  Effect.gen(function*() {
    const [header = [], ...records] = yield* recordsOf(text)
    const names = header.map((name) => name.trim().toLowerCase())
    const dayAt = names.indexOf("day")
    const modelAt = names.indexOf("model")
    if (dayAt < 0 || modelAt < 0) {
      return yield* new BillFormatError({ detail: "its first line does not name the columns day and model" })
    }
    const lines: Array<Line> = []
    for (const [index, record] of records.entries()) {
      if (record.length > names.length) {
        const detail = `record ${index + 1} has ${record.length} cells for ${names.length} columns`
        return yield* new BillFormatError({ detail })
      }
      const amounts: Amounts = {}
      for (const [column, name] of names.entries()) {
        const category = Object.hasOwn(columnOf, name) ? columnOf[name] : undefined
        const cell = record[column]?.trim() ?? ""
        if (category === undefined || cell === "") continue
        const amount = amountOf(name, cell)
        if (amount === undefined) {
          return yield* new BillFormatError({ detail: `record ${index + 1} has ${name} ${JSON.stringify(cell)}` })
        }
        amounts[category] = amount
      }
      lines.push({ day: record[dayAt]?.trim() ?? "", model: record[modelAt]?.trim() ?? "", ...amounts })
    }
    yield* Effect.mapError(
      Schema.decodeUnknownEffect(Schema.Array(Line))(lines),
      (error) => new BillFormatError({ detail: error.message })
    )
    return summed(lines)
  })

/**
 * A row of the ledger, as far as it matters here.
 *
 * @category models
 * @since 0.1.0
 */
export interface Doubtful {
  readonly at: number
  readonly model: string
  readonly nanoUsd: number | null
  readonly billed: "yes" | "no" | "unknown"
}

/**
 * What to credit to budgets, since the bill does not have it: where the ledger has more dollars for a model on a day than the bill, the difference, shared
 * among its rows of which nobody knew whether the API charges them, in proportion to what they were charged. `Budget.creditAttempt` takes each.
 *
 * @category combinators
 * @since 0.1.0
 */
export const credits = <Row extends Doubtful>(
  { entries }: Reconciliation,
  rows: ReadonlyArray<Row>
): ReadonlyArray<{ readonly row: Row; readonly nanoUsd: number }> => {
  const doubtful = new Map<string, Array<Row>>()
  for (const row of rows) {
    if (row.billed !== "unknown" || row.nanoUsd === null || row.nanoUsd <= 0) continue
    const name = dayOf(row.at) + separator + row.model
    const others = doubtful.get(name)
    if (others === undefined) doubtful.set(name, [row])
    else others.push(row)
  }
  return entries.flatMap(({ categories, day, model }) => {
    const found = doubtful.get(day + separator + model) ?? []
    const total = found.reduce((sum, { nanoUsd }) => sum + (nanoUsd ?? 0), 0)
    const share = total === 0 ? 0 : Math.min(1, Math.max(0, categories["nanoUsd"]?.drift ?? 0) / total)
    let [charged, credited] = [0, 0]
    return found.flatMap((row) => {
      charged += row.nanoUsd ?? 0
      // Rounded as a sum, so that the parts add up to the difference.
      const nanoUsd = Math.round(charged * share) - credited
      credited += nanoUsd
      return nanoUsd > 0 ? [{ row, nanoUsd }] : []
    })
  })
}

/** Days that are written with four digits of a year. */
const earliest = Date.parse("0000-01-01T00:00:00Z")
const latest = Date.parse("9999-12-31T23:59:59.999Z") + 1

/**
 * Compares ledger and bill. Lines of the bill outside the days of the range are left out.
 *
 * @category combinators
 * @since 0.1.0
 */
export const compare = (
  recorded: ReadonlyArray<Recorded>,
  bill: ReadonlyArray<Line>,
  range: { readonly from: number; readonly to: number }
): Reconciliation => {
  const [from, to] = [Math.max(earliest, range.from), Math.min(latest, range.to)]
  const [first, last] = [dayOf(from), dayOf(to - 1)]
  const sides = new Map<string, { readonly day: string; readonly model: string; ours?: Recorded; theirs?: Line }>()
  const side = (day: string, model: string) => {
    const name = day + separator + model
    const known = sides.get(name) ?? { day, model }
    sides.set(name, known)
    return known
  }
  for (const one of recorded) side(one.day, one.model).ours = one
  for (const line of summed(bill)) if (line.day >= first && line.day <= last) side(line.day, line.model).theirs = line

  const drift: Amounts = {}
  const entries = [...sides].sort(([one], [other]) => one < other ? -1 : 1).map(
    ([, { day, model, ours, theirs }]): Entry => {
      const compared: Record<string, { readonly ledger: number; readonly bill: number; readonly drift: number }> = {}
      for (const name of categories) {
        const billed = theirs === undefined ? 0 : theirs[name]
        if (billed === undefined) continue
        const ledger = ours?.figures[name] ?? 0
        compared[name] = { ledger, bill: billed, drift: ledger - billed }
        add(drift, { [name]: ledger - billed })
      }
      return {
        day,
        model,
        only: theirs === undefined ? "ledger" : ours === undefined ? "bill" : null,
        categories: compared,
        uncertainNanoUsd: (ours?.figures.derivedNanoUsd ?? 0) + (ours?.figures.estimatedNanoUsd ?? 0),
        unpriced: ours?.figures.unpriced ?? 0
      }
    }
  )
  return new Reconciliation({ from, to, entries, drift: { ...drift } })
}
