/**
 * Records what every attempt cost, and reports who spent what.
 *
 * Each attempt that was sent is one row, also when it failed, was a retry, or its reader went away. A store in this process is written at once; for
 * any other store rows are written in the background, in batches, so a call never waits for it. While the store does not answer, rows wait in
 * memory, at most `maxPending` of them and `maxPendingBytes`, and are written when it does; further rows are lost, counted and logged. When the layer ends, waiting
 * rows are written within `storeTimeout`; the rest is lost, counted and logged.
 *
 * The ledger stands innermost, right around the API: the latency that it records is that of the API.
 *
 * No prompt, answer or secret is in a row. Texts of the caller have at most 200 bytes, as `CallContext` says, and there are at most 32 tags.
 *
 * **Example** (Rows that outlive the process)
 *
 * ```ts
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as PriceBook from "effect-claude/PriceBook"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Layer } from "effect"
 *
 * export const layer = CostLedgerSql.layer({ keepFor: "400 days" }).pipe(
 *   Layer.provide([PriceBook.layer(), Sqlite.layer({ filename: "costs.db" })])
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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { admitted, type Policy } from "./Attempt.ts"
import { type CostLedgerError, make as makeClient } from "./CostLedger/internal/client.ts"
import type { Command, Cursor, Range, Reply, Row } from "./CostLedger/internal/data.ts"
import * as Recording from "./CostLedger/internal/recording.ts"
import * as Reports from "./CostLedger/internal/reports.ts"
import * as Retention from "./CostLedger/internal/retention.ts"
import * as Writer from "./CostLedger/internal/writer.ts"
import * as CostReport from "./CostReport.ts"
import * as Eventually from "./internal/eventually.ts"
import * as Feed from "./internal/feed.ts"
import * as Model from "./Model.ts"
import { PriceBook } from "./PriceBook.ts"
import * as Reconciliation from "./Reconciliation.ts"

export { CostLedgerError } from "./CostLedger/internal/client.ts"
export { type Command, type Cursor, type Range, type Reply, Row, type Rows } from "./CostLedger/internal/data.ts"
export { step } from "./CostLedger/internal/recording.ts"

/**
 * `flushEvery`, `batchRows`, `maxPending` and `storeTimeout` concern stores outside this process.
 *
 * - `flushEvery`: how long a row waits to be written at most, while the store answers. Default 1 second.
 * - `batchRows`: how many rows are written together; as soon as so many wait, they are written early. From 1 to 1,000, default 200.
 * - `maxPending`: how many rows wait for the store at most. Default 10,000.
 * - `maxPendingBytes`: how much memory they take at most, in bytes. Default 16 MiB, which 10,000 rows of about 1 kB do not fill.
 * - `storeTimeout`: how long a write may take, and the final write when the layer ends. Default 5 seconds.
 * - `keepFor`: how long rows are kept. Default forever.
 * - `keepRows`: how many rows are kept; the oldest are removed. Default all.
 * - `trimEvery`: how often rows beyond `keepFor` and `keepRows` are removed. Default 10 minutes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly flushEvery?: Duration.Input | undefined
  readonly batchRows?: number | undefined
  readonly maxPending?: number | undefined
  readonly maxPendingBytes?: number | undefined
  readonly storeTimeout?: Duration.Input | undefined
  readonly keepFor?: Duration.Input | undefined
  readonly keepRows?: number | undefined
  readonly trimEvery?: Duration.Input | undefined
}

/**
 * How the ledger stands in this process.
 *
 * - `pendingRows`: rows that wait to be written.
 * - `lostRows`: rows that were never written: too many waited, or the layer ended.
 * - `evictedRows`: rows that a store of bounded size removed for newer ones.
 * - `isDown`: the last write failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly pendingRows: number
  readonly lostRows: number
  readonly evictedRows: number
  readonly isDown: boolean
}

/**
 * The ledger.
 *
 * - `flush`: writes the waiting rows now.
 * - `feed`: rows as attempts end, from the moment of subscribing, written or not. The last 256 are kept for a subscriber; a slower one loses the
 *   oldest. It ends with the layer.
 * - `rows`: stored rows, oldest first.
 * - `report`, `reconcile`: over the stored rows, after a `flush`.
 *
 * @category services
 * @since 0.1.0
 */
export class CostLedger extends Context.Service<
  CostLedger,
  Policy & {
    readonly status: Effect.Effect<Status>
    readonly flush: Effect.Effect<void, CostLedgerError>
    readonly feed: Stream.Stream<Row>
    readonly rows: (range: Range) => Stream.Stream<Row, CostLedgerError>
    readonly report: (query?: CostReport.Query) => Effect.Effect<CostReport.Report, CostLedgerError>
    readonly reconcile: (
      bill: ReadonlyArray<Reconciliation.Line>,
      range: Range
    ) => Effect.Effect<Reconciliation.Reconciliation, CostLedgerError>
  }
>()("effect-claude/CostLedger") {}

/**
 * Where rows are kept: one function from plain data to plain data.
 *
 * - `isLocal`: it is part of this process and replies at once: rows are written one by one, as attempts end. Default false: rows are
 *   written in the background.
 * - `step`: runs a command, all of it or nothing, and replies under its tag. It may fail with anything: the ledger repeats the write later, and
 *   reports fail with `CostLedgerError`. What each command means is `step` of this module.
 *
 * **Example** (A custom store: rows in a map)
 *
 * ```ts
 * import * as CostLedger from "effect-claude/CostLedger"
 * import { Effect, Layer } from "effect"
 *
 * export const layer = Layer.sync(CostLedger.Store, () => {
 *   const ledgers = new Map<string, CostLedger.Rows>()
 *   return {
 *     step: (command) =>
 *       Effect.sync(() => {
 *         const [rows, reply] = CostLedger.step(ledgers.get("mine"), command)
 *         ledgers.set("mine", rows)
 *         return reply
 *       })
 *   }
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly isLocal?: boolean | undefined
  readonly step: (command: Command) => Effect.Effect<Reply, unknown>
}>()("effect-claude/CostLedger/Store") {}

/**
 * Keeps rows in this process.
 *
 * - `maxRows`: the most that are kept; the first written are evicted, a 64th at a time. Default 10,000.
 * - `maxBytes`: the most memory that they take, in bytes. Default 16 MiB, which 10,000 rows of about 1 kB do not fill.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory = (
  options: { readonly maxRows?: number | undefined; readonly maxBytes?: number | undefined } = {}
): Layer.Layer<Store> =>
  Layer.sync(Store, () => {
    const maxRows = Math.max(1, options.maxRows ?? 10_000)
    const maxBytes = Math.max(1, options.maxBytes ?? 16 * 1024 * 1024)
    return new Recording.Memory(maxRows, maxBytes)
  })

/**
 * A store that may be away when the program starts. It is built when it is first asked, and anew until that succeeds; meanwhile the layer is there and
 * rows wait in memory. Without this, a program does not start while its store is away. Give it all that the store needs, its client too.
 *
 * **Example** (A service that starts without its database)
 *
 * ```ts
 * import * as CostLedger from "effect-claude/CostLedger"
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Layer } from "effect"
 *
 * const store = CostLedgerSql.layerStore().pipe(Layer.provide(Sqlite.layer({ filename: "/mnt/shared/costs.db" })))
 *
 * export const layer = CostLedger.layerNoDeps().pipe(Layer.provide(CostLedger.layerStoreEventually(store)))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreEventually = <E, R>(store: Layer.Layer<Store, E, R>): Layer.Layer<Store, never, R> =>
  Layer.effect(Store, Eventually.make(Store, store))

/** Rows that are read in one step. */
const pageRows = 1_000

const whole = (name: keyof Options, value: number, max: number): number => {
  if (!(value >= 1 && value <= max)) throw new RangeError(`CostLedger: ${name} is from 1 to ${max}, not ${value}`)
  return Math.floor(value)
}

/**
 * Builds the ledger over the `Store`. Invalid settings are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const book = yield* PriceBook
  const store = yield* Store
  const catalogue = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const feed = yield* Feed.make<Row>()
  const ask = makeClient((command) => store.step(command))
  const settings: Writer.Settings = {
    flushMillis: Duration.toMillis(options.flushEvery ?? "1 second"),
    storeMillis: Duration.toMillis(options.storeTimeout ?? "5 seconds"),
    batchRows: whole("batchRows", options.batchRows ?? 200, 1_000),
    maxPending: whole("maxPending", options.maxPending ?? 10_000, Infinity),
    maxPendingBytes: whole("maxPendingBytes", options.maxPendingBytes ?? 16 * 1024 * 1024, Infinity)
  }
  const writer = store instanceof Recording.Memory
    ? Recording.direct(store)
    : store.isLocal === true
    ? Recording.atOnce(store.step)
    : yield* Writer.make(ask, settings)

  const { keepFor, keepRows } = options
  if (keepFor !== undefined || keepRows !== undefined) {
    yield* Retention.start(ask, {
      every: options.trimEvery ?? "10 minutes",
      keepMillis: keepFor === undefined ? Infinity : Duration.toMillis(keepFor),
      keepRows: keepRows === undefined ? Infinity : whole("keepRows", keepRows, Infinity)
    })
  }

  return CostLedger.of({
    admit: Recording.make(book, catalogue, clock, writer, feed),
    status: Effect.sync(writer.status),
    flush: writer.flush,
    feed: feed.stream,
    rows: (range) =>
      Stream.paginate(
        undefined as Cursor | undefined, // so that the state is not inferred from its first value
        (after) =>
          Effect.map(
            ask({ _tag: "Page", range, limit: pageRows, after }),
            ({ next, rows }) => [rows, next === undefined ? Option.none() : Option.some(next)] as const
          )
      ),
    ...Reports.make(
      ask,
      writer.flush,
      () => {
        const { evictedRows, lostRows } = writer.status()
        return lostRows + evictedRows
      },
      (model) => catalogue.lookup(model).id
    )
  })
})

/**
 * The ledger over a store that the user provides.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDeps = (options: Options = {}): Layer.Layer<CostLedger, never, PriceBook | Store> =>
  Layer.effect(CostLedger, make(options))

/**
 * The ledger over the memory of this process: the last 10,000 rows.
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
 * The ledger that records nothing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<CostLedger> = Layer.succeed(
  CostLedger,
  CostLedger.of({
    admit: () => admitted,
    status: Effect.succeed({ pendingRows: 0, lostRows: 0, evictedRows: 0, isDown: false }),
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
          missingRows: 0
        })
      ),
    reconcile: (bill, range) => Effect.succeed(Reconciliation.compare([], bill, range))
  })
)
