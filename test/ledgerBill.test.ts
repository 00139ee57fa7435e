/** The ledger beside the simulator's bill of the same traffic. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { Attempt, ClaudeApi, PriceBook } from "effect-claude"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostLedgerSql from "effect-claude/CostLedger/Sql"
import * as Reconciliation from "effect-claude/Reconciliation"
import * as Simulator from "effect-claude/testing/Simulator"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { all } from "./suites/CostLedgerStore.ts"
import { toSend } from "./utils/attempts.ts"
import * as TestPostgres from "./utils/postgres.ts"
import * as TestSqlite from "./utils/sqlite.ts"

const models = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-4-5"]

const { Fault } = Simulator

const faults = [
  Fault.Status({ status: 429 }),
  Fault.Status({ status: 500 }),
  Fault.Status({ status: 529 }),
  Fault.Refused(),
  Fault.ResetBeforeHeaders(),
  Fault.ResetMidStream({ after: { events: 4 } }),
  Fault.ErrorEvent({ type: "overloaded_error", after: { events: 4 } }),
  Fault.Truncate({ after: { events: 4 } })
]

const requestOf = (n: number): Attempt.Request => ({
  model: models[(n >> 2) % models.length] ?? "",
  max_tokens: 200,
  // Every other prompt is long enough for a cache, and was seen before.
  system: n % 2 === 0 ? "short" : `${"a long prompt ".repeat(3_000)}${n % 7}`,
  messages: [{ role: "user", content: `Question ${n}` }],
  ...(n % 3 === 0 ? {} : { cache_control: { type: "ephemeral", ttl: n % 5 === 0 ? "1h" : "5m" } })
})

/** A call or a stream, some of them read in part, with up to three attempts. */
const callOf = Effect.fnUntraced(function*(api: ClaudeApi.ClaudeApi["Service"], n: number) {
  const ledger = yield* CostLedger.CostLedger
  const request = requestOf(n)
  for (let number = 1; number <= 3; number++) {
    const attempt = toSend(request, `call-${n}`, number)
    const stream = Attempt.guardStream(ledger, attempt, api.stream(attempt))
    const sent = n % 4 === 0
      ? Stream.runDrain(stream)
      : n % 4 === 1
      ? Stream.runDrain(Stream.take(stream, n % 9))
      : Effect.asVoid(Attempt.guard(ledger, attempt, api.send(attempt)))
    if (yield* Effect.match(sent, { onFailure: () => false, onSuccess: () => true })) return
  }
})

const calls = 600

const agrees = Effect.gen(function*() {
  const { bill, fetch } = yield* Simulator.Simulator
  const ledger = yield* CostLedger.CostLedger
  const api = ClaudeApi.make({ fetch })
  for (const [from, day] of [[0, "2026-11-29T23:00Z"], [calls / 2, "2026-11-30T01:00Z"]] as const) {
    yield* TestClock.setTime(Date.parse(day))
    const some = Array.from({ length: calls / 2 }, (_, index) => callOf(api, from + index))
    yield* Effect.all(some, { concurrency: 16, discard: true })
  }
  yield* ledger.flush
  const rows = yield* Stream.runCollect(ledger.rows(all))
  const served = (yield* bill).rows

  assert.strictEqual(new Set(rows.map(({ attempt, callId }) => `${callId} ${attempt}`)).size, rows.length)
  const priced = new Map(served.map((row) => [row.requestId, row]))
  const whole = rows.filter(({ outcome }) => outcome === "completed")
  for (const row of whole) assert.strictEqual(row.nanoUsd, priced.get(row.requestId ?? "")?.nanoUsd)
  assert.strictEqual(new Set(whole.map((row) => row.requestId)).size, whole.length)
  assert.strictEqual(whole.length, served.filter(({ outcome }) => outcome === "complete").length)
  const cut = rows.filter(({ billed, outcome }) => outcome !== "completed" && billed !== "no")
  assert.isAtLeast(cut.length, served.length - whole.length)
  assert.isTrue(cut.every(({ confidence }) => confidence !== "exact"))
  assert.isAbove(cut.length, 50)

  const complete = served.filter(({ outcome }) => outcome === "complete")
  const range = { from: Date.parse("2026-11-29"), to: Date.parse("2026-12-01") }
  const { entries } = yield* ledger.reconcile(Reconciliation.fromServed(complete), range)
  assert.strictEqual(entries.length, 2 * models.length)
  for (const { categories, only, uncertainNanoUsd } of entries) {
    assert.isNull(only)
    assert.strictEqual(categories["nanoUsd"]?.drift, uncertainNanoUsd)
  }
  const everything = yield* ledger.reconcile(Reconciliation.fromServed(served), range)
  assert.isTrue(everything.entries.every(({ only }) => only === null))
})

/** A store across a network knows no virtual time. */
const inRealTime = Effect.map(CostLedger.Store, (store) =>
  CostLedger.Store.of({
    write: (rows) => TestClock.withLive(store.write(rows)),
    aggregate: (...asked) => TestClock.withLive(store.aggregate(...asked)),
    page: (...asked) => TestClock.withLive(store.page(...asked)),
    span: TestClock.withLive(store.span),
    trim: (...asked) => TestClock.withLive(store.trim(...asked))
  }))

const agreesOn = <E>(store: Layer.Layer<CostLedger.Store, E>) =>
  agrees.pipe(
    Effect.provide(
      CostLedger.layerNoDeps().pipe(Layer.provide([
        PriceBook.layer(),
        Layer.effect(CostLedger.Store, inRealTime).pipe(Layer.provide(Layer.fresh(store)))
      ]))
    ),
    Effect.provide(Simulator.layer({
      faults: faults.map((fault) => ({ fault, when: { probability: 0.15 / faults.length } }))
    }))
  )

describe("the ledger and the bill of the simulator", () => {
  it.effect("agree on memory", () => agreesOn(CostLedger.layerStoreMemory()), 60_000)

  it.effect("agree in a SQLite file", () =>
    Effect.gen(function*() {
      const sql = yield* TestSqlite.connection({ filename: yield* TestSqlite.filename })
      yield* agreesOn(CostLedgerSql.layer().pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql))))
    }).pipe(Effect.scoped), 60_000)

  it.effect.skipIf(!TestPostgres.isThere)("agree in PostgreSQL", () =>
    Effect.gen(function*() {
      const prefix = yield* TestPostgres.prefix
      const sql = yield* TestClock.withLive(TestPostgres.connection)
      yield* agreesOn(CostLedgerSql.layer({ prefix }).pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql))))
    }).pipe(Effect.scoped), 60_000)
})
