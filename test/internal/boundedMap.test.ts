import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Effect } from "effect"
import { BoundedMap } from "../../src/internal/boundedMap.ts"

const Step = Schema.Struct({
  do: Schema.Literals(["get", "peek", "set", "delete"]),
  key: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 }))
})

describe("BoundedMap", () => {
  it.effect.prop(
    "keeps those that were used last, as a list in the order of use would",
    { capacity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 })), steps: Schema.Array(Step) },
    ({ capacity, steps }) =>
      Effect.sync(() => {
        const map = new BoundedMap<number, string>(capacity)
        let model: Array<number> = []
        for (const { do: what, key } of steps) {
          const known = model.includes(key) ? String(key) : undefined
          if (what === "get") {
            assert.strictEqual(map.get(key), known)
            if (known !== undefined) model = [...model.filter((one) => one !== key), key]
          } else if (what === "peek") assert.strictEqual(map.peek(key), known)
          else if (what === "set") {
            model = [...model.filter((one) => one !== key), key]
            const oldest = model.length > capacity ? model.shift() : undefined
            assert.deepStrictEqual(
              map.set(key, String(key)),
              oldest === undefined ? undefined : [oldest, String(oldest)]
            )
          } else {
            assert.strictEqual(map.delete(key), known !== undefined)
            model = model.filter((one) => one !== key)
          }
          assert.deepStrictEqual([...map.values()], model.map(String))
        }
      })
  )
})
