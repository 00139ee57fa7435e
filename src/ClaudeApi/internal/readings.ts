/**
 * The ways in which a text can be read, so that a copy of something is found in it however it was written down: as it stands, with its escapes decoded
 * (of JSON, programs, URLs and HTML, four deep), and what base64, hexadecimal digits and lists of numbers in it say, two deep. Case, white space, accents and
 * characters that are not seen do not count.
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

/** What nobody sees: joiners, selectors and fillers. */
const unseen = /[\p{Default_Ignorable_Code_Point}\u2800]/gu

/** A text whose characters beyond ASCII are decomposed and in lower case. */
const folded = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  /[^\x00-\x7f]/.test(text) ? text.normalize("NFKD").replace(unseen, "").toLowerCase().replaceAll("ς", "σ") : text

const lower = (code: number): number => code >= 0x41 && code <= 0x5a ? code + 32 : code

/** The characters of a text that count, in lower case. */
export const codesOf = (text: string): Uint16Array => {
  const all = folded(text)
  const codes = new Uint16Array(all.length)
  let count = 0
  for (let i = 0; i < all.length; i++) {
    const code = all.charCodeAt(i)
    if (!isDropped(code)) codes[count++] = lower(code)
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
  const add = (code: number, first: number, last: number) => {
    reading.codes.push(code)
    reading.from.push(from[first] ?? 0)
    reading.to.push(to[last] ?? 0)
  }
  let at = 0
  for (const char of text) {
    const code = char.charCodeAt(0)
    if (code > 0x7f) { for (const each of codesOf(char)) add(each, at, at + char.length - 1) }
    else if (!isDropped(code)) add(lower(code), at, at)
    at += char.length
  }
  return reading
}

/** Escapes of JSON and of programs, of URLs, and of HTML, whose elements count as none. */
export const escapeParts: ReadonlyArray<string> = [
  String.raw`\\u\{[\dA-Fa-f]{1,6}\}`,
  String.raw`\\u[\dA-Fa-f]{4}`,
  String.raw`\\U[\dA-Fa-f]{8}`,
  String.raw`\\x[\dA-Fa-f]{2}`,
  String.raw`\\[0-3][0-7]{2}`,
  String.raw`\\[^uUx]`,
  String.raw`(?:%[\dA-Fa-f]{2})+`,
  String.raw`%u[\dA-Fa-f]{4}`,
  String.raw`&#\d{1,7};?`,
  String.raw`&#[xX][\dA-Fa-f]{1,6};?`,
  String.raw`&[A-Za-z]{2,8};`,
  String.raw`<\/?[A-Za-z][^<>]{0,40}>`
]

const escapes = new RegExp(escapeParts.join("|"), "g")

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'" }

const charOf = (code: number): string =>
  Number.isNaN(code) || code > 0x10ffff ? "" : code > 0xffff ? String.fromCodePoint(code) : String.fromCharCode(code)

const hex = (digits: string): string => charOf(Number.parseInt(digits, 16))

const unescaped = (escape: string): string => {
  const [first, second = ""] = escape
  if (first === "<") return ""
  if (first === "%") {
    if (second === "u") return hex(escape.slice(2))
    return textOf(escape.slice(1).split("%").map((digits) => Number.parseInt(digits, 16)), () => {})
  }
  if (first === "&") {
    if (second !== "#") return entities[escape.slice(1, -1).toLowerCase()] ?? ""
    return /^&#x/i.test(escape) ? hex(escape.slice(3)) : charOf(Number.parseInt(escape.slice(2), 10))
  }
  if (escape.length > 2) {
    return /[uUx]/.test(second)
      ? hex(escape.slice(2).replace("{", ""))
      : charOf(Number.parseInt(escape.slice(1), 8))
  }
  return second === "n" || second === "r" || second === "t" ? " " : second
}

/** Bytes as text, in UTF-8 or else in Latin-1; `take` gets the places of the bytes that each unit of it stands for. */
const textOf = (bytes: ReadonlyArray<number>, take: (first: number, last: number) => void): string => {
  let text = ""
  for (let at = 0; at < bytes.length;) {
    const byte = bytes[at] ?? 0
    const length = byte < 0xc2 || byte > 0xf4 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
    let code = length === 1 ? byte : byte & (0xff >> (length + 1))
    let end = at + 1
    for (; end < at + length && ((bytes[end] ?? 0) & 0xc0) === 0x80; end++) {
      code = (code << 6) | ((bytes[end] ?? 0) & 0x3f)
    }
    const whole = end === at + length
    const chars = whole ? charOf(code) : charOf(byte)
    for (let i = 0; i < chars.length; i++) take(at, whole ? end - 1 : at)
    text += chars
    at = whole ? end : at + 1
  }
  return text
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

/** How many times a text may have been escaped. */
const maxEscaped = 4

/** A text, and with its escapes decoded as often as there are any. */
const unescapings = (text: Written): ReadonlyArray<Written> => {
  const all = [text]
  for (let next = decoded(text); next !== undefined && all.length <= maxEscaped; next = decoded(next)) all.push(next)
  return all
}

/** Bytes that a text says in digits, and where. */
interface Bytes {
  readonly bytes: Array<number>
  readonly from: Array<number>
  readonly to: Array<number>
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
): ReadonlyArray<Bytes> => {
  const found: Array<readonly [value: number, at: number]> = []
  for (let i = 0; i < text.length; i++) {
    const value = values.get(text.charCodeAt(i))
    if (value !== undefined) found.push([value, i])
  }
  return Array.from({ length: alignments }, (_, first) => {
    const said: Bytes = { bytes: [], from: [], to: [] }
    let [held, count, start] = [0, 0, 0]
    for (let i = first; i < found.length; i++) {
      const [value, at] = found[i] ?? [0, 0]
      if (count === 0) start = at
      held = (held << bits) | value
      count += bits
      if (count < 8) continue
      count -= 8
      said.bytes.push(held >> count)
      said.from.push(start)
      said.to.push(at)
      held &= (1 << count) - 1
      start = at
    }
    return said
  })
}

/** What the numbers of a text say as bytes: all of them, or every other one, where their places stand between them. */
const numbers = (text: string): ReadonlyArray<Bytes> => {
  const found = Array.from(text.matchAll(/(?<!\d)\d{1,3}(?!\d)/g)).filter(([number]) => Number(number) < 256)
  return [[0, 1], [0, 2], [1, 2]].map(([first = 0, step = 1]) => {
    const some = found.filter((_, i) => i % step === first)
    return {
      bytes: some.map(([number]) => Number(number)),
      from: some.map(({ index }) => index),
      to: some.map(({ 0: number, index }) => index + number.length - 1)
    }
  })
}

/** What stands before hexadecimal digits, which are digits in part. */
const prefix = /0x|u\+/gi

/** What a text says in base64, hexadecimal digits and numbers, where eight bytes or more may be written so. */
const encoded = ({ from, text, to }: Written): ReadonlyArray<Written> => {
  const plain = text.replace(prefix, "  ")
  const all = [
    ...(/[\w+/-]{11}/.test(text) ? digits(text, base64, 6, 4) : []),
    ...(/(?:[\da-f]{2}[^\da-z]{0,4}){8}/i.test(plain) ? digits(plain, hexadecimal, 4, 2) : []),
    ...(/(?:\d[^\da-z]{1,6}){8}/i.test(text.replace(/\d+/g, "0")) ? numbers(text) : [])
  ]
  return all.map((said) => {
    const starts: Array<number> = []
    const ends: Array<number> = []
    const text = textOf(said.bytes, (first, last) => {
      starts.push(from[said.from[first] ?? 0] ?? 0)
      ends.push(to[said.to[last] ?? 0] ?? 0)
    })
    return { text, from: starts, to: ends }
  })
}

/** A text as it stands, and with its escapes decoded. */
export const readings = (text: string): ReadonlyArray<Reading> => unescapings(written(text)).map(readingOf)

/** What is encoded in a text, and in what that says. */
export const encodedIn = (text: string): ReadonlyArray<Reading> => {
  const once = unescapings(written(text)).flatMap(encoded).flatMap(unescapings)
  return [...once, ...once.flatMap(encoded).flatMap(unescapings)].map(readingOf)
}

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
