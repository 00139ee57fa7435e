import { assert, describe, it } from "@effect/vitest"
import { problem, ways } from "../../scripts/linear.ts"

describe("the check of patterns", () => {
  it("reports a pattern that backtracks without bound", () => {
    assert.isDefined(problem(/(?:a+)+b/))
  })

  it("takes a pattern that cannot", () => {
    assert.isUndefined(problem(/I[^;]{0,3}N/g))
  })

  it("counts the ways of a pattern in which nothing repeats without bound", () => {
    assert.strictEqual(ways("I[^;]{0,3}N(?:a|b)?"), 4 * 2 * 2)
    assert.isUndefined(ways("a+b"))
    assert.isUndefined(ways("(?:ab?){0,3}"))
    assert.isDefined(problem(/a{0,99}b{0,99}c/))
  })

  it("counts every combination of alternatives", () => {
    assert.strictEqual(ways("(?:a|b)(?:c|d)(?:e|f)"), 8)
    assert.isDefined(problem(new RegExp("(?:a|a)".repeat(12) + "b")))
    assert.isDefined(problem(new RegExp("(?:a|a?)".repeat(8) + "b")))
  })
})
