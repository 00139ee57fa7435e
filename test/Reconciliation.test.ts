import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostReport from "effect-claude/CostReport"
import * as Reconciliation from "effect-claude/Reconciliation"
import { ledgerOver } from "./suites/CostLedgerStore.ts"
import { days, epoch, row } from "./utils/ledgerRows.ts"
import { asking } from "./utils/ledgerStore.ts"

const range = { from: epoch, to: epoch + days(2) }

const line = (more: Partial<Reconciliation.Line> = {}): Reconciliation.Line => ({
  day: "2026-10-24",
  model: "claude-sonnet-5-5",
  ...more
})

const reconciled = (rows: ReadonlyArray<Partial<CostLedger.Row>>, bill: ReadonlyArray<Reconciliation.Line>) =>
  Effect.scoped(Effect.gen(function*() {
    const store = Context.get(yield* Layer.build(CostLedger.layerStoreMemory()), CostLedger.Store)
    yield* asking(store).write(rows.map((one, index) => row({ callId: `call-${index}`, ...one })))
    return yield* (yield* ledgerOver(store)).reconcile(bill, range)
  }))

describe("Reconciliation", () => {
  it.effect("agrees with the same figures, however the bill splits them", () =>
    Effect.gen(function*() {
      const result = yield* reconciled([{}, {}], [
        line({ inputTokens: 150, outputTokens: 20, nanoUsd: 900_000 }),
        line({ inputTokens: 50, cacheReadTokens: 0 })
      ])
      assert.isTrue(result.agrees)
      assert.deepStrictEqual(result.drift, { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, nanoUsd: 0 })
      assert.strictEqual(result.entries.length, 1)
    }))

  it("takes a range without ends", () => {
    const bill = [line({ nanoUsd: 1 }), line({ day: "0001-01-01" }), line({ day: "9999-12-31" })]
    const { entries } = Reconciliation.compare([], bill, { from: -Infinity, to: Infinity })
    assert.strictEqual(entries.length, 3)
  })

  it.effect("shows the drift of each category, day and model, and how much of it was to be expected", () =>
    Effect.gen(function*() {
      const result = yield* reconciled(
        [{ nanoUsd: 100 }, { nanoUsd: 20, confidence: "derived" }, { nanoUsd: null }, {
          at: epoch + days(1),
          nanoUsd: 3
        }],
        [line({ nanoUsd: 110, inputTokens: 301 }), line({ day: "2026-10-25", nanoUsd: 5 })]
      )
      assert.isFalse(result.agrees)
      assert.deepStrictEqual(result.entries[0], {
        day: "2026-10-24",
        model: "claude-sonnet-5-5",
        only: null,
        categories: {
          inputTokens: { ledger: 300, bill: 301, drift: -1 },
          nanoUsd: { ledger: 120, bill: 110, drift: 10 }
        },
        uncertainNanoUsd: 20,
        unpriced: 1
      })
      assert.deepStrictEqual(result.drift, { inputTokens: -1, nanoUsd: 8 })
    }))

  it.effect("shows what only one side has, and leaves out what is of other days", () =>
    Effect.gen(function*() {
      const result = yield* reconciled(
        [{ model: "ours" }, { at: epoch - 1 }, { at: epoch + days(2) }],
        [line({ model: "theirs", nanoUsd: 7 }), line({ day: "2026-10-23" }), line({ day: "2026-10-26" })]
      )
      assert.deepStrictEqual(result.entries.map(({ model, only }) => [model, only]), [["ours", "ledger"], [
        "theirs",
        "bill"
      ]])
      assert.strictEqual(result.drift["nanoUsd"], 450_000 - 7)
      assert.isFalse(result.agrees)
    }))

  it.effect("survives JSON", () =>
    Effect.gen(function*() {
      const result = yield* reconciled([{}], [line({ nanoUsd: 7 })])
      const codec = Schema.toCodecJson(Reconciliation.Reconciliation)
      const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(codec)(result)))
      assert.deepStrictEqual(Schema.decodeUnknownSync(codec)(json), result)
    }))

  it.effect("reads CSV, whatever its line ends and order of columns", () =>
    Effect.gen(function*() {
      const text =
        "\uFEFFModel,ignored,USD,day,output_tokens\r\n\"a,\"\"b\",x,1.0000000019,2026-10-24,\r\n\nb,,-0.5,2026-10-24,7\r\nb,,,2026-10-24,1"
      assert.deepStrictEqual(yield* Reconciliation.fromCsv(text), [
        { day: "2026-10-24", model: "a,\"b", nanoUsd: 1_000_000_001 },
        { day: "2026-10-24", model: "b", nanoUsd: -500_000_000, outputTokens: 8 }
      ])
    }))

  it.effect("says what is wrong with a bill", () =>
    Effect.gen(function*() {
      const message = (text: string) => Effect.map(Effect.flip(Reconciliation.fromCsv(text)), ({ message }) => message)
      assert.include(yield* message("a,b\n"), "does not name the columns day and model")
      assert.include(yield* message("day,model,usd\n2026-10-24,m,1e3\n"), "record 1 has usd \"1e3\"")
      assert.include(yield* message("day,model,input_tokens\n2026-10-24,m,1.5\n"), "record 1 has input_tokens \"1.5\"")
      assert.include(yield* message("day,model\n24.10.2026,m\n"), "The bill cannot be parsed")
      const report = yield* Effect.flip(Reconciliation.fromUsageReport({ data: [{}] }))
      assert.include(report.message, "starting_at")
    }))

  it.effect.each([
    { name: "a quote inside a cell", text: "day,model,usd\n2026-10-24,m,5\"00\n", detail: "line 2" },
    { name: "text after a quoted cell", text: "day,model,usd\n2026-10-24,m,\"5\"00\n", detail: "line 2" },
    { name: "a quote that is never closed", text: "day,model,usd\n2026-10-24,\"m,5\n", detail: "line 2" },
    { name: "a thousands separator outside quotes", text: "day,model,usd\n2026-10-24,m,1,234.50\n", detail: "record 1" }
  ])("refuses CSV that it could misread: $name", ({ detail, text }) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Reconciliation.fromCsv(text))
      assert.strictEqual(error._tag, "BillFormatError")
      assert.include(error.detail, detail)
    }))

  it.effect("reads the usage report of the vendor", () =>
    Effect.gen(function*() {
      const bucket = (starting_at: string) => ({
        starting_at,
        ending_at: "",
        results: [{
          model: "m",
          uncached_input_tokens: 1,
          cache_creation: { ephemeral_1h_input_tokens: 2, ephemeral_5m_input_tokens: 3 },
          cache_read_input_tokens: 4,
          output_tokens: 5,
          server_tool_use: { web_search_requests: 6 }
        }]
      })
      const data = [bucket("2026-10-24T00:00:00Z"), bucket("2026-10-24T23:00:00Z"), bucket("2026-10-25T00:00:00Z")]
      const lines = yield* Reconciliation.fromUsageReport({ data, has_more: false, next_page: null })
      assert.deepStrictEqual(lines, [
        {
          day: "2026-10-24",
          model: "m",
          inputTokens: 2,
          outputTokens: 10,
          cacheReadTokens: 8,
          cacheWrite5mTokens: 6,
          cacheWrite1hTokens: 4,
          webSearchRequests: 12
        },
        {
          day: "2026-10-25",
          model: "m",
          inputTokens: 1,
          outputTokens: 5,
          cacheReadTokens: 4,
          cacheWrite5mTokens: 3,
          cacheWrite1hTokens: 2,
          webSearchRequests: 6
        }
      ])
    }))
})

describe("credits", () => {
  const at = Date.parse("2026-11-23T12:00:00Z")
  const figures = (nanoUsd: number) => ({ ...CostReport.nothing, attempts: 1, nanoUsd })
  const row = (nanoUsd: number | null, billed: "yes" | "no" | "unknown" = "unknown", model = "a") => ({
    at,
    model,
    nanoUsd,
    billed
  })
  const compared = (recorded: number, billed: number) =>
    Reconciliation.compare(
      [{ day: "2026-11-23", model: "a", figures: figures(recorded) }],
      [{ day: "2026-11-23", model: "a", nanoUsd: billed }],
      { from: at - 1, to: at + 1 }
    )

  it("share what is not on the bill among the rows in doubt, to the nano-dollar", () => {
    const rows = [row(100, "yes"), row(10), row(20), row(31), row(null), row(50, "unknown", "b"), row(7, "no")]
    const credited = Reconciliation.credits(compared(161, 111), rows)
    assert.deepStrictEqual(credited.map(({ nanoUsd, row }) => [row.nanoUsd, nanoUsd]), [[10, 8], [20, 17], [31, 25]])
    const all = Reconciliation.credits(compared(161, 0), rows)
    assert.deepStrictEqual(all.map(({ nanoUsd }) => nanoUsd), [10, 20, 31])
    assert.deepStrictEqual(Reconciliation.credits(compared(161, 161), rows), [])
    assert.deepStrictEqual(Reconciliation.credits(compared(161, 200), rows), [])
  })
})
