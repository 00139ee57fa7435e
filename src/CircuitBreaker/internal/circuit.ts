/** What a circuit is to the breaker, wherever its state is kept. */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Result, SavedWindow } from "./window.ts"

export type { Result }

/**
 * When a circuit opens and closes: the options of a breaker as plain numbers, times in milliseconds. `Infinity` turns a threshold
 * off.
 */
export interface Rules {
  readonly window: { readonly _tag: "Calls"; readonly size: number } | {
    readonly _tag: "Time"
    readonly millis: number
  }
  readonly inARow: number
  readonly failureRate: number
  readonly slowRate: number
  readonly minimumCalls: number
  readonly openMillis: number
  readonly maxOpenMillis: number
  readonly jitter: number
  readonly trials: number
  readonly successes: number
  readonly halfOpenMillis: number
}

export type Phase = "closed" | "open" | "halfOpen"

/**
 * Lets one attempt go. `epoch` is the stretch between two transitions in which it was given: results of another one are ignored.
 * `round` is 0 for a closed circuit, else the round of trials that it belongs to. `at` is when, in milliseconds since the epoch.
 */
export interface Permit {
  readonly _tag: "Permit"
  readonly epoch: number
  readonly round: number
  readonly at: number
}

/**
 * Lets it not go. `trial` says that others are trying whether the API answers, and `waitMillis` then ends when they must have found
 * out; else it ends when a trial may go. After `againMillis` asking again is worth its while.
 */
export interface Refusal {
  readonly _tag: "Refusal"
  readonly trial: boolean
  readonly waitMillis: number
  readonly againMillis: number
}

export type Admission = Permit | Refusal

/** A circuit as it is kept elsewhere: times are milliseconds since the epoch. A trial that runs is not kept. */
export const SavedCircuit = Schema.Struct({
  /** When the next trial may go, where the circuit is not closed. */
  openUntil: Schema.NullOr(Schema.Finite),
  openings: Schema.Int,
  openedMillis: Schema.Finite,
  closedAt: Schema.Finite,
  failuresInARow: Schema.Int,
  window: Schema.NullOr(SavedWindow)
})

export type SavedCircuit = typeof SavedCircuit.Type

/** A circuit that has seen nothing. */
export const fresh: SavedCircuit = {
  openUntil: null,
  openings: 0,
  openedMillis: 0,
  closedAt: 0,
  failuresInARow: 0,
  window: null
}

/** A circuit from outside. `openings` are those in a row; `waitMillis` is that of a refusal now, 0 where there is none. */
export interface View {
  readonly phase: Phase
  readonly waitMillis: number
  readonly openings: number
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

/** What changed; `from` and `to` are the same where no more than a trial's permit came back. `openMillis` is 0 unless it opened. */
export interface Change {
  readonly from: Phase
  readonly to: Phase
  readonly at: number
  readonly openMillis: number
}

/**
 * One circuit. None of these wait longer than the bound of their store, and none fail.
 *
 * - `isClosed`: as far as this process knows.
 * - `enter`: a permit of a closed circuit, where it takes no question to the store; undefined says nothing, `admit` does.
 * - `peek`: the refusal that `admit` would give, as far as this process knows; it takes nothing.
 * - `admit`: takes a permit, which is settled once. A wait for the store is interruptible and leaves no permit behind.
 * - `settle`: counts a result; `undefined` counts as nothing and gives a trial's permit back.
 */
export interface Circuit {
  readonly isClosed: () => boolean
  readonly enter: (now: number) => Permit | undefined
  readonly peek: Effect.Effect<Refusal | undefined>
  readonly admit: Effect.Effect<Admission>
  readonly settle: (permit: Permit, result: Result | undefined) => void
  readonly view: Effect.Effect<View>
  readonly save: Effect.Effect<SavedCircuit>
  readonly restore: (saved: SavedCircuit) => Effect.Effect<void>
}
