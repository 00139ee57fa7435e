/**
 * The ledger and the bill of the simulated API, after thousands of calls among faults: in memory, SQLite and PostgreSQL. `AGREEMENT_CALLS=20000` is the
 * long run.
 */
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Context, Effect, Fiber, Layer, Random, Redacted, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import * as PriceBook from "effect-claude/PriceBook"
import * as Reconciliation from "effect-claude/Reconciliation"
import * as Sqlite from "effect-claude/Sqlite"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { settle } from "./utils/http.ts"
import * as TestPostgres from "./utils/postgres.ts"
import * as TestSqlite from "./utils/sqlite.ts"
import { isThorough } from "./utils/thorough.ts"

const calls = Number(process.env["AGREEMENT_CALLS"] ?? (isThorough ? 6_000 : 2_000))
const workers = 64

/** The cache reads of Sonnet 5.5 become cheaper at midnight, in the midst of the calls. */
const midnight = Date.parse("2026-10-07T00:00:00Z")
const start = midnight - calls * 7.5

const { Fault } = Simulator

const faults = [
  Fault.Status({ status: 429, headers: { "retry-after-ms": "100" } }),
  Fault.Status({ status: 500 }),
  Fault.Status({ status: 529 }),
  Fault.ResetBeforeHeaders(),
  Fault.ResetMidStream({ after: { events: 4 } }),
  Fault.ErrorEvent({ type: "overloaded_error", after: { events: 5 } }),
  Fault.Truncate({ after: { events: 4 } }),
  Fault.Garbage({ after: { events: 3 } })
].map((fault) => ({ fault, when: { probability: 0.012 } }))

const models = ["claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-4-6"]

const prefix = "The river carries stones and lamps and maps through quiet afternoons. ".repeat(80)

const requestOf = (n: number): Attempt.Request => ({
  model: models[n % models.length]!,
  max_tokens: 60,
  system: [{
    type: "text",
    text: prefix,
    cache_control: { type: "ephemeral", ttl: n % 3 === 0 ? "1h" : "5m" }
  }],
  messages: [{ role: "user", content: `Question ${n % 500} of ${n}?` }]
})

/** A call, a stream that is read to its end, one whose reader stops, and a call that is interrupted. */
const callOf = (n: number): Effect.Effect<unknown, unknown, ClaudeService.ClaudeService> => {
  const request = requestOf(n)
  if (n % 3 > 0) {
    return n % 17 === 0
      ? Effect.timeoutOption(ClaudeService.create(request), 150)
      : ClaudeService.create(request)
  }
  const stream = ClaudeService.stream(request)
  return Stream.runDrain(n % 15 === 0 ? Stream.take(stream, 4 + n % 5) : stream)
}

const ledgerOver = <E>(store: Layer.Layer<CostLedger.Store, E>) =>
  Effect.map(
    Layer.build(
      CostLedger.layerNoDeps({ maxPending: calls * 2, batchRows: 1_000, storeTimeout: "1 hour" }).pipe(
        Layer.provide([store, PriceBook.layer()])
      )
    ),
    Context.get(CostLedger.CostLedger)
  )

type Row = typeof CostLedger.Row.Type

/** What must hold between the rows of a ledger and the bill. */
const agree = (name: string, rows: ReadonlyArray<Row>, bill: Simulator.Bill, requests: number) => {
  assert.strictEqual(bill.dropped, 0)
  assert.strictEqual(rows.length, requests, `${name}: rows and requests`)
  assert.strictEqual(new Set(rows.map(({ attempt, callId }) => `${callId} ${attempt}`)).size, rows.length)

  const byRequest = Arr.groupBy(rows, ({ requestId = "" }) => requestId)
  const billed = new Map(bill.rows.map((row) => [row.requestId, row]))
  let exact = 0
  for (const row of bill.rows) {
    const found = byRequest[row.requestId] ?? []
    assert.isAtMost(found.length, 1, `${name}: ${row.requestId}`)
    const [one] = found
    if (one === undefined) continue
    assert.strictEqual(one.model, row.model)
    if (one.confidence !== "exact") continue
    exact++
    assert.strictEqual(one.nanoUsd, row.nanoUsd, `${name}: ${row.requestId}`)
  }
  assert.isAbove(exact, calls * 0.85)

  // What the API served and the ledger knows no id of was cut off before its head; what the ledger says costs nothing is not on the bill.
  const unnamed = bill.rows.filter(({ requestId }) => byRequest[requestId] === undefined)
  const headless = rows.filter(({ confidence, requestId }) => requestId === undefined && confidence !== "exact")
  assert.isAtMost(unnamed.length, headless.length)
  const free = rows.filter(({ billed }) => billed === "no")
  assert.isAbove(free.length, calls / 200)
  for (const { nanoUsd, requestId } of free) {
    assert.strictEqual(nanoUsd, 0)
    assert.isFalse(requestId !== undefined && billed.has(requestId))
  }
  for (const what of ["derived", "estimated"] as const) {
    assert.isAbove(rows.filter(({ confidence }) => confidence === what).length, calls / 200, `${name}: ${what}`)
  }
  for (const at of [start, midnight]) assert.isAbove(rows.filter((row) => row.at >= at).length, calls / 20)
  assert.isAbove(rows.filter(({ usage }) => usage.cacheReadTokens > 0).length, calls / 2)
  assert.isAbove(rows.filter(({ attempt }) => attempt > 1).length, calls / 40)
}

describe("the bill agrees with the ledger", () => {
  it.effect(
    "to the nano-dollar for everything exact, and has one row for each attempt that was served",
    () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(start)
        const simulator = yield* Simulator.Simulator
        const memory = yield* ledgerOver(CostLedger.layerStoreMemory({ maxRows: calls * 3, maxBytes: 1e9 }))
        const filename = yield* TestSqlite.filename
        const sqlite = yield* ledgerOver(CostLedgerSql.layerStore().pipe(Layer.provide(Sqlite.layer({ filename }))))
        const postgres = TestPostgres.isThere
          ? yield* ledgerOver(
            CostLedgerSql.layerStore({ prefix: yield* TestPostgres.prefix }).pipe(Layer.provide(TestPostgres.layer))
          )
          : undefined
        const ledgers = Object.entries({ memory, sqlite, postgres }).flatMap(([name, ledger]) =>
          ledger === undefined ? [] : [[name, ledger] as const]
        )
        const all = Attempt.all(memory, ...ledgers.slice(1).map(([, ledger]) => ledger))
        const claude = ClaudeService.layer({
          api: { fetch: simulator.fetch },
          keys: Redacted.make(Simulator.apiKey),
          retry: { base: 50, throttledBase: 50, budget: false },
          ledger: Layer.succeed(CostLedger.CostLedger, { ...memory, ...all })
        })
        let next = 0
        const worker = Effect.whileLoop({
          while: () => next < calls,
          body: () => Effect.exit(callOf(next++)),
          step: () => {}
        })
        const running = yield* Effect.forkChild(
          Effect.provide(Effect.all(Arr.makeBy(workers, () => worker), { concurrency: "unbounded" }), claude)
        )
        while (running.pollUnsafe() === undefined) {
          yield* TestClock.adjust("1 second")
          yield* settle
        }
        yield* Fiber.join(running)

        const bill = yield* simulator.bill
        const { total } = yield* simulator.requests
        const range = { from: 0, to: Infinity }
        for (const [name, ledger] of ledgers) {
          const rows = yield* TestClock.withLive(Effect.andThen(ledger.flush, Stream.runCollect(ledger.rows(range))))
          assert.deepStrictEqual(yield* ledger.status, {
            pendingRows: 0,
            lostRows: 0,
            evictedRows: 0,
            isDown: false
          })
          agree(name, rows, bill, total)
          const report = yield* ledger.report({ from: start })
          assert.strictEqual(report.total.attempts, rows.length)
          assert.strictEqual(report.total.nanoUsd, rows.reduce((sum, { nanoUsd }) => sum + (nanoUsd ?? 0), 0))

          // All the drift comes from rows that are not exact: against the bill of what the ledger knows exactly, it is their sum.
          const exact = new Set(rows.flatMap((row) => row.confidence === "exact" ? row.requestId ?? [] : []))
          const known = bill.rows.filter(({ requestId }) => exact.has(requestId))
          const { entries } = yield* ledger.reconcile(Reconciliation.fromServed(known), range)
          assert.isAbove(entries.length, models.length)
          for (const { categories, day, model, only, uncertainNanoUsd } of entries) {
            assert.isNull(only)
            assert.isAbove(uncertainNanoUsd, 0)
            assert.strictEqual(categories["nanoUsd"]?.drift, uncertainNanoUsd, `${name}: ${model} on ${day}`)
          }
        }
      }).pipe(
        Effect.scoped,
        Effect.provide(Simulator.layer({
          billRows: calls * 3,
          faults,
          latency: { firstToken: { median: 200, sigma: 0.4 }, perToken: 3 }
        })),
        Random.withSeed("agreement")
      ),
    300_000
  )
})
