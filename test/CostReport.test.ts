import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Effect, Layer, Schema } from "effect"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostReport from "effect-claude/CostReport"
import * as Slices from "../src/CostLedger/internal/slices.ts"
import { ledgerOver } from "./suites/CostLedgerStore.ts"
import { days, epoch, row } from "./utils/ledgerRows.ts"
import { asking } from "./utils/ledgerStore.ts"

/** The report of rows that one call after another wrote. */
const reportOf = (rows: ReadonlyArray<Partial<CostLedger.Row>>, query: CostReport.Query = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const store = Context.get(yield* Layer.build(CostLedger.layerStoreMemory()), CostLedger.Store)
    yield* asking(store).write(rows.map((one, index) => row({ callId: `call-${index}`, ...one })))
    return yield* (yield* ledgerOver(store)).report({ from: epoch, to: epoch + days(4), ...query })
  }))

const keys = (report: CostReport.Report) => report.groups.map(({ key }) => key)

describe("CostReport", () => {
  it.effect("adds up money by trust, by how attempts ended, and what retries cost", () =>
    Effect.gen(function*() {
      const { total } = yield* reportOf([
        { callId: "a", nanoUsd: 1, outcome: "failed", confidence: "derived" },
        { callId: "a", attempt: 2, nanoUsd: 10, outcome: "failed", confidence: "estimated", billed: "unknown" },
        { callId: "a", attempt: 3, nanoUsd: 100, cacheSavedNanoUsd: -3 },
        {
          callId: "b",
          nanoUsd: 1_000,
          outcome: "aborted",
          billed: "unknown",
          confidence: "derived",
          optimizerSavedNanoUsd: 7
        },
        { callId: "c", nanoUsd: null, cacheSavedNanoUsd: null }
      ])
      assert.deepInclude(total, {
        attempts: 5,
        calls: 3,
        completed: 2,
        failed: 2,
        aborted: 1,
        unpriced: 1,
        nanoUsd: 1_111,
        exactNanoUsd: 100,
        derivedNanoUsd: 1_001,
        estimatedNanoUsd: 10,
        retriesNanoUsd: 110,
        failedNanoUsd: 11,
        abortedNanoUsd: 1_000,
        doubtfulNanoUsd: 1_010,
        cacheSavedNanoUsd: -3,
        optimizerSavedNanoUsd: 7
      })
      assert.strictEqual(CostReport.averageNanoUsd(total), 1_111 / 3)
      assert.isUndefined(CostReport.averageNanoUsd(CostReport.nothing))
    }))

  it.effect("puts the dearest first, and what has no name under null", () =>
    Effect.gen(function*() {
      const rows = [{ user: "a", nanoUsd: 1 }, { nanoUsd: 5 }, { user: "b", nanoUsd: 2 }, { user: "b", nanoUsd: 2 }]
      const report = yield* reportOf(rows, { by: "user" })
      assert.deepStrictEqual(report.groups.map(({ key, nanoUsd }) => [key, nanoUsd]), [[null, 5], ["b", 4], ["a", 1]])
      assert.strictEqual(report.by, "user")
      assert.strictEqual((yield* reportOf([], { by: { tag: "team" } })).by, "tag team")
    }))

  it.effect("has the days of the zone, in order", () =>
    Effect.gen(function*() {
      const rows = [{ at: epoch + days(1) }, { at: epoch + days(1) - 3_600_000 }, { at: epoch }]
      assert.deepStrictEqual(keys(yield* reportOf(rows, { by: "day" })), ["2026-10-24", "2026-10-25"])
      assert.deepStrictEqual(keys(yield* reportOf(rows, { by: "day", zone: "+02:00" })), ["2026-10-24", "2026-10-25"])
      assert.deepStrictEqual(keys(yield* reportOf(rows, { by: "day", zone: "America/New_York" })), [
        "2026-10-23",
        "2026-10-24"
      ])
    }))

  it.effect("tells the two hours apart that a clock shows twice", () =>
    Effect.gen(function*() {
      const change = Date.UTC(2026, 9, 25, 1)
      const rows = [{ at: change - 1 }, { at: change }, { at: change + 3_600_000 }]
      assert.deepStrictEqual(keys(yield* reportOf(rows, { by: "hour", zone: "Europe/Berlin" })), [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00"
      ])
      assert.deepStrictEqual(keys(yield* reportOf([{ at: change }], { by: "hour" })), ["2026-10-25T01:00Z"])
    }))

  it.effect("takes its range as dates, includes its start and not its end", () =>
    Effect.gen(function*() {
      const rows = [{ at: epoch - 1 }, { at: epoch }, { at: epoch + days(1) - 1 }, { at: epoch + days(1) }]
      const report = yield* reportOf(rows, { from: "2026-10-24", to: new Date(epoch + days(1)) })
      assert.strictEqual(report.total.attempts, 2)
      assert.deepStrictEqual([report.from, report.to], [epoch, epoch + days(1)])
    }))

  it.effect("refuses more hours than it can hold", () =>
    Effect.gen(function*() {
      const rows = [{ at: 0 }, { at: epoch }]
      const refused = yield* Effect.flip(reportOf(rows, { from: 0, by: "hour" }))
      assert.strictEqual(refused.message, "The report is too large to be exact. Ask for a shorter range.")
    }))

  it.effect("is a table for a terminal, which no text in it can command", () =>
    Effect.gen(function*() {
      const rows = [{ user: "a\u001b[31\u202e\n", nanoUsd: 1_234_567_890 }, {
        user: "bob",
        nanoUsd: null,
        usage: { ...row().usage, inputTokens: 1_234_567 }
      }]
      const table = CostReport.toTable(yield* reportOf(rows, { by: "user" }))
      assert.deepStrictEqual(table.split("\n"), [
        "user     calls  attempts      input  output       USD  per call  unpriced",
        "a?[31??      1         1        100      10  1.234568  1.234568         0",
        "bob          1         1  1,234,567      10  0.000000  0.000000         1",
        "total        2         2  1,234,667      20  1.234568  0.617284         1"
      ])
      const empty = CostReport.toTable(yield* reportOf([], { by: "user" })).split("\n")
      assert.deepStrictEqual(empty, [
        "user   calls  attempts  input  output       USD",
        "total      0         0      0       0  0.000000"
      ])
      const negative = CostReport.toTable(yield* reportOf([{ cacheSavedNanoUsd: -5_000 }], { by: "user" }))
      assert.match(negative, /cache saved\n.* -0\.000005\n/)
    }))

  it.effect("is CSV that a spreadsheet does not run", () =>
    Effect.gen(function*() {
      const report = yield* reportOf(
        [{ user: "=cmd()", nanoUsd: 3 }, { user: "a,\"b\"", nanoUsd: 2 }, { nanoUsd: 1 }],
        { by: "user" }
      )
      const lines = CostReport.toCsv(report).split("\r\n").map((line) =>
        line.replace(/^(.*?),(\d+|attempts),.*$/, "$1")
      )
      assert.deepStrictEqual(lines, ["user", "\"'=cmd()\"", "\"a,\"\"b\"\"\"", "", ""])
    }))

  it("is CSV that no spreadsheet runs or splits, whatever its separator", () => {
    const texts = [
      "a;b",
      "a|b",
      "a\tb",
      "x;=cmd()",
      "=1+1",
      "+1",
      "-1",
      "@sum",
      " =1",
      "\u3000=1",
      "\uFF1D1",
      "\uFF0B1",
      "\uFF0D1",
      "\uFF201",
      "%x",
      "|x",
      "it's",
      "plain-1.2_3@x:y/z"
    ]
    const report = new CostReport.Report({
      from: 0,
      to: 1,
      by: "tag a;=b",
      groups: texts.map((key) => ({ key, ...CostReport.nothing })),
      total: CostReport.nothing,
      missingRows: 0
    })
    const [header, ...cells] = CostReport.toCsv(report).split("\r\n").map((line) => line.split(",")[0])
    assert.strictEqual(header, "\"tag a;=b\"")
    assert.deepStrictEqual(cells.slice(0, -1), [
      ...["a;b", "a|b", "a\tb", "x;=cmd()"].map((text) => `"${text}"`),
      ...texts.slice(4, 16).map((text) => `"'${text}"`),
      "\"it's\"",
      "plain-1.2_3@x:y/z"
    ])
  })

  it("says in CSV how many rows are missing, also where nothing else is to be said", () => {
    const csv = (groups: ReadonlyArray<CostReport.Group>, by: string | null) => {
      const total = { ...CostReport.nothing, nanoUsd: 5 }
      return CostReport.toCsv(new CostReport.Report({ from: 0, to: 1, by, groups, total, missingRows: 7 }))
        .trimEnd().split("\r\n").map((line) => line.split(","))
    }
    const [header = [], ...lines] = csv(
      [{ key: "a", ...CostReport.nothing }, { key: "b", ...CostReport.nothing }],
      "user"
    )
    assert.strictEqual(header.at(-1), "missingRows")
    assert.deepStrictEqual(lines.map((line) => [line[0], line.length, line.at(-1)]), [["a", header.length, "7"], [
      "b",
      header.length,
      "7"
    ]])
    for (const by of ["user", null]) {
      const [names = [], line = [], ...more] = csv([], by)
      assert.deepStrictEqual([line[0], line[names.indexOf("nanoUsd")], line.at(-1), more.length], ["", "5", "7", 0])
    }
  })

  it.effect("is JSON and back", () =>
    Effect.gen(function*() {
      const report = yield* reportOf([{ user: "a" }, {}], { by: "user" })
      const back = Schema.decodeUnknownSync(Schema.toCodecJson(CostReport.Report))(
        JSON.parse(CostReport.toJson(report))
      )
      assert.deepStrictEqual(back, report)
    }))

  it("writes dollars to the nano-dollar", () => {
    assert.strictEqual(CostReport.usd(1), "0.000000001")
    assert.strictEqual(CostReport.usd(-1_500_000_000), "-1.500000000")
    assert.strictEqual(CostReport.usd(Number.MAX_SAFE_INTEGER), "9007199.254740991")
    assert.strictEqual(CostReport.usd(1_999_999_999, 2), "2.00")
    assert.strictEqual(CostReport.usd(499_999_999, 0), "0")
  })
})

describe("days and hours", () => {
  const zones = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Africa/Cairo",
    "America/Sao_Paulo",
    "Pacific/Apia"
  ]

  it.effect.prop(
    "cover a range without gaps, and each has one label",
    {
      zone: Schema.Literals(zones),
      unit: Schema.Literals(["day", "hour"]),
      from: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1.8e12 })),
      hours: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 200 }))
    },
    ({ from, hours, unit, zone: name }) =>
      Effect.sync(() => {
        const zone = DateTime.zoneMakeNamedUnsafe(name)
        const to = from + hours * 3_600_000
        const slices = Slices.make(from, to, unit, zone, 10_000)!
        let at = from
        for (const slice of slices) {
          assert.strictEqual(slice.from, at)
          assert.isAbove(slice.to, slice.from)
          at = slice.to
          for (const inside of [slice.from, slice.to - 1]) {
            const local = DateTime.formatIsoOffset(DateTime.makeZonedUnsafe(inside, { timeZone: zone }))
            assert.strictEqual(slice.label.slice(0, unit === "day" ? 10 : 13), local.slice(0, unit === "day" ? 10 : 13))
          }
        }
        assert.strictEqual(at, to)
        const labels = slices.map(({ label }) => label)
        assert.strictEqual(new Set(labels).size, labels.length)
      }),
    { arbitrary: { runs: 60 } }
  )

  it("begin when the clock leaves midnight out", () => {
    const cairo = DateTime.zoneMakeNamedUnsafe("Africa/Cairo")
    const from = Date.UTC(2026, 3, 22, 12)
    const slices = Slices.make(from, from + days(3), "day", cairo, 100)!
    assert.deepStrictEqual(slices.map(({ label, to }) => [label, new Date(to).toISOString()]), [
      ["2026-04-22", "2026-04-22T22:00:00.000Z"],
      ["2026-04-23", "2026-04-23T22:00:00.000Z"],
      ["2026-04-24", "2026-04-24T21:00:00.000Z"],
      ["2026-04-25", "2026-04-25T12:00:00.000Z"]
    ])
  })
})
