/** How fast a budget is spent, and so how long it will last. */
import type { Balance } from "./data.ts"

/** The pace is that of the last while, looked at in steps. */
const stepMillis = 60_000

const steps = 10

export class Pace {
  /** What had been spent in all at the beginning of each step, oldest first. */
  private readonly marks: Array<{ readonly at: number; readonly total: number }> = []
  private total = 0
  private spent = 0
  private remaining = Infinity

  /** What counts in the window now; less than before is a new window, or what left a rolling one. Returns when a step ends. */
  add({ remainingNanoUsd, spentNanoUsd }: Balance, now: number): number {
    this.total += Math.max(0, spentNanoUsd - this.spent)
    this.spent = spentNanoUsd
    this.remaining = remainingNanoUsd
    const last = this.marks.at(-1)
    if (last !== undefined && now - last.at < stepMillis) return last.at + stepMillis
    this.marks.push({ at: now, total: this.total })
    if (this.marks.length > steps) this.marks.shift()
    return now + stepMillis
  }

  /** Seconds until nothing remains at the pace of the last ten minutes; infinite while nothing is spent. */
  exhaustion(now: number): number {
    if (this.remaining <= 0) return 0
    const first = this.marks.find(({ at }) => now - at <= stepMillis * steps)
    if (first === undefined || now <= first.at || this.total <= first.total) return Infinity
    return this.remaining / (this.total - first.total) * (now - first.at) / 1_000
  }
}
