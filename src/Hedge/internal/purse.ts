/** The dollars for second attempts: a share of what calls cost. */

/** What one more call weighs in a mean at least. */
const minimumWeight = 0.02

/** A share of so many calls can be saved up, so that a bad hour after a good day does not double the traffic. */
const savedCalls = 1_000

class Mean {
  value = 0
  private seen = 0

  add(value: number): void {
    this.seen++
    this.value += (value - this.value) * Math.max(minimumWeight, 1 / this.seen)
  }
}

export class Purse {
  private readonly share: number
  private readonly call = new Mean()
  private readonly extra = new Mean()
  private nanoUsd = 0

  constructor(share: number) {
    this.share = share
  }

  /** The part of calls that can have a second attempt for their share. */
  get affordable(): number {
    return this.extra.value === 0 ? 1 : this.share * this.call.value / this.extra.value
  }

  /** Takes what a second attempt will probably cost. */
  take(nanoUsd: number): boolean {
    if (!(nanoUsd <= this.nanoUsd)) return false
    this.nanoUsd -= nanoUsd
    return true
  }

  /** A call was answered for so much. */
  earn(nanoUsd: number): void {
    this.call.add(nanoUsd)
    this.nanoUsd = Math.min(this.nanoUsd + this.share * nanoUsd, this.share * savedCalls * this.call.value)
  }

  /** An attempt that nobody needed cost so much, of what was taken for it. */
  settle(taken: number, nanoUsd: number): void {
    if (nanoUsd > 0) this.extra.add(nanoUsd)
    this.nanoUsd += taken - nanoUsd
  }
}
