/** A map of at most `capacity` entries: the least recently used one makes room for a new one. */
export class BoundedMap<K, V> {
  private readonly capacity: number
  private readonly entries = new Map<K, V>()
  private newest: K | undefined

  constructor(capacity: number) {
    this.capacity = Math.max(1, capacity)
  }

  get size(): number {
    return this.entries.size
  }

  /** Counts as a use. */
  get(key: K): V | undefined {
    const value = this.entries.get(key)
    if (value !== undefined && key !== this.newest) this.put(key, value)
    return value
  }

  /** Does not count as a use. */
  peek(key: K): V | undefined {
    return this.entries.get(key)
  }

  /** Gives the entry that made room, where one did. */
  set(key: K, value: V): readonly [K, V] | undefined {
    this.put(key, value)
    if (this.entries.size <= this.capacity) return undefined
    for (const oldest of this.entries) {
      this.entries.delete(oldest[0])
      return oldest
    }
    return undefined
  }

  delete(key: K): boolean {
    if (this.newest === key) this.newest = undefined
    return this.entries.delete(key)
  }

  values(): IterableIterator<V> {
    return this.entries.values()
  }

  private put(key: K, value: V): void {
    this.entries.delete(key)
    this.entries.set(key, value)
    this.newest = key
  }
}
