/**
 * Removes what an answer repeats of its request: content from the API's messages about it, and keys and values of headers from everything.
 *
 * - **Content**: what a message shares with the request, in runs of `run` or more characters, and each quotation, however short. Words that such messages
 *   consist of anyway stay: a run goes if it has something of its own. Above `maxContent` characters nothing is compared, and no other words stay.
 * - **Secrets**: each part of `part` or more characters; a shorter secret as a whole.
 * - Both are found in every reading of the text (`readings.ts`), before it is shortened. Time is linear in text and content, and both are bounded.
 */
import type { Request } from "../../Request.ts"
import { commonWords } from "./commonWords.ts"
import { codesOf, encodedIn, escapeParts, isLetter, lettersOf, type Reading, readings } from "./readings.ts"

const run = 6
const part = 8
/** The shortest secret: fewer characters say nothing. */
const minSecret = 4
const maxLength = 300
/** The most of a text that is looked at. */
const maxText = 2048
const maxContent = 500_000
/** The most quotations that are looked for. */
const maxQuotations = 20
/** A shared run goes with so many characters that are not of a common word. */
const minOwn = 3

/** The patterns that run on what an answer says. */
export const patterns = (): ReadonlyArray<RegExp> => [
  wordless,
  key,
  quotation,
  word,
  ...escapeParts.map((part) => new RegExp(part, "g")),
  name,
  harmlessName
]

const wordless = /^prompt is too long: \d{1,9} tokens > \d{1,9} maximum$/

/** Parts of a request whose property names are content too. */
const free: ReadonlySet<string> = new Set(["input", "input_schema", "format"])

/** All content of a request, without its model and the names of its parts; undefined where there is too much of it. */
const contentOf = (request: Partial<Request>): ReadonlyArray<string> | undefined => {
  const out: Array<string> = []
  let left = maxContent
  const add = (text: string) => {
    out.push(text)
    left -= text.length + 1
  }
  const { messages, metadata, output_config, stop_sequences, system, tool_choice, tools } = request
  const parts: Array<readonly [value: unknown, named: boolean]> = [
    [[system, messages, tools, metadata, stop_sequences, output_config, tool_choice], false]
  ]
  for (let next = parts.pop(); next !== undefined; next = parts.pop()) {
    const [value, named] = next
    if (left < 0) return undefined
    left--
    if (typeof value === "string") add(value)
    else if (typeof value === "number" && named) add(String(value))
    else if (Array.isArray(value)) { for (const item of value) parts.push([item, named]) }
    else if (typeof value === "object" && value !== null) {
      for (const [key, item] of Object.entries(value)) {
        if (named) add(key)
        // The type of a block is not content, and encoded files are never quoted.
        if (named || (key !== "type" && key !== "role" && key !== "data")) parts.push([item, named || free.has(key)])
      }
    }
  }
  return left < 0 ? undefined : out
}

/** The hash of the run that ends with `code`, from that of the run before it, whose first character was `gone`. */
const base = 0x01000193
const hashed = (before: number, code: number, gone: number, power: number): number =>
  (Math.imul(before, base) + code - Math.imul(gone, power)) | 0

/** The runs of a text, and which of them some other text has. */
class Runs {
  private readonly length: number
  private readonly power: number
  private readonly filter = new Uint8Array(1 << 16)
  private readonly known = new Map<number, boolean>()

  constructor(length: number, all: ReadonlyArray<Reading>) {
    this.length = length
    let power = 1
    for (let i = 0; i < length; i++) power = Math.imul(power, base)
    this.power = power
    for (const { codes } of all) {
      this.each(codes, (hash) => {
        this.known.set(hash, false)
        this.filter[(hash ^ (hash >>> 16)) & 0xffff] = 1
      })
    }
  }

  private each(codes: ArrayLike<number>, take: (hash: number, end: number) => void): void {
    const { length, power } = this
    let hash = 0
    for (let i = 0; i < codes.length; i++) {
      hash = hashed(hash, codes[i] ?? 0, i < length ? 0 : codes[i - length] ?? 0, power)
      if (i + 1 >= length) take(hash, i + 1)
    }
  }

  /** Looks for the runs in another text. */
  lookIn(codes: ArrayLike<number>): void {
    const { filter, known, length, power } = this
    let hash = 0
    for (let i = 0; i < codes.length; i++) {
      hash = hashed(hash, codes[i] ?? 0, i < length ? 0 : codes[i - length] ?? 0, power)
      if (filter[(hash ^ (hash >>> 16)) & 0xffff] === 1 && i + 1 >= length && known.has(hash)) known.set(hash, true)
    }
  }

  /** Gives the places of a reading, from its first character on, that runs cover which were found. */
  found({ codes, from, to }: Reading, take: (from: number, to: number) => void): void {
    let start = -1
    let end = -1
    this.each(codes, (hash, last) => {
      if (this.known.get(hash) !== true) return
      const first = last - this.length
      if (first > end) {
        if (end > 0) take(from[start] ?? 0, to[end - 1] ?? 0)
        start = first
      }
      end = last
    })
    if (end > 0) take(from[start] ?? 0, to[end - 1] ?? 0)
  }
}

const key = /sk-[A-Za-z0-9_-]{4,}/g

const quotation = /(["'`“‘])([^"'`“”‘’]{2,200})["'`”’]/g

const word = /[\p{L}\p{N}\p{M}]+/gu

const isNumber = (text: string): boolean => /^\d{1,9}$/.test(text)

/** For each character of a text: 0 in common words and between words, 2 in numbers, 1 in everything else. */
const ownOf = (text: string, known: ReadonlySet<string>): Uint8Array => {
  const own = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) own[i] = /[\s.,:;'"`()[\]_>/-]/.test(text.charAt(i)) ? 0 : 1
  for (const { 0: found, index } of text.matchAll(word)) {
    const lower = found.toLowerCase()
    if (isNumber(found)) own.fill(2, index, index + found.length)
    else if (commonWords.has(lower) || known.has(lower)) own.fill(0, index, index + found.length)
  }
  return own
}

/** Whether a place in a text has something of its own: other than common words, or a whole number that a common word would hide. */
const isTelling = (own: Uint8Array, from: number, to: number): boolean => {
  let count = 0
  for (let i = from; i < to; i++) {
    if (own[i] === 1) count++
    else if (own[i] === 2 && (own[from - 1] !== 2 || i > from) && (own[to] !== 2 || i < to)) count++
  }
  return count >= minOwn
}

const textIn = (codes: ArrayLike<number>): string => Array.from(codes, (code) => String.fromCharCode(code)).join("")

/** A secret, and what it says where it is encoded itself, as names of users with their passwords are. */
const spellings = (secret: string): ReadonlyArray<ArrayLike<number>> => {
  const some = secret.slice(0, maxText)
  const said = [...readings(some).slice(1), ...encodedIn(some)].map(({ codes }) => codes)
  return [codesOf(secret), ...said.filter(({ length }) => length >= part)]
}

/** Marks what secrets and their parts cover. */
const markSecrets = (all: ReadonlyArray<Reading>, secrets: ReadonlyArray<string>, mark: Mark): void => {
  const letters = all.map(lettersOf)
  const plain = new Runs(part, all)
  const bare = new Runs(part, letters)
  for (const codes of secrets.flatMap(spellings)) {
    if (codes.length >= part) {
      plain.lookIn(codes)
      bare.lookIn(Array.from(codes).filter(isLetter))
    } else if (codes.length >= minSecret) {
      const short = textIn(codes)
      for (const reading of all) {
        const text = textIn(reading.codes)
        for (let at = text.indexOf(short); at >= 0; at = text.indexOf(short, at + 1)) {
          mark(reading.from[at] ?? 0, reading.to[at + short.length - 1] ?? 0)
        }
      }
    }
  }
  for (const reading of all) plain.found(reading, mark)
  for (const reading of letters) bare.found(reading, mark)
}

type Mark = (from: number, to: number) => void

/** Marks what the content of a request covers. */
const markContent = (text: string, all: ReadonlyArray<Reading>, request: Partial<Request>, mark: Mark): void => {
  const model = request.model?.toLowerCase().split(/[^a-z]+/) ?? []
  const own = ownOf(text, new Set(model))
  const content = contentOf(request)
  if (content === undefined) {
    for (const { 0: found, index } of text.matchAll(word)) if (own[index] === 1) mark(index, index + found.length)
    return
  }
  const runs = new Runs(run, all)
  for (const piece of content) runs.lookIn(codesOf(piece))
  for (const reading of all) {
    runs.found(reading, (from, to) => {
      if (isTelling(own, from, to)) mark(from, to)
    })
  }
  let left = maxQuotations
  const lower = content.map((piece) => piece.toLowerCase())
  for (const { 0: all, 2: inside = "", index } of text.matchAll(quotation)) {
    if (!own.subarray(index + 1, index + all.length - 1).some((each) => each > 0)) continue
    if (--left < 0 || lower.some((piece) => piece.includes(inside.toLowerCase()))) mark(index, index + all.length)
  }
}

/** A text without what it repeats of the request that it is about, and without secrets, shortened. */
export const redact = (
  text: string,
  request: Partial<Request> | undefined,
  secrets: ReadonlyArray<string>
): string => {
  if (wordless.test(text)) return text
  const all = text.slice(0, maxText)
  const hidden = new Uint8Array(all.length)
  const mark: Mark = (from, to) => void hidden.fill(1, from, to)
  const read = readings(all)
  markSecrets([...read, ...encodedIn(all)], secrets, mark)
  for (const { 0: found, index } of all.matchAll(key)) mark(index, index + found.length)
  if (request !== undefined) markContent(all, read, request, mark)
  let left = ""
  for (let i = 0; i < all.length && left.length <= maxLength; i++) {
    if (hidden[i] === 0) left += /\s/.test(all.charAt(i)) ? " " : all.charAt(i)
    else if (hidden[i - 1] !== 1) left += "…"
  }
  return left.length > maxLength || text.length > maxText ? `${left.slice(0, maxLength)}…` : left
}

const name = /^[A-Za-z0-9][A-Za-z0-9_.:@/+=-]{0,127}$/

/** Names that no secret is, so that they need no look at any. */
export const harmlessName = /^(?:req_\w{1,24}|end_turn|max_tokens|stop_sequence|tool_use|pause_turn|refusal)$/

/** A name from an answer, such as that of a model or of an error: undefined unless it is one, is short, and has no part of a secret. */
export const token = (text: unknown, secrets: ReadonlyArray<string>): string | undefined => {
  if (typeof text !== "string" || !name.test(text)) return undefined
  const said = [...readings(text), ...encodedIn(text)].flatMap((reading) => [
    textIn(reading.codes),
    textIn(lettersOf(reading).codes)
  ])
  const isSecret = secrets.some((secret) => {
    const codes = codesOf(secret)
    const whole = textIn(codes)
    const letters = textIn(codes.filter(isLetter))
    const length = Math.min(part, letters.length)
    return length >= minSecret && said.some((each) => {
      for (let at = 0; at + length <= each.length; at++) {
        const some = each.slice(at, at + length)
        if (letters.includes(some) || whole.includes(some)) return true
      }
      return false
    })
  })
  return isSecret ? undefined : text
}
