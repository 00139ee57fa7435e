/** Text that is hidden in an encoding: base64, hexadecimal digits, escapes of URLs, programs and HTML, rot13, reversed. */

/** How many characters of an encoded text are decoded to see whether it is text at all. */
const probe = 32

/** The shortest encoded text worth decoding. */
export const minEncoded = 24

const utf8 = new TextDecoder()

/** The text that bytes are in UTF-8; undefined for other data. The last character may be cut. */
const textOf = (bytes: Uint8Array): string | undefined => {
  const text = utf8.decode(bytes)
  // eslint-disable-next-line no-control-regex -- they tell data from text
  return /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\ufffd[^]/.test(text) ? undefined : text
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/** The value of a digit by its unit; both alphabets of base64 are understood. */
const base64Values = Uint8Array.from({ length: 128 }, (_, unit) => {
  const char = String.fromCharCode(unit).replace("-", "+").replace("_", "/")
  return Math.max(0, base64Digits.indexOf(char))
})

const hexValues = Uint8Array.from({ length: 128 }, (_, unit) => Number.parseInt(String.fromCharCode(unit), 16) || 0)

const base64Bytes = (text: string, start: number, end: number): Uint8Array => {
  const bytes = new Uint8Array(((end - start) * 3) >> 2)
  let bits = 0
  let held = 0
  let length = 0
  for (let at = start; at < end; at++) {
    const unit = text.charCodeAt(at)
    if (unit === 0x3d || unit <= 0x20) continue // padding, and the ends of lines
    bits = (bits << 6) | base64Values[unit]! // only units of the alphabet get here
    held += 6
    if (held < 8) continue
    held -= 8
    bytes[length++] = bits >> held
    bits &= (1 << held) - 1
  }
  return bytes.subarray(0, length)
}

const hexBytes = (text: string, start: number, end: number): Uint8Array =>
  Uint8Array.from(
    { length: (end - start) >> 1 },
    (_, index) =>
      hexValues[text.charCodeAt(start + 2 * index)]! * 16 + hexValues[text.charCodeAt(start + 2 * index + 1)]!
  )

const decoded = (
  bytesOf: (text: string, start: number, end: number) => Uint8Array,
  text: string,
  start: number,
  end: number
): string | undefined =>
  textOf(bytesOf(text, start, Math.min(end, start + probe))) === undefined
    ? undefined
    : textOf(bytesOf(text, start, end))

/** The text that the units from `start` to before `end` encode in base64; undefined where they do not. */
export const fromBase64 = (text: string, start: number, end: number): string | undefined =>
  decoded(base64Bytes, text, start, end)

/** The text that pairs of hexadecimal digits stand for. */
export const fromHex = (text: string, start: number, end: number): string | undefined =>
  decoded(hexBytes, text, start, end - (end - start) % 2)

const escape =
  /%([0-9a-f]{2})|\\x([0-9a-f]{2})|\\u\{?([0-9a-f]{4,6})\}?|&#x([0-9a-f]{1,6});?|&#([0-9]{1,7});?|\\([0-7]{3})/gi

const charOf = (code: number): string => code > 0x10ffff ? "" : String.fromCodePoint(code)

/** A text with its escapes replaced by what they stand for. */
export const fromEscapes = (text: string): string =>
  text.replace(escape, (_, percent, byte, unicode, hexEntity, entity, octal) =>
    entity !== undefined
      ? charOf(Number(entity))
      : octal !== undefined
      ? charOf(Number.parseInt(octal, 8))
      : charOf(Number.parseInt(percent ?? byte ?? unicode ?? hexEntity, 16)))

/** A text in which every letter is moved by half of the alphabet. */
export const rot13 = (text: string): string =>
  text.replace(/[a-z]/gi, (letter) => {
    const unit = letter.charCodeAt(0)
    return String.fromCharCode((unit & 0x1f) > 13 ? unit - 13 : unit + 13)
  })

export const reversed = (text: string): string => Array.from(text).reverse().join("")

const groups = /[0-9a-fA-F]+/g

/** The text that spaced numbers stand for: bytes in binary or hexadecimal, or decimal codes; undefined where they do not. */
export const fromNumbers = (text: string): string | undefined => {
  const numbers = text.match(groups) ?? []
  const radix = numbers.every((each) => /^[01]{8}$/.test(each))
    ? 2
    : numbers.every((each) => /^[0-9a-fA-F]{2}$/.test(each))
    ? 16
    : numbers.every((each) => /^[0-9]{2,3}$/.test(each))
    ? 10
    : undefined
  if (radix === undefined) return undefined
  const bytes = numbers.map((each) => Number.parseInt(each, radix))
  return bytes.some((byte) => byte > 0xff) ? undefined : textOf(Uint8Array.from(bytes))
}
