/** Patterns that could take more than linear time on some text. */
import { isSafe } from "redos-detector"
import { patterns as redacted } from "../src/ClaudeApi/internal/redact.ts"
import { rules } from "../src/InputSanitizer/internal/rules.ts"
import { patterns } from "../src/InputSanitizer/internal/secrets.ts"

/** In how many ways a text may take the same path through a pattern before it fails: a bound, however long the text is. */
const maxScore = 2_000

/**
 * In how many ways, at most, a pattern without repetition that is unbounded can match or fail at a position: the product of its choices, undefined where
 * something may repeat for ever or a group may repeat. Of two alternatives with `a` and `b` ways there are `a + b`, which is at most `2ab`: so each `|` counts
 * twice. Each way passes no more characters than the pattern is long, so the time is linear.
 */
export const ways = (source: string): number | undefined => {
  const plain = source.replace(/\\[^]/g, "x").replace(/\[(?:[^\]])*\]/g, "x").replace(/\(\?[:=!<]/g, "(")
  if (/[*+]|\{\d+,\}|\)\{/.test(plain)) return undefined
  const choices = [...plain.matchAll(/\{(\d+),(\d+)\}|[?|]/g)].map(([, least, most]) =>
    least === undefined ? 2 : Number(most) - Number(least) + 1
  )
  return choices.reduce((product, each) => product * each, 1)
}

/** What the checker finds wrong with a pattern. */
export const problem = (pattern: RegExp): string | undefined => {
  const bound = ways(pattern.source)
  if (bound !== undefined) {
    return bound <= maxScore ? undefined : `${pattern.source} may be tried in ${bound} ways at each position`
  }
  const plain = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""))
  const { error, safe, score } = isSafe(plain, { maxScore, maxSteps: 400_000, timeout: 20_000 })
  return safe && !score.infinite ? undefined : `${pattern.source} may take more than linear time: ${error}`
}

/** The patterns that the sanitizer runs on texts, and redaction on what answers say: the parts of its rules one by one, since an alternative takes no longer than its parts. */
export const builtIn: ReadonlyArray<RegExp> = [
  ...rules.flatMap(({ parts }) => parts.map((part) => new RegExp(part))),
  ...patterns,
  ...redacted()
]

export const nonLinear = (): ReadonlyArray<string> => builtIn.flatMap((pattern) => problem(pattern) ?? [])
