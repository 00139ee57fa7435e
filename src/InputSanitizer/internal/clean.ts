/** What cleaning makes of a text. */
import {
  type CharacterKind,
  characterKinds,
  Characters,
  codeAt,
  isJudged,
  kindOf,
  replacement,
  unitsOf
} from "./characters.ts"
import { placeholder } from "./placeholder.ts"
import type { Range } from "./scan.ts"
import { classes } from "./symbols.ts"

/** The placeholder of a range that is shorter than it. */
const shortPlaceholder = "…"

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

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true })
const utf16 = new TextDecoder("utf-16le", { ignoreBOM: true })

/** How many units are made into a string at a time. */
const chunk = 4_096

/** A string of the first units; `seen` has the bits of all of them. Decoders are quicker than `fromCharCode`, but take no halves of surrogate pairs. */
export const stringOf = (units: Uint16Array, length: number, seen: number, hasHalves: boolean): string => {
  const given = units.subarray(0, length)
  if (seen < 0x80) return utf8.decode(new Uint8Array(given))
  if (!hasHalves) return utf16.decode(given)
  const parts: Array<string> = []
  for (let from = 0; from < length; from += chunk) {
    // Spreading the units takes ten times as long.
    parts.push(String.fromCharCode.apply(null, given.subarray(from, from + chunk) as never))
  }
  return parts.join("")
}

/** The text without the units that `wrong` marks with one of the kinds; halves of surrogate pairs become U+FFFD. */
export const withoutMarked = (text: string, wrong: Uint8Array, kinds: ReadonlySet<CharacterKind>): string => {
  const isCleaned = Uint8Array.from([
    0,
    ...characterKinds.map((kind) => kinds.has(kind) ? kind === "surrogate" ? 2 : 1 : 0)
  ])
  const units = new Uint16Array(text.length)
  let length = 0
  let seen = 0
  for (let at = 0; at < text.length; at++) {
    const how = isCleaned[wrong[at]!]! // both have entries for what they are asked
    if (how === 1) continue
    const unit = how === 0 ? text.charCodeAt(at) : replacement
    seen |= unit
    units[length++] = unit
  }
  return stringOf(units, length, seen, !kinds.has("surrogate"))
}

/** Marks of the characters of a text that should not be sent, as `withoutMarked` takes them; undefined where there are none. */
const marksOf = (text: string): Uint8Array | undefined => {
  const table = classes()
  const characters = new Characters(text)
  let marks: Uint8Array | undefined
  let kept = -1
  for (let at = 0; at < text.length;) {
    const unit = text.charCodeAt(at)
    const kind = table[unit]! // it has an entry for every unit
    if (!isJudged(kind)) {
      kept = unit
      at++
      continue
    }
    const judgment = characters.judge(at, kind, kept)
    const end = at + unitsOf(judgment)
    const wrong = kindOf(judgment)
    if (wrong === 0) kept = codeAt(text, Math.max(at, end - 2))
    else if (characterKinds[wrong - 1] === "surrogate") kept = replacement
    if (wrong !== 0) (marks ??= new Uint8Array(text.length)).fill(wrong, at, end)
    at = end
  }
  return marks
}

/** The text without the characters of some kinds. */
export const withoutCharacters = (text: string, kinds: ReadonlySet<CharacterKind>): string => {
  const marks = marksOf(text)
  return marks === undefined ? text : withoutMarked(text, marks, kinds)
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

const every: ReadonlySet<CharacterKind> = new Set(characterKinds)

/** The text as if every kind of character were cleaned. Offsets are asked for from left to right. */
export const withoutAllMarked = (text: string, wrong: Uint8Array): Bare => {
  const half = 1 + characterKinds.indexOf("surrogate")
  let given = -1
  let at = -1
  return {
    text: withoutMarked(text, wrong, every),
    offset: (position) => {
      if (position < at) given = at = -1
      while (at < position && given < text.length) {
        given++
        if (wrong[given] === 0 || wrong[given] === half) at++
      }
      return given
    }
  }
}
