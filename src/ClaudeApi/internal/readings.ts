/**
 * The ways in which a text can be read, so that a copy of something is found in it however it was written down: as it stands, with its escapes decoded
 * (of JSON, URLs and HTML, two deep), and what base64 or hexadecimal digits in it say. Case, white space, accents and characters without width do not count.
 */

/** Characters of a text, and where each stands in the text that somebody wrote. */
export interface Reading {
  readonly codes: Array<number>
  readonly from: Array<number>
  readonly to: Array<number>
}

const empty = (): Reading => ({ codes: [], from: [], to: [] })

/** Whether a character does not count: white space, control characters, those without width, and accents. */
const isDropped = (code: number): boolean =>
  code <= 0x20 || (code >= 0x7f && (code <= 0xa0 || code === 0xad || (code >= 0x300 && code <= 0x36f) ||
    (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202f) || (code >= 0x205f && code <= 0x206f) ||
    code === 0x3000 || code === 0xfeff))

/** A text whose characters beyond ASCII are decomposed and in lower case. */
const folded = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  /[^\x00-\x7f]/.test(text) ? text.normalize("NFKD").toLowerCase().replaceAll("ς", "σ") : text

/** The characters of a text that count, in lower case. */
export const codesOf = (text: string): Uint16Array => {
  const all = folded(text)
  const codes = new Uint16Array(all.length)
  let count = 0
  for (let i = 0; i < all.length; i++) {
    const code = all.charCodeAt(i)
    if (!isDropped(code)) codes[count++] = code >= 0x41 && code <= 0x5a ? code + 32 : code
  }
  return codes.subarray(0, count)
}

/** A text as it was written, or with what one step made of it: a character for each position. */
interface Written {
  readonly text: string
  readonly from: ReadonlyArray<number>
  readonly to: ReadonlyArray<number>
}

const written = (text: string): Written => ({
  text,
  from: Array.from({ length: text.length }, (_, i) => i),
  to: Array.from({ length: text.length }, (_, i) => i + 1)
})

const readingOf = ({ from, text, to }: Written): Reading => {
  const reading = empty()
  let at = 0
  for (const char of text) {
    for (const code of codesOf(char)) {
      reading.codes.push(code)
      reading.from.push(from[at] ?? 0)
      reading.to.push(to[at + char.length - 1] ?? 0)
    }
    at += char.length
  }
  return reading
}

/** Escapes of JSON and of programs, of URLs, and of HTML. */
export const escapes =
  /\\u\{?[0-9a-f]{1,6}\}?|\\x[0-9a-f]{2}|\\[^ux]|(?:%[0-9a-f]{2})+|%u[0-9a-f]{4}|&#\d{1,7};|&#x[0-9a-f]{1,6};|&(?:amp|lt|gt|quot|apos);/gi

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'" }

const charOf = (code: number): string =>
  Number.isNaN(code) || code > 0x10ffff ? "" : code > 0xffff ? String.fromCodePoint(code) : String.fromCharCode(code)

const unescaped = (escape: string): string => {
  const [first, second] = escape
  if (first === "%") {
    if (second === "u" || second === "U") return charOf(Number.parseInt(escape.slice(2), 16))
    return new TextDecoder().decode(Uint8Array.from(escape.slice(1).split("%"), (hex) => Number.parseInt(hex, 16)))
  }
  if (first === "&") {
    if (second !== "#") return entities[escape.slice(1, -1).toLowerCase()] ?? ""
    return charOf(/^&#x/i.test(escape) ? Number.parseInt(escape.slice(3), 16) : Number.parseInt(escape.slice(2), 10))
  }
  if (second === "u" || second === "x" || second === "U" || second === "X") {
    return charOf(Number.parseInt(escape.slice(2).replace("{", ""), 16))
  }
  return second === "n" || second === "r" || second === "t" ? " " : second ?? ""
}

/** Decodes the escapes of a text; undefined where there are none. */
const decoded = ({ from, text, to }: Written): Written | undefined => {
  let out = ""
  const starts: Array<number> = []
  const ends: Array<number> = []
  const add = (part: string, first: number, last: number) => {
    for (let i = 0; i < part.length; i++) {
      starts.push(from[first] ?? 0)
      ends.push(to[last - 1] ?? 0)
    }
    out += part
  }
  let at = 0
  for (const { 0: escape, index } of text.matchAll(escapes)) {
    for (; at < index; at++) add(text.charAt(at), at, at + 1)
    at += escape.length
    add(unescaped(escape), index, at)
  }
  if (at === 0) return undefined
  for (; at < text.length; at++) add(text.charAt(at), at, at + 1)
  return { text: out, from: starts, to: ends }
}

const base64 = new Map(
  Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", (char, i) => [char.charCodeAt(0), i])
)
base64.set(0x2d, 62).set(0x5f, 63)

const hexadecimal = new Map(
  Array.from("0123456789abcdefABCDEF", (char) => [char.charCodeAt(0), Number.parseInt(char, 16)])
)

/**
 * What the digits of a text say as bytes, from each digit on that could be the first one. Digits are gathered over line breaks and what else is none, up to
 * the end of the text.
 */
const digits = (
  text: string,
  values: ReadonlyMap<number, number>,
  bits: number,
  alignments: number
): ReadonlyArray<Reading> => {
  const found: Array<readonly [value: number, at: number]> = []
  for (let i = 0; i < text.length; i++) {
    const value = values.get(text.charCodeAt(i))
    if (value !== undefined) found.push([value, i])
  }
  return Array.from({ length: alignments }, (_, first) => {
    const reading = empty()
    let [held, count, start] = [0, 0, 0]
    for (const [value, at] of found.slice(first)) {
      if (count === 0) start = at
      held = (held << bits) | value
      count += bits
      if (count < 8) continue
      count -= 8
      const code = held >> count
      held &= (1 << count) - 1
      if (!isDropped(code)) {
        reading.codes.push(code >= 0x41 && code <= 0x5a ? code + 32 : code)
        reading.from.push(start)
        reading.to.push(at + 1)
      }
      start = at
    }
    return reading
  })
}

/** A text as it stands, and with its escapes decoded. */
export const readings = (text: string): ReadonlyArray<Reading> => {
  const plain = written(text)
  const once = decoded(plain)
  const twice = once && decoded(once)
  return [plain, once, twice].flatMap((each) => each === undefined ? [] : [readingOf(each)])
}

/** What base64 and hexadecimal digits in a text say, where eight bytes or more may be written so. */
export const encodedIn = (text: string): ReadonlyArray<Reading> => [
  ...(/[\w+/-]{11}/.test(text) ? digits(text, base64, 6, 4) : []),
  ...(/(?:[\da-f]{2}[^\da-z]{0,2}){8}/i.test(text) ? digits(text, hexadecimal, 4, 2) : [])
]

/** Whether a character is a letter or a digit. */
export const isLetter = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x7a) || code > 0x7f

/** The letters and digits of a reading alone: a secret that was wrapped or quoted has more between them. */
export const lettersOf = ({ codes, from, to }: Reading): Reading => {
  const reading = empty()
  codes.forEach((code, i) => {
    if (!isLetter(code)) return
    reading.codes.push(code)
    reading.from.push(from[i] ?? 0)
    reading.to.push(to[i] ?? 0)
  })
  return reading
}
