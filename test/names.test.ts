/** Names that callers choose: whatever they are, calls go on, memory is bounded, and every store keeps them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import type * as PriceBook from "effect-claude/PriceBook"
import * as Reconciliation from "effect-claude/Reconciliation"
import * as Sqlite from "effect-claude/Sqlite"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { nameOf } from "../src/internal/text.ts"
import * as TestPostgres from "./utils/postgres.ts"

const odd = ["constructor", "__proto__", "toString", "hasOwnProperty"]

const budgets: ReadonlyArray<Budget.BudgetOptions> = [
  ...odd.map((tag) => ({ name: tag, per: { tag }, limit: 1 })),
  { name: "users", per: "user", limit: 1 },
  { name: "some", limit: 1, filter: { tags: { constructor: ["__proto__"] } } }
]

const stores = {
  memory: Effect.succeed(CostLedger.layer()),
  SQLite: Effect.succeed(
    CostLedger.layerNoDeps().pipe(
      Layer.provide(CostLedgerSql.layerStore()),
      Layer.provide(Layer.fresh(Sqlite.layer({ filename: ":memory:" })))
    )
  ),
  ...(TestPostgres.isThere && {
    Postgres: Effect.map(TestPostgres.prefix, (prefix) =>
      CostLedger.layerNoDeps({ storeTimeout: "30 seconds" }).pipe(
        Layer.provide(CostLedgerSql.layerStore({ prefix })),
        Layer.provide(TestPostgres.layer)
      ))
  })
}

const over = (ledger: Layer.Layer<CostLedger.CostLedger, unknown, PriceBook.PriceBook>, options = budgets) =>
  ClaudeService.layerWithParts({
    api: ClaudeTest.layerApi(ClaudeTest.forever("Yes.")),
    keys: [ClaudeTest.key],
    limiter: { limits: "scale" },
    budget: { budgets: options },
    ledger
  })

describe("names of callers", () => {
  for (const [store, ledger] of Object.entries(stores)) {
    it.live(
      `are those of no object's own members, and have no characters that ${store} cannot keep`,
      () =>
        Effect.gen(function*() {
          const long = "x".repeat(1_000)
          yield* Effect.gen(function*() {
            const tags = Object.fromEntries([...odd.map((name) => [name, "__proto__"]), ["a\0b", `c\0${long}`]])
            const call = ClaudeService.create(ClaudeTest.hello)
            yield* call
            for (const name of odd) {
              yield* call.pipe(CallContext.annotate({ user: name, tenant: name, requestType: name, tags }))
            }
            const ledger = yield* CostLedger.CostLedger
            for (const tag of odd) {
              const { groups } = yield* ledger.report({ by: { tag } })
              assert.sameDeepMembers(groups.map(({ calls, key }) => [key, calls]), [[null, 1], ["__proto__", 4]])
            }
            const query = { by: { tag: "a\0b" }, where: { user: "__proto__", tags: { "a\0b": `c\0${long}` } } } as const
            const { groups } = yield* ledger.report(query)
            assert.deepStrictEqual(groups.map(({ calls, key }) => [key, calls]), [[nameOf(`c\0${long}`), 1]])
            const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
            assert.deepStrictEqual(Object.keys(rows[1]!.tags).sort(), [...odd, "a\ufffdb"].sort())
            const states = yield* (yield* Budget.Budget).snapshot
            assert.isTrue(
              odd.every((name) => states.some(({ account, budget }) => budget === "users" && account === name))
            )
            assert.isTrue(states.some(({ budget, spentNanoUsd }) => budget === "some" && spentNanoUsd > 0))
          }).pipe(Effect.provide(over(yield* ledger)))
        }).pipe(Effect.scoped)
    )
  }

  it.effect("are cut where they enter, so that megabytes of them take none", () =>
    Effect.gen(function*() {
      const before = process.memoryUsage().heapUsed
      const long = "x".repeat(1_000_000)
      for (let n = 0; n < 150; n++) {
        const requestType = `${n} ${long}`
        yield* ClaudeService.create(ClaudeTest.hello).pipe(
          CallContext.annotate({ requestType, tags: { n: requestType } })
        )
      }
      assert.isBelow(process.memoryUsage().heapUsed - before, 100_000_000)
      const rows = yield* Stream.runCollect((yield* CostLedger.CostLedger).rows({ from: 0, to: Infinity }))
      assert.strictEqual(new Set(rows.map(({ requestType }) => requestType)).size, 150)
    }).pipe(Effect.provide(over(CostLedger.layer()))))

  it.effect("mean the same in options as in calls, however long they are and whatever is in them", () =>
    Effect.gen(function*() {
      const names = ["é".repeat(300), "a\0b"]
      for (const name of names) {
        const options: ReadonlyArray<Budget.BudgetOptions> = [
          { name: "divided", per: { tag: name }, limit: 1 },
          { name: "tagged", limit: 1, filter: { tags: { [name]: [name] } } },
          { name: "begins", limit: 1, filter: { tenant: [`${name.slice(0, 2)}*`] } }
        ]
        const states = yield* Effect.gen(function*() {
          yield* ClaudeService.create(ClaudeTest.hello).pipe(
            CallContext.annotate({ tenant: name, tags: { [name]: name } })
          )
          return yield* (yield* Budget.Budget).snapshot
        }).pipe(Effect.provide(Layer.fresh(over(CostLedger.layer(), options))))
        for (const { account, budget, spentNanoUsd } of states) {
          assert.isAbove(spentNanoUsd, 0, budget)
          assert.strictEqual(account, budget === "divided" ? nameOf(name) : "")
        }
        assert.lengthOf(states, 3)
      }
    }))

  it("have at most 200 bytes, stay apart, and stay as they are", () => {
    for (const unit of ["x", "é", "日", "😀", "\ud800", "\n"]) {
      const names = [1, 40, 60, 66, 67, 100, 200, 201, 5_000].map((count) => nameOf(unit.repeat(count)))
      assert.lengthOf(new Set(names), 9, unit)
      for (const name of names) {
        assert.isAtMost(new TextEncoder().encode(name).length, 200)
        assert.strictEqual(nameOf(name), name)
        assert.notMatch(name, /[\p{Cc}\p{Cs}]/u)
      }
    }
  })

  it.effect("are columns of a bill that are ignored", () =>
    Effect.gen(function*() {
      const lines = yield* Reconciliation.fromCsv("day,model,constructor,usd\n2026-11-23,a,7,1\n")
      assert.deepStrictEqual(lines, [{ day: "2026-11-23", model: "a", nanoUsd: 1_000_000_000 }])
    }))

  it.effect("do not fill more memory than a ledger may take, however many tags calls have", () =>
    Effect.gen(function*() {
      const ledger = yield* CostLedger.CostLedger
      const tags = Object.fromEntries(Array.from({ length: 32 }, (_, n) => [`${n}${"é".repeat(90)}`, "é".repeat(100)]))
      yield* ClaudeService.create(ClaudeTest.hello).pipe(
        CallContext.annotate({ tags }),
        Effect.replicateEffect(400, { discard: true })
      )
      const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
      const bytes = rows.reduce((sum, row) => sum + 2 * JSON.stringify(row.tags).length, 0)
      assert.isBelow(bytes, 1_100_000)
      assert.isAbove(rows.length, 20)
      assert.strictEqual((yield* ledger.status).evictedRows, 400 - rows.length)
    }).pipe(Effect.provide(over(
      CostLedger.layerNoDeps().pipe(Layer.provide(CostLedger.layerStoreMemory({ maxBytes: 1_000_000 })))
    ))))
})
