/** Words of Latin letters in which letters of other scripts stand in for some: `pаypal` with a Cyrillic `а`. */
import type { Range } from "./scan.ts"

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

interface Tables {
  /** 0 for what is no letter. */
  readonly kinds: Uint8Array
  /** The Latin letter that a look-alike stands for. */
  readonly letters: ReadonlyMap<number, string>
}

const make = (): Tables => {
  const kinds = new Uint8Array(0x10000)
  const letters = new Map<number, string>()
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
  for (const [plain, others] of pairs) {
    for (const [index, letter] of Array.from(plain).entries()) {
      kinds[others.charCodeAt(index)] = similar
      letters.set(others.charCodeAt(index), letter)
    }
  }
  return { kinds, letters }
}

let made: Tables | undefined

const tables = (): Tables => made ??= make()

/** The words of a text that mix Latin letters with look-alikes of other scripts, and have no other letters. */
export const lookalikesIn = (text: string): ReadonlyArray<Range> => {
  const { kinds } = tables()
  const found: Array<Range> = []
  let seen = 0
  let start = 0
  for (let at = 0; at <= text.length; at++) {
    const kind = at < text.length ? kinds[text.charCodeAt(at)]! : 0 // it has an entry for every unit
    if (kind !== 0) {
      if (seen === 0) start = at
      seen |= 1 << kind
      continue
    }
    if (seen === (1 << latin | 1 << similar)) found.push({ start, end: at })
    seen = 0
  }
  return found
}

/** A word with its look-alikes replaced by the Latin letters that they stand for. */
export const latinized = (word: string): string => {
  const { letters } = tables()
  return Array.from(word, (char) => letters.get(char.charCodeAt(0)) ?? char).join("")
}
