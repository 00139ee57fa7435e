/**
 * The ledger with its rows in a SQL database: a SQLite file, or PostgreSQL for a fleet. Any `SqlClient` of `effect/sql` with one of these dialects
 * will do.
 *
 * The tables are created and migrated when the layer is built; several processes may start at once. A row is identified by its call and attempt,
 * so repeating a write adds nothing. Tables begin with `prefix`.
 *
 * Waiting rows are not written inside a transaction of the same client, which might undo the write: `flush`, `report` and `reconcile` fail there
 * while rows wait.
 *
 * **Example** (A file)
 *
 * ```ts
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as PriceBook from "effect-claude/PriceBook"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Layer } from "effect"
 *
 * export const layer = CostLedgerSql.layer().pipe(
 *   Layer.provide([PriceBook.layer(), Sqlite.layer({ filename: "costs.db" })])
 * )
 * ```
 *
 * **Example** (A fleet)
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as PriceBook from "effect-claude/PriceBook"
 * import { Layer, Redacted } from "effect"
 *
 * export const layer = CostLedgerSql.layer({ prefix: "my_service_" }).pipe(
 *   Layer.provide([PriceBook.layer(), PgClient.layer({ url: Redacted.make("postgres://app@localhost:5432/app") })])
 * )
 * ```
 *
 * **Example** (Moving from a file to PostgreSQL; rows that are there already are skipped)
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import * as CostLedger from "effect-claude/CostLedger"
 * import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
 * import * as PriceBook from "effect-claude/PriceBook"
 * import * as Sqlite from "effect-claude/Sqlite"
 * import { Context, Effect, Layer, Redacted, Stream } from "effect"
 *
 * const file = CostLedgerSql.layer().pipe(
 *   Layer.provide([PriceBook.layer(), Sqlite.layer({ filename: "costs.db" })])
 * )
 * const postgres = CostLedgerSql.layerStore().pipe(
 *   Layer.provide(PgClient.layer({ url: Redacted.make("postgres://app@localhost:5432/app") }))
 * )
 *
 * export const move = Effect.gen(function*() {
 *   const from = Context.get(yield* Layer.build(file), CostLedger.CostLedger)
 *   const to = Context.get(yield* Layer.build(postgres), CostLedger.Store)
 *   yield* from.rows({ from: 0, to: Infinity }).pipe(
 *     Stream.grouped(500),
 *     Stream.runForEach((rows) => to.step({ _tag: "Write", rows }))
 *   )
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Migrator from "effect/sql/Migrator"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as CostLedger from "../CostLedger.ts"
import type { PriceBook } from "../PriceBook.ts"
import * as SqlStore from "./internal/sqlStore.ts"

/**
 * - `prefix`: of the tables. Default `effect_claude_`.
 *
 * @category options
 * @since 0.1.0
 */
export interface StoreOptions {
  readonly prefix?: string | undefined
}

/**
 * Options of the ledger and of its store.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends CostLedger.Options, StoreOptions {}

/**
 * Builds the store, and its tables where they are missing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStore = (
  options: StoreOptions = {}
): Effect.Effect<CostLedger.Store["Service"], Migrator.MigrationError | SqlError, SqlClient.SqlClient> =>
  Effect.map(
    SqlStore.make(options.prefix ?? "effect_claude_"),
    (step) => CostLedger.Store.of({ isLocal: false, step })
  )

/**
 * The store alone: keeps rows in the database of the `SqlClient`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStore = (
  options: StoreOptions = {}
): Layer.Layer<CostLedger.Store, Migrator.MigrationError | SqlError, SqlClient.SqlClient> =>
  Layer.effect(CostLedger.Store, makeStore(options))

/**
 * `layerStore` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreConfig = (
  options: Config.Wrap<StoreOptions>
): Layer.Layer<
  CostLedger.Store,
  Config.ConfigError | Migrator.MigrationError | SqlError,
  SqlClient.SqlClient
> => Layer.effect(CostLedger.Store, Effect.flatMap(Config.unwrap(options), makeStore))

/**
 * The ledger over the database of the `SqlClient`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  CostLedger.CostLedger,
  Migrator.MigrationError | SqlError,
  PriceBook | SqlClient.SqlClient
> => Layer.provide(CostLedger.layerNoDeps(options), layerStore(options))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<
  CostLedger.CostLedger,
  Config.ConfigError | Migrator.MigrationError | SqlError,
  PriceBook | SqlClient.SqlClient
> => Layer.unwrap(Effect.map(Config.unwrap(options), layer))
