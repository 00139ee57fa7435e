/** Instructions to a model in a stretch of a text. */
import { read, type Reading } from "./reader.ts"
import { type Rule, rules, type Severity } from "./rules.ts"
import { maxSpan, type Range } from "./scan.ts"

export interface Injection extends Range {
  readonly rule: string
  readonly severity: Severity
}

/** How many concepts around an instruction can say that it is only mentioned. */
const mentionReach = 12

/** Whether the text speaks about an instruction: it is quoted beside words of attacks and examples, or is what an attacker tells a model to do. */
const isMentioned = (concepts: string, start: number, end: number): boolean => {
  const before = concepts.slice(Math.max(0, start - mentionReach), start)
  if (/"p?$/.test(before)) return `${before}${concepts.slice(end, end + mentionReach)}`.includes("c")
  return /c[^;#]*[tT]p?$/.test(before)
}

const find = (rule: Rule, { concepts, ends, starts }: Reading): ReadonlyArray<Injection> => {
  const found: Array<Injection> = []
  const { name, pattern, severity, unlessAfter } = rule
  pattern.lastIndex = 0
  for (let match = pattern.exec(concepts); match !== null; match = pattern.exec(concepts)) {
    const first = match.index
    const last = first + match[0].length - 1
    pattern.lastIndex = first + 1
    const start = starts[first]! // the match is within the reading
    const end = ends[last]!
    if (end - start > maxSpan || (unlessAfter?.test(concepts.slice(Math.max(0, first - 3), first)) ?? false)) continue
    if (isMentioned(concepts, first, last + 1)) continue
    found.push({ rule: name, severity, start, end })
    pattern.lastIndex = last + 1
  }
  return found
}

/** The injections in a place, in order. Where several overlap, the first one stands for them. */
export const injectionsIn = (text: string, place: Range): ReadonlyArray<Injection> => {
  const reading = read(text, place.start, place.end)
  const all = rules.flatMap((rule) => find(rule, reading)).sort((a, b) => a.start - b.start || b.end - a.end)
  const found: Array<Injection> = []
  for (const injection of all) {
    const last = found.at(-1)
    if (last === undefined || injection.start >= last.end) found.push(injection)
    else if (injection.end > last.end) found[found.length - 1] = { ...last, end: injection.end }
  }
  return found
}
