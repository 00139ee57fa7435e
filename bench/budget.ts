/**
 * What budgets cost: attempts that are admitted and settled a second, by 64 callers at once under one budget and under three (all, its tenant, its
 * user), for each store; and the processor time of one, alone, in memory. Prices are those of the price book. Postgres is that of
 * `TEST_POSTGRES_URL`, or of this machine; where there is none, its rows are missing.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Layer, ManagedRuntime, Redacted } from "effect"
import type { SqlClient } from "effect/sql"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Attempt from "../src/Attempt.ts"
import * as Budget from "../src/Budget.ts"
import * as BudgetSql from "../src/Budget/Sql.ts"
import * as Estimate from "../src/Estimate.ts"
import * as PriceBook from "../src/PriceBook.ts"
import * as Sqlite from "../src/Sqlite.ts"
import * as ClaudeTest from "../src/testing/ClaudeTest.ts"
import * as Usage from "../src/Usage.ts"
import type { Run } from "./run.ts"

const url = process.env.TEST_POSTGRES_URL ?? "postgres://postgres@127.0.0.1:5432/test"

const window = { calendar: "month" } as const
const all: ReadonlyArray<Budget.BudgetOptions> = [
  { name: "all", limit: 1_000_000, window },
  { name: "tenants", per: "tenant", limit: 1_000_000, window },
  { name: "users", per: "user", limit: 1_000_000, window: { rolling: "1 day" } }
]

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  messages: [{ role: "user" as const, content: "What is the difference between a policy and a mechanism?" }]
}
const estimate = Estimate.make(request)
const outcome = Attempt.Outcome.Completed({
  usage: Usage.make({ inputTokens: 20, outputTokens: 300 }),
  limits: undefined,
  model: request.model,
  requestId: undefined,
  stopReason: "end_turn"
})

const plain = ClaudeTest.attempt({ request, estimate, key: null })

let calls = 0

/** An attempt, admitted and settled. */
const once = Effect.suspend(() => {
  const number = calls++
  const attempt: Attempt.MessageAttempt = {
    ...plain,
    context: { ...plain.context, user: `user-${number % 1_000}`, tenant: `tenant-${number % 50}` }
  }
  const use = Effect.sync(() => {
    attempt.outcome = outcome
  })
  return Effect.flatMap(Budget.Budget, (budget) => Attempt.guard(budget, attempt, use))
})

const runtimeOf = (store: Layer.Layer<Budget.Store, unknown>, budgets: ReadonlyArray<Budget.BudgetOptions>) =>
  ManagedRuntime.make(
    Budget.layerNoDeps({ budgets, timeout: "30 seconds" }).pipe(
      Layer.provide([PriceBook.layer(), store])
    )
  )

const median = (values: ReadonlyArray<number>): number => [...values].sort((a, b) => a - b)[values.length >> 1]!

const inDatabase = (client: Layer.Layer<SqlClient.SqlClient, unknown>, options?: BudgetSql.StoreOptions) =>
  BudgetSql.layerStore(options).pipe(Layer.provide(Layer.fresh(client)))

const postgres = (statement: string) =>
  Effect.runPromiseExit(
    Effect.flatMap(PgClient.PgClient, (sql) => sql.unsafe(statement)).pipe(
      Effect.provide(PgClient.layer({ url: Redacted.make(url) }))
    )
  )

const rounds = 7

export const run: Run = async (report) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-claude-bench-"))
  const schema = `bench_${process.pid}`
  const hasPostgres = Exit.isSuccess(await postgres(`CREATE SCHEMA ${schema}`))
  const pg = PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })
  const stores = [
    { name: "memory", store: () => Budget.layerStoreMemory(), count: 50_000 },
    {
      name: "sqlite",
      store: (n: number) => inDatabase(Sqlite.layer({ filename: join(folder, `${n}.db`) })),
      count: 4_000
    },
    ...(hasPostgres
      ? [{ name: "postgres", store: (n: number) => inDatabase(pg, { schema, prefix: `b${n}_` }), count: 4_000 }]
      : [])
  ]
  try {
    for (const { count, name, store } of stores) {
      for (const budgets of [1, 3]) {
        const runtime = runtimeOf(store(budgets), all.slice(0, budgets))
        const rates: Array<number> = []
        for (let round = 0; round <= rounds; round++) {
          const began = performance.now()
          await runtime.runPromise(Effect.replicateEffect(once, count, { concurrency: 64, discard: true }))
          if (round > 0) rates.push(count / (performance.now() - began) * 1e3)
        }
        await runtime.dispose()
        report({
          metric: "admissions_per_second",
          case: `store=${name} budgets=${budgets} c=64`,
          value: Math.round(median(rates)),
          unit: "1/s",
          peer: "effect-claude",
          n: rounds * count
        })
      }
    }
    for (const budgets of [1, 3]) {
      const runtime = runtimeOf(Budget.layerStoreMemory(), all.slice(0, budgets))
      const costs: Array<number> = []
      const count = 100_000
      for (let round = 0; round <= rounds; round++) {
        const cpu = process.cpuUsage()
        await runtime.runPromise(Effect.replicateEffect(once, count, { discard: true }))
        const { system, user } = process.cpuUsage(cpu)
        if (round > 0) costs.push((user + system) / count)
      }
      await runtime.dispose()
      report({
        metric: "cpu_per_admission_us",
        case: `store=memory budgets=${budgets} c=1`,
        value: Math.round(median(costs) * 100) / 100,
        unit: "us",
        peer: "effect-claude",
        n: rounds * count
      })
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
    if (hasPostgres) await postgres(`DROP SCHEMA ${schema} CASCADE`)
  }
}
