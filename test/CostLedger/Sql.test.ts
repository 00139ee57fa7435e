import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Context, Effect, Layer, Logger, type Scope } from "effect"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import * as Sqlite from "effect-claude/Sqlite"
import { SqlClient } from "effect/sql"
import { type Process, suite } from "../suites/CostLedgerStore.ts"
import { attemptOf, completed } from "../utils/budgets.ts"
import * as TestPostgres from "../utils/postgres.ts"
import * as Prices from "../utils/prices.ts"
import * as settling from "../utils/settling.ts"
import * as TestSqlite from "../utils/sqlite.ts"

/** One more process over the tables of a prefix. */
const processOn = (
  connection: Effect.Effect<SqlClient.SqlClient, never, Scope.Scope>,
  prefix?: string
): Process =>
  Effect.flatMap(connection, (sql) =>
    Layer.build(
      Layer.fresh(CostLedgerSql.layerStore({ prefix })).pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql)))
    )).pipe(Effect.orDie, Effect.map(Context.get(CostLedger.Store)))

describe("CostLedger/Sql on a SQLite file", () => {
  suite(Effect.map(TestSqlite.filename, (filename) => processOn(TestSqlite.connection({ filename }))), 20)
})

it.effect("keeps what waits out of a transaction that may be undone", () =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      CostLedgerSql.layer({ flushEvery: "1 hour" }).pipe(
        Layer.provide(Prices.layer),
        Layer.provideMerge(Sqlite.layer({ filename: ":memory:" }))
      )
    )
    const ledger = Context.get(context, CostLedger.CostLedger)
    const sql = Context.get(context, SqlClient.SqlClient)
    const attempt = attemptOf()
    yield* settling.admit(ledger, attempt)
    completed(attempt)
    yield* settling.settle(attempt)
    const error = yield* Effect.flip(sql.withTransaction(ledger.flush))
    assert.include(error.message, "a transaction of its client is open around it")
    assert.deepInclude(yield* ledger.status, { pendingRows: 1, lostRows: 0 })
    assert.strictEqual((yield* ledger.report({ from: 0 })).total.attempts, 1)
    assert.strictEqual((yield* sql.withTransaction(ledger.report({ from: 0 }))).total.attempts, 1)
  }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

it.effect("is configured: the ledger itself, or its store alone", () =>
  Effect.gen(function*() {
    const sqlite = Sqlite.layer({ filename: ":memory:" })
    const options = { prefix: Config.String("PREFIX") }
    const tables = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      return (yield* sql<{ name: string }>`SELECT name FROM sqlite_master WHERE type = 'table'`).map(({ name }) => name)
    })
    const ledger = CostLedgerSql.layerConfig({ ...options, batchRows: Config.Int("BATCH_ROWS") }).pipe(
      Layer.provide(Prices.layer),
      Layer.provideMerge(sqlite)
    )
    assert.include(yield* Effect.provide(tables, Layer.fresh(ledger)), "mine_ledger")
    const store = CostLedgerSql.layerStoreConfig(options).pipe(Layer.provideMerge(sqlite))
    assert.include(yield* Effect.provide(tables, Layer.fresh(store)), "mine_ledger")
  }).pipe(
    Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PREFIX: "mine_", BATCH_ROWS: "5" })))
  ))

describe.skipIf(!TestPostgres.isThere)("CostLedger/Sql on PostgreSQL", () => {
  suite(Effect.map(TestPostgres.prefix, (prefix) => processOn(TestPostgres.connection, prefix)), 8)
})
