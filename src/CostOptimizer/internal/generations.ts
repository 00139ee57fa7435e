/**
 * A map of at most `capacity` entries that forgets by halves: what was not used since the last half filled up. Unlike an order of use, that costs
 * little for each use.
 */
export class Generations<K, V> {
  private readonly half: number
  private young = new Map<K, V>()
  private old = new Map<K, V>()

  constructor(capacity: number) {
    this.half = Math.max(1, Math.floor(capacity / 2))
  }

  /** What was used since counts twice. */
  get size(): number {
    return this.young.size + this.old.size
  }

  /** Counts as a use. */
  get(key: K): V | undefined {
    const value = this.young.get(key)
    if (value !== undefined) return value
    const known = this.old.get(key)
    if (known !== undefined) this.set(key, known)
    return known
  }

  /** Does not count as a use. */
  peek(key: K): V | undefined {
    return this.young.get(key) ?? this.old.get(key)
  }

  set(key: K, value: V): void {
    if (this.young.size >= this.half && !this.young.has(key)) {
      this.old = this.young
      this.young = new Map()
    }
    this.young.set(key, value)
  }
}
