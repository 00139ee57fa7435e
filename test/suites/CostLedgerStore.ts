/** What every store of ledger rows does, for all processes that use it. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema, type Scope, Stream } from "effect"
import { PriceBook, Usage } from "effect-claude"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostReport from "effect-claude/CostReport"
import { days, epoch, row, Some, some } from "../utils/ledgerRows.ts"
import { asking, type Store } from "../utils/ledgerStore.ts"

/** The store as one more process has it, over the same rows. */
export type Process = Effect.Effect<Store, never, Scope.Scope>

interface Paged {
  readonly rows: ReadonlyArray<CostLedger.Row>
  readonly next: CostLedger.Cursor | undefined
}

const noPrices = Layer.succeed(
  PriceBook.PriceBook,
  PriceBook.PriceBook.of({ cost: () => undefined, ceiling: () => undefined })
)

/** A ledger over a store. */
export const ledgerOver = (store: Store, options: CostLedger.Options = {}) =>
  Layer.build(
    Layer.fresh(CostLedger.layerNoDeps(options)).pipe(
      Layer.provide([noPrices, Layer.succeed(CostLedger.Store, store)])
    )
  ).pipe(Effect.map(Context.get(CostLedger.CostLedger)))

export const all = { from: 0, to: epoch + days(400) }

export const allRows = (store: Store) =>
  Effect.flatMap(ledgerOver(store), (ledger) => Stream.runCollect(ledger.rows(all)))

const dimensions: ReadonlyArray<CostReport.Dimension | undefined> = [
  undefined,
  "model",
  "user",
  "tenant",
  "requestType",
  "key",
  "day",
  "hour",
  { tag: "team" },
  { tag: "o'k \"$.x" }
]

const filters: ReadonlyArray<CostReport.Where> = [
  {},
  { user: "'; --" },
  { model: "x", tenant: "a", tags: { team: "" } },
  { key: "key-1", user: undefined }
]

/** `environment` is what one test is given for itself. */
export const suite = (environment: Effect.Effect<Process, never, Scope.Scope>, runs = 40): void => {
  const live = (
    name: string,
    test: (one: Store, other: Store) => Effect.Effect<void, unknown, Scope.Scope>
  ) =>
    it.live(
      name,
      () =>
        Effect.scoped(Effect.gen(function*() {
          const process = yield* environment
          yield* test(yield* process, yield* process)
        })),
      30_000
    )

  live("gives back every field of a row as it was", (one, other) =>
    Effect.gen(function*() {
      const bare = row({ callId: "bare", nanoUsd: null, cacheSavedNanoUsd: null, requestId: undefined, key: undefined })
      const rich = row({
        user: "u'\"",
        tenant: "t",
        requestType: "r",
        tags: { "a\"b": "c\\", "": "" },
        rules: ["one", "two"],
        optimizerSavedNanoUsd: 5,
        nanoUsd: Number.MAX_SAFE_INTEGER,
        cacheSavedNanoUsd: -7,
        usage: {
          ...Usage.make({ inputTokens: 1, cacheReadTokens: 2, cacheWrite5mTokens: 3, cacheWrite1hTokens: 4 }),
          thinkingTokens: 5,
          webSearchRequests: 6,
          serviceTier: "priority",
          speed: "fast",
          inferenceGeo: "us"
        },
        confidence: "derived",
        outcome: "failed",
        error: "ServerError",
        stopReason: undefined,
        billed: "unknown"
      })
      assert.strictEqual(yield* asking(one).write([bare, rich]), 0)
      const found = yield* allRows(other)
      assert.deepEqual(found.map((row) => JSON.parse(JSON.stringify(row))), JSON.parse(JSON.stringify([bare, rich])))
    }))

  live("writes a call's attempt once, whoever writes it how often", (one, other) =>
    Effect.gen(function*() {
      const rows = [row(), row({ attempt: 2 }), row({ callId: "call-2" })]
      yield* Effect.all([asking(one).write(rows), asking(other).write(rows), asking(one).write(rows)], {
        concurrency: "unbounded"
      })
      yield* asking(other).write([row({ nanoUsd: 1 }), row({ callId: "call-3" }), row({ callId: "call-3" })])
      const found = yield* allRows(one)
      assert.deepStrictEqual(found.map(({ attempt, callId, nanoUsd }) => [callId, attempt, nanoUsd]).sort(), [
        ["call-1", 1, 450_000],
        ["call-1", 2, 450_000],
        ["call-2", 1, 450_000],
        ["call-3", 1, 450_000]
      ])
    }))

  live("takes batches of any size", (one) =>
    Effect.gen(function*() {
      yield* asking(one).write([])
      let next = 0
      for (const size of [1, 2, 127, 200, 999]) {
        yield* asking(one).write(Array.from({ length: size }, () => row({ callId: `call-${next++}` })))
      }
      const [group] = yield* asking(one).aggregate(all, undefined, {})
      assert.strictEqual(group?.attempts, next)
      assert.strictEqual(group?.nanoUsd, next * 450_000)
    }))

  live("gives pages in the order of time", (one) =>
    Effect.gen(function*() {
      const at = [5, 1, 3, 3, 2, 9, 3]
      yield* asking(one).write(at.map((at, index) => row({ callId: `call-${index}`, at })))
      const seen: Array<number> = []
      let after: CostLedger.Cursor | undefined
      do {
        const { next, rows }: Paged = yield* asking(one).page({ from: 2, to: 9 }, 2, after)
        assert.isAtMost(rows.length, 2)
        seen.push(...rows.map((row) => row.at))
        after = next
      } while (after !== undefined)
      assert.deepStrictEqual(seen, [2, 3, 3, 3, 5])
      assert.deepStrictEqual(yield* asking(one).span, { oldest: 1, newest: 9 })
      const { rows } = yield* asking(one).page({ from: -Infinity, to: Infinity }, 100, undefined)
      assert.strictEqual(rows.length, at.length)
      assert.strictEqual((yield* asking(one).page({ from: 2.5, to: 5.5 }, 100, undefined)).rows.length, 4)
    }))

  live("knows nothing of no rows", (one) =>
    Effect.gen(function*() {
      assert.isUndefined(yield* asking(one).span)
      assert.deepStrictEqual(yield* asking(one).aggregate(all, undefined, {}), [])
      assert.deepStrictEqual(yield* asking(one).aggregate(all, "model", {}), [])
      assert.deepStrictEqual(yield* asking(one).page(all, 10, undefined), { rows: [], next: undefined })
      assert.strictEqual(yield* asking(one).trim({ before: 1e15, keep: 1 }, 10), 0)
    }))

  live("removes the oldest rows, so many at a time", (one, other) =>
    Effect.gen(function*() {
      yield* asking(one).write(Array.from({ length: 10 }, (_, at) => row({ callId: `call-${at}`, at })))
      const left = Effect.map(allRows(other), (rows) => rows.map((row) => row.at))
      assert.strictEqual(yield* asking(one).trim({ before: 4, keep: Infinity }, 3), 3)
      assert.deepStrictEqual(yield* left, [3, 4, 5, 6, 7, 8, 9])
      assert.strictEqual(yield* asking(one).trim({ before: 4, keep: Infinity }, 3), 1)
      assert.strictEqual(yield* asking(other).trim({ before: -Infinity, keep: 5 }, 100), 1)
      assert.deepStrictEqual(yield* left, [5, 6, 7, 8, 9])
      assert.strictEqual(yield* asking(other).trim({ before: 6, keep: 3 }, 100), 2)
      assert.deepStrictEqual(yield* left, [7, 8, 9])
      assert.strictEqual(yield* asking(one).trim({ before: 0, keep: 3 }, 100), 0)
      assert.strictEqual(yield* asking(one).trim({ before: -Infinity, keep: Infinity }, 100), 0)
    }))

  live("adds up exactly as far as numbers go, and says so beyond", (one) =>
    Effect.gen(function*() {
      const rows = [row({ nanoUsd: 2 ** 53 - 2 }), row({ callId: "call-2", nanoUsd: 1 })]
      yield* asking(one).write(rows)
      const ledger = yield* ledgerOver(one)
      const query = { from: epoch, to: epoch + days(1) }
      assert.strictEqual((yield* ledger.report(query)).total.nanoUsd, Number.MAX_SAFE_INTEGER)
      yield* asking(one).write([row({ callId: "call-3", nanoUsd: 2 })])
      const refused = yield* Effect.orDie(Effect.flip(ledger.report(query)))
      assert.strictEqual(refused.reason, "range")
    }))

  it.live.prop(
    "gives the reports that memory gives",
    {
      rows: Schema.Array(Some).check(Schema.isMaxLength(40)),
      from: Schema.Literals([0, 1, 2]),
      filter: Schema.Literals([0, 0, 1, 2, 3])
    },
    ({ filter, from, rows }) =>
      Effect.scoped(Effect.gen(function*() {
        const store = yield* Effect.flatten(environment)
        const memory = Context.get(yield* Layer.build(CostLedger.layerStoreMemory()), CostLedger.Store)
        const written = rows.map(some)
        yield* asking(store).write(written)
        yield* asking(memory).write(written)
        const here = yield* ledgerOver(store)
        const there = yield* ledgerOver(memory)
        for (const by of dimensions) {
          const query = {
            by,
            where: filters[filter] ?? {},
            from: epoch + days(from),
            to: epoch + days(3),
            zone: "Europe/Berlin"
          }
          const report = yield* here.report(query)
          assert.deepStrictEqual(report, yield* there.report(query))
          if (by === undefined) continue
          const total = { ...CostReport.nothing } as Record<string, number>
          for (const { key: _, ...figures } of report.groups) {
            for (const [name, value] of Object.entries(figures)) total[name] = (total[name] ?? 0) + value
          }
          assert.deepStrictEqual(total, { ...report.total })
        }
      })),
    { arbitrary: { runs }, timeout: 60_000 }
  )
}
