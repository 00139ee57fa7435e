/** Every built-in pattern takes time that is linear in the text: a checker finds no way to make one of them backtrack without bound. */
import { assert, describe, it } from "@effect/vitest"
import { isSafe } from "redos-detector"
import { rules } from "../src/InputSanitizer/internal/rules.ts"

/** Ways through a pattern that a text may take before it fails: a bound, whatever the length of the text. */
const maxScore = 5_000

const problem = (pattern: RegExp): string | undefined => {
  const { error, safe, score } = isSafe(pattern, { maxScore, maxSteps: 200_000, timeout: 5_000 })
  return safe && !score.infinite ? undefined : `${pattern.source}: ${error}`
}

describe("built-in patterns", () => {
  it("are linear", () => {
    const wrong = rules.flatMap(({ parts }) => parts).flatMap((part) => problem(new RegExp(part)) ?? [])
    assert.deepStrictEqual(wrong, [])
  })

  it("a pattern that is not is found", () => {
    assert.isDefined(problem(/(?:a+)+b/))
  })
})
