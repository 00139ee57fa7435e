import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import * as Sqlite from "effect-claude/Sqlite"
import type { SqlClient } from "effect/sql"
import { suite } from "../suites/BudgetStore.ts"
import * as TestPostgres from "../utils/postgres.ts"
import * as TestSqlite from "../utils/sqlite.ts"

/** The store as one more process has it. */
const processOn = (client: Layer.Layer<SqlClient.SqlClient, unknown>, options: BudgetSql.Options = {}) =>
  Effect.map(
    Layer.build(Layer.fresh(BudgetSql.layer(options)).pipe(Layer.provide(client))),
    Context.get(Budget.Store)
  )

const pair = <E, R>(process: Effect.Effect<Budget.Store["Service"], E, R>) =>
  Effect.map(Effect.all([process, process], { concurrency: 2 }), ([here, there]) => ({ here, there }))

suite({
  name: "SQLite",
  processes: Effect.flatMap(
    TestSqlite.filename,
    (filename) => pair(processOn(Layer.fresh(Sqlite.layer({ filename }))))
  ),
  sleep: Effect.sleep,
  test: it.live
})

describe.skipIf(!TestPostgres.isThere)("on a server", () => {
  suite({
    name: "Postgres",
    processes: Effect.flatMap(
      TestPostgres.schema,
      (schema) => pair(processOn(TestPostgres.layer, { schema }))
    ),
    sleep: Effect.sleep,
    test: it.live
  })
})
