/**
 * Patterns of the user, matched by `re2js` in time that is linear in the text, whatever they are. A text is taken in blocks: one pass over a block says which
 * patterns match in it, and only there are matches looked for one by one.
 */
import * as Result from "effect/Result"
import { RE2JS, RE2Set } from "re2js"
import type { Severity } from "./rules.ts"
import type { Range } from "./scan.ts"

/**
 * A pattern of your own.
 *
 * - `name`: what findings call it.
 * - `pattern`: in the syntax of RE2: no lookaround, no backreferences. Case does not matter unless it begins with `(?-i)`. A match has at most 500
 *   characters. `^` and `$` stand for the ends of lines.
 * - `kind`: what its matches are found as: `"injection"`, `"secret"` or `"personal"`. Default `"injection"`.
 * - `severity`: `"low"`, `"medium"` or `"high"`. Default `"high"`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Pattern {
  readonly name: string
  readonly pattern: string
  readonly kind?: "injection" | "secret" | "personal" | undefined
  readonly severity?: Severity | undefined
}

export interface Match extends Range {
  readonly pattern: Pattern
}

/**
 * Finds matches in a text, until there are more than `max`. Calls `wants` before it looks for those of a block one by one, and takes the whole block where
 * that says no.
 */
export type Matcher = (text: string, max: number, wants: (units: number) => boolean) => ReadonlyArray<Match>

const blockSize = 4_096

/** The longest match. */
const overlap = 500

/** How much is looked through at a time for one pattern. */
const segmentSize = 1_000

const compiled = ({ name, pattern }: Pattern, source: string): RE2JS =>
  Result.getOrThrowWith(
    Result.try(() => RE2JS.compile(source)),
    (error) => new RangeError(`InputSanitizer: the pattern ${name} is not valid: ${pattern}`, { cause: error })
  )

/** Throws a `RangeError` where a pattern is not valid. */
export const matcherOf = (patterns: ReadonlyArray<Pattern>): Matcher => {
  const sources = patterns.map(({ pattern }) => `(?im)(?:${pattern})`)
  const expressions = patterns.map((pattern, index) => compiled(pattern, sources[index]!)) // as many as patterns
  const set = new RE2Set()
  for (const source of sources) set.add(source)
  set.compile()

  const inSegment = (text: string, index: number, start: number, end: number, found: Array<Match>): void => {
    const pattern = patterns[index]! // the set numbers patterns as it was given them
    for (const match of expressions[index]!.matchAll(text.slice(start, end))) {
      const [matched] = match
      if (matched === undefined || matched.length === 0 || match.index === undefined) continue
      const from = start + match.index
      const to = from + matched.length
      // The ends of a segment are no ends of lines or words; the next one has the whole match.
      if ((from === start && start > 0) || (to === end && end < text.length)) continue
      const isKnown = found.some((other) => other.pattern === pattern && other.start < to && from < other.end)
      if (!isKnown) found.push({ pattern, start: from, end: to })
    }
  }

  return (text, max, wants) => {
    const found: Array<Match> = []
    /** The patterns that match anywhere, which a block alone does not tell: its ends are no ends of lines or words. */
    let anywhere: ReadonlySet<number> | undefined
    for (let start = 0; start < text.length && found.length <= max; start += blockSize) {
      const from = Math.max(0, start - overlap)
      const end = Math.min(text.length, start + blockSize)
      for (const index of set.match(from === 0 && end === text.length ? text : text.slice(from, end))) {
        if (!wants(end - from)) {
          anywhere ??= new Set(set.match(text))
          if (anywhere.has(index)) found.push({ pattern: patterns[index]!, start: from, end }) // see above
          continue
        }
        for (let at = from; at < end; at += segmentSize - overlap) {
          inSegment(text, index, at, Math.min(end, at + segmentSize), found)
        }
      }
    }
    return found
  }
}
