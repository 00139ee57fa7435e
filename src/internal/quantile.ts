/**
 * A quantile, followed online in constant memory. It moves in the logarithm, so that a kind of call that answers with ten tokens is learnt as
 * fast as one that answers with ten thousand.
 */
export class Quantile {
  private readonly part: number
  private log: number
  private seen = 0

  constructor(part: number, start: number) {
    this.part = part
    this.log = Math.log(start)
  }

  get value(): number {
    return Math.exp(this.log)
  }

  add(value: number): void {
    this.seen++
    const step = Math.max(0.05, 1 / (1 + this.seen / 4))
    const next = Math.log(Math.max(value, 1e-3))
    if (next === this.log) return
    const move = next > this.log ? this.part * step : (this.part - 1) * step
    // Never past the value itself, so that calls that are all alike are learnt exactly.
    this.log = next > this.log ? Math.min(next, this.log + move) : Math.max(next, this.log + move)
  }
}
