/**
 * Writes down what every attempt cost, and tells who spent what.
 *
 * Each attempt that was sent is one row, also when it failed, was a retry, or its reader went away. Rows are written in the background,
 * in batches: a call never waits for the store. While the store does not answer rows wait in memory, at most `maxPending` of them, and are
 * written when it does; what comes beyond that is lost, counted and logged. When the layer ends, what waits is written within
 * `storeTimeout`, else lost, counted and logged.
 *
 * The ledger stands innermost, right around the API: the latency that it notes is that of the API.
 *
 * No prompt, answer or secret is in a row. Texts of the caller are cut at 512 characters, tags at 32.
 *
 * **Example** (Rows that outlive the process)
 *
 * ```ts
 * import * as CostLedger from "effect-claude/CostLedger"
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Layer } from "effect"
 *
 * export const layer = CostLedger.layerNoDeps({ keepFor: "400 days" }).pipe(
 *   Layer.provide(CostLedgerSql.layer()),
 *   Layer.provide(Sqlite.layer({ filename: "costs.db" }))
 * )
 * ```
 *
 * **Example** (Who spent what in the last seven days)
 *
 * ```ts
 * import * as CostLedger from "effect-claude/CostLedger"
 * import * as CostReport from "effect-claude/CostReport"
 * import { Clock, Effect } from "effect"
 *
 * export const lastWeek = Effect.gen(function*() {
 *   const ledger = yield* CostLedger.CostLedger
 *   const now = yield* Clock.currentTimeMillis
 *   return CostReport.toTable(yield* ledger.report({ by: "user", from: now - 7 * 86_400_000 }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { admitted, costOf, type MessageAttempt, type Policy } from "./Attempt.ts"
import * as Figures from "./CostLedger/internal/figures.ts"
import * as Memory from "./CostLedger/internal/memory.ts"
import * as Row from "./CostLedger/internal/row.ts"
import * as Slices from "./CostLedger/internal/slices.ts"
import * as CostReport from "./CostReport.ts"
import * as Feed from "./internal/feed.ts"
import { PriceBook } from "./PriceBook.ts"
import * as Reconciliation from "./Reconciliation.ts"

export {
  /**
   * One attempt that was sent, as it is written down.
   *
   * @category schemas
   * @since 0.1.0
   */
  Row
} from "./CostLedger/internal/row.ts"

/**
 * The ledger cannot be read or written.
 *
 * - `query`: what was asked for makes no sense; `cause` says what.
 * - `store`: its store did not answer. What is to be written waits.
 * - `range`: a sum passes 2^53 nano-dollars (9 million dollars), or there are more than 10,000 days or hours.
 *
 * @category errors
 * @since 0.1.0
 */
export class CostLedgerError extends Schema.TaggedError<CostLedgerError>("effect-claude/CostLedgerError")(
  "CostLedgerError",
  { reason: Schema.Literals(["query", "store", "range"]), cause: Schema.optional(Schema.Defect()) }
) {
  override get message(): string {
    if (this.reason === "range") return "The report is too large to be exact. Ask for a shorter range."
    if (this.reason === "query") return `The ledger cannot be asked that${whyOf(this.cause)}. Mend the query.`
    return `The store of the ledger did not answer${whyOf(this.cause)}. Try again later.`
  }
}

const isOf = <A>(found: Option.Option<A>, what: string): Effect.Effect<A, CostLedgerError> =>
  Option.isSome(found)
    ? Effect.succeed(found.value)
    : Effect.fail(new CostLedgerError({ reason: "query", cause: new RangeError(what) }))

const instantOf = (input: DateTime.DateTime.Input, name: string): Effect.Effect<number, CostLedgerError> =>
  Effect.map(isOf(DateTime.make(input), `${name} is no instant`), DateTime.toEpochMillis)

const whyOf = (cause: unknown): string => cause instanceof Error ? `: ${cause.message.replace(/\.$/, "")}` : ""

/**
 * - `flushEvery`: how long a row waits to be written at most, while the store answers. Default 1 second.
 * - `batchRows`: how many rows are written at once; so many that wait are written before their time. From 1 to 1,000, default 200.
 * - `maxPending`: how many rows wait for the store at most. Default 10,000, about 10 MB.
 * - `storeTimeout`: how long a write may take, and all that is left to write at the end. Default 5 seconds.
 * - `keepFor`: how long rows are kept. Default for ever.
 * - `keepRows`: how many rows are kept; the oldest go. Default all.
 * - `trimEvery`: how often rows that are not kept any longer are removed. Default 10 minutes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly flushEvery?: Duration.Input | undefined
  readonly batchRows?: number | undefined
  readonly maxPending?: number | undefined
  readonly storeTimeout?: Duration.Input | undefined
  readonly keepFor?: Duration.Input | undefined
  readonly keepRows?: number | undefined
  readonly trimEvery?: Duration.Input | undefined
}

/**
 * How the ledger stands in this process.
 *
 * - `pending`: rows that wait to be written.
 * - `dropped`: rows that were lost because too many waited, or at the end.
 * - `forgotten`: rows that a store of bounded size dropped for newer ones.
 * - `isDown`: the last write failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly pending: number
  readonly dropped: number
  readonly forgotten: number
  readonly isDown: boolean
}

/**
 * Rows of attempts that were sent from `from` on and before `to`, in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Range {
  readonly from: number
  readonly to: number
}

/**
 * The ledger.
 *
 * - `flush`: writes what waits now.
 * - `feed`: rows as attempts end, from the moment of subscribing, written or not. The last 256 are kept for a subscriber; one that is slower loses the
 *   oldest. It ends with the layer.
 * - `rows`: what is stored, oldest first.
 * - `report`, `reconcile`: of what is stored, and what waited when they were called.
 *
 * @category services
 * @since 0.1.0
 */
export class CostLedger extends Context.Service<
  CostLedger,
  Policy & {
    readonly status: Effect.Effect<Status>
    readonly flush: Effect.Effect<void, CostLedgerError>
    readonly feed: Stream.Stream<Row.Row>
    readonly rows: (range: Range) => Stream.Stream<Row.Row, CostLedgerError>
    readonly report: (query?: CostReport.Query) => Effect.Effect<CostReport.Report, CostLedgerError>
    readonly reconcile: (
      bill: ReadonlyArray<Reconciliation.Line>,
      range: Range
    ) => Effect.Effect<Reconciliation.Reconciliation, CostLedgerError>
  }
>()("effect-claude/CostLedger") {}

/**
 * Where rows are kept.
 *
 * - `write`: all of them or none. A row whose call and attempt are known is left as it is, so that a write whose answer was lost may be
 *   repeated. Gives how many older rows were dropped for want of room.
 * - `aggregate`: the figures of the rows of a range, by what they have in common; no group for no rows.
 * - `page`: at most `limit` rows of a range, oldest first, from where the page before ended.
 * - `span`: when the first and the last row were sent; undefined where there is none.
 * - `trim`: removes at most `limit` of the rows that were sent before `before` or that are not among the `keep` newest, oldest first, and
 *   gives how many.
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly write: (rows: ReadonlyArray<Row.Row>) => Effect.Effect<number, CostLedgerError>
  readonly aggregate: (
    range: Range,
    by: CostReport.Field | { readonly tag: string } | undefined,
    where: CostReport.Where
  ) => Effect.Effect<ReadonlyArray<CostReport.Group>, CostLedgerError>
  readonly page: (range: Range, limit: number, after: Cursor | undefined) => Effect.Effect<Page, CostLedgerError>
  readonly span: Effect.Effect<{ readonly oldest: number; readonly newest: number } | undefined, CostLedgerError>
  readonly trim: (
    bounds: { readonly before: number; readonly keep: number },
    limit: number
  ) => Effect.Effect<number, CostLedgerError>
}>()("effect-claude/CostLedger/Store") {}

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
 * Some rows; `next` is undefined where no more follow.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page {
  readonly rows: ReadonlyArray<Row.Row>
  readonly next: Cursor | undefined
}

/**
 * Keeps rows in this process.
 *
 * - `maxRows`: the most that are kept; the first written makes room. Default 10,000, about 10 MB.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory = (options: { readonly maxRows?: number | undefined } = {}): Layer.Layer<Store> =>
  Layer.sync(Store, () => Store.of(Memory.make(Math.max(1, options.maxRows ?? 10_000))))

/** The longest time without the store before it is tried again. */
const maxBackoffMillis = 30_000

/** The most days or hours of a report. */
const maxSlices = 10_000

/** Rows that are read, or removed, in one step. */
const stepRows = 1_000

const monthMillis = 30 * 86_400_000

const utc = DateTime.zoneMakeOffset(0)

const whole = (name: keyof Options, value: number, max: number): number => {
  if (!(value >= 1 && value <= max)) throw new RangeError(`CostLedger: ${name} is from 1 to ${max}, not ${value}`)
  return Math.floor(value)
}

/**
 * Builds the ledger over the `Store`. Settings that make no sense are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const book = yield* PriceBook
  const store = yield* Store
  const clock = yield* Clock.Clock
  const flushMillis = Duration.toMillis(options.flushEvery ?? "1 second")
  const storeMillis = Duration.toMillis(options.storeTimeout ?? "5 seconds")
  const batchRows = whole("batchRows", options.batchRows ?? 200, 1_000)
  const maxPending = whole("maxPending", options.maxPending ?? 10_000, Infinity)

  const pending: Array<Row.Row> = []
  const arrived = yield* Latch.make()
  const full = yield* Latch.make()
  const writing = yield* Semaphore.make(1)
  let dropped = 0
  /** How many of them were spoken of. */
  let told = 0
  let forgotten = 0
  let failures = 0

  const feed = yield* Feed.make<Row.Row>()

  const writeBatch = Effect.suspend(() => {
    const batch = pending.slice(0, batchRows)
    const written = Effect.catchDefect(
      store.write(batch),
      (cause) => Effect.fail(new CostLedgerError({ reason: "store", cause }))
    )
    return Effect.flatMap(written, (forgot) => {
      pending.splice(0, batch.length)
      const isFirst = forgotten === 0 && forgot > 0
      forgotten += forgot
      return isFirst
        ? Effect.logInfo("CostLedger: its store is full, and older rows make room for newer ones.")
        : Effect.void
    })
  })

  /** What waits now; what comes meanwhile is left to the next time. */
  const drain = writing.withPermit(Effect.suspend(() => {
    let left = pending.length
    return Effect.whileLoop({
      while: () => left > 0,
      body: () =>
        Effect.timeoutOrElse(writeBatch, {
          duration: storeMillis,
          orElse: () =>
            Effect.fail(new CostLedgerError({ reason: "store", cause: new Error(`no answer in ${storeMillis} ms`) }))
        }),
      step: () => {
        left -= batchRows
      }
    })
  }))

  const lost = (error: CostLedgerError): Effect.Effect<void> =>
    failures++ > 0 ? Effect.void : Effect.logWarning(
      `CostLedger: its store does not answer${
        whyOf(error.cause)
      }. Rows wait in memory until it does, at most ${maxPending}.`
    )

  const regained = Effect.suspend(() => {
    const more = dropped - told
    if (failures === 0 && more === 0) return Effect.void
    failures = 0
    told = dropped
    return more === 0
      ? Effect.logInfo("CostLedger: its store answers again.")
      : Effect.logWarning(`CostLedger: its store answers again. ${more} rows were lost meanwhile.`)
  })

  const flush = Effect.tap(Effect.tapError(drain, lost), regained)

  // Registered before the writer is forked, so that it runs when that has ended.
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      Effect.ignore(Effect.timeout(flush, storeMillis)),
      Effect.suspend(() => {
        const left = pending.length
        if (left === 0) return Effect.void
        dropped += left
        return Effect.logWarning(`CostLedger: ${left} rows could not be written before the end and are lost.`)
      })
    )
  )

  const backoff = Effect.flatMap(
    Random.next,
    (chance) => Effect.sleep(Math.min(maxBackoffMillis, 500 * 2 ** failures) * (1 - chance / 4))
  )

  yield* Effect.gen(function*() {
    if (pending.length === 0) yield* arrived.await
    yield* Effect.race(Effect.sleep(flushMillis), full.await)
    yield* arrived.close
    yield* full.close
    while (pending.length > 0 && Exit.isFailure(yield* Effect.exit(flush))) yield* backoff
  }).pipe(Effect.forever, Effect.forkScoped)

  const { keepFor, keepRows } = options
  if (keepFor !== undefined || keepRows !== undefined) {
    const keep = keepRows === undefined ? Infinity : whole("keepRows", keepRows, Infinity)
    const keptMillis = keepFor === undefined ? Infinity : Duration.toMillis(keepFor)
    const step = Effect.suspend(() =>
      store.trim({ before: clock.currentTimeMillisUnsafe() - keptMillis, keep }, stepRows)
    )
    yield* Effect.sleep(options.trimEvery ?? "10 minutes").pipe(
      Effect.andThen(Effect.repeat(Effect.tap(step, Effect.yieldNow), { while: (removed) => removed >= stepRows })),
      Effect.catch((error) => Effect.logWarning(`CostLedger: old rows could not be removed. ${error.message}`)),
      Effect.forever,
      Effect.forkScoped
    )
  }

  const enqueue = (row: Row.Row): Effect.Effect<void> => {
    if (pending.length >= maxPending) {
      return dropped++ > told ? Effect.void : Effect.logWarning(
        `CostLedger: ${maxPending} rows wait for its store. What comes now is lost.`
      )
    }
    pending.push(row)
    if (pending.length === 1) arrived.openUnsafe()
    if (pending.length >= batchRows) full.openUnsafe()
    return Effect.void
  }

  const aggregated = (
    slices: ReadonlyArray<Slices.Slice> | undefined,
    by: CostReport.Field | { readonly tag: string } | undefined,
    where: CostReport.Where,
    add: (slice: Slices.Slice, group: CostReport.Group) => void
  ) =>
    slices === undefined ? Effect.fail(new CostLedgerError({ reason: "range" })) : Effect.forEach(
      slices,
      (slice) =>
        // A store in this process has the thread while it counts: others have it in between.
        Effect.andThen(Effect.yieldNow, store.aggregate(slice, by, where)).pipe(
          Effect.map((groups) => groups.forEach((group) => add(slice, group)))
        ),
      { discard: true }
    )

  /** The part of a range in which there are rows. */
  const occupied = Effect.fnUntraced(function*({ from, to }: Range) {
    const span = yield* store.span
    if (span === undefined) return { from, to: from }
    return { from: Math.max(from, span.oldest), to: Math.min(to, span.newest + 1) }
  })

  const report = Effect.fn("CostLedger.report")(function*(query: CostReport.Query = {}) {
    const { by, where = {} } = query
    const now = clock.currentTimeMillisUnsafe()
    const to = query.to === undefined ? now + 1 : yield* instantOf(query.to, "to")
    const from = query.from === undefined ? to - monthMillis : yield* instantOf(query.from, "from")
    const zone = query.zone === undefined
      ? utc
      : yield* isOf(DateTime.zoneFromString(query.zone), `there is no time zone ${query.zone}`)
    yield* flush
    const byTime = by === "day" || by === "hour"
    const range = yield* occupied({ from, to })
    const groups = new Map<string | null, Figures.Sums>()
    const total = Figures.zero()
    yield* aggregated(
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
      by: CostReport.nameOf(by),
      groups: byTime ? found : found.sort(dearestFirst),
      total,
      lostRows: dropped + forgotten
    })
  })

  const settle = (attempt: MessageAttempt, admittedAt: number) =>
    Effect.suspend(() => {
      const { outcome } = attempt
      if (outcome._tag === "NotSent") return Effect.void
      const at = attempt.sentAt ?? admittedAt
      const cost = costOf(book, attempt, at)
      if (cost === undefined) return Effect.void
      const row = Row.make(attempt, outcome, cost, at, clock.currentTimeMillisUnsafe())
      return Effect.andThen(feed.publish(row), enqueue(row))
    })

  return CostLedger.of({
    admit: (attempt) =>
      attempt.endpoint === "messages"
        ? Effect.sync(() => settle(attempt, clock.currentTimeMillisUnsafe()))
        : admitted,

    status: Effect.sync(() => ({ pending: pending.length, dropped, forgotten, isDown: failures > 0 })),
    flush,
    feed: feed.stream,
    rows: (range) =>
      Stream.paginate(
        undefined as Cursor | undefined, // so that the state is not inferred from its first value
        (after) =>
          Effect.map(
            store.page(range, stepRows, after),
            ({ next, rows }) => [rows, next === undefined ? Option.none() : Option.some(next)] as const
          )
      ),
    report,
    reconcile: Effect.fn("CostLedger.reconcile")(function*(bill, range) {
      yield* flush
      const { from, to } = yield* occupied(range)
      const found: Array<Reconciliation.Booked> = []
      yield* aggregated(Slices.make(from, to, "day", utc, maxSlices), "model", {}, ({ label }, group) => {
        found.push({ day: label, model: group.key ?? "", figures: group })
      })
      return Reconciliation.compare(found, bill, range)
    })
  })
})

const dearestFirst = (one: CostReport.Group, other: CostReport.Group): number =>
  other.nanoUsd - one.nanoUsd || other.attempts - one.attempts || ((one.key ?? "") < (other.key ?? "") ? -1 : 1)

/**
 * The ledger over a store that the user provides.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps = (options: Options = {}): Layer.Layer<CostLedger, never, PriceBook | Store> =>
  Layer.effect(CostLedger, make(options))

/**
 * The ledger with rows in this process, the last 10,000.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<CostLedger, never, PriceBook> =>
  layerNoDeps(options).pipe(Layer.provide(layerStoreMemory()))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<CostLedger, Config.ConfigError, PriceBook> =>
  Layer.effect(CostLedger, Effect.flatMap(Config.unwrap(options), make)).pipe(Layer.provide(layerStoreMemory()))

/**
 * The ledger that writes nothing down.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<CostLedger> = Layer.succeed(
  CostLedger,
  CostLedger.of({
    admit: () => admitted,
    status: Effect.succeed({ pending: 0, dropped: 0, forgotten: 0, isDown: false }),
    flush: Effect.void,
    feed: Stream.empty,
    rows: () => Stream.empty,
    report: ({ by } = {}) =>
      Effect.succeed(
        new CostReport.Report({
          from: 0,
          to: 0,
          by: CostReport.nameOf(by),
          groups: [],
          total: CostReport.nothing,
          lostRows: 0
        })
      ),
    reconcile: (bill, range) => Effect.succeed(Reconciliation.compare([], bill, range))
  })
)
