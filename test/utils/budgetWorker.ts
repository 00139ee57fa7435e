/**
 * A process of its own: makes as many calls as it is told, 64 at once and each of 10 nano-dollars, says how many were admitted, and settles them as spent
 * or keeps them open.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Layer, Redacted } from "effect"
import * as Attempt from "../../src/Attempt.ts"
import * as Budget from "../../src/Budget.ts"
import * as BudgetSql from "../../src/Budget/Sql.ts"
import * as PriceBook from "../../src/PriceBook.ts"
import * as ClaudeTest from "../../src/testing/ClaudeTest.ts"
import * as Usage from "../../src/Usage.ts"

const { budgets, calls, lease, schema, settles, url } = JSON.parse(process.argv[2] ?? "{}")

const prices = Layer.succeed(PriceBook.PriceBook, { cost: () => undefined, ceiling: () => 10 })

const attemptOf = (index: number): Attempt.MessageAttempt =>
  ClaudeTest.attempt({
    request: { model: "claude-sonnet-5-5", max_tokens: 6, messages: [] },
    context: { tenant: `t${index % 5}` },
    estimate: { inputTokens: 4, maxOutputTokens: 6 },
    key: null
  })

const program = Effect.gen(function*() {
  const budget = yield* Budget.Budget
  process.send?.("ready")
  yield* Effect.promise(() => new Promise((resolve) => process.once("message", resolve)))
  const exits = yield* Effect.forEach(
    Array.from({ length: calls }),
    (_, index) => {
      const attempt = attemptOf(index)
      const use = Effect.sync(() => {
        attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.zero })
      })
      return Effect.exit(settles ? Attempt.guard(budget, attempt, use) : budget.admit(attempt))
    },
    { concurrency: 64 }
  )
  process.send?.({
    admitted: exits.filter(Exit.isSuccess).length,
    reasons: [...new Set(exits.flatMap((exit) => Exit.isFailure(exit) ? [String(exit.cause)] : []))].slice(0, 3)
  })
  yield* Effect.never
})

const layer = Layer.provide(
  Budget.layerNoDeps({ budgets, lease, timeout: "30 seconds" }),
  [
    prices,
    BudgetSql.layerStore({ schema }).pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
    )
  ]
)

await Effect.runPromise(Effect.provide(program, layer))
