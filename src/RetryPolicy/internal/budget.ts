/** The retry budget that all calls share: tokens that retries take and successes bring back. */
import type * as Clock from "effect/Clock"

const minute = 60_000

/** So many retries in vain, or half of all tokens where that is more, are enough for an API that answers nobody. */
const maxInVain = 50

/**
 * - `capacity`: tokens at the start and at most.
 * - `earned`: tokens for each success.
 * - `perMinute`: tokens that come back with time.
 */
export interface Options {
  readonly capacity: number
  readonly earned: number
  readonly perMinute: number
}

export class Budget {
  private tokens: number
  /** Retries without a success since. */
  private inVain = 0
  private at: number
  /** Something can be earned: retries took tokens, which are not all back. */
  isDrawnOn = false
  private readonly options: Options
  private readonly clock: Clock.Clock

  constructor(options: Options, clock: Clock.Clock) {
    this.options = options
    this.clock = clock
    this.tokens = options.capacity
    this.at = clock.currentTimeMillisUnsafe()
  }

  /** Takes the token of one retry, where there is one. */
  take(): boolean {
    const now = this.clock.currentTimeMillisUnsafe()
    // A clock that was set back brings nothing.
    const come = Math.max(0, now - this.at) * this.options.perMinute / minute
    this.add(come)
    this.inVain = Math.max(0, this.inVain - come)
    this.at = now
    if (this.tokens < 1 || this.inVain + 1 > Math.max(maxInVain, this.options.capacity / 2)) return false
    this.tokens--
    this.inVain++
    this.isDrawnOn = true
    return true
  }

  /** A call has succeeded: whatever its retries took comes back. */
  earn(retries: number): void {
    this.inVain = 0
    this.add(this.options.earned + retries)
    this.isDrawnOn = this.tokens < this.options.capacity
  }

  /** A retry was not sent. */
  giveBack(): void {
    this.inVain = Math.max(0, this.inVain - 1)
    this.add(1)
  }

  private add(tokens: number): void {
    this.tokens = Math.min(this.options.capacity, this.tokens + tokens)
  }
}
