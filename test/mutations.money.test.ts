/** Bills, price files, ledger rows and queries of reports as nobody means them: a typed error, or figures that are right as far as they go. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Schema, Stream } from "effect"
import { PriceBook, Usage } from "effect-claude"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import * as CostReport from "effect-claude/CostReport"
import * as Reconciliation from "effect-claude/Reconciliation"
import * as Sqlite from "effect-claude/Sqlite"
import { SqlClient } from "effect/sql"
import { days, epoch, row } from "./utils/ledgerRows.ts"
import * as Mutate from "./utils/mutate.ts"
import * as Prices from "./utils/prices.ts"

const range = { from: epoch, to: epoch + days(3) }

/** The failure of an effect, which is of its own type; undefined where it succeeds. A defect is one here, too. */
const failure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E | undefined, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return undefined
    for (const reason of exit.cause.reasons) if (reason._tag !== "Fail") throw new Error(Cause.pretty(exit.cause))
    return Exit.isFailure(exit) ? Cause.squash(exit.cause) as E : undefined // it failed with it
  })

const isExact = (amount: unknown): boolean =>
  amount === undefined || typeof amount === "bigint" ? true : Number.isSafeInteger(amount)

const billJson = Schema.toCodecJson(Schema.Array(Reconciliation.Line))
const reconciliationJson = Schema.toCodecJson(Reconciliation.Reconciliation)

const recorded = [{
  day: "2026-10-24",
  model: "claude-sonnet-5-5",
  figures: { ...CostReport.nothing, nanoUsd: 450_000, inputTokens: 100 }
}]

/** A bill is refused with a reason, or it can be compared, and both survive JSON. */
const isBill = (bill: Effect.Effect<ReadonlyArray<Reconciliation.Line>, Reconciliation.BillFormatError>) =>
  Effect.gen(function*() {
    const exit = yield* Effect.exit(bill)
    if (Exit.isFailure(exit)) {
      const error = yield* failure(bill)
      assert.strictEqual(error?._tag, "BillFormatError")
      assert.isTrue((error?.message.length ?? 0) < 20_000)
      return
    }
    const lines = exit.value
    for (const { day, model, ...amounts } of lines) {
      assert.match(day, /^\d{4}-\d{2}-\d{2}$/)
      assert.isString(model)
      assert.isTrue(Object.values(amounts).every(isExact), JSON.stringify(amounts, (_, value) => String(value)))
    }
    assert.deepStrictEqual(Schema.decodeUnknownSync(billJson)(Schema.encodeSync(billJson)(lines)), lines)
    const compared = Reconciliation.compare(recorded, lines, range)
    Schema.decodeUnknownSync(reconciliationJson)(
      JSON.parse(JSON.stringify(Schema.encodeSync(reconciliationJson)(compared)))
    )
    Reconciliation.credits(compared, [row({ billed: "unknown" })])
  })

const csv = [
  "day,model,input_tokens,output_tokens,usd\n2026-10-24,claude-sonnet-5-5,100,10,0.00045\n2026-10-25,claude-opus-5-5,1,2,3.5\n",
  "\uFEFFModel,ignored,nano_usd,day\r\n\"a,\"\"b\",x,1000,2026-10-24\r\n\r\nb,,-5,2026-10-24\r\n",
  "day,model,cache_read_tokens,cache_write_5m_tokens,cache_write_1h_tokens,web_searches,usd\n2026-10-24,m,1,2,3,4,9007199.254740993"
]

const report = (result: object, next: string | null = null) => ({
  data: [{ starting_at: "2026-10-24T00:00:00Z", ending_at: "2026-10-25T00:00:00Z", results: [result, result] }],
  has_more: next !== null,
  next_page: next
})

const usage = {
  model: "claude-sonnet-5-5",
  uncached_input_tokens: 100,
  cache_creation: { ephemeral_1h_input_tokens: 2, ephemeral_5m_input_tokens: 3 },
  cache_read_input_tokens: 4,
  output_tokens: 10,
  server_tool_use: { web_search_requests: 6 }
}

const cost = { amount: "123.78912", currency: "USD", cost_type: "tokens", model: "claude-sonnet-5-5" }

const reports: ReadonlyArray<unknown> = [report(usage), report(cost), [report(usage, "page_2"), report(usage)]]

describe("mutations of", () => {
  it.effect("bills as CSV", () => Mutate.each(csv, Mutate.text, (text) => isBill(Reconciliation.fromCsv(text))))

  it.effect("usage and cost reports", () =>
    Mutate.each(
      reports,
      Mutate.json,
      (json) =>
        Effect.andThen(isBill(Reconciliation.fromUsageReport(json)), isBill(Reconciliation.fromCostReport(json)))
    ))

  it.effect("price files", () => {
    const files = [
      `{ "discount": 0.1, "prices": [{ "model": "my-model", "input": 1, "output": 5 }] }`,
      `{ "table": [], "prices": [{ "model": "claude-opus-5-5", "from": "2026-01-01", "until": "2027-01-01", "input": 3.6, "output": 18, "cacheRead": 0.18, "abovePromptTokens": 100000, "trust": "own", "source": "contract" }], "serviceTiers": { "priority": 0.8 }, "inferenceGeos": { "eu": 1.2 }, "defaultInferenceGeo": "eu", "maxWebSearches": 3 }`
    ]
    const tokens = {
      inputTokens: 1_000,
      outputTokens: 100,
      cacheReadTokens: 10,
      cacheWrite5mTokens: 5,
      cacheWrite1hTokens: 5
    }
    const isAmount = (nanoUsd: number | undefined) =>
      nanoUsd === undefined || (Number.isSafeInteger(nanoUsd) && nanoUsd >= 0)
    return Mutate.each(files, Mutate.jsonText, (text) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(PriceBook.fromJson(text))
        if (Exit.isFailure(exit)) return yield* Effect.asVoid(failure(PriceBook.fromJson(text)))
        const book = PriceBook.make(exit.value)
        for (const model of ["my-model", "claude-opus-5-5", "claude-sonnet-5-5"]) {
          const paid = book.cost({ model, usage: Usage.make(tokens), at: epoch })
          assert.isTrue(isAmount(paid?.nanoUsd), `${paid?.nanoUsd}`)
          const request = { model, max_tokens: 10, messages: [] }
          assert.isTrue(isAmount(book.ceiling(request, { inputTokens: 1_000, outputTokens: 100, at: epoch })))
        }
      }))
  })

  const queries: ReadonlyArray<unknown> = [
    { from: epoch, to: epoch + days(1), by: "model", where: { model: "claude-sonnet-5-5", tags: { team: "a" } } },
    { from: "2026-10-24", to: "2026-10-26", by: { tag: "team" }, zone: "Europe/Berlin" },
    { by: "hour", zone: "+02:00", where: { user: "ada", tenant: "acme", requestType: "chat", key: "key-1" } }
  ]

  /** Stored rows, and queries, of one ledger. */
  const inSqlite = Layer.provideMerge(
    CostLedgerSql.layer().pipe(Layer.provide(Prices.layer)),
    Layer.fresh(Sqlite.layer({ filename: ":memory:" }))
  )

  it.effect("rows that a database holds", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const ledger = yield* CostLedger.CostLedger
      const columns = (yield* sql<{ name: string }>`SELECT name FROM pragma_table_info('effect_claude_ledger')`)
        .map(({ name }) => name).filter((name) => !["id", "at"].includes(name))
      let calls = 0
      const values: ReadonlyArray<unknown> = ["text", 1, 450_000, "{\"team\":\"a\"}", "[]", null]
      yield* Mutate.each(values, Mutate.json, (value) =>
        Effect.gen(function*() {
          yield* sql`DELETE FROM effect_claude_ledger`
          yield* sql`INSERT INTO effect_claude_ledger ${
            sql.insert({
              call_id: `call-${calls}`,
              attempt: 1,
              at: epoch,
              latency_millis: 5,
              model: "m",
              input_tokens: 1,
              output_tokens: 1,
              cache_read_tokens: 0,
              cache_write_5m_tokens: 0,
              cache_write_1h_tokens: 0,
              thinking_tokens: 0,
              web_search_requests: 0,
              nano_usd: 5,
              confidence: "exact",
              outcome: "completed",
              billed: "yes"
            })
          }`
          const column = columns[calls++ % columns.length] ?? ""
          const plain = typeof value === "boolean"
            ? Number(value)
            : typeof value === "object"
            ? JSON.stringify(value)
            : value
          yield* Effect.ignore(
            sql.unsafe(`UPDATE effect_claude_ledger SET "${column}" = ?`, [plain as string | number]).raw
          )
          const read = yield* failure(Stream.runDrain(ledger.rows(range)))
          assert.isTrue(read === undefined || read._tag === "CostLedgerError")
          for (const by of [undefined, "model", "user", { tag: "team" }] as const) {
            const reported = yield* failure(ledger.report({ ...range, by }))
            assert.isTrue(reported === undefined || reported._tag === "CostLedgerError")
          }
        }), 300)
    }).pipe(Effect.provide(inSqlite)))

  it.effect("queries of reports", () =>
    Effect.gen(function*() {
      const ledger = yield* CostLedger.CostLedger
      const store = yield* CostLedger.Store
      yield* store.step({
        _tag: "Write",
        rows: [row(), row({ callId: "call-2", tags: { team: "a" }, at: epoch + days(1) })]
      })
      yield* Mutate.each(queries, Mutate.json, (query) =>
        Effect.gen(function*() {
          const asked = (typeof query === "object" && query !== null ? query : {}) as CostReport.Query // as JSON may be
          const error = yield* failure(ledger.report(asked))
          if (error === undefined) {
            const report = yield* ledger.report(asked)
            assert.isTrue(Number.isSafeInteger(report.total.nanoUsd))
            CostReport.toTable(report)
            CostReport.toCsv(report)
            CostReport.toJson(report)
          } else assert.strictEqual(error._tag, "CostLedgerError")
        }))
    }).pipe(Effect.provide(
      CostLedger.layerNoDeps().pipe(Layer.provideMerge(CostLedger.layerStoreMemory()), Layer.provide(Prices.layer))
    )))
})
