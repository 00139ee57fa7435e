/** What the monitor tells: a record of each call, and everything that happens. */
import type * as Attempt from "../../Attempt.ts"
import type { InputFinding } from "../../ClaudeError.ts"
import type { Usage } from "../../Usage.ts"
import type { Fault } from "./fault.ts"

/**
 * What is asked of the API.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation = "chat" | "count_tokens" | "list_models" | "get_model"

/**
 * What a call waited for: room in the rate limits, a key, a circuit that tries again soon, or the time before a retry.
 *
 * @category models
 * @since 0.1.0
 */
export type WaitReason = Attempt.WaitReason | "retry"

/**
 * A wait of a call, in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wait {
  readonly for: WaitReason
  readonly millis: number
}

/**
 * Why a call gave up although another attempt might have helped: no retries were left, no tokens in the retry budget of all calls, no time before the
 * deadline, or the server asked for a longer wait than is allowed.
 *
 * @category models
 * @since 0.1.0
 */
export type GiveUp = "retries" | "retry_budget" | "deadline" | "retry_after"

/**
 * How a call ended: with an answer, with a failure, or because nobody waited for its end.
 *
 * @category models
 * @since 0.1.0
 */
export type Status = "success" | "error" | "cancelled"

/**
 * A call that has ended, as the request log has it.
 *
 * - `at`: when it began, in milliseconds since the epoch. All times are in milliseconds.
 * - `model`: the one that was asked for; `servedModel` is the one that served it, as the answer names it.
 * - `error`, `fault`: the tag of the failure, and whose fault it was; `message` is for the operator: it may name keys, budgets and limits.
 * - `httpStatus`: what the API answered, where it refused.
 * - `firstTokenMillis`: from the start of the call to the first content of a stream.
 * - `overheadMillis`: the time that was spent neither at the API nor waiting.
 * - `attempts`: how many were sent; `retries` and `moves` are those that followed a failure.
 * - `fallbacks`: the steps from one model to another, those that passed one over included; the first 32.
 * - `hedges`: second attempts at late streams.
 * - `usage`, `costNanoUsd`: of all attempts together; the cost is in integer nano-dollars, and undefined where an attempt has no price.
 * - `changes`: the rules of the optimizer that changed the request.
 * - `user`, `tenant`, `requestType`, `priority`, `metadata`: what `CallContext` said; `metadata` are its tags.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallRecord {
  readonly callId: string
  readonly at: number
  readonly operation: Operation
  readonly stream: boolean
  readonly model: string
  readonly servedModel: string | undefined
  readonly requestId: string | undefined
  readonly status: Status
  readonly error: string | undefined
  readonly fault: Fault | undefined
  readonly message: string | undefined
  readonly httpStatus: number | undefined
  readonly stopReason: string | undefined
  readonly latencyMillis: number
  readonly firstTokenMillis: number | undefined
  readonly overheadMillis: number
  readonly waits: ReadonlyArray<Wait>
  readonly attempts: number
  readonly retries: number
  readonly moves: number
  readonly fallbacks: ReadonlyArray<Attempt.Fallback>
  readonly hedges: number
  readonly keyLabel: string | undefined
  readonly usage: Usage
  readonly costNanoUsd: number | undefined
  readonly changes: ReadonlyArray<string>
  readonly user: string | undefined
  readonly tenant: string | undefined
  readonly requestType: string | undefined
  readonly priority: "interactive" | "standard" | "bulk"
  readonly metadata: Readonly<Record<string, string>>
}

/** Each happening of a call: the call, and the number of the attempt, from 1. */
interface OfAttempt {
  readonly callId: string
  readonly attempt: number
}

/**
 * What can happen, by its tag.
 *
 * - `CallStarted`, `CallEnded`: each call has both.
 * - `AttemptStarted`: it takes its turn under the policies; `AttemptEnded`: it has settled. `refused` was not sent.
 * - `Waited`: a wait is over.
 * - `Retrying`: a failed attempt will be followed by another after the wait.
 * - `Moved`: a failed attempt is followed at once by another with another key.
 * - `FellBack`: a failed attempt is followed at once by another at another model, or that model was passed over; `attempt` is the one that failed.
 * - `Hedged`: a second attempt is made beside one that showed no content after so many milliseconds; `attempt` is the second.
 * - `GaveUp`: there is no further attempt although one might have helped.
 * - `FirstContent`: the first content of a stream has arrived, so many milliseconds after the call began.
 * - `CircuitChanged`, `KeyChanged`, `BudgetEvent`, `InputFound`: what the policies tell, as in their own streams.
 *
 * @category models
 * @since 0.1.0
 */
export type Happening =
  | {
    readonly _tag: "CallStarted"
    readonly callId: string
    readonly operation: Operation
    readonly stream: boolean
    readonly model: string
    readonly user: string | undefined
    readonly tenant: string | undefined
    readonly requestType: string | undefined
    readonly priority: CallRecord["priority"]
  }
  | { readonly _tag: "AttemptStarted" } & OfAttempt
  | { readonly _tag: "Waited" } & OfAttempt & Wait
  | { readonly _tag: "FirstContent"; readonly millis: number } & OfAttempt
  | {
    readonly _tag: "AttemptEnded"
    readonly outcome: "completed" | "failed" | "aborted" | "refused"
    readonly error: string | undefined
    readonly keyLabel: string | undefined
    readonly requestId: string | undefined
    readonly millis: number
    readonly usage: Usage
    readonly costNanoUsd: number | undefined
  } & OfAttempt
  | { readonly _tag: "Retrying"; readonly error: string; readonly waitMillis: number } & OfAttempt
  | { readonly _tag: "Moved"; readonly error: string; readonly keyLabel: string | undefined } & OfAttempt
  | { readonly _tag: "Hedged"; readonly lateMillis: number } & OfAttempt
  | { readonly _tag: "FellBack" } & OfAttempt & Attempt.Fallback
  | {
    readonly _tag: "GaveUp"
    readonly error: string
    readonly reason: GiveUp
  } & OfAttempt
  | { readonly _tag: "CallEnded"; readonly record: CallRecord }
  | {
    readonly _tag: "CircuitChanged"
    readonly group: string
    readonly from: "closed" | "open" | "halfOpen"
    readonly to: "closed" | "open" | "halfOpen"
    readonly openMillis: number | undefined
  }
  | {
    readonly _tag: "KeyChanged"
    readonly label: string
    readonly group: string
    readonly from: string | undefined
    readonly to: string
  }
  | {
    readonly _tag: "BudgetEvent"
    readonly event: "Threshold" | "Exceeded" | "Overshot" | "Unpriced"
    readonly budget: string | undefined
    readonly account: string | undefined
    readonly percent: number | undefined
    readonly spentNanoUsd: number | undefined
    readonly limitNanoUsd: number | undefined
    readonly model: string | undefined
  }
  | { readonly _tag: "InputFound"; readonly finding: InputFinding }

/**
 * Something that happened. `at` is in milliseconds since the epoch; `sequence` counts the events of a monitor, so that a gap shows that a slow
 * subscriber has lost some.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Happening & { readonly at: number; readonly sequence: number }
