/** How fast a budget is spent, and so how long it will last. */

/** The pace is that of the last while, looked at in steps. */
const stepMillis = 60_000

const steps = 10

export class Pace {
  /** What remained at the beginning of each step, oldest first. */
  private readonly marks: Array<{ readonly at: number; readonly remaining: number }> = []
  private remaining = 0

  /** What remains now. */
  add(remaining: number, now: number): void {
    // A new window has begun, or the limit was raised.
    if (remaining > this.remaining) this.marks.length = 0
    this.remaining = remaining
    const last = this.marks.at(-1)
    if (last !== undefined && now - last.at < stepMillis) return
    this.marks.push({ at: now, remaining })
    if (this.marks.length > steps) this.marks.shift()
  }

  /** Seconds until nothing remains at the pace of the last ten minutes; infinite while nothing is spent. */
  exhaustion(now: number): number {
    if (this.remaining <= 0) return 0
    const first = this.marks.find(({ at }) => now - at <= stepMillis * steps)
    if (first === undefined || now <= first.at || first.remaining <= this.remaining) return Infinity
    return this.remaining / (first.remaining - this.remaining) * (now - first.at) / 1_000
  }
}
