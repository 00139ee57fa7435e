import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as CostLedger from "effect-claude/CostLedger"
import { all, ledgerOver, suite } from "./suites/CostLedgerStore.ts"
import { row } from "./utils/ledgerRows.ts"
import { asking } from "./utils/ledgerStore.ts"

const memory = (maxRows?: number) =>
  Effect.map(Layer.build(Layer.fresh(CostLedger.layerStoreMemory({ maxRows }))), Context.get(CostLedger.Store))

describe("CostLedger on memory", () => {
  suite(Effect.map(memory(), (store) => Effect.succeed(store)))

  it.effect("evicts what was written first, and says how much", () =>
    Effect.gen(function*() {
      const store = asking(yield* memory(3))
      assert.strictEqual(yield* store.write([1, 2].map((at) => row({ callId: `call-${at}`, at }))), 0)
      assert.strictEqual(yield* store.write([3, 4, 5].map((at) => row({ callId: `call-${at}`, at }))), 2)
      const { rows } = yield* store.page(all, 10, undefined)
      assert.deepStrictEqual(rows.map(({ at }) => at), [3, 4, 5])
    }).pipe(Effect.scoped))
})

it.effect("CostLedger on memory makes room for a 64th of its rows at once, and never holds more than it may", () =>
  Effect.gen(function*() {
    const store = asking(yield* memory(128))
    const evicted: Array<number> = []
    for (let at = 0; at < 140; at++) {
      evicted.push(yield* store.write([row({ callId: `call-${at}`, at })]))
      const { rows } = yield* store.page(all, 1_000, undefined)
      assert.isAtMost(rows.length, 128)
      assert.isAtLeast(rows.length, Math.min(at + 1, 126))
      assert.strictEqual(rows.at(-1)?.at, at)
      assert.strictEqual(rows.length + evicted.reduce((sum, count) => sum + count, 0), at + 1)
    }
    assert.deepStrictEqual(evicted.filter((count) => count > 0), [3, 3, 3, 3])
  }).pipe(Effect.scoped))

/** A store as its docstring describes it. */
const mapStore = (): CostLedger.Store["Service"] => {
  const ledgers = new Map<string, CostLedger.Rows>()
  return {
    isLocal: false,
    step: (command) =>
      Effect.sync(() => {
        const [rows, reply] = CostLedger.step(ledgers.get("mine"), command)
        ledgers.set("mine", rows)
        return reply
      })
  }
}

describe("CostLedger on a user's map", () => {
  suite(Effect.sync(() => Effect.succeed(mapStore())))

  it.effect("says which command a store replied to with something else", () =>
    Effect.gen(function*() {
      const ledger = yield* ledgerOver({ step: () => Effect.succeed({ _tag: "Trim", removed: 0 }) })
      const error = yield* Effect.flip(ledger.report())
      assert.strictEqual(error.reason, "store")
      assert.include(error.message, "it replied to Span with Trim")
    }).pipe(Effect.scoped))

  it.effect("fails with CostLedgerError, whatever a store fails with", () =>
    Effect.gen(function*() {
      for (const failing of [Effect.fail("gone"), Effect.fail({ code: 7 }), Effect.die(new Error("broken"))]) {
        const ledger = yield* ledgerOver({ step: () => failing })
        const error = yield* Effect.flip(ledger.report())
        assert.strictEqual(error._tag, "CostLedgerError")
        assert.strictEqual(error.reason, "store")
      }
    }).pipe(Effect.scoped))
})
