import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as CostLedger from "effect-claude/CostLedger"
import { all, suite } from "./suites/CostLedgerStore.ts"
import { row } from "./utils/ledgerRows.ts"

const memory = (maxRows?: number) =>
  Effect.map(Layer.build(Layer.fresh(CostLedger.layerStoreMemory({ maxRows }))), Context.get(CostLedger.Store))

describe("CostLedger on memory", () => {
  suite(Effect.map(memory(), (store) => Effect.succeed(store)))

  it.effect("drops what was written first, and says how much", () =>
    Effect.gen(function*() {
      const store = yield* memory(3)
      assert.strictEqual(yield* store.write([1, 2].map((at) => row({ callId: `call-${at}`, at }))), 0)
      assert.strictEqual(yield* store.write([3, 4, 5].map((at) => row({ callId: `call-${at}`, at }))), 2)
      const { rows } = yield* store.page(all, 10, undefined)
      assert.deepStrictEqual(rows.map(({ at }) => at), [3, 4, 5])
    }).pipe(Effect.scoped))
})
