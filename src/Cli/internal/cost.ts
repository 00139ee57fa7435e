/** What a ledger says: reports, and how spending stands against a limit. */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as CostLedger from "../../CostLedger.ts"
import * as CostReport from "../../CostReport.ts"
import * as PriceBook from "../../PriceBook.ts"
import { ExitCode } from "./exitCode.ts"
import { Ended, UsageError } from "./failure.ts"
import * as Ledger from "./ledger.ts"
import { dollars, Json, printable, result, styles, table } from "./output.ts"

interface Where {
  readonly onlyModel: string | undefined
  readonly onlyUser: string | undefined
  readonly onlyTenant: string | undefined
  readonly onlyRequestType: string | undefined
  readonly onlyKey: string | undefined
  readonly onlyTags: Readonly<Record<string, string>> | undefined
}

const whereOf = (input: Where): CostReport.Where => ({
  model: input.onlyModel,
  user: input.onlyUser,
  tenant: input.onlyTenant,
  requestType: input.onlyRequestType,
  key: input.onlyKey,
  tags: input.onlyTags
})

/** Runs on a ledger that is there already: a report must not create one. */
const withLedger = Effect.fnUntraced(function*<A, E, R>(
  flags: Ledger.Flags,
  use: Effect.Effect<A, E, R>
) {
  const target = yield* Ledger.required(flags)
  const layer = Ledger.layer(target, "refuse").pipe(Layer.provide(PriceBook.layer()))
  return yield* Effect.provide(use, layer)
})

const zoneOf = (zone: string) =>
  Effect.fromOption(DateTime.zoneFromString(zone)).pipe(
    Effect.mapError(() =>
      new UsageError({ message: `There is no time zone ${printable(zone)}. Give one such as Europe/Berlin or +02:00.` })
    )
  )

export interface ReportInput extends Where, Ledger.Flags {
  readonly by: CostReport.Dimension | undefined
  readonly last: Duration.Duration | undefined
  readonly from: number | undefined
  readonly to: number | undefined
  readonly zone: string
  readonly csv: boolean
}

export const report = Effect.fnUntraced(function*(input: ReportInput) {
  const { by, csv, last, to, zone } = input
  if (last !== undefined && input.from !== undefined) {
    return yield* new UsageError({ message: "Give --last or --from, not both." })
  }
  if (csv && (yield* Json)) return yield* new UsageError({ message: "Give --csv or --json, not both." })
  yield* zoneOf(zone)
  const now = yield* Clock.currentTimeMillis
  const from = last === undefined ? input.from : (to ?? now) - Duration.toMillis(last)
  if (from !== undefined && from >= (to ?? now)) {
    return yield* new UsageError({ message: "The time of the report ends before it begins: check --from and --to." })
  }
  const found = yield* withLedger(
    input,
    Effect.flatMap(CostLedger.CostLedger, (ledger) => ledger.report({ by, from, to, zone, where: whereOf(input) }))
  )
  if (csv) return yield* Console.log(CostReport.toCsv(found).trimEnd())
  yield* result(JSON.parse(CostReport.toJson(found)), CostReport.toTable(found))
})

export interface BudgetInput extends Where, Ledger.Flags {
  readonly limit: number
  readonly window: "day" | "week" | "month"
  readonly rolling: Duration.Duration | undefined
  readonly per: CostReport.Dimension | undefined
  readonly zone: string
}

const lengths = { day: { days: 1 }, week: { weeks: 1 }, month: { months: 1 } }

/** When a window began, and when it ends; a rolling one ends now. */
const spanOf = (input: BudgetInput, zone: DateTime.TimeZone, now: number) => {
  if (input.rolling !== undefined) return { from: now - Duration.toMillis(input.rolling), until: now }
  const start = DateTime.startOf(DateTime.makeZonedUnsafe(now, { timeZone: zone }), input.window, { weekStartsOn: 1 })
  const end = DateTime.startOf(DateTime.add(start, lengths[input.window]), input.window, { weekStartsOn: 1 })
  return { from: DateTime.toEpochMillis(start), until: DateTime.toEpochMillis(end) }
}

/** How one account stands. Names of the fields are part of the command's interface. */
const accountOf = (
  key: string | null,
  figures: CostReport.Figures,
  limitNanoUsd: number,
  elapsed: number
) => {
  const projectedNanoUsd = Math.round(figures.nanoUsd / Math.max(elapsed, 1e-9))
  return {
    key,
    spentNanoUsd: figures.nanoUsd,
    spentUsd: dollars(figures.nanoUsd),
    remainingNanoUsd: limitNanoUsd - figures.nanoUsd,
    usedShare: figures.nanoUsd / limitNanoUsd,
    projectedNanoUsd,
    status: figures.nanoUsd > limitNanoUsd ? "over" : projectedNanoUsd > limitNanoUsd ? "at risk" : "ok",
    unpriced: figures.unpriced
  } as const
}

export const budget = Effect.fnUntraced(function*(input: BudgetInput) {
  const now = yield* Clock.currentTimeMillis
  const { from, until } = spanOf(input, yield* zoneOf(input.zone), now)
  const { per } = input
  const found = yield* withLedger(
    input,
    Effect.flatMap(
      CostLedger.CostLedger,
      (ledger) => ledger.report({ by: per, from, to: now + 1, zone: input.zone, where: whereOf(input) })
    )
  )
  const limitNanoUsd = Math.round(input.limit * 1e9)
  const elapsed = until === from ? 1 : Math.min(1, (now - from) / (until - from))
  const accounts = per === undefined
    ? [accountOf(null, found.total, limitNanoUsd, elapsed)]
    : found.groups.map(({ key, ...figures }) => accountOf(key, figures, limitNanoUsd, elapsed))
  const { green, red, yellow } = yield* styles
  const paint = { ok: green, "at risk": yellow, over: red }
  const rows = accounts.map((account) => [
    account.key === null ? per === undefined ? "all" : "(none)" : printable(account.key),
    CostReport.usd(account.spentNanoUsd, 4),
    `${(account.usedShare * 100).toFixed(1)} %`,
    CostReport.usd(account.remainingNanoUsd, 4),
    CostReport.usd(account.projectedNanoUsd, 4),
    paint[account.status](account.status)
  ])
  const head = [CostReport.nameOf(per) ?? "", "spent USD", "used", "left", "projected", "status"]
  const day = (millis: number) => DateTime.formatIso(DateTime.makeUnsafe(millis))
  yield* result(
    { limitNanoUsd, limitUsd: input.limit, from, until, by: CostReport.nameOf(per), accounts },
    `${table([head, ...rows], (column) => column > 0 && column < 5)}\n` +
      `Limit ${input.limit} USD, ${day(from)} to ${day(until)}` +
      (accounts.some(({ unpriced }) => unpriced > 0) ? "; some calls have an unknown price" : "")
  )
  if (accounts.some(({ status }) => status === "over")) return yield* new Ended({ code: ExitCode.limit })
})
