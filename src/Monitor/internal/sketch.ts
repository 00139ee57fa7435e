/**
 * Quantiles in constant memory: a histogram whose buckets grow by a fixed factor, so that a quantile is off by at most 2.5 % of itself.
 *
 * Values from 1 ms to an hour have buckets of their own; smaller and larger ones count in the first and the last.
 */
const factor = 1.05

const maxMillis = 3_600_000

const logFactor = Math.log(factor)

const size = Math.ceil(Math.log(maxMillis) / logFactor) + 2

export class Sketch {
  private readonly counts = new Uint32Array(size)
  private count = 0
  private sum = 0

  /** `value` in milliseconds. */
  add(value: number): void {
    const index = value <= 1 ? 0 : Math.min(size - 1, Math.ceil(Math.log(value) / logFactor))
    this.counts[index]!++
    this.count++
    this.sum += value
  }

  merge(that: Sketch): void {
    for (let index = 0; index < size; index++) this.counts[index]! += that.counts[index]!
    this.count += that.count
    this.sum += that.sum
  }

  clear(): void {
    this.counts.fill(0)
    this.count = 0
    this.sum = 0
  }

  get mean(): number | undefined {
    return this.count === 0 ? undefined : this.sum / this.count
  }

  /** The value that a part of all values does not exceed, such as 0.95. */
  quantile(part: number): number | undefined {
    if (this.count === 0) return undefined
    let left = Math.max(1, Math.ceil(part * this.count))
    let index = 0
    while (index < size - 1 && (left -= this.counts[index]!) > 0) index++
    // The middle of its bucket.
    return index === 0 ? 1 : factor ** index * 2 / (1 + factor)
  }
}
