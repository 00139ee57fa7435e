/**
 * Names the beginnings of a prompt by what they hold, so that one can be known again without being kept.
 */
import * as Predicate from "effect/Predicate"

/** Two lanes of 32 bits. */
export type Hash = readonly [number, number]

export const start: Hash = [0x811c9dc5, 0x1b873593]

const maxDepth = 200

const addText = ([a, b]: Hash, text: string): Hash => {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = Math.imul(a ^ code, 0x01000193)
    b = Math.imul(b ^ code, 0x85ebca6b) + 0x9e3779b9 | 0
  }
  return [a, Math.imul(b ^ text.length, 0xc2b2ae35)]
}

/** The hash of what came before and a JSON value. Cache breakpoints in it are no part of what is cached, and do not count. */
export const add = (hash: Hash, value: unknown, depth: number = 0): Hash => {
  if (Predicate.isString(value)) return addText(hash, `"${value}`)
  if (!Predicate.isObjectOrArray(value)) return addText(hash, `${typeof value} ${String(value)}`)
  if (depth === maxDepth) return hash
  if (Array.isArray(value)) return value.reduce((sum: Hash, item) => add(sum, item, depth + 1), addText(hash, "["))
  const entries = Object.entries(value).filter(([key, item]) => key !== "cache_control" && item !== undefined)
  return entries.reduce((sum: Hash, [key, item]) => add(addText(sum, key), item, depth + 1), addText(hash, "{"))
}

export const nameOf = ([a, b]: Hash): string => (a >>> 0).toString(36) + "." + (b >>> 0).toString(36)
