/**
 * Budgets in a database, which processes share and which outlive them: Postgres (12 or newer), or a SQLite file (3.38 or newer) for the processes of
 * one machine.
 *
 * - **Atomic**: a process batches what comes up while the database is busy into one transaction, which locks the accounts that it touches, always in
 *   the same order. A deadlock, a serialization failure or a busy database is retried a few times, a broken connection once. With Postgres, a process
 *   that hangs inside a transaction blocks others for 5 seconds at most.
 * - **Exactly once**: a settlement whose commit is uncertain is sent again, and counted once.
 * - **Time** is that of the database server; with SQLite, that of the process.
 * - **One table** is created when the layer is built, also by several processes at once. It has a row for each account, with the leases of its running
 *   calls (about 100 bytes each), for each limit that is overridden, and for each process. Rows whose window is over are deleted after a day.
 * - **A snapshot** has at most 10,000 accounts, those of budgets that are not divided first.
 *
 * It stores no prompt, answer or key, only names of budgets and, where budgets are divided by them, tenants, users, models, tags and labels of keys.
 *
 * **Example** (One budget for all processes of a fleet)
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { Config, Layer } from "effect"
 * import * as BudgetSql from "effect-claude/Budget/Sql"
 *
 * export const layer = BudgetSql.layer({ budgets: [{ name: "all", limit: 500, window: { calendar: "month" } }] }).pipe(
 *   Layer.provide(PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Budget from "../Budget.ts"
import { BoundedMap } from "../internal/boundedMap.ts"
import type * as PriceBook from "../PriceBook.ts"
import { rowsOf } from "./internal/rows.ts"

/**
 * - `prefix`: of the names of tables. Default `effect_claude_`.
 * - `schema`: of Postgres, in which the tables are. It must exist. Default: the first of the search path.
 *
 * @category options
 * @since 0.1.0
 */
export interface StoreOptions {
  readonly prefix?: string | undefined
  readonly schema?: string | undefined
}

/**
 * The budgets, and where the database keeps them.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Budget.Options, StoreOptions {}

/** The most rows that are read at once, limits and budgets that are not divided first. */
const maxRead = 10_000

/** The most rows that are kept decoded. */
const maxKnown = 4_096

/** The longest time between two statements of a transaction, which holds locks; then Postgres ends it. */
const maxIdleMillis = 5_000

/** How often rows that count no more are looked for, and how long they are kept. */
const sweepMillis = 3_600_000
const keptMillis = 86_400_000

const Int = Schema.FiniteFromString
const decodeNow = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ now: Int })))
const decodeFound = Schema.decodeUnknownEffect(
  Schema.Array(Schema.Struct({ key: Schema.String, row: Schema.NullOr(Schema.String) }))
)
const decodeRow = Schema.decodeUnknownEffect(Schema.fromJsonString(Budget.Row))

/** A row as it is decoded, and as the database holds it. */
interface Known {
  readonly row: Budget.Row
  readonly json: string
}

/** Rows were deleted before they could be locked: the step is made again. */
class SweptError extends Schema.TaggedError<SweptError>("effect-claude/Budget/Sql/SweptError")("SweptError", {}) {}

const isOneOf = (...reasons: ReadonlyArray<SqlError["reason"]["_tag"]>) => (error: unknown): boolean =>
  error instanceof Error && "reason" in error && reasons.includes((error as SqlError).reason._tag) // only that of Effect has one

const isTransient = isOneOf("DeadlockError", "SerializationError", "LockTimeoutError")

/** A pool has other connections. If the step was committed, the numbers of its settlements keep them from counting twice, and its leases end. */
const isBroken = isOneOf("ConnectionError")

/** A broken connection cannot roll back either, which `withTransaction` treats as a defect. */
const orBroken = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> =>
  Effect.catchDefect(
    effect,
    (defect) => isBroken(defect) ? Effect.fail(defect as SqlError) : Effect.die(defect) // it is one
  )

const again = Schedule.exponential("5 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 6 }))

const jsonOf = (rows: ReadonlyArray<ReadonlyArray<string | number | null>>): string => JSON.stringify(rows)

/** The table, created where there is none, and the statements on it. */
const makeTable = Effect.fnUntraced(function*({ prefix = "effect_claude_", schema }: StoreOptions) {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const clock = yield* Clock.Clock
  const isPg = sql.onDialectOrElse({
    pg: () => true,
    sqlite: () => false,
    orElse: () => {
      throw new RangeError("Budget: its database must be Postgres or SQLite")
    }
  })
  const name = (table: string): string => `${schema === undefined ? "" : `${schema}.`}${prefix}budget_${table}`
  const table = sql(name("row"))

  yield* Migrator.make({})({
    table: name("migrations"),
    loader: Effect.succeed([[
      2,
      "rows",
      Effect.succeed(Effect.all([
        sql`CREATE TABLE ${table} (
          key TEXT NOT NULL PRIMARY KEY, budget TEXT, account TEXT, row TEXT, forget_at BIGINT
        )`,
        sql`CREATE INDEX ${sql(`${prefix}budget_row_budget`)} ON ${table} (budget, account)`
      ]))
    ]])
  })

  // Lists go as one JSON parameter, so that each statement has one text whatever their length.
  const rows = (json: string) => isPg ? sql`jsonb_array_elements(${json}::text::jsonb) e` : sql`json_each(${json}) e`
  const cell = (index: number) => sql.literal(isPg ? `(e->>${index})` : `(e.value->>${index})`)
  const int = (index: number) => sql.literal(isPg ? `(e->>${index})::bigint` : `(e.value->>${index})`)
  const now = () =>
    isPg
      ? sql.literal("(extract(epoch from clock_timestamp()) * 1000)::bigint")
      : sql`${clock.currentTimeMillisUnsafe()}`
  const nowText = () => sql`CAST(${now()} AS TEXT) AS now`

  // A process that hangs inside a transaction must not block the others.
  const bounded = sql.literal(
    isPg ? `, (SELECT set_config('idle_in_transaction_session_timeout', '${maxIdleMillis}', true)) AS bounded` : ""
  )
  const keysOf = (keys: ReadonlyArray<string>) => rows(jsonOf(keys.map((key) => [key])))

  return {
    sql,
    isPg,
    clock,
    now: () => sql`SELECT ${nowText()}`,
    /** Empty rows for keys that have none. */
    create: (keys: ReadonlyArray<string>) =>
      sql`INSERT INTO ${table} (key, forget_at) SELECT ${cell(0)}, ${now()} FROM ${keysOf(keys)} WHERE true
        ON CONFLICT (key) DO NOTHING`,
    lock: (keys: ReadonlyArray<string>) =>
      sql`SELECT r.key, r.row, ${nowText()} ${bounded} FROM ${keysOf(keys)} JOIN ${table} r ON r.key = ${cell(0)}
        ORDER BY r.key ${sql.literal(isPg ? "FOR UPDATE OF r" : "")}`,
    select: (keys: ReadonlyArray<string>) =>
      sql`SELECT r.key, r.row FROM ${keysOf(keys)} JOIN ${table} r ON r.key = ${cell(0)}`,
    selectBudgets: (budgets: ReadonlyArray<string>) =>
      sql`SELECT key, row FROM ${table} WHERE budget IN (SELECT ${cell(0)} FROM ${keysOf(budgets)})
        ORDER BY account NULLS FIRST, budget LIMIT ${sql.literal(`${maxRead}`)}`,
    write: (changed: ReadonlyMap<string, Known>) =>
      sql`INSERT INTO ${table} (key, budget, account, row, forget_at)
        SELECT ${cell(0)}, ${cell(1)}, ${cell(2)}, ${cell(3)}, ${int(4)} FROM ${
        rows(jsonOf(Array.from(changed, ([key, { json, row }]) => [
          key,
          row._tag === "Owner" ? null : row.budget,
          row._tag === "Account" ? row.account : null,
          json,
          row.forgetAt ?? null
        ])))
      } WHERE true ON CONFLICT (key) DO UPDATE SET row = excluded.row, forget_at = excluded.forget_at,
        budget = excluded.budget, account = excluded.account`,
    sweep: () => sql`DELETE FROM ${table} WHERE forget_at <= ${now()} - ${sql.literal(`${keptMillis}`)}`
  }
})

/**
 * Builds the store, and its table where there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStore = Effect.fnUntraced(function*(options: StoreOptions = {}) {
  const table = yield* makeTable(options)
  const { clock, isPg, sql } = table

  /** Keys that are known to have a row. */
  let existing = new Set<string>()

  /** Rows as they were last read or written: most are still the same when they are read again. */
  const known = new BoundedMap<string, Known>(maxKnown)

  /** Postgres can only lock rows that are there. SQLite locks the file. */
  const ensure = (keys: ReadonlyArray<string>): Effect.Effect<void, SqlError> => {
    const missing = isPg ? keys.filter((key) => !existing.has(key)) : []
    if (missing.length === 0) return Effect.void
    return Effect.map(table.create(missing), () => {
      if (existing.size > maxRead) existing = new Set()
      for (const key of missing) existing.add(key)
    })
  }

  const stateOf = Effect.fnUntraced(function*(found: ReadonlyArray<unknown>) {
    const state = new Map<string, Budget.Row>()
    for (const { key, row: json } of yield* decodeFound(found)) {
      if (json === null) continue
      let same = known.get(key)
      if (same?.json !== json) known.set(key, same = { row: yield* decodeRow(json), json })
      state.set(key, same.row)
    }
    return state
  })

  const work = Effect.fnUntraced(function*(batch: Budget.Batch, keys: ReturnType<typeof rowsOf>) {
    const locked = keys.changed.length === 0 ? [] : yield* table.lock(keys.changed)
    if (isPg && locked.length < keys.changed.length) {
      existing = new Set()
      return yield* new SweptError()
    }
    const budgets = batch.read === undefined ? [] : yield* table.selectBudgets(batch.read)
    const read = keys.read.length === 0 ? [] : yield* table.select(keys.read)
    const times = yield* decodeNow(locked.length === 0 ? yield* table.now() : locked)
    const state = yield* stateOf([...budgets, ...read, ...locked])
    const [changed, reply] = Budget.step(state, batch, Math.max(...times.map(({ now }) => now)))
    const written = new Map(Array.from(changed, ([key, row]) => [key, { row, json: JSON.stringify(row) }]))
    if (written.size > 0) yield* table.write(written)
    for (const [key, row] of written) known.set(key, row)
    return reply
  })

  /** Readers leave the lock of writers alone. */
  const transaction = <A, E>(begin: string, effect: Effect.Effect<A, E>) =>
    Effect.provideService(orBroken(sql.withTransaction(effect)), SqlClient.BeginTransaction, begin)

  let sweptAt = -Infinity
  const sweep = Effect.suspend(() => {
    const millis = clock.currentTimeMillisUnsafe()
    if (millis < sweptAt + sweepMillis) return Effect.void
    sweptAt = millis
    return table.sweep()
  })

  return Budget.Store.of({
    step: (batch) =>
      Effect.suspend(() => {
        const keys = rowsOf(batch)
        const begin = keys.changed.length === 0
          ? "BEGIN"
          : isPg
          ? "BEGIN ISOLATION LEVEL READ COMMITTED"
          : "BEGIN IMMEDIATE"
        const once = Effect.andThen(Effect.suspend(() => ensure(keys.changed)), transaction(begin, work(batch, keys)))
        const done = Effect.retry(once, { while: (error) => error instanceof SweptError, times: 3 }).pipe(
          Effect.retry({ while: isTransient, schedule: again }),
          Effect.retry({ while: isBroken, times: 1 })
        )
        // No caller waits for a renewal.
        return batch.renewals === undefined ? done : Effect.tap(done, sweep)
      })
  })
})

/**
 * Budgets whose accounts are in the database of the `SqlClient`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<
  Budget.Budget,
  SqlError | Migrator.MigrationError,
  PriceBook.PriceBook | SqlClient.SqlClient
> => Budget.layerNoDeps(options).pipe(Layer.provide(layerStore(options)))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<
  Budget.Budget,
  Config.ConfigError | SqlError | Migrator.MigrationError,
  PriceBook.PriceBook | SqlClient.SqlClient
> => Layer.unwrap(Effect.map(Config.unwrap(options), layer))

/**
 * The store alone, for `Budget.layerNoDeps`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStore = (
  options: StoreOptions = {}
): Layer.Layer<Budget.Store, SqlError | Migrator.MigrationError, SqlClient.SqlClient> =>
  Layer.effect(Budget.Store, makeStore(options))

/**
 * `layerStore` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreConfig = (
  options: Config.Wrap<StoreOptions>
): Layer.Layer<Budget.Store, Config.ConfigError | SqlError | Migrator.MigrationError, SqlClient.SqlClient> =>
  Layer.effect(Budget.Store, Effect.flatMap(Config.unwrap(options), makeStore))
