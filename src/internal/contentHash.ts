/**
 * Names the beginnings of a prompt by what they hold, so that one can be known again without being kept.
 */
import * as Predicate from "effect/Predicate"

/** Two lanes of 32 bits. */
export type Hash = readonly [number, number]

export const start: Hash = [0x811c9dc5, 0x1b873593]

const addText = ([a, b]: Hash, text: string): Hash => {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = Math.imul(a ^ code, 0x01000193)
    b = Math.imul(b ^ code, 0x85ebca6b) + 0x9e3779b9 | 0
  }
  return [a, Math.imul(b ^ text.length, 0xc2b2ae35)]
}

/** Adds what is inside a value once on each way down to it: what contains itself cannot be sent. */
const inside = (hash: Hash, value: object, path: Set<object>): Hash => {
  if (path.has(value)) return hash
  path.add(value)
  let sum = addText(hash, Array.isArray(value) ? "[" : "{")
  for (const [key, item] of Object.entries(value)) {
    if (key === "cache_control" || item === undefined) continue
    sum = addAny(addText(sum, key), item, path)
  }
  path.delete(value)
  return addText(sum, "]")
}

const addAny = (hash: Hash, value: unknown, path: Set<object>): Hash =>
  Predicate.isString(value)
    ? addText(hash, `"${value}`)
    : Predicate.isObjectOrArray(value)
    ? inside(hash, value, path)
    : addText(hash, `${typeof value} ${String(value)}`)

/** The hash of what came before and a JSON value. Cache breakpoints in it are no part of what is cached, and do not count. */
export const add = (hash: Hash, value: unknown): Hash => addAny(hash, value, new Set())

export const nameOf = ([a, b]: Hash): string => (a >>> 0).toString(36) + "." + (b >>> 0).toString(36)
