/** What the stores say at the end, held against what the API counted. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import * as Budget from "../../src/Budget.ts"
import * as BudgetSql from "../../src/Budget/Sql.ts"
import * as CostLedger from "../../src/CostLedger.ts"
import * as CostLedgerSql from "../../src/CostLedger/Sql.ts"
import * as PriceBook from "../../src/PriceBook.ts"
import type { Bill } from "../../src/testing/Simulator.ts"
import { tightModel, tightUsd } from "./worker.ts"

export interface Audit {
  readonly postgres: string
  readonly bill: Bill
  /** When processes were killed. */
  readonly kills: ReadonlyArray<number>
  readonly secrets: ReadonlyArray<string>
  readonly book: {
    readonly note: (what: string, times: number) => void
    readonly holds: (invariant: string, isTrue: boolean, otherwise: () => string) => void
  }
}

/** How long before its end what a killed process had to write may have waited: as long as its database was away. */
const backlogMillis = 8_000

export const audit = ({ bill, book, kills, postgres, secrets }: Audit): Promise<void> =>
  Effect.gen(function*() {
    const sql = PgClient.layer({ url: Redacted.make(postgres) })
    const context = yield* Layer.build(
      Layer.mergeAll(
        CostLedgerSql.layer(),
        BudgetSql.layer({
          budgets: [
            { name: "all", limit: 1_000 },
            { name: "tight", limit: tightUsd, filter: { model: [tightModel] } }
          ],
          lease: "5 seconds"
        })
      ).pipe(Layer.provide(PriceBook.layer()), Layer.provideMerge(sql))
    )
    const ledger = Context.get(context, CostLedger.CostLedger)
    const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Number.MAX_SAFE_INTEGER }))
    const attempts = new Set(rows.map(({ attempt, callId }) => `${callId} ${attempt}`))
    book.holds("no row twice", attempts.size === rows.length, () => `${rows.length - attempts.size}`)

    const byRequest = new Map(rows.flatMap((row) => row.requestId === undefined ? [] : [[row.requestId, row]]))
    const unnamed = rows.length - byRequest.size
    let missing = 0
    let lost = 0
    let lostNanoUsd = 0
    let exact = 0
    for (const { at, nanoUsd = 0, requestId } of bill.rows) {
      const row = byRequest.get(requestId)
      if (row === undefined) {
        const isLost = kills.some((kill) => at > kill - backlogMillis && at <= kill)
        if (isLost) lost++
        else missing++
        lostNanoUsd += nanoUsd
      } else if (row.confidence === "exact") {
        exact++
        book.holds("the ledger is the bill", row.nanoUsd === nanoUsd, () => `${JSON.stringify(row)}, billed ${nanoUsd}`)
      }
    }
    // Where an answer broke before its headers, there is a row without its name.
    book.holds("every request has its row", missing <= unnamed, () =>
      `${missing} of ${bill.rows.length}, ${unnamed} unnamed`)
    book.note("rows of the ledger", rows.length)
    book.note("rows that are equal to the bill", exact)
    book.note("rows that killed processes did not get to write", lost)

    // Leases of killed processes lapse.
    yield* Effect.sleep("6 seconds")
    const ledgerNanoUsd = rows.reduce((sum, { nanoUsd }) =>
      sum + (nanoUsd ?? 0), 0)
    for (const state of yield* Context.get(context, Budget.Budget).snapshot) {
      book.holds("no lease is left", state.reservedNanoUsd === 0, () =>
        JSON.stringify(state))
      const limit = state.limitNanoUsd + state.overshotNanoUsd
      book.holds("budgets hold", state.spentNanoUsd <= limit, () => JSON.stringify(state))
      if (state.budget !== "all") continue
      const { lapsedNanoUsd, spentNanoUsd } = state
      book.holds("what is in the ledger is spent", spentNanoUsd >= ledgerNanoUsd, () =>
        `${ledgerNanoUsd} in the ledger, ${JSON.stringify(state)}`)
      const most = ledgerNanoUsd + lapsedNanoUsd + lostNanoUsd + kills.length * 1e7
      book.holds("no more is spent than that", spentNanoUsd <= most, () =>
        `${spentNanoUsd}, ${most}`)
    }

    const db = Context.get(context, SqlClient.SqlClient)
    const tables = yield* db<{ name: string }>`SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'`
    for (const { name } of tables) {
      const kept = yield* db<{ text: string }>`SELECT row_to_json(t)::text AS text FROM ${db(name)} t`
      const isClean = !kept.some(({ text }) =>
        secrets.some((secret) =>
          text.includes(secret)
        )
      )
      book.holds("no secret in PostgreSQL", isClean, () => name)
    }
  }).pipe(Effect.scoped, Effect.runPromise)
