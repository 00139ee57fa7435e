/**
 * Names content by what it holds, so that it can be known again without being kept.
 */
import * as Predicate from "effect/Predicate"

/** Two lanes of 32 bits. */
export type Hash = readonly [number, number]

export const start: Hash = [0x811c9dc5, 0x1b873593]

/** A text of this length or longer is hashed once for the object that holds it. */
const longText = 256

/** The hash of a text that an object has under a key; others that it has are chained to it. */
interface Digest {
  readonly key: string
  readonly text: string
  readonly hash: Hash
  readonly next: Digest | undefined
}

/**
 * The hashes of long texts by the object that holds them, for as long as it lives. A text is compared before its hash is used, which takes no
 * time for the same string.
 */
const digests = new WeakMap<object, Digest>()

const digestUnder = (first: Digest | undefined, key: string): Digest | undefined => {
  let digest = first
  while (digest !== undefined && digest.key !== key) digest = digest.next
  return digest
}

const without = (first: Digest | undefined, key: string): Digest | undefined =>
  first === undefined ? undefined : first.key === key ? first.next : { ...first, next: without(first.next, key) }

const hashOf = (holder: object, key: string, text: string): Hash => {
  const first = digests.get(holder)
  const known = digestUnder(first, key)
  if (known?.text === text) return known.hash
  const sum = new ContentHash()
  sum.addText(text)
  const hash = sum.lanes
  digests.set(holder, { key, text, hash, next: known === undefined ? first : without(first, key) })
  return hash
}

/** The copy holds the same texts as the original: they need not be hashed again. */
export const copied = <A extends object>(original: object, copy: A): A => {
  const first = digests.get(original)
  if (first !== undefined) digests.set(copy, first)
  return copy
}

/** The copy has under `to` the text that the original has under `from`. */
export const copiedText = <A extends object>(original: object, from: string, copy: A, to: string): A => {
  const digest = digestUnder(digests.get(original), from)
  if (digest !== undefined) digests.set(copy, { ...digest, key: to, next: undefined })
  return copy
}

/** A hash that grows with what is added to it. */
export class ContentHash {
  private a: number
  private b: number
  /** The characters of the texts that were added. */
  length = 0

  constructor([a, b]: Hash = start) {
    this.a = a
    this.b = b
  }

  get lanes(): Hash {
    return [this.a, this.b]
  }

  /** A safe integer. */
  get name(): number {
    return (this.a >>> 0) * 0x200000 + (this.b >>> 11)
  }

  /** Adds a JSON value. Cache breakpoints in it are no part of what is cached, and do not count. */
  add(value: unknown): void {
    this.addAny(value, undefined, "", new Set())
  }

  /** Adds a text that `holder` has under `key`. */
  addTextOf(holder: object, key: string, text: string): void {
    if (text.length < longText) this.addText(text)
    else this.addHash(hashOf(holder, key, text), text.length)
  }

  addText(text: string): void {
    const { length } = text
    const even = length & ~1
    let { a, b } = this
    for (let i = 0; i < even; i += 2) {
      const two = text.charCodeAt(i) | text.charCodeAt(i + 1) << 16
      a = Math.imul(a ^ two, 0x9e3779b1)
      a ^= a >>> 15
      b = Math.imul(b, 0x85ebca6b) + two | 0
    }
    if (even < length) {
      const last = text.charCodeAt(even)
      a = Math.imul(a ^ last, 0x9e3779b1)
      b = Math.imul(b, 0x85ebca6b) + last | 0
    }
    a = Math.imul(a ^ length, 0x01000193)
    b = Math.imul(b ^ length, 0xc2b2ae35)
    this.a = a ^ a >>> 16
    this.b = b ^ b >>> 13
    this.length += length
  }

  private addAny(value: unknown, holder: object | undefined, key: string, path: Set<object>): void {
    if (Predicate.isString(value)) {
      this.addText("\"")
      if (holder === undefined) this.addText(value)
      else this.addTextOf(holder, key, value)
    } else if (Predicate.isObjectOrArray(value)) this.addInside(value, path)
    else this.addText(`${typeof value} ${String(value)}`)
  }

  private addHash([a, b]: Hash, length: number): void {
    this.a = Math.imul(this.a ^ a, 0x9e3779b1) ^ b >>> 7
    this.b = Math.imul(this.b ^ b, 0xc2b2ae35) + a | 0
    this.length += length
  }

  /** What contains itself counts once on each way down to it: it cannot be sent. */
  private addInside(value: object, path: Set<object>): void {
    if (path.has(value)) return
    path.add(value)
    this.addText(Array.isArray(value) ? "[" : "{")
    for (const [key, item] of Object.entries(value)) {
      if (key === "cache_control" || item === undefined) continue
      this.addText(key)
      this.addAny(item, value, key, path)
    }
    path.delete(value)
    this.addText("]")
  }
}

/** The hash of what came before and a JSON value. */
export const add = (hash: Hash, value: unknown): Hash => {
  const sum = new ContentHash(hash)
  sum.add(value)
  return sum.lanes
}

export const nameOf = ([a, b]: Hash): string => (a >>> 0).toString(36) + "." + (b >>> 0).toString(36)
