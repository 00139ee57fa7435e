/** Something that others wait for, again and again. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"

export class Signal {
  /** How often it was given. */
  version = 0
  private next: Deferred.Deferred<void> | undefined

  give(): void {
    this.version++
    if (this.next !== undefined) Deferred.doneUnsafe(this.next, Effect.void)
    this.next = undefined
  }

  /** Until it is given for the first time after `version`, or so many milliseconds. */
  await(version: number, millis: number): Effect.Effect<void> {
    if (this.version !== version || millis <= 0) return Effect.void
    const next = Deferred.await(this.next ??= Deferred.makeUnsafe())
    // In whole milliseconds: a timer for less than one could end before the clock shows it, again and again.
    return millis === Infinity ? next : Effect.asVoid(Effect.timeoutOption(next, Math.ceil(millis)))
  }
}
