/**
 * A process of its own that makes calls under the whole service, its ledger and its budget in one SQLite file:
 * `node spendingProcess.ts URL FILE NUMBERS`. It prints the number of each call that is answered, and `done` when its layer has ended.
 */
import { Effect, Layer, Redacted } from "effect"
import { fileURLToPath } from "node:url"
import * as Budget from "../../src/Budget.ts"
import * as BudgetSql from "../../src/Budget/Sql.ts"
import * as CallContext from "../../src/CallContext.ts"
import * as ClaudeService from "../../src/ClaudeService.ts"
import * as CostLedger from "../../src/CostLedger.ts"
import * as CostLedgerSql from "../../src/CostLedger/Sql.ts"
import * as PriceBook from "../../src/PriceBook.ts"
import * as Sqlite from "../../src/Sqlite.ts"
import * as Simulator from "../../src/testing/Simulator.ts"

export const path = fileURLToPath(import.meta.url)

/** How long a row waits to be written at most, and how long a lease outlives its process. */
export const flushMillis = 100
export const leaseMillis = 1_000

/** Ledger and budget in one file, as all processes have them. */
export const accounts = (filename: string) =>
  Layer.mergeAll(
    CostLedger.layerNoDeps({ flushEvery: flushMillis }),
    Budget.layerNoDeps({ budgets: [{ name: "all", limit: 100 }], lease: leaseMillis, timeout: "30 seconds" })
  ).pipe(
    Layer.provide([PriceBook.layer(), CostLedgerSql.layerStore(), BudgetSql.layerStore()]),
    Layer.provide(Sqlite.layer({ filename }))
  )

const layer = (url: string, filename: string) => {
  const both = accounts(filename)
  return ClaudeService.layer({
    api: { baseUrl: url },
    keys: Redacted.make(Simulator.apiKey),
    retry: { base: 10 },
    budget: both,
    ledger: both
  })
}

const call = (n: number) =>
  ClaudeService.create({
    model: "claude-sonnet-5-5",
    max_tokens: 50,
    messages: [{ role: "user", content: `Question ${n}?` }]
  }).pipe(
    CallContext.annotate({ tags: { n: String(n) } }),
    Effect.andThen(Effect.sync(() => console.log(n)))
  )

if (process.argv[1] === path) {
  const [, , url = "", filename = "", numbers = "[]"] = process.argv
  await Effect.runPromise(
    Effect.forEach(JSON.parse(numbers) as ReadonlyArray<number>, call, { concurrency: 16, discard: true }).pipe(
      Effect.provide(layer(url, filename))
    )
  )
  console.log("done")
}
