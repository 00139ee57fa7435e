import { assert, describe, it } from "@effect/vitest"
import { problem } from "../../scripts/linear.ts"

describe("the check of patterns", () => {
  it("reports a pattern that backtracks without bound", () => {
    assert.isDefined(problem(/(?:a+)+b/))
  })

  it("takes a pattern that cannot", () => {
    assert.isUndefined(problem(/I[^;]{0,3}N/g))
  })
})
