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
import * as Schema from "effect/Schema"
import type { Figures } from "./CostReport.ts"
import * as Sums from "./internal/figures.ts"
import { lookup } from "./Model.ts"
import { Amount, categories, type Category, exact, type Line, summed, whole } from "./Reconciliation/internal/lines.ts"

export { fromCsv } from "./Reconciliation/internal/csv.ts"
export { type Amount, BillFormatError, type Category, Line } from "./Reconciliation/internal/lines.ts"
export { fromCostReport, fromUsageReport } from "./Reconciliation/internal/reports.ts"

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

const Compared = Schema.Struct({ ledger: Schema.Int, bill: Amount, drift: Amount })

/**
 * One model on one day, compared.
 *
 * - `model`: its id, also where an alias or the name of another platform was given.
 * - `only`: the side that has it, where the other has not; null where both have it.
 * - `categories`: the amounts that the bill states, for this model or, where it lacks the model, for any; `drift` is ledger minus bill.
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
  drift: Schema.Record(Schema.String, Amount)
}) {
  /** Ledger and bill agree on every amount that both have. */
  get agrees(): boolean {
    return this.entries.every(({ categories, only, unpriced }) =>
      (only === null || unpriced === 0) && Object.values(categories).every(({ drift }) => drift === 0)
    )
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

const separator = "\n"

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
    const share = total === 0 ? 0 : Math.min(1, Math.max(0, Number(categories["nanoUsd"]?.drift ?? 0)) / total)
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

const plus = (one: Figures, other: Figures): Figures => {
  const sums = { ...one }
  Sums.add(sums, other)
  return sums
}

/** Days that are written with four digits of a year. */
const earliest = Date.parse("0000-01-01T00:00:00Z")
const latest = Date.parse("9999-12-31T23:59:59.999Z") + 1

/**
 * Compares ledger and bill. Lines of the bill outside the days of the range are left out. `idOf` gives the id of a model that a side names otherwise, by
 * default as the catalogue of the API's models knows it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const compare = (
  recorded: ReadonlyArray<Recorded>,
  bill: ReadonlyArray<Line>,
  range: { readonly from: number; readonly to: number },
  idOf: (model: string) => string = (model) => lookup(model).id
): Reconciliation => {
  const [from, to] = [Math.max(earliest, range.from), Math.min(latest, range.to)]
  const [first, last] = [dayOf(from), dayOf(to - 1)]
  const sides = new Map<string, { readonly day: string; readonly model: string; ours?: Figures; theirs?: Line }>()
  const side = (day: string, model: string) => {
    const name = day + separator + model
    const known = sides.get(name) ?? { day, model }
    sides.set(name, known)
    return known
  }
  for (const { day, figures, model } of recorded) {
    const known = side(day, idOf(model))
    known.ours = known.ours === undefined ? figures : plus(known.ours, figures)
  }
  const lines = summed(bill.map((line) => ({ ...line, model: idOf(line.model) })))
  for (const line of lines) if (line.day >= first && line.day <= last) side(line.day, line.model).theirs = line

  // What a bill without lines would state is not known: everything.
  const stated = categories.filter((name) => bill.length === 0 || bill.some((line) => line[name] !== undefined))
  const drifts = new Map<Category, bigint>()
  const entries = [...sides].sort(([one], [other]) => one < other ? -1 : 1).map(
    ([, { day, model, ours, theirs }]): Entry => {
      const compared: Record<string, typeof Compared.Type> = {}
      for (const name of stated) {
        const billed = whole(theirs === undefined ? 0 : theirs[name])
        if (billed === undefined || (theirs !== undefined && theirs[name] === undefined)) continue
        const ledger = ours?.[name] ?? 0
        const drift = BigInt(ledger) - billed
        compared[name] = { ledger, bill: exact(billed), drift: exact(drift) }
        drifts.set(name, (drifts.get(name) ?? 0n) + drift)
      }
      return {
        day,
        model,
        only: theirs === undefined ? "ledger" : ours === undefined ? "bill" : null,
        categories: compared,
        uncertainNanoUsd: (ours?.derivedNanoUsd ?? 0) + (ours?.estimatedNanoUsd ?? 0),
        unpriced: ours?.unpriced ?? 0
      }
    }
  )
  const drift = Object.fromEntries(Array.from(drifts, ([name, amount]) => [name, exact(amount)]))
  return new Reconciliation({ from, to, entries, drift })
}
