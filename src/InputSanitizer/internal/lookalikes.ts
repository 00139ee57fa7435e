/** Words of Latin letters in which letters of other scripts stand in for some: `pаypal` with a Cyrillic `а`. */
import { isJudged } from "./characters.ts"
import { stringOf } from "./clean.ts"
import type { Range } from "./scan.ts"
import { classes } from "./symbols.ts"

/** Close look-alikes only, by the Latin letters that they stand for. */
const pairs = [
  ["aceopxyijshdqwABCEHIJKMOPSTXY", "асеорхуіјѕһԁԛԝАВСЕНІЈКМОРЅТХУ"],
  ["ovuABEZHIKMNOPTYX", "ονυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"],
  ["ouhgnq", "օսհցոզ"],
  ["DRTAJEWMHYGZVSLCPKB", "ᎠᎡᎢᎪᎫᎬᎳᎷᎻᎽᏀᏃᏙᏚᏞᏟᏢᏦᏴ"]
] as const

const latin = 1
const similar = 2
const foreign = 3
/** What may be removed from a word. */
const unseen = 4

interface Tables {
  /** 0 for what is no letter. */
  readonly kinds: Uint8Array
  /** The Latin letter that a look-alike stands for; every other unit stands for itself. */
  readonly letters: Uint16Array
}

const make = (): Tables => {
  const kinds = new Uint8Array(0x10000)
  const letters = Uint16Array.from({ length: 0x10000 }, (_, unit) => unit)
  const mark = (first: number, last: number, kind: number): void => {
    for (let unit = first; unit <= last; unit++) {
      if (kind === latin || /\p{L}/u.test(String.fromCharCode(unit))) kinds[unit] = kind
    }
  }
  mark(0x41, 0x5a, latin)
  mark(0x61, 0x7a, latin)
  for (
    const [first, last] of [[0xc0, 0x24f], [0x370, 0x58f], [0x13a0, 0x13ff], [0x1e00, 0x1eff], [
      0x1f00,
      0x1fff
    ]] as const
  ) {
    mark(first, last, first === 0xc0 || first === 0x1e00 ? latin : foreign)
  }
  classes().forEach((kind, unit) => {
    if (isJudged(kind)) kinds[unit] = unseen
  })
  for (const [plain, others] of pairs) {
    for (const [index, letter] of Array.from(plain).entries()) {
      kinds[others.charCodeAt(index)] = similar
      letters[others.charCodeAt(index)] = letter.charCodeAt(0)
    }
  }
  return { kinds, letters }
}

let made: Tables | undefined

const tables = (): Tables => made ??= make()

const anySimilar = new RegExp(`[${pairs.map(([, others]) => others).join("")}]`)

/** What words of mixed scripts there are: the first `max` of them, how many, and the text with each in Latin letters, of the same length. */
export interface Lookalikes {
  readonly words: ReadonlyArray<Range>
  readonly count: number
  readonly latin: string
}

/** The words of a text that mix Latin letters with look-alikes of other scripts, and have no other letters; undefined where there are none. */
export const lookalikesIn = (text: string, max: number): Lookalikes | undefined => {
  if (!anySimilar.test(text)) return undefined
  const { kinds, letters } = tables()
  const words: Array<Range> = []
  let count = 0
  let units: Uint16Array | undefined
  let seen = 0
  let start = 0
  let end = 0
  for (let at = 0; at <= text.length; at++) {
    const kind = at < text.length ? kinds[text.charCodeAt(at)]! : 0 // it has an entry for every unit
    if (kind === unseen && seen !== 0) continue
    if (kind !== 0 && kind !== unseen) {
      if (seen === 0) start = at
      seen |= 1 << kind
      end = at + 1
      continue
    }
    if (seen === (1 << latin | 1 << similar)) {
      count++
      if (words.length < max) words.push({ start, end })
      units ??= unitsOf(text)
      for (let letter = start; letter < at; letter++) units[letter] = letters[units[letter]!]! // both have the entries
    }
    seen = 0
  }
  return units === undefined ? undefined : { words, count, latin: stringOf(units, units.length, 0xffff, true) }
}

const unitsOf = (text: string): Uint16Array => {
  const units = new Uint16Array(text.length)
  for (let at = 0; at < text.length; at++) units[at] = text.charCodeAt(at)
  return units
}
