/**
 * What the optimizer remembers, all of it bounded: keys with the instant at which they were noted, and the lengths of answers.
 */
import type { Lengths } from "./Rule.ts"

/** Keys and when they were noted. The least recently noted one is forgotten when there is no room. */
export class Recent {
  private readonly capacity: number
  private readonly notedAt = new Map<string, number>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  has(key: string, at: number, millis: number): boolean {
    const noted = this.notedAt.get(key)
    return noted !== undefined && at - noted < millis
  }

  note(key: string, at: number): void {
    this.notedAt.delete(key)
    this.notedAt.set(key, at)
    if (this.notedAt.size > this.capacity) this.notedAt.delete(this.notedAt.keys().next().value!) // it has one
  }
}

const window = 64

/** The newest lengths of answers of each kind. The kind least recently added to is forgotten when there is no room. */
export class Answers {
  private readonly capacity: number
  private readonly kinds = new Map<string, Array<number>>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  add(kind: string, tokens: number): void {
    const known = this.kinds.get(kind) ?? []
    this.kinds.delete(kind)
    this.kinds.set(kind, [...known.slice(1 - window), tokens])
    if (this.kinds.size > this.capacity) this.kinds.delete(this.kinds.keys().next().value!) // it has one
  }

  of(kind: string): Lengths | undefined {
    const known = this.kinds.get(kind)
    if (known === undefined) return undefined
    return {
      calls: known.length,
      mean: known.reduce((sum, tokens) => sum + tokens, 0) / known.length,
      longest: Math.max(...known)
    }
  }
}
