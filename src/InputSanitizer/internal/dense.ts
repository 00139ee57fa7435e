/**
 * What stands in long stretches of text without spaces: credentials and encoded text.
 */
import { fromBase64, fromEscapes, fromHex, fromNumbers, minEncoded } from "./encodings.ts"
import { maxSpan } from "./scan.ts"
import { mayBeSecret, minSecret, passwordIn, type Secret, secretAt } from "./secrets.ts"

/** What is done with what is found; `decoded` may be called with any text, `secret` only with credentials. */
export interface Handler {
  /** Whether enough was found. */
  readonly isFull: () => boolean
  readonly secret: (found: Secret) => void
  /** How much of an encoded text of this length is to be decoded. */
  readonly allowance: (length: number) => number
  readonly decoded: (text: string, start: number, end: number, encoding: string) => void
}

const isWord = 1
const isBase64 = 2
const isHex = 4
const isDense = 8
const isNumber = 16
/** Part of an escape, a URL, or an encoding. */
const isSign = 32

const isPlain = isWord | isBase64

/** What a unit is part of, 0 for spaces and for what is not ASCII. */
const make = (): Uint8Array => {
  const table = new Uint8Array(0x10000)
  for (let unit = 0; unit < 0x7f; unit++) {
    const char = String.fromCharCode(unit)
    table[unit] = (unit > 0x20 ? isDense : 0) | (/[\w-]/.test(char) ? isWord : 0) |
      (/[\w+/=-]/.test(char) ? isBase64 : 0) | (/[0-9a-fA-F]/.test(char) ? isHex : 0) |
      (/[0-9a-fA-F\s,]/.test(char) ? isNumber : 0) | (/[%\\&:@?#/=+]/.test(char) ? isSign : 0)
  }
  return table
}

/** What a unit is part of, 0 for what is not ASCII. */
const alphabet = make()

/** How many escapes make a stretch worth decoding. */
const minEscapes = 3

/** Whether a character is written in a way that only programs do: `&#73;`, `\\u0049`. One of them is enough. */
const isPlainEscape = (text: string, at: number, unit: number): boolean =>
  unit === 0x26 ? text.charCodeAt(at + 1) === 0x23 : unit === 0x5c && text.startsWith("u00", at + 1)

/** The most of a stretch whose escapes are decoded. */
const maxEscaped = 8_192

/** Reads the stretches of one text. */
class Stretches {
  private readonly text: string
  private readonly handler: Handler
  /** Lines of base64 that belong together. */
  private encodedStart = 0
  private encodedEnd = 0

  constructor(text: string, handler: Handler) {
    this.text = text
    this.handler = handler
  }

  word(start: number, end: number): void {
    if (!mayBeSecret(this.text, start, end)) return
    const found = secretAt(this.text, start, end)
    if (found !== undefined) this.handler.secret(found)
  }

  private isHex(start: number, end: number): boolean {
    for (let at = start; at < end; at++) if ((alphabet[this.text.charCodeAt(at)]! & isHex) === 0) return false
    return true
  }

  encoded(start: number, end: number): void {
    if ((end - start) % 2 === 0 && this.isHex(start, Math.min(end, start + minEncoded)) && this.hex(start, end)) return
    if (this.encodedEnd > 0 && start - this.encodedEnd <= 2 && this.text.charCodeAt(this.encodedEnd) !== 0x20) {
      this.encodedEnd = end
      return
    }
    this.flush()
    this.encodedStart = start
    this.encodedEnd = end
  }

  /** Decodes a hexadecimal number; answers whether it is a text. */
  private hex(start: number, end: number): boolean {
    const length = this.handler.allowance(end - start)
    if (length < minEncoded || !this.isHex(start, start + length)) return false
    const text = fromHex(this.text, start, start + length)
    if (text !== undefined) this.handler.decoded(text, start, end, "hexadecimal")
    return text !== undefined
  }

  /** Decodes the lines of base64 that were gathered. */
  flush(): void {
    const { encodedEnd: end, encodedStart: start } = this
    this.encodedEnd = 0
    const length = end === 0 ? 0 : this.handler.allowance(end - start)
    if (length < minEncoded) return
    const text = fromBase64(this.text, start, start + length)
    if (text !== undefined) this.handler.decoded(text, start, end, "base64")
  }

  /** Reads the stretch that begins at a position, of which the units before `plainEnd` are letters and digits; answers where it ends. */
  read(start: number, plainEnd: number): number {
    const { text } = this
    let wordStart = start
    let encodedStart = start
    let escapes = 0
    let userStart = -1
    let at = plainEnd
    for (;; at++) {
      const unit = at < text.length ? text.charCodeAt(at) : 0x20
      const kind = alphabet[unit]! // it has an entry for every unit
      if ((kind & isPlain) === isPlain) continue
      if (kind === isDense && at - encodedStart < minSecret) {
        while (at + 1 < text.length && alphabet[text.charCodeAt(at + 1)] === isDense) at++
        wordStart = encodedStart = at + 1
        continue
      }
      if (at - wordStart >= minSecret) this.word(wordStart, at)
      wordStart = at + 1
      const isPadding = unit === 0x3d && text.charCodeAt(at + 1) === 0x3d
      if (!isPadding && unit !== 0x2b && unit !== 0x2f) {
        const encodedEnd = unit === 0x3d ? at + 1 : at
        if (encodedEnd - encodedStart >= minEncoded) this.encoded(encodedStart, encodedEnd)
        encodedStart = at + 1
      }
      if ((kind & isDense) === 0) break
      if ((kind & isSign) === 0) continue
      if (isPlainEscape(text, at, unit)) escapes = minEscapes
      else if (unit === 0x25 || unit === 0x5c || unit === 0x26) escapes++
      else if (unit === 0x3a && text.startsWith("://", at)) userStart = at + 3
      else if (unit === 0x40 && userStart >= 0) this.user(userStart, at)
      if (unit === 0x40 || unit === 0x3f || unit === 0x23 || (unit === 0x2f && at > userStart)) userStart = -1
    }
    if (escapes >= minEscapes) this.escaped(start, at)
    return at
  }

  private escaped(start: number, end: number): void {
    const length = this.handler.allowance(Math.min(end - start, maxEscaped))
    if (length === 0) return
    // What surrounds it may be the rest of the sentence.
    const encoded = this.text.slice(Math.max(0, start - maxSpan), start + length + maxSpan)
    const text = fromEscapes(encoded)
    if (text !== encoded) this.handler.decoded(text, start, end, "escapes")
  }

  private user(start: number, end: number): void {
    const found = passwordIn(this.text, start, end)
    if (found !== undefined) this.handler.secret(found)
  }
}

/**
 * Looks through a text for credentials and encoded text. The search leaps: it looks at the unit where a stretch of the least length would end, and back
 * from there, so that plain text costs it next to nothing.
 */
export const readDense = (text: string, handler: Handler): void => {
  const stretches = new Stretches(text, handler)
  // No stretch begins before `start`; what stands between it and `checked` has no spaces, and `checkedKinds` in common.
  let start = 0
  let checked = 0
  let checkedKinds = isPlain
  while (start + minSecret <= text.length) {
    const last = start + minSecret - 1
    let kinds = isPlain
    let at = last
    for (; at >= checked; at--) {
      const kind = alphabet[text.charCodeAt(at)]! // it has an entry for every unit
      if ((kind & isDense) === 0) break
      kinds &= kind
    }
    if (at >= checked) {
      start = at + 1
      checked = last + 1
      checkedKinds = kinds
      continue
    }
    const isWhole = (kinds & checkedKinds) === isPlain
    start = checked = stretches.read(start, isWhole ? last + 1 : start) + 1
    checkedKinds = isPlain
    if (handler.isFull()) break
  }
  stretches.flush()
}

/** The shortest sequence of spaced numbers that is decoded: 16 pairs of digits. */
const minNumbers = 47

/** The most of such a sequence that is decoded. */
const maxNumbers = 4_096

/**
 * Looks through a text for spaced numbers that stand for characters. The search leaps: it looks at the unit where a sequence of the least length would
 * end.
 */
export const readNumbers = (text: string, handler: Handler): void => {
  // No sequence begins before `start`; what stands between it and `checked` is numbers and spaces.
  let start = 0
  let checked = 0
  while (start + minNumbers <= text.length) {
    const last = start + minNumbers - 1
    let at = last
    while (at >= checked && (alphabet[text.charCodeAt(at)]! & isNumber) !== 0) at-- // it has an entry for every unit
    if (at >= checked) {
      start = at + 1
      checked = last + 1
      continue
    }
    const length = handler.allowance(Math.min(maxNumbers, text.length - start))
    if (length < minNumbers) return
    let end = last
    while (end < start + length && (alphabet[text.charCodeAt(end)]! & isNumber) !== 0) end++
    const decoded = fromNumbers(text.slice(start, end))
    if (decoded !== undefined) handler.decoded(decoded, start, end, "numbers")
    start = checked = end + 1
  }
}
