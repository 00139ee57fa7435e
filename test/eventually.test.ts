/** Stores that are away when a program starts. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import * as PriceBook from "effect-claude/PriceBook"
import * as Sqlite from "effect-claude/Sqlite"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { mkdirSync } from "node:fs"
import { dirname, join } from "node:path"
import * as TestSqlite from "./utils/sqlite.ts"

let calls = 0

const attempt = () => ClaudeTest.attempt({ callId: `call-${++calls}` })

const sent = (one: Attempt.MessageAttempt) =>
  Effect.sync(() => {
    one.outcome = Attempt.Outcome.Aborted({ usage: Usage.zero })
  })

describe("a store that is away at the start", () => {
  it.effect("keeps a program from starting, unless it may come later: then calls are refused and rows wait until it is there", () =>
    Effect.gen(function*() {
      const filename = join(dirname(yield* TestSqlite.filename), "later", "test.db")
      const client = Layer.fresh(Sqlite.layer({ filename }))
      const budgetStore = BudgetSql.layerStore().pipe(Layer.provide(client))
      const failed = yield* Effect.exit(Layer.build(budgetStore))
      assert.isTrue(Exit.isFailure(failed))
      assert.include(String(failed), `SQLite: cannot open ${filename}. Does its folder exist?`)

      yield* Effect.gen(function*() {
        const budget = yield* Budget.Budget
        const ledger = yield* CostLedger.CostLedger
        assert.deepInclude(yield* Effect.flip(budget.admit(attempt())), {
          _tag: "BudgetUnavailableError",
          reason: "store"
        })
        const one = attempt()
        yield* Attempt.guard(ledger, one, sent(one))
        yield* TestClock.adjust("1 minute")
        assert.include((yield* Effect.flip(ledger.report())).message, `cannot open ${filename}`)
        assert.deepInclude(yield* ledger.status, { pendingRows: 1, isDown: true })

        mkdirSync(dirname(filename))
        yield* TestClock.adjust("1 minute")
        const two = attempt()
        yield* Attempt.guard(Attempt.all(budget, ledger), two, sent(two))
        yield* ledger.flush
        assert.strictEqual((yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))).length, 2)
        yield* Effect.repeat(Effect.yieldNow, { times: 100 })
        const [state] = yield* budget.snapshot
        assert.isAbove(state!.spentNanoUsd, 0)
      }).pipe(Effect.provide(
        Layer.mergeAll(
          Budget.layerNoDeps({ budgets: [{ name: "all", limit: 1 }] }),
          CostLedger.layerNoDeps()
        ).pipe(Layer.provide([
          PriceBook.layer(),
          Budget.layerStoreEventually(budgetStore),
          CostLedger.layerStoreEventually(CostLedgerSql.layerStore().pipe(Layer.provide(client)))
        ]))
      ))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))
})
