import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { maxSymbols, take } from "../../../src/InputSanitizer/internal/gate.ts"
import { machines } from "../../../src/InputSanitizer/internal/phrases.ts"
import { symbolsOf } from "../../../src/InputSanitizer/internal/symbols.ts"

const words = ["ignore", "previous", "instructions", "system prompt", "ignorignore", "i", "the", "xyz", "忽略之前"]

const Words = Schema.Array(Schema.Literals(words)).check(Schema.isMinLength(1), Schema.isMaxLength(8))

describe("the gate", () => {
  it.prop(
    "finds what it finds one step after the other, wherever a text is divided",
    { repeated: Words, times: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 400 })) },
    ({ repeated, times }) => {
      const { gate } = machines()
      const symbols = Uint8Array.from(symbolsOf(repeated.join(" ").repeat(times))).subarray(0, maxSymbols)
      const expected: Array<readonly [number, number]> = []
      let state = 0
      symbols.forEach((symbol, index) => {
        state = gate.next[state * 32 + symbol]!
        if (state >= gate.firstFound) expected.push([index, gate.bits[state]!])
      })
      for (const half of [0, symbols.length >> 1]) {
        const found: Array<readonly [number, number]> = []
        const middle = take(gate, symbols, half, 0, (index, bits) => found.push([index, bits]))
        const rest = symbols.subarray(half)
        const last = take(gate, rest, rest.length, middle, (index, bits) => found.push([index + half, bits]))
        assert.strictEqual(last, state)
        assert.deepStrictEqual(found, expected)
      }
    }
  )
})
