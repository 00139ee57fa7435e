/** What cleaning makes of a text. */
import { type CharacterKind, characterKinds, Characters, codeAt, isJudged, kindOf, unitsOf } from "./characters.ts"
import { placeholder } from "./reader.ts"
import type { Range } from "./scan.ts"
import { classes } from "./symbols.ts"

/** The placeholder of a range that is shorter than it. */
const shortPlaceholder = "…"

/** What stands for half of a surrogate pair. */
const replacement = 0xfffd

let segmenter: Intl.Segmenter | undefined

/** How far around a position the grapheme that it lies in is looked for. */
const reach = 64

/** Whether the units on both sides of a position are plain letters, spaces or punctuation, which end every grapheme. */
const isPlain = (text: string, at: number): boolean =>
  text.charCodeAt(at - 1) < 0x300 && text.charCodeAt(at) < 0x300 && text.charCodeAt(at - 1) !== 0xd

/** The grapheme that a position lies in or begins; nothing at the ends of the text. */
const graphemeAt = (text: string, at: number): Range => {
  if (at <= 0 || at >= text.length || isPlain(text, at)) return { start: at, end: at }
  const from = Math.max(0, at - reach)
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "grapheme" })
  const found = segmenter.segment(text.slice(from, at + reach)).containing(at - from)
  if (found === undefined) return { start: at, end: at }
  return { start: from + found.index, end: from + found.index + found.segment.length }
}

/** The longest beginning of at most `max` units that splits no grapheme. */
export const cut = (text: string, max: number): string =>
  text.length <= max ? text : text.slice(0, graphemeAt(text, max).start)

/** The range with the whole of the graphemes that it begins and ends in. */
const wholeGraphemes = (text: string, { end, start }: Range): Range => {
  const after = graphemeAt(text, end)
  return { start: graphemeAt(text, start).start, end: after.start < end ? after.end : end }
}

/** Ranges in order, those that touch or overlap as one. */
const merged = (ranges: ReadonlyArray<Range>): ReadonlyArray<Range> => {
  const found: Array<Range> = []
  for (const range of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = found.at(-1)
    if (last !== undefined && range.start <= last.end) {
      found[found.length - 1] = { start: last.start, end: Math.max(last.end, range.end) }
    } else found.push(range)
  }
  return found
}

/** Puts a placeholder in the place of each range. */
export const replaced = (text: string, ranges: ReadonlyArray<Range>): string => {
  if (ranges.length === 0) return text
  const parts: Array<string> = []
  let at = 0
  for (const { end, start } of merged(ranges.map((range) => wholeGraphemes(text, range)))) {
    parts.push(text.slice(at, start), end - start < placeholder.length ? shortPlaceholder : placeholder)
    at = end
  }
  parts.push(text.slice(at))
  return parts.join("")
}

/** How many units are made into a string at a time. */
const chunk = 8_192

/** The text without the characters of some kinds; halves of surrogate pairs become U+FFFD. */
export const withoutCharacters = (text: string, kinds: ReadonlySet<CharacterKind>): string => {
  const table = classes()
  const characters = new Characters(text)
  const units = new Uint16Array(text.length)
  let length = 0
  let kept = -1
  for (let at = 0; at < text.length;) {
    const unit = text.charCodeAt(at)
    const kind = table[unit]! // it has an entry for every unit
    if (!isJudged(kind)) {
      units[length++] = unit
      kept = unit
      at++
      continue
    }
    const judgment = characters.judge(at, kind, kept)
    const end = at + unitsOf(judgment)
    const wrong = kindOf(judgment)
    if (wrong === 0) kept = codeAt(text, Math.max(at, end - 2))
    const isCleaned = wrong !== 0 && kinds.has(characterKinds[wrong - 1]!) // kinds count from 1
    if (!isCleaned) { for (let from = at; from < end; from++) units[length++] = text.charCodeAt(from) }
    else if (characterKinds[wrong - 1] === "surrogate") units[length++] = replacement
    at = end
  }
  const parts: Array<string> = []
  for (let from = 0; from < length; from += chunk) {
    parts.push(String.fromCharCode(...units.subarray(from, Math.min(length, from + chunk))))
  }
  return parts.join("")
}

/** What stands for a text of which nothing is left. */
export const orPlaceholder = (text: string): string => text.trim() === "" ? placeholder : text

/** A text without the characters that should not be in it, and where each of its positions is in the whole text. */
export interface Bare {
  readonly text: string
  readonly offset: (at: number) => number
}

/** The text without some ranges, which are in order. */
export const without = (text: string, ranges: ReadonlyArray<Range>): Bare => {
  if (ranges.length === 0) return { text, offset: (at) => at }
  const parts: Array<string> = []
  /** Where each part begins in what is left. */
  const starts: Array<number> = []
  const given: Array<number> = []
  let length = 0
  let at = 0
  for (const { end, start } of [...ranges, { start: text.length, end: text.length }]) {
    parts.push(text.slice(at, start))
    starts.push(length)
    given.push(at)
    length += start - at
    at = end
  }
  return {
    text: parts.join(""),
    offset: (position) => {
      let low = 0
      for (let high = starts.length; high - low > 1;) {
        const middle = (low + high) >> 1
        if (starts[middle]! <= position) low = middle // it is within the list
        else high = middle
      }
      return given[low]! + position - starts[low]!
    }
  }
}
