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

export interface Counts {
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

/** The last `windowSize` results, a digit each: those of `older` from `dropped` on, then those of `newer`. */
export interface SizeWindow extends Counts {
  readonly _tag: "Size"
  readonly older: string
  readonly dropped: number
  readonly newer: string
}

export interface Slot extends Counts {
  /** Its number, counted from the slot at time 0. */
  readonly index: number
}

/** The results of the last `windowDuration`, in slots that expire as a whole. `past` holds those before the newest. */
export interface DurationWindow extends Counts {
  readonly _tag: "Duration"
  readonly past: ReadonlyArray<Slot>
  readonly newest: Slot
}

/** The results by which a closed circuit is judged. */
export type Window = SizeWindow | DurationWindow

export interface CommonState {
  /** Changes with each transition; a result counts only in the epoch in which its attempt was admitted. */
  readonly epoch: number
  /** How often it has opened in a row, and how long it was open the last time. */
  readonly openings: number
  readonly openMillis: number
}

/** Attempts go out and their results are counted. */
export interface Closed extends CommonState {
  readonly phase: "closed"
  /** A circuit that stays closed as long as it was open has recovered: the next opening is a first one again. */
  readonly since: number
  /** Attempts in flight that rates count as successes, and when that last changed. */
  readonly early: number
  readonly earlyAt: number
  readonly window: Window
}

/** Attempts are refused until `until`. It stays open after that until an attempt asks to be a half-open call. */
export interface Open extends CommonState {
  readonly phase: "open"
  readonly until: number
}

/**
 * `permits` more calls may go out to find out whether the API answers. They belong to a `round`, which ends at `until`: a call without a verdict keeps
 * others from trying no longer than that, and then a new round begins.
 */
export interface HalfOpen extends CommonState {
  readonly phase: "halfOpen"
  readonly until: number
  readonly round: number
  readonly permits: number
  readonly successes: number
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
  /** A digit for each result, or the counts of each slot of time. */
  window: Schema.NullOr(Schema.Union([
    Schema.TaggedStruct("Size", { results: Schema.String.check(Schema.isPattern(/^[0-3]*$/)) }),
    Schema.TaggedStruct("Duration", {
      slotMillis: Schema.Finite,
      slots: Schema.Array(
        Schema.Struct({ index: Schema.Int, calls: Schema.Int, failures: Schema.Int, slow: Schema.Int })
      )
    })
  ]))
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

/**
 * What a process reports to the circuit `key`, and asks of it, in one step.
 *
 * - `epoch`: the one that `results`, `early`, `tripped` and `returned` belong to; in another one they are ignored.
 * - `results`: of its attempts, in order.
 * - `early`: the change, since its last report, in the number of its attempts in flight that rates count as successes.
 * - `tripped`: enough of its attempts failed in a row to open the circuit.
 * - `returned`: permits of `round` that were given back without a result.
 * - `ask`: it asks for the permit of a half-open call, if the circuit is not closed.
 * - `openShare`: the share of the open time that jitter leaves, in case the circuit opens.
 * - `proposal`: a state that replaces the store's: where it has none (`ifNone`), also where it is closed and the proposal is open (`ifWorse`), or
 *   `always`. A store may ignore its window.
 */
export interface Batch {
  readonly key: string
  readonly rules: Rules
  readonly epoch: number
  readonly results: ReadonlyArray<Result>
  readonly early: number
  readonly tripped: boolean
  readonly round: number
  readonly returned: number
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
 * - `waitMillis`: until the open time or the round of half-open calls ends; 0 where the circuit is closed.
 * - `permits`: half-open calls that may still go in this round.
 * - `granted`: the round of the permit that was asked for; 0 where there was none.
 * - `state`: what `step` made of it. A local store gives it, for `state` and `save`; another one may leave it out.
 */
export interface Reply {
  readonly phase: Phase
  readonly epoch: number
  readonly waitMillis: number
  readonly openings: number
  readonly openMillis: number
  readonly permits: number
  readonly granted: number
  readonly state?: State | undefined
}

/**
 * Lets one attempt go, at `at` (milliseconds since the epoch of time). Its result counts only in the `epoch` in which it was admitted. `round` is 0
 * for a closed circuit, else the round of half-open calls.
 */
export interface Permit {
  readonly _tag: "Permit"
  readonly epoch: number
  readonly round: number
  readonly at: number
}

/** Refuses an attempt for `waitMillis`: until the open time ends or, where it `isHalfOpen`, until the calls in flight must have a verdict. */
export interface Refusal {
  readonly _tag: "Refusal"
  readonly isHalfOpen: boolean
  readonly waitMillis: number
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
 * - `peek`: the refusal that `admit` would give; it takes nothing.
 * - `enter`: the permit of a closed circuit, where it takes no question to the store; undefined says nothing, `admit` does.
 * - `admit`: takes a permit, which is settled once. A wait for the store is interruptible and leaves no permit behind.
 * - `settle`: counts a result; without one, the permit of a half-open call is given back.
 */
export interface Circuit {
  readonly phase: Phase
  readonly enter: (now: number) => Permit | undefined
  readonly peek: () => Effect.Effect<Refusal | undefined>
  readonly admit: () => Effect.Effect<Admission>
  readonly settle: (permit: Permit, result: Result | undefined) => Effect.Effect<void>
  readonly view: () => Effect.Effect<View>
  readonly save: () => Effect.Effect<SavedCircuit>
  readonly restore: (saved: SavedCircuit) => Effect.Effect<void>
}
