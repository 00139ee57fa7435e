import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Generations } from "../../../src/CostOptimizer/internal/generations.ts"
import { between } from "../../utils/between.ts"

describe("Generations", () => {
  it.effect.prop(
    "holds what was used last, and no more than it may",
    {
      keys: Schema.Array(between(0, 9)).check(Schema.isMinLength(20), Schema.isMaxLength(100)),
      capacity: between(2, 8)
    },
    ({ capacity, keys }) =>
      Effect.sync(() => {
        const map = new Generations<number, number>(capacity)
        keys.forEach((key, index) => {
          if (map.get(key) === undefined) map.set(key, key)
          assert.isAtMost(map.size, capacity)
          const last = new Set<number>()
          for (const used of keys.slice(0, index + 1).reverse()) {
            if (last.size < Math.floor(capacity / 2)) last.add(used)
          }
          for (const used of last) assert.strictEqual(map.get(used), used)
        })
      }),
    { arbitrary: { runs: 500 } }
  )
})
