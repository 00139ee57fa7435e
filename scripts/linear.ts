/** Patterns that could take more than linear time on some text. */
import { isSafe } from "redos-detector"
import { rules } from "../src/InputSanitizer/internal/rules.ts"
import { patterns } from "../src/InputSanitizer/internal/secrets.ts"

/** In how many ways a text may take the same path through a pattern before it fails: a bound, however long the text is. */
const maxScore = 2_000

/** What the checker finds wrong with a pattern. */
export const problem = (pattern: RegExp): string | undefined => {
  const plain = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""))
  const { error, safe, score } = isSafe(plain, { maxScore, maxSteps: 400_000, timeout: 20_000 })
  return safe && !score.infinite ? undefined : `${pattern.source} may take more than linear time: ${error}`
}

/** The patterns that the sanitizer runs on texts: the parts of its rules one by one, since an alternative takes no longer than its parts. */
export const builtIn: ReadonlyArray<RegExp> = [
  ...rules.flatMap(({ parts }) => parts.map((part) => new RegExp(part))),
  ...patterns
]

export const nonLinear = (): ReadonlyArray<string> => builtIn.flatMap((pattern) => problem(pattern) ?? [])
