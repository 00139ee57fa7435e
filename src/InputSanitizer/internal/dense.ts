/**
 * What stands in long stretches of text without spaces: credentials and encoded text. The search leaps over stretches that are too short, so that plain
 * text costs it next to nothing.
 */
import { fromBase64, fromEscapes, fromHex, fromNumbers, minEncoded } from "./encodings.ts"
import { maxSpan } from "./scan.ts"
import { minSecret, passwordIn, type Secret, secretAt } from "./secrets.ts"

/** What is done with what is found; `decoded` may be called with any text, `secret` only with credentials. */
export interface Handler {
  readonly secret: (found: Secret) => void
  /** Whether encoded text of this length is still to be decoded. */
  readonly wants: (length: number) => boolean
  readonly decoded: (text: string, start: number, end: number, encoding: string) => void
}

const isWord = 1
const isBase64 = 2
const isHex = 4
const isDense = 8
const isNumber = 16

const isPlain = isWord | isBase64

/** What a unit is part of, 0 for spaces and for what is not ASCII. */
const make = (): Uint8Array => {
  const table = new Uint8Array(0x10000)
  for (let unit = 0; unit < 0x7f; unit++) {
    const char = String.fromCharCode(unit)
    table[unit] = (unit > 0x20 ? isDense : 0) | (/[\w-]/.test(char) ? isWord : 0) |
      (/[\w+/=-]/.test(char) ? isBase64 : 0) | (/[0-9a-fA-F]/.test(char) ? isHex : 0) |
      (/[0-9a-fA-F\s,]/.test(char) ? isNumber : 0)
  }
  return table
}

/** What a unit is part of, 0 for what is not ASCII. */
const alphabet = make()

const minDense = Math.min(minSecret, minEncoded)

/** How many escapes make a stretch worth decoding. */
const minEscapes = 3

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

  private word(start: number, end: number): void {
    if (end - start < minSecret) return
    const found = secretAt(this.text, start, end)
    if (found !== undefined) this.handler.secret(found)
  }

  private encoded(start: number, end: number, isHexOnly: boolean): void {
    if (end - start < minEncoded) return
    if (isHexOnly && (end - start) % 2 === 0) {
      if (!this.handler.wants(end - start)) return
      const text = fromHex(this.text, start, end)
      if (text !== undefined) return this.handler.decoded(text, start, end, "hexadecimal")
    }
    if (this.encodedEnd > 0 && start - this.encodedEnd <= 2 && this.text.charCodeAt(this.encodedEnd) !== 0x20) {
      this.encodedEnd = end
      return
    }
    this.flush()
    this.encodedStart = start
    this.encodedEnd = end
  }

  /** Decodes the lines of base64 that were gathered. */
  flush(): void {
    const { encodedEnd: end, encodedStart: start } = this
    this.encodedEnd = 0
    if (end === 0 || !this.handler.wants(end - start)) return
    const text = fromBase64(this.text, start, end)
    if (text !== undefined) this.handler.decoded(text, start, end, "base64")
  }

  /** Reads the stretch that begins at a position, and answers where it ends. */
  read(start: number): number {
    const { text } = this
    let wordStart = start
    let encodedStart = start
    let isHexOnly = true
    let escapes = 0
    let userStart = -1
    let at = start
    for (;; at++) {
      const unit = at < text.length ? text.charCodeAt(at) : 0x20
      const kind = alphabet[unit]! // it has an entry for every unit
      if ((kind & isPlain) === isPlain) {
        if ((kind & isHex) === 0) isHexOnly = false
        continue
      }
      this.word(wordStart, at)
      wordStart = at + 1
      const isPadding = unit === 0x3d && text.charCodeAt(at + 1) === 0x3d
      if (!isPadding && unit !== 0x2b && unit !== 0x2f) {
        this.encoded(encodedStart, unit === 0x3d ? at + 1 : at, isHexOnly)
        encodedStart = at + 1
        isHexOnly = true
      }
      if ((kind & isDense) === 0) break
      if (unit === 0x25 || unit === 0x5c || unit === 0x26) escapes++
      else if (unit === 0x3a && text.startsWith("://", at)) userStart = at + 3
      else if (unit === 0x40 && userStart >= 0) this.user(userStart, at)
      if (unit === 0x40 || unit === 0x3f || unit === 0x23 || (unit === 0x2f && at > userStart)) userStart = -1
    }
    if (escapes >= minEscapes && this.handler.wants(at - start)) this.escaped(start, at)
    return at
  }

  private escaped(start: number, end: number): void {
    // What surrounds it may be the rest of the sentence.
    const encoded = this.text.slice(Math.max(0, start - maxSpan), Math.min(end, start + maxEscaped) + maxSpan)
    const text = fromEscapes(encoded)
    if (text !== encoded) this.handler.decoded(text, start, end, "escapes")
  }

  private user(start: number, end: number): void {
    const found = passwordIn(this.text, start, end)
    if (found !== undefined) this.handler.secret(found)
  }
}

/**
 * Calls `read` at the start of every stretch of at least `min` units that are all of an alphabet. `read` answers where the stretch ends. The search
 * leaps: it looks at the unit where a stretch of that length would end.
 */
const eachStretch = (text: string, of: number, min: number, read: (start: number) => number): void => {
  // No stretch begins before `start`; what stands between it and `checked` is of the alphabet.
  let start = 0
  let checked = 0
  while (start + min <= text.length) {
    const last = start + min - 1
    let at = last
    while (at >= checked && (alphabet[text.charCodeAt(at)]! & of) !== 0) at-- // it has an entry for every unit
    if (at < checked) start = checked = read(start) + 1
    else {
      start = at + 1
      checked = last + 1
    }
  }
}

/** Looks through a text for credentials and encoded text. */
export const readDense = (text: string, handler: Handler): void => {
  const stretches = new Stretches(text, handler)
  eachStretch(text, isDense, minDense, (start) => stretches.read(start))
  stretches.flush()
}

/** The shortest sequence of spaced numbers that is decoded: 16 pairs of digits. */
const minNumbers = 47

/** The most of such a sequence that is decoded. */
const maxNumbers = 4_096

/** Looks through a text for spaced numbers that stand for characters. */
export const readNumbers = (text: string, handler: Pick<Handler, "wants" | "decoded">): void =>
  eachStretch(text, isNumber, minNumbers, (start) => {
    let end = start
    while (end < text.length && (alphabet[text.charCodeAt(end)]! & isNumber) !== 0) end++ // it has an entry for every unit
    const length = Math.min(end - start, maxNumbers)
    if (!handler.wants(length)) return end
    const decoded = fromNumbers(text.slice(start, start + length))
    if (decoded !== undefined) handler.decoded(decoded, start, end, "numbers")
    return end
  })
