/** How long the first content of such calls took, and which of it is late. */

/** The newest calls of a kind that are known. */
const known = 256

/** Quantiles are computed anew after so many more. */
const stale = 8

export class Delays {
  private readonly newest: Array<number> = []
  private oldest = 0
  private sorted: ReadonlyArray<number> = []
  private added = 0

  get calls(): number {
    return this.newest.length
  }

  /** Milliseconds from sending to the first content; of one that was given up before, infinite: it took longer than all that count. */
  add(millis: number): void {
    this.newest[this.oldest] = Math.min(millis, Number.MAX_SAFE_INTEGER)
    this.oldest = (this.oldest + 1) % known
    this.added++
  }

  /** The time in which this part of the calls was answered. */
  quantile(part: number): number {
    if (this.added >= stale || this.sorted.length === 0) {
      this.sorted = [...this.newest].sort((a, b) => a - b)
      this.added = 0
    }
    return this.sorted[Math.min(this.sorted.length - 1, Math.ceil(part * this.sorted.length))] ?? Infinity
  }
}
