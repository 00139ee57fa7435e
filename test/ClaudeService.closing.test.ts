/** What becomes of calls that are open when the layer of a service ends. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Logger, Scope, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import * as PriceBook from "effect-claude/PriceBook"
import * as Sqlite from "effect-claude/Sqlite"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import * as TestSqlite from "./utils/sqlite.ts"

const accounts = (filename: string) =>
  Layer.mergeAll(
    CostLedger.layerNoDeps(),
    Budget.layerNoDeps({ budgets: [{ name: "all", limit: 100 }] })
  ).pipe(
    Layer.provide([PriceBook.layer(), CostLedgerSql.layerStore(), BudgetSql.layerStore()]),
    Layer.provide(Sqlite.layer({ filename })),
    Layer.fresh
  )

const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => void lines.push([message].flat().join()))
  return { lines, layer: Logger.layer([logger]) }
}

describe("a service that ends", () => {
  it.effect("settles the attempts of other fibers, writes their rows, says how many there were, and refuses later calls", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const filename = yield* TestSqlite.filename
      const scope = yield* Scope.make()
      const both = accounts(filename)
      const claude = Context.get(
        yield* Layer.buildWithScope(
          ClaudeService.layer({
            api: ClaudeTest.layerApi(ClaudeTest.forever(Effect.never)),
            keys: [ClaudeTest.key],
            limiter: { limits: "scale" },
            budget: both,
            ledger: both
          }),
          scope
        ),
        ClaudeService.ClaudeService
      )
      const calls = yield* Effect.forEach(
        Array.from({ length: 100 }),
        (_, n) =>
          Effect.forkScoped(
            n % 2 === 0 ? claude.create(ClaudeTest.hello) : Stream.runDrain(claude.stream(ClaudeTest.hello)),
            { startImmediately: true }
          )
      )
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(calls.every((call) => call.pollUnsafe() === undefined))
      yield* Scope.close(scope, Exit.void)
      assert.include(
        lines,
        "ClaudeService: 100 attempts were still running when the layer ended. They were settled as aborted; what they cost is estimated."
      )
      const late = yield* Effect.exit(claude.create(ClaudeTest.hello))
      assert.isTrue(Exit.isFailure(late) && Cause.hasDies(late.cause))
      assert.include(String(late), "after its layer had ended")
      yield* Effect.forEach(calls, Fiber.interrupt, { discard: true })

      yield* Effect.gen(function*() {
        const rows = yield* Stream.runCollect((yield* CostLedger.CostLedger).rows({ from: 0, to: Infinity }))
        assert.strictEqual(rows.length, 100)
        assert.isTrue(rows.every(({ billed, outcome }) => outcome === "aborted" && billed === "unknown"))
        const spent = rows.reduce((sum, { nanoUsd }) => sum + (nanoUsd ?? 0), 0)
        const [state] = yield* (yield* Budget.Budget).snapshot
        assert.deepInclude(state, { reservedNanoUsd: 0, spentNanoUsd: spent, doubtfulNanoUsd: spent, lapsedNanoUsd: 0 })
      }).pipe(Effect.provide(accounts(filename)))
    }).pipe(Effect.scoped, Effect.provide(layer))
  })

  it.effect("says how many attempts hold reservations when budgets end alone", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const budget = Budget.layer({ budgets: [{ name: "all", limit: 100 }] }).pipe(Layer.provide(PriceBook.layer()))
      yield* Effect.flatMap(Budget.Budget, ({ admit }) => Effect.replicateEffect(admit(ClaudeTest.attempt()), 3)).pipe(
        Effect.provide(budget)
      )
      assert.deepStrictEqual(lines, [
        "Budget: 3 attempts were still running when the layer ended. What they reserved is forgotten with it."
      ])
    }).pipe(Effect.provide(layer))
  })
})
