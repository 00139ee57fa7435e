/** Texts that callers choose, in bounded memory and in a form that every store can keep. */
import { ContentHash } from "./contentHash.ts"

/** The first `max` characters in memory of their own: a mere slice keeps all of the text that it was cut from. */
export const firstOf = (text: string, max: number): string =>
  text.length <= max ? text : ` ${text.slice(0, max)}`.slice(1)

/** The most bytes of a name, as UTF-8: a user, a tenant, a tag, an account of a budget. */
const maxNameBytes = 200

/** How much of a name that is too long remains beside its hash. */
const prefixBytes = maxNameBytes - 17

/** Not every database can store NUL and half surrogates. */
const unstorable = /[\p{Cc}\p{Cs}]/u
const allUnstorable = new RegExp(unstorable, "gu")

const bytesOf = (code: number): number => code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4

/** How many of the first code units take at most so many bytes; a pair of surrogates stays together. */
const unitsWithin = (text: string, max: number): number => {
  let bytes = 0
  let units = 0
  while (units < text.length) {
    const code = text.codePointAt(units) ?? 0
    bytes += bytesOf(code)
    if (bytes > max) break
    units += code > 0xffff ? 2 : 1
  }
  return units
}

/**
 * A name as it is kept everywhere: of at most 200 bytes as UTF-8 and without control characters. The hash of the whole is the end of one that is longer,
 * so that two long names remain two. A name that is kept already stays as it is.
 */
export const nameOf = (text: string): string => {
  const isShort = text.length * 3 <= maxNameBytes || unitsWithin(text, maxNameBytes) === text.length
  if (isShort) return unstorable.test(text) ? nameOf(text.replace(allUnstorable, "\ufffd")) : text
  const hash = new ContentHash()
  hash.addText(text)
  const end = hash.lanes.map((lane) => (lane >>> 0).toString(16).padStart(8, "0")).join("")
  const head = text.slice(0, maxNameBytes).replace(allUnstorable, "\ufffd")
  const start = firstOf(head, unitsWithin(head, prefixBytes))
  return `${start}~${end}`
}
