/** Reports over stored rows, a day or an hour at a time. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as CostReport from "../../CostReport.ts"
import * as Figures from "../../internal/figures.ts"
import { nameOf } from "../../internal/text.ts"
import * as Reconciliation from "../../Reconciliation.ts"
import { type Ask, CostLedgerError } from "./client.ts"
import type { Range } from "./data.ts"
import * as Slices from "./slices.ts"

/** The most days or hours of a report. */
const maxSlices = 10_000

const monthMillis = 30 * 86_400_000

const utc = DateTime.zoneMakeOffset(0)

const name = Schema.optional(Schema.String)

const Where = Schema.Struct({
  model: name,
  user: name,
  tenant: name,
  requestType: name,
  key: name,
  tags: Schema.optional(Schema.Record(Schema.String, Schema.String))
})

/** What a query says beside its dates. It may come from outside, whatever its type says. */
const Asked = Schema.Struct({
  by: Schema.optional(Schema.Union([
    Schema.Literals(["model", "user", "tenant", "requestType", "key", "day", "hour"]),
    Schema.Struct({ tag: Schema.String })
  ])),
  where: Schema.optional(Where),
  zone: name
})

const decode = Schema.decodeUnknownEffect(Asked, { onExcessProperty: "error" })

const checked = ({ by, where, zone }: CostReport.Query): Effect.Effect<typeof Asked.Type, CostLedgerError> =>
  Effect.mapError(
    decode({ by, where, zone }),
    ({ message }) => new CostLedgerError({ reason: "query", cause: new RangeError(message) })
  )

const isOf = <A>(found: Option.Option<A>, what: string): Effect.Effect<A, CostLedgerError> =>
  Option.isSome(found)
    ? Effect.succeed(found.value)
    : Effect.fail(new CostLedgerError({ reason: "query", cause: new RangeError(what) }))

const instantOf = (input: DateTime.DateTime.Input, name: string): Effect.Effect<number, CostLedgerError> =>
  Effect.map(
    isOf(input === null ? Option.none() : DateTime.make(input), `${name} is not a valid date`),
    DateTime.toEpochMillis
  )

const costliestFirst = (one: CostReport.Group, other: CostReport.Group): number =>
  other.nanoUsd - one.nanoUsd || other.attempts - one.attempts || ((one.key ?? "") < (other.key ?? "") ? -1 : 1)

/** The figures of each slice, by what its rows have in common. */
const aggregated = (
  ask: Ask,
  slices: ReadonlyArray<Slices.Slice> | undefined,
  by: CostReport.Field | { readonly tag: string } | undefined,
  where: CostReport.Where,
  add: (slice: Slices.Slice, group: CostReport.Group) => void
): Effect.Effect<void, CostLedgerError> =>
  slices === undefined ? Effect.fail(new CostLedgerError({ reason: "range" })) : Effect.forEach(
    slices,
    (slice) =>
      // A store in this process occupies the thread while it counts; others run in between.
      Effect.andThen(Effect.yieldNow, ask({ _tag: "Aggregate", range: slice, by, where })).pipe(
        Effect.map(({ groups }) => groups.forEach((group) => add(slice, group)))
      ),
    { discard: true }
  )

/** By names as rows have them. */
const whereOf = (
  { tags = {}, ...fields }: CostReport.Where = {},
  idOf: (model: string) => string
): CostReport.Where => {
  const wanted = Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, nameOf(name === "model" ? idOf(value) : value)]]
  )
  const wantedTags = Object.entries(tags).map(([name, value]) => [nameOf(name), nameOf(value)])
  return {
    ...Object.fromEntries(wanted),
    // Without any condition a store may go a shorter way.
    ...(wantedTags.length === 0 ? undefined : { tags: Object.fromEntries(wantedTags) })
  }
}

/** The part of a range in which there are rows. */
const occupied = (ask: Ask, { from, to }: Range): Effect.Effect<Range, CostLedgerError> =>
  Effect.map(ask({ _tag: "Span" }), ({ span }) =>
    span === undefined
      ? { from, to: from }
      : { from: Math.max(from, span.oldest), to: Math.min(to, span.newest + 1) })

/** `flush` runs before the store is read; `missingRows` is how many rows this process lost; `idOf` is the id of a model by any of its names. */
export const make = (
  ask: Ask,
  flush: Effect.Effect<void, CostLedgerError>,
  missingRows: () => number,
  idOf: (model: string) => string
) => ({
  report: Effect.fn("CostLedger.report")(function*(query: CostReport.Query = {}) {
    const asked = yield* checked(query)
    const by = typeof asked.by === "object" ? { tag: nameOf(asked.by.tag) } : asked.by
    const where = whereOf(asked.where, idOf)
    const now = yield* Clock.currentTimeMillis
    const to = query.to === undefined ? now + 1 : yield* instantOf(query.to, "to")
    const from = query.from === undefined ? to - monthMillis : yield* instantOf(query.from, "from")
    const zone = asked.zone === undefined
      ? utc
      : yield* isOf(DateTime.zoneFromString(asked.zone), `unknown time zone ${asked.zone}`)
    yield* flush
    const byTime = by === "day" || by === "hour"
    const range = yield* occupied(ask, { from, to })
    const groups = new Map<string | null, Figures.Sums>()
    const total = Figures.zero()
    yield* aggregated(
      ask,
      byTime
        ? Slices.make(range.from, range.to, by, zone, maxSlices)
        : Slices.make(range.from, range.to, "day", utc, maxSlices),
      byTime ? undefined : by,
      where,
      (slice, group) => {
        Figures.add(total, group)
        if (by === undefined) return
        const key = byTime ? slice.label : group.key
        const sums = groups.get(key) ?? Figures.zero()
        groups.set(key, sums)
        Figures.add(sums, group)
      }
    )
    if (!Figures.isExact(total)) return yield* new CostLedgerError({ reason: "range" })
    const found = [...groups].map(([key, figures]): CostReport.Group => ({ key, ...figures }))
    return new CostReport.Report({
      from,
      to,
      by: CostReport.nameOf(asked.by),
      groups: byTime ? found : found.sort(costliestFirst),
      total,
      missingRows: missingRows()
    })
  }),

  reconcile: Effect.fn("CostLedger.reconcile")(function*(bill: ReadonlyArray<Reconciliation.Line>, range: Range) {
    yield* flush
    const { from, to } = yield* occupied(ask, range)
    const recorded: Array<Reconciliation.Recorded> = []
    const days = Slices.make(from, to, "day", utc, maxSlices)
    yield* aggregated(ask, days, "model", {}, ({ label }, group) => {
      recorded.push({ day: label, model: group.key ?? "", figures: group })
    })
    return Reconciliation.compare(recorded, bill, range, idOf)
  })
})
