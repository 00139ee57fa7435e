/** What the store of a pool says now. */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"

/** The longest that a reading may take; who asks afterwards begins another. */
const maxReading = "30 seconds"

/** For how long a call that has no key waits for a reading. */
export const maxNewsMillis = 5_000

/** Reads a store once for all who ask meanwhile. */
export class News {
  private reading: Deferred.Deferred<void> | undefined
  private endedAt = -Infinity
  private readonly read: Effect.Effect<void>
  private readonly ended: () => void
  private readonly clock: Clock.Clock
  private readonly scope: Scope.Scope

  /** The reading goes on in `scope` where one who asks is interrupted; `ended` is called after each. */
  constructor(read: Effect.Effect<void>, ended: () => void, clock: Clock.Clock, scope: Scope.Scope) {
    this.read = read
    this.ended = ended
    this.clock = clock
    this.scope = scope
  }

  get isReading(): boolean {
    return this.reading !== undefined
  }

  /** Whether a reading would say more than the last one did to who knows what was true at this time. */
  mayTell(at: number): boolean {
    return this.isReading || at >= this.endedAt
  }

  /** Ends when the store has been read. */
  readonly ask: Effect.Effect<void> = Effect.suspend(() => {
    if (this.reading !== undefined) return Deferred.await(this.reading)
    const mine = this.reading = Deferred.makeUnsafe<void>()
    const done = Effect.suspend(() => {
      this.reading = undefined
      this.endedAt = this.clock.currentTimeMillisUnsafe()
      this.ended()
      return Deferred.done(mine, Exit.void)
    })
    const read = Effect.ensuring(Effect.timeoutOption(this.read, maxReading), done)
    return Effect.andThen(Effect.forkIn(read, this.scope), Deferred.await(mine))
  })
}
