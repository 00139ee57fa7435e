import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Context, Effect, Fiber, Layer, Logger, Schedule } from "effect"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import * as Sqlite from "effect-claude/Sqlite"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { accountOf, budgetOf, suite } from "../suites/BudgetStore.ts"
import { attemptOf, completed, layerPrices } from "../utils/budgets.ts"
import * as TestPostgres from "../utils/postgres.ts"
import { proxy } from "../utils/proxy.ts"
import * as settling from "../utils/settling.ts"
import * as TestSqlite from "../utils/sqlite.ts"

/** The store as one more process has it. */
const processOn = (client: Layer.Layer<SqlClient.SqlClient, unknown>, options: BudgetSql.StoreOptions = {}) =>
  Effect.map(
    Layer.build(Layer.fresh(BudgetSql.layerStore(options)).pipe(Layer.provide(client))),
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

describe("Budget/Sql", () => {
  it.effect("gives the budgets themselves, with options as values or from configuration", () =>
    Effect.gen(function*() {
      const filename = yield* TestSqlite.filename
      const layers = [
        BudgetSql.layer({ budgets: [{ name: "all", limit: 20 / 1e9 }], prefix: "mine_" }),
        BudgetSql.layerConfig({
          budgets: Config.map(Config.Number("LIMIT_NANO_USD"), (limit) => [{ name: "all", limit: limit / 1e9 }]),
          prefix: Config.String("PREFIX")
        })
      ]
      const [here, there] = yield* Effect.forEach(layers, (layer) =>
        Effect.map(
          Layer.build(layer.pipe(
            Layer.provide([layerPrices, Layer.fresh(Sqlite.layer({ filename }))]),
            Layer.provide(ConfigProvider.layer(
              ConfigProvider.fromUnknown({ LIMIT_NANO_USD: "20", PREFIX: "mine_" })
            ))
          )),
          Context.get(Budget.Budget)
        ))
      yield* settling.admit(here!, attemptOf())
      yield* settling.admit(there!, attemptOf())
      assert.strictEqual((yield* Effect.flip(settling.admit(here!, attemptOf())))._tag, "BudgetExceededError")
    }).pipe(Effect.scoped))

  it.effect("keeps no row for longer than it counts, but those of calls that run", () =>
    Effect.gen(function*() {
      const sql = yield* TestSqlite.connection({ filename: ":memory:" })
      const context = yield* Layer.build(
        Budget.layerNoDeps({
          budgets: [{ name: "users", per: "user", limit: 1, window: { calendar: "day" } }],
          lease: "12 hours"
        }).pipe(
          Layer.provideMerge(BudgetSql.layerStore({ prefix: "my_" })),
          Layer.provide([layerPrices, Layer.succeed(SqlClient.SqlClient, sql)])
        )
      )
      const budget = Context.get(context, Budget.Budget)
      const store = Context.get(context, Budget.Store)
      const rows = Effect.map(
        Effect.all([
          sql`SELECT account AS name FROM my_budget_row WHERE account IS NOT NULL ORDER BY 1`,
          sql`SELECT account AS name FROM my_budget_row WHERE row LIKE '%"expiresAt"%'`,
          sql`SELECT key AS name FROM my_budget_row WHERE row LIKE '%"Limit"%' ORDER BY 1`,
          sql`SELECT 'owner' AS name FROM my_budget_row WHERE row LIKE '%"Owner"%'`
        ]),
        (tables) => tables.map((rows) => rows.map(({ name }) => `${name}`.replaceAll("\n", "/")).join())
      )
      const open = attemptOf({ user: "a" })
      yield* settling.admit(budget, open)
      const ended = attemptOf({ user: "b" })
      yield* settling.admit(budget, ended)
      yield* settling.settle(ended)
      yield* budget.overrideLimit("users", { limit: 2, account: "c", until: 1_000 })
      yield* budget.overrideLimit("users", { limit: 3 })
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      assert.deepStrictEqual(yield* rows, ["a,b", "a", "users,users/c/", "owner"])
      yield* TestClock.adjust("3 days")
      yield* store.step({ renewals: [] })
      assert.deepStrictEqual(yield* rows, ["a", "a", "users", "owner"])
      yield* settling.settle(open)
      yield* TestClock.adjust("8 days")
      yield* store.step({ renewals: [] })
      assert.deepStrictEqual(yield* rows, ["", "", "users", ""])
    }).pipe(Effect.scoped))
})

it.effect("shows what a budget for all has spent, beside however many accounts of another", () =>
  Effect.gen(function*() {
    const sql = yield* TestSqlite.connection({ filename: ":memory:" })
    const store = Context.get(
      yield* Layer.build(BudgetSql.layerStore().pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql)))),
      Budget.Store
    )
    const slots = [{ start: 0, spent: 5, reserved: 0, overshot: 0, lapsed: 0 }]
    const spent = { _tag: "Account", budget: "", account: "", slots, alerts: {}, leases: {} }
    const some = (budget: string, count: number) =>
      sql`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${count})
        INSERT INTO effect_claude_budget_row (key, budget, account, row)
        SELECT ${budget} || i, ${budget}, account, json_set(json(${
        JSON.stringify(spent)
      }), '$.budget', ${budget}, '$.account', account)
        FROM (SELECT i, CASE ${count} WHEN 1 THEN '' ELSE CAST(i AS TEXT) END AS account FROM c)`
    yield* some("users", 10_100)
    yield* some("whole", 1)
    const { rows } = yield* store.step({ read: ["users", "whole"] })
    assert.strictEqual(rows.length, 10_000)
    assert.isTrue(rows.some(({ budget }) => budget === "whole"))
  }).pipe(Effect.scoped))

it.effect("goes by the rows that the database holds, not by those that it wrote last", () =>
  Effect.gen(function*() {
    const sql = yield* TestSqlite.connection({ filename: ":memory:" })
    const store = Context.get(
      yield* Layer.build(BudgetSql.layerStore().pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql)))),
      Budget.Store
    )
    const account: Budget.Account = {
      key: Budget.keyOf("all", ""),
      budget: "all",
      account: "",
      window: { _tag: "Total" },
      thresholds: [],
      limitNanoUsd: 100
    }
    const reserve = (nanoUsd: number) =>
      Effect.map(store.step({ reserves: [{ nanoUsd, accounts: [account] }] }), ({ decisions: [decision] }) => decision)
    assert.strictEqual((yield* reserve(40))?._tag, "Reserved")
    yield* sql`UPDATE effect_claude_budget_row SET row = json_set(row, '$.slots[0].spent', 30)`
    const refused = yield* reserve(31)
    assert.deepInclude(refused, { _tag: "Refused", reservedNanoUsd: 40, spentNanoUsd: 30 })
    assert.strictEqual((yield* reserve(30))?._tag, "Reserved")
  }).pipe(Effect.scoped))

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

  /** A budget at a database behind a wire that can break. */
  const wired = Effect.gen(function*() {
    const schema = yield* TestPostgres.schema
    const wire = yield* proxy(new URL(TestPostgres.url))
    const store = BudgetSql.layerStore({ schema }).pipe(
      Layer.provide(TestPostgres.layerAt(`${wire.port}`)),
      Layer.orDie
    )
    const context = yield* Layer.build(
      Budget.layerNoDeps({ budgets: [{ name: "all", limit: 1 }], timeout: "500 millis", lease: "2 seconds" }).pipe(
        Layer.provide([layerPrices, store])
      )
    )
    const budget = Context.get(context, Budget.Budget)
    const state = Effect.map(budget.snapshot, ([state]) => state!)
    const admitted = Effect.suspend(() => {
      const attempt = attemptOf()
      return Effect.as(settling.admit(budget, attempt), attempt)
    })
    const again = <A, E>(effect: Effect.Effect<A, E>, until: (value: A) => boolean = () => true) =>
      Effect.retry(
        Effect.filterOrFail(effect, until, () => "not yet"),
        { schedule: Schedule.spaced("50 millis"), times: 400 }
      )
    return { admitted, again, budget, schema, state, wire }
  })

  it.live(
    "refuses while the database is away or hangs, and writes what was settled meanwhile when it is back",
    () =>
      Effect.gen(function*() {
        const { admitted, again, budget, state, wire } = yield* wired
        let spent = 0
        for (const trouble of [wire.cut, wire.hang]) {
          const attempt = yield* again(admitted)
          yield* trouble
          assert.deepInclude(yield* Effect.flip(admitted), { _tag: "BudgetUnavailableError", reason: "store" })
          completed(attempt, { inputTokens: 7 })
          yield* settling.settle(attempt)
          assert.strictEqual((yield* Effect.flip(budget.snapshot))._tag, "BudgetUnavailableError")
          yield* wire.mend
          spent += 7
          yield* again(state, ({ reservedNanoUsd, spentNanoUsd }) => spentNanoUsd === spent && reservedNanoUsd === 0)
        }
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live("is not held up by a process that hangs amid a transaction", () =>
    Effect.gen(function*() {
      const { admitted, schema, wire } = yield* wired
      const other = yield* processOn(TestPostgres.layer, { schema })
      yield* wire.hangAt("ON CONFLICT (key) DO UPDATE")
      assert.deepInclude(yield* Effect.flip(admitted), { _tag: "BudgetUnavailableError", reason: "store" })
      const account = { ...accountOf(budgetOf(), 1e9), key: Budget.keyOf("all", ""), budget: "all" }
      const { decisions } = yield* other.step({
        reserves: [{ lease: { id: "other", millis: 1_000 }, nanoUsd: 1, accounts: [account] }]
      })
      assert.strictEqual(decisions[0]?._tag, "Reserved")
      yield* wire.mend
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("goes on over another connection when one breaks amid a step", () =>
    Effect.gen(function*() {
      const { admitted, again, schema, state } = yield* wired
      const sql = yield* TestPostgres.connection
      const admin = yield* TestPostgres.connection
      const first = yield* admitted
      completed(first, { inputTokens: 3 })
      const waiting = sql.withTransaction(Effect.gen(function*() {
        yield* sql`SELECT 1 FROM ${sql(`${schema}.effect_claude_budget_row`)} FOR UPDATE`
        yield* settling.settle(first)
        const second = yield* Effect.forkChild(admitted, { startImmediately: true })
        yield* again(
          admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND strpos(query, ${schema}) > 0`,
          (ended) => ended.length > 0
        )
        return second
      }))
      yield* Fiber.join(yield* waiting)
      yield* again(state, ({ reservedNanoUsd, spentNanoUsd }) => spentNanoUsd === 3 && reservedNanoUsd === 10)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("counts each call once, wherever the wire breaks", () =>
    Effect.gen(function*() {
      const { admitted, again, state, wire } = yield* wired
      let spent = 0
      const call = Effect.gen(function*() {
        const attempt = yield* admitted
        completed(attempt, { inputTokens: 3 })
        spent += 3
        yield* settling.settle(attempt)
      })
      for (let round = 0; round < 6; round++) {
        yield* again(call)
        const calls = yield* Effect.forkScoped(
          Effect.forEach(Array.from({ length: 400 }), () => Effect.exit(call), { concurrency: 32 })
        )
        yield* Effect.sleep(10 + round * 7)
        yield* wire.cut
        yield* Fiber.join(calls)
        yield* wire.mend
      }
      // Reservations whose answer was lost end with their leases.
      const end = yield* again(state, ({ reservedNanoUsd, spentNanoUsd }) =>
        reservedNanoUsd === 0 && spentNanoUsd >= spent)
      assert.strictEqual(end.spentNanoUsd, spent)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))
})
