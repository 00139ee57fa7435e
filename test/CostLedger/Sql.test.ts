import { describe } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import { SqlClient } from "effect/sql"
import { type Process, suite } from "../suites/CostLedgerStore.ts"
import * as TestPostgres from "../utils/postgres.ts"
import * as TestSqlite from "../utils/sqlite.ts"

/** One more process over the tables of a prefix. */
const processOn = (
  connection: Effect.Effect<SqlClient.SqlClient, never, Scope.Scope>,
  prefix?: string
): Process =>
  Effect.flatMap(connection, (sql) =>
    Layer.build(
      Layer.fresh(CostLedgerSql.layer({ prefix })).pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql)))
    )).pipe(Effect.orDie, Effect.map(Context.get(CostLedger.Store)))

describe("CostLedger/Sql on a SQLite file", () => {
  suite(Effect.map(TestSqlite.filename, (filename) => processOn(TestSqlite.connection({ filename }))), 20)
})

describe.skipIf(!TestPostgres.isThere)("CostLedger/Sql on PostgreSQL", () => {
  suite(Effect.map(TestPostgres.prefix, (prefix) => processOn(TestPostgres.connection, prefix)), 8)
})
