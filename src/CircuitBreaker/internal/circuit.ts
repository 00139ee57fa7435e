/** The state of a circuit, and the messages between processes and stores: plain data. */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * When a circuit opens and closes: the options of the same names. Durations are in milliseconds; `Infinity` turns a threshold off; `windowSize` is 0 if
 * rates are computed over `windowDuration`.
 */
export interface Rules {
  readonly windowDuration: number
  readonly windowSize: number
  readonly failureRate: number
  readonly slowCallRate: number
  readonly minimumCalls: number
  readonly consecutiveFailures: number
  readonly openDuration: number
  readonly maxOpenDuration: number
  readonly jitter: number
  readonly halfOpenCalls: number
  readonly successThreshold: number
  readonly halfOpenDuration: number
}

/** What one attempt says about the API. */
export type Result = "success" | "failure" | "slowSuccess" | "slowFailure"

export type Phase = "closed" | "open" | "halfOpen"

/** Attempts that were sent in one part of a window: those without a verdict yet are among `calls`, those that came to nothing are not. */
export interface Slot {
  /** Its number: of the part of time since time 0, or of the part of all attempts. */
  readonly index: number
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

/**
 * The attempts by which a closed circuit is judged, in slots by the time at which they were sent, or by their number. It reaches back for some windows,
 * since verdicts may come late. `unit` is what a slot holds: milliseconds or, below 0, so many attempts.
 */
export interface Window {
  readonly unit: number
  readonly slots: ReadonlyArray<Slot>
}

export interface CommonState {
  /** Changes when a closed circuit opens and when one closes; a verdict counts only in the epoch in which its attempt was admitted. */
  readonly epoch: number
  /** How often it has opened in a row, and how long it was open the last time. */
  readonly openings: number
  readonly openMillis: number
}

/** Attempts go out and their verdicts are counted. */
export interface Closed extends CommonState {
  readonly phase: "closed"
  /** A circuit that stays closed as long as it was open has recovered: the next opening is a first one again. */
  readonly since: number
  readonly window: Window
}

/** What is known of the trials since a closed circuit opened: the number of their last round, and successes since the last opening. */
export interface Tried extends CommonState {
  readonly until: number
  readonly round: number
  readonly successes: number
}

/** Attempts are refused until `until`. It stays open after that until an attempt asks to be a half-open call. */
export interface Open extends Tried {
  readonly phase: "open"
}

/**
 * `permits` more calls may go out to find out whether the API answers. They belong to a `round`, which ends at `until`: a call without a verdict keeps
 * others from trying no longer than that, and then a new round begins, which is twice as long. `trials` were sent since round `first`, of which
 * `failures` failed; those without a verdict are among them.
 */
export interface HalfOpen extends Tried {
  readonly phase: "halfOpen"
  readonly first: number
  readonly permits: number
  readonly trials: number
  readonly failures: number
}

export type State = Closed | Open | HalfOpen

/** A circuit as it is kept over a restart: times are milliseconds since the epoch of time. A half-open call in flight is not kept. */
export const SavedCircuit = Schema.Struct({
  /** Until when it is open; null where it is closed. */
  openUntil: Schema.NullOr(Schema.Finite),
  openings: Schema.Int,
  openMillis: Schema.Finite,
  closedAt: Schema.Finite,
  consecutiveFailures: Schema.Int,
  window: Schema.NullOr(
    Schema.Struct({
      unit: Schema.Finite,
      slots: Schema.Array(
        Schema.Struct({ index: Schema.Int, calls: Schema.Int, failures: Schema.Int, slow: Schema.Int })
      )
    })
  )
})

export type SavedCircuit = typeof SavedCircuit.Type

/** A circuit without results. */
export const fresh: SavedCircuit = {
  openUntil: null,
  openings: 0,
  openMillis: 0,
  closedAt: 0,
  consecutiveFailures: 0,
  window: null
}

/** The verdict of a half-open call of `round`; without a `result` its permit is given back. */
export interface Trial {
  readonly round: number
  readonly result: Result | undefined
}

/**
 * What a process reports to the circuit `key`, and asks of it, in one step.
 *
 * - `epoch`: the one that `counts`, `tripped` and `trials` belong to; in another one they are ignored.
 * - `counts`: what changed in slots, in their order, since the last report: attempts that were sent or came to nothing, failed, or were slow.
 * - `tripped`: enough of its attempts failed in a row to open the circuit.
 * - `trials`: verdicts of half-open calls, in order.
 * - `ask`: it asks for the permit of a half-open call, if the circuit is not closed.
 * - `openShare`: the share of the open time that jitter leaves, in case the circuit opens.
 * - `proposal`: a state that replaces the store's: where it has none (`ifNone`), also where it is closed and the proposal is open (`ifWorse`, and
 *   `ifNone` where the store's epoch is before that of the batch, so that it lacks its last writes), or `always`. A store may ignore its window.
 */
export interface Batch {
  readonly key: string
  readonly rules: Rules
  readonly epoch: number
  readonly counts: ReadonlyArray<Slot>
  readonly tripped: boolean
  readonly trials: ReadonlyArray<Trial>
  readonly ask: boolean
  readonly openShare: number
  readonly proposal: Proposal | undefined
}

/** A state from outside: open for `waitMillis` more, or closed, then since `closedMillis`. */
export interface Proposal {
  readonly when: "ifNone" | "ifWorse" | "always"
  readonly isOpen: boolean
  readonly waitMillis: number
  readonly openings: number
  readonly openMillis: number
  readonly closedMillis: number
  readonly window: SavedCircuit["window"]
}

/**
 * The circuit after a step.
 *
 * - `now`: the time of the store.
 * - `waitMillis`: until the open time or the round of half-open calls ends; 0 where the circuit is closed.
 * - `permits`: half-open calls that may still go in this round.
 * - `granted`: the round of the permit that was asked for; 0 where there was none.
 * - `slot`, `room`: where slots are numbered by attempts: the one that the next attempt belongs to, and how many fit into it.
 * - `state`: what `step` made of it. A local store gives it, for `state` and `save`; another one may leave it out.
 */
export interface Reply {
  readonly now: number
  readonly phase: Phase
  readonly epoch: number
  readonly waitMillis: number
  readonly openings: number
  readonly openMillis: number
  readonly permits: number
  readonly granted: number
  readonly slot: number
  readonly room: number
  readonly state?: State | undefined
}

/**
 * Lets one attempt go, at `at` (milliseconds since the epoch of time). Its verdict counts only in the `epoch` in which it was admitted. `round` is 0
 * for a closed circuit, else the round of half-open calls; `slot` is where a window of this `unit` counts it. From `hungAt` on it counts as failed, as
 * long as it has no verdict. From `quietAt` on its silence says something, as much as `usual` says.
 */
export interface Permit {
  readonly _tag: "Permit"
  readonly epoch: number
  readonly round: number
  readonly at: number
  readonly slot: number
  readonly unit: number
  hungAt: number
  quietAt: number
  usual: { readonly silence: (millis: number) => number } | undefined
}

/** Refuses an attempt for `waitMillis`: until the open time ends or, where it `isHalfOpen`, until the calls in flight must have a verdict. */
export interface Refusal {
  readonly _tag: "Refusal"
  readonly isHalfOpen: boolean
  readonly waitMillis: number
  /** Somebody holds it open. */
  readonly isForced?: true
}

export type Admission = Permit | Refusal

/** Both phases are the same where permits were returned and nothing else changed. `openMillis` is how long it is open, 0 where it is not. */
export interface Change {
  readonly from: Phase
  readonly to: Phase
  readonly at: number
  readonly openMillis: number
}

export interface View {
  readonly phase: Phase
  readonly waitMillis: number
  readonly openings: number
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

/**
 * One circuit, wherever its state is kept. Its methods act when they are called. None fail, and none wait for a store longer than its timeout.
 *
 * - `phase`: as far as this process knows.
 * - `rules`: may be replaced at any time.
 * - `peek`: the refusal that `admit` would give; it takes nothing.
 * - `enter`: the permit of a closed circuit, where it takes no question to the store; undefined says nothing, `admit` does.
 * - `admit`: takes a permit, which is settled once. A wait for the store is interruptible and leaves no permit behind.
 * - `settle`: counts a verdict; without one, the attempt counts as never sent, and the permit of a half-open call is given back.
 * - `turn`: an attempt that was settled as a success failed after all.
 */
export interface Circuit {
  readonly phase: Phase
  rules: Rules
  readonly enter: (now: number) => Permit | undefined
  readonly peek: () => Effect.Effect<Refusal | undefined>
  readonly admit: () => Effect.Effect<Admission>
  readonly settle: (permit: Permit, result: Result | undefined) => Effect.Effect<void>
  readonly turn: (permit: Permit) => Effect.Effect<void>
  readonly view: () => Effect.Effect<View>
  readonly save: () => Effect.Effect<SavedCircuit>
  readonly restore: (saved: SavedCircuit) => Effect.Effect<void>
}
