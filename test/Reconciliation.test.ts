import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import { Usage } from "effect-claude"
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
        { day: "2026-10-24", model: "a,\"b", nanoUsd: 1_000_000_002 },
        { day: "2026-10-24", model: "b", nanoUsd: -500_000_000, outputTokens: 8 }
      ])
    }))

  it.effect("says what is wrong with a bill", () =>
    Effect.gen(function*() {
      const message = (text: string) => Effect.map(Effect.flip(Reconciliation.fromCsv(text)), ({ message }) => message)
      assert.include(yield* message("a,b\n"), "does not name the columns day and model")
      assert.include(yield* message("day,model,usd\n2026-10-24,m,1e3\n"), "line 2, column 3: usd \"1e3\" is no amount")
      assert.include(
        yield* message("day,model,input_tokens\n2026-10-24,m,1.5\n"),
        "line 2, column 3: input_tokens \"1.5\" is no amount"
      )
      assert.include(yield* message("day,model\n24.10.2026,m\n"), "The bill cannot be parsed")
      const report = yield* Effect.flip(Reconciliation.fromUsageReport({ data: [{}] }))
      assert.include(report.message, "starting_at")
    }))

  it.effect.each([
    { name: "a quote inside a cell", text: "day,model,usd\n2026-10-24,m,5\"00\n", at: [2, 3] },
    { name: "a quote inside a name", text: "day,model,usd\n2026-10-24,cl\"aude,5\n", at: [2, 2] },
    { name: "text after a quoted cell", text: "day,model,usd\n2026-10-24,m,\"5\"00\n", at: [2, 3] },
    { name: "a quote that is never closed", text: "day,model,usd\n2026-10-24,\"m,5\n", at: [2, 2] },
    { name: "a thousands separator outside quotes", text: "day,model,usd\n2026-10-24,m,1,234.50\n", at: [2, 4] },
    { name: "a thousands separator", text: "day,model,usd\n2026-10-24,m,\"1,234.50\"\n", at: [2, 3] },
    { name: "a currency", text: "day,model,usd\n2026-10-24,m,$5\n", at: [2, 3] },
    { name: "a formula", text: "day,model,usd\n2026-10-24,m,=1+1\n", at: [2, 3] },
    {
      name: "an amount behind cells of several lines",
      text: "model,x,day,usd\r\n\r\n\"a\r\nb\",\"\n\",2026-10-24,1\r\nm,,2026-10-24,x",
      at: [6, 4]
    },
    { name: "a day that does not exist", text: "day,model\n2026-10-24,m\n2026-02-30,m\n", at: [3, 1] },
    { name: "no model", text: "model,day,usd\n,2026-10-24,1\n", at: [2, 1] },
    { name: "a column twice", text: "day,model,usd,USD\n2026-10-24,m,1,2\n", at: [1, 4] },
    { name: "dollars twice", text: "day,model,usd,nano_usd\n2026-10-24,m,1,2\n", at: [1, undefined] },
    { name: "another separator", text: "day;model;usd\n2026-10-24;m;1\n", at: [1, undefined] },
    { name: "a cell too few", text: "day,model,usd\n2026-10-24,m,1\n2026-10-24,m\n", at: [3, 3] },
    { name: "a cell too many", text: "day,model,usd\n2026-10-24,m,1,\n", at: [2, 4] },
    { name: "a single quote that opens", text: "day,model,usd\n2026-10-24,\"m\"x,1\n", at: [2, 2] },
    { name: "a quote behind a blank", text: "day,model,usd\n2026-10-24,m, \"1\"\n", at: [2, 3] },
    { name: "an unclosed quote in the header", text: "day,\"model,usd\n2026-10-24,m,1\n", at: [1, 2] },
    { name: "an exponent", text: "day,model,usd\n2026-10-24,m,5e-7\n", at: [2, 3] },
    { name: "no amount", text: "day,model,cost\n2026-10-24,m,5\n", at: [1, undefined] },
    { name: "nothing at all", text: "", at: [1, undefined] }
  ])(
    "refuses CSV that it could misread, and says where: $name",
    ({ at: [line, column], text }) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Reconciliation.fromCsv(text))
        assert.strictEqual(error._tag, "BillFormatError")
        assert.deepStrictEqual([error.line, error.column], [line, column])
        assert.include(error.message, `line ${line}`)
      })
  )

  it.effect("reads amounts beyond 9 million dollars to the nano-dollar, and adds up what is less than one", () =>
    Effect.gen(function*() {
      const [csv] = yield* Reconciliation.fromCsv(
        "day,model,usd\n2026-10-24,m,9007199.254740993\n2026-10-24,m,0.0000000004\n2026-10-24,m,0.0000000002"
      )
      assert.strictEqual(csv?.nanoUsd, 9_007_199_254_740_994n)
      const nano = yield* Reconciliation.fromCsv("day,model,nano_usd\n2026-10-24,m,9007199254740993\n")
      assert.strictEqual(nano[0]?.nanoUsd, 9_007_199_254_740_993n)
      assert.strictEqual(
        (yield* Reconciliation.fromCsv("day,model,nano_usd\n2026-10-24,m,1234567890123"))[0]?.nanoUsd,
        1_234_567_890_123
      )
      const { agrees, drift } = Reconciliation.compare([], [csv!, line({ nanoUsd: 1 })], range)
      assert.deepStrictEqual([agrees, drift], [false, { nanoUsd: -9_007_199_254_740_995n }])
      const codec = Schema.toCodecJson(Reconciliation.Line)
      const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(codec)(csv!)))
      assert.deepStrictEqual(Schema.decodeUnknownSync(codec)(json), csv)
    }))

  const costs = (...results: ReadonlyArray<unknown>) => ({
    data: [{ starting_at: "2026-10-24T00:00:00Z", ending_at: "2026-10-25T00:00:00Z", results }],
    has_more: false,
    next_page: null
  })

  it.effect("reads the cost report of the vendor, which is in cents, also where a usage report was meant", () =>
    Effect.gen(function*() {
      const report = costs(
        { amount: "123.4500001", currency: "USD", cost_type: "tokens", model: "m", token_type: "output_tokens" },
        { amount: "950000000.00000055", currency: "USD", cost_type: "tokens", model: "m" },
        { amount: "1", currency: "USD", cost_type: "web_search", model: null }
      )
      const lines = [
        { day: "2026-10-24", model: "m", nanoUsd: 9_500_001_234_500_007n },
        { day: "2026-10-24", model: "", nanoUsd: 10_000_000 }
      ]
      assert.deepStrictEqual(yield* Reconciliation.fromCostReport(report), lines)
      assert.deepStrictEqual(yield* Reconciliation.fromUsageReport(report), lines)
    }))

  it.effect.each([
    { name: "another currency", report: costs({ amount: "1", currency: "EUR", model: "m" }), detail: "EUR" },
    {
      name: "no number",
      report: costs({ amount: "1e3", model: "m" }),
      detail: "\"1e3\" is no decimal number of cents"
    },
    { name: "not by model", report: costs({ amount: "1", currency: "USD", model: null }), detail: "group_by" },
    { name: "a usage report", report: costs({ model: "m", output_tokens: 1 }), detail: "amount" },
    {
      name: "a week",
      report: { data: [{ ...costs({ amount: "1", model: "m" }).data[0], ending_at: "2026-10-31T00:00:00Z" }] },
      detail: "bucket_width=1d"
    },
    {
      name: "days of elsewhere",
      report: { data: [{ starting_at: "2026-10-24T12:00:00Z", ending_at: "2026-10-25T12:00:00Z", results: [] }] },
      detail: "bucket_width=1d"
    },
    {
      name: "a page that is named",
      report: { ...costs({ amount: "1", model: "m" }), next_page: "page_2" },
      detail: "page=page_2"
    },
    { name: "no pages", report: [], detail: "no pages" },
    { name: "no date", report: { data: [{ starting_at: "yesterday", results: [] }] }, detail: "yesterday" }
  ])("refuses a cost report that it could misread: $name", ({ detail, report }) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Reconciliation.fromCostReport(report))
      assert.include(error.message, detail)
    }))

  it.effect("refuses a usage report whose results have no tokens", () =>
    Effect.gen(function*() {
      for (
        const result of [{ model: "m" }, { model: "m", cost_usd: "5" }, { model: "m", n_context_tokens: 5 }, {
          model: "m",
          output_tokens: null
        }]
      ) {
        const error = yield* Effect.flip(Reconciliation.fromUsageReport(costs(result)))
        assert.include(error.message, "no tokens")
      }
    }))

  it.effect("compares no tokens that a usage report leaves out", () =>
    Effect.gen(function*() {
      const lines = yield* Reconciliation.fromUsageReport(costs({ model: "claude-sonnet-5-5", output_tokens: 10 }))
      const { agrees, drift } = yield* reconciled([{}], lines)
      assert.deepStrictEqual([agrees, drift], [true, { outputTokens: 0 }])
    }))

  it.effect("reads instants of any zone", () =>
    Effect.gen(function*() {
      const data = ["2026-10-25T00:00:00+02:00", "2026-10-24T23:00:00-02:00", "2026-10-24"].map((starting_at) => ({
        starting_at,
        results: [{ model: "m", output_tokens: 1 }]
      }))
      const lines = yield* Reconciliation.fromUsageReport({ data })
      assert.deepStrictEqual(lines.map(({ day, outputTokens }) => [day, outputTokens]), [["2026-10-24", 2], [
        "2026-10-25",
        1
      ]])
    }))

  it.effect("takes all pages of a report, and no part of them for the whole", () =>
    Effect.gen(function*() {
      const page = (day: string, next: string | null) => ({
        data: [{ starting_at: `${day}T00:00:00Z`, results: [{ model: "m", output_tokens: 1 }] }],
        has_more: next !== null,
        next_page: next
      })
      const error = yield* Effect.flip(Reconciliation.fromUsageReport(page("2026-10-24", "page_2")))
      assert.include(error.message, "read the next one (page=page_2) too")
      assert.include(
        (yield* Effect.flip(Reconciliation.fromUsageReport([page("2026-10-24", null), page("2026-10-25", "x")])))
          .message,
        "page=x"
      )
      const lines = yield* Reconciliation.fromUsageReport([page("2026-10-24", "page_2"), page("2026-10-25", null)])
      assert.deepStrictEqual(lines.map(({ day, outputTokens }) => [day, outputTokens]), [["2026-10-24", 1], [
        "2026-10-25",
        1
      ]])
    }))

  it.effect("agrees where a model that the bill lacks was not charged", () =>
    Effect.gen(function*() {
      const free = {
        model: "claude-opus-5-5",
        usage: Usage.zero,
        nanoUsd: 0,
        outcome: "failed",
        error: "ServerError",
        billed: "no"
      } as const
      assert.isTrue(
        (yield* reconciled([{}, free], [line({ inputTokens: 100, outputTokens: 10, nanoUsd: 450_000 })])).agrees
      )
      assert.isTrue((yield* reconciled([free], [])).agrees)
      assert.isFalse((yield* reconciled([{}, { ...free, nanoUsd: 1 }], [line({ nanoUsd: 450_000 })])).agrees)
      assert.isFalse((yield* reconciled([{}, { ...free, nanoUsd: null }], [line({ nanoUsd: 450_000 })])).agrees)
    }))

  it.effect("compares what a bill states: dollars alone, or tokens alone", () =>
    Effect.gen(function*() {
      const other = { model: "claude-opus-5-5", nanoUsd: 7 }
      const dollars = yield* reconciled([{}, other], [
        line({ nanoUsd: 450_000 }),
        line({ model: "claude-fable-5", nanoUsd: 1 })
      ])
      assert.deepStrictEqual(dollars.drift, { nanoUsd: 6 })
      assert.deepStrictEqual(dollars.entries.map(({ categories }) => Object.keys(categories)), [["nanoUsd"], [
        "nanoUsd"
      ], ["nanoUsd"]])
      const tokens = yield* reconciled([{}, other], [line({ outputTokens: 10 })])
      assert.deepStrictEqual(tokens.drift, { outputTokens: 10 })
    }))

  it.effect("knows a model by its alias, on either side", () =>
    Effect.gen(function*() {
      const id = "claude-haiku-4-5-20251001"
      const rows = [{ model: id }, { model: id }]
      const result = yield* reconciled(rows, [
        line({ model: "claude-haiku-4-5", nanoUsd: 450_000 }),
        line({ model: id, nanoUsd: 450_000 })
      ])
      assert.isTrue(result.agrees)
      assert.deepStrictEqual(result.entries.map(({ model }) => model), [id])
      const figures = { ...CostReport.nothing, nanoUsd: 5 }
      const recorded = [{ day: "2026-10-24", model: "claude-haiku-4-5", figures }, {
        day: "2026-10-24",
        model: id,
        figures
      }]
      assert.isTrue(Reconciliation.compare(recorded, [line({ model: id, nanoUsd: 10 })], range).agrees)
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
