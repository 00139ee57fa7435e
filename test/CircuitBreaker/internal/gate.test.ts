import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Usual } from "../../../src/CircuitBreaker/internal/gate.ts"
import { between } from "../../utils/between.ts"

const Call = Schema.Struct({ millis: between(1, 40), isAnswered: Schema.Boolean })

describe("what is usual for calls of a kind", () => {
  it.effect.prop(
    "says of a silence how likely it is, by those that were waited for as long",
    { calls: Schema.Array(Call).check(Schema.isMaxLength(64)), millis: between(0, 41) },
    ({ calls, millis }) =>
      Effect.sync(() => {
        const usual = new Usual()
        for (const { isAnswered, millis } of calls) usual.add(millis, isAnswered)
        // One after the other, those answered in the same moment first; and one call that is never answered.
        let left = calls.length + 1
        let share = 1
        const inOrder = [...calls].sort((a, b) => a.millis - b.millis || Number(b.isAnswered) - Number(a.isAnswered))
        for (const call of inOrder) {
          if (call.millis > millis) break
          if (call.isAnswered) share *= (left - 1) / left
          left--
        }
        const isKnown = calls.filter(({ isAnswered }) => isAnswered).length >= 10
        assert.closeTo(Math.exp(-usual.silence(millis)), isKnown ? share : 1, 1e-9)
      })
  )
})
