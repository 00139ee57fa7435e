/** When a call may go to another model. `Fallback` exports it, and `CallContext` carries it. */
import type * as Duration from "effect/Duration"
import type { CallError } from "../ClaudeError.ts"

/**
 * What can keep a model from answering.
 *
 * - `overloaded`: the API is short of capacity (529).
 * - `server`: any other fault of the API (5xx).
 * - `circuitOpen`: the circuit of its group is open.
 * - `limited`: a rate limit of its group is reached, after whatever the limiter waited, or every key cools down after one. Spend limits hold for all
 *   models.
 * - `budget`: a budget has no room for what it may cost.
 * - `retired`: by the catalogue, in which case it is not asked at all, or because the API does not know it (404).
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = "overloaded" | "server" | "circuitOpen" | "limited" | "budget" | "retired"

/**
 * When a call leaves a model: for a reason, where it would wait longer than `wait` for limits, keys, a circuit or what the server asks for, or where
 * a function says so of the error.
 *
 * @category models
 * @since 0.1.0
 */
export type Condition = Reason | { readonly wait: Duration.Input } | ((error: CallError) => boolean)

/**
 * A way out.
 *
 * - `to`: the model to ask instead.
 * - `from`: the model or models whose calls take it. Default any other.
 * - `when`: any of these. Default `["overloaded", "circuitOpen", "limited", "retired"]`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Rule {
  readonly to: string
  readonly from?: string | ReadonlyArray<string> | undefined
  readonly when?: Condition | ReadonlyArray<Condition> | undefined
}

/**
 * Why a call went on to another model: a `Reason`, a `wait`, a `condition` of the program, or, of a model that was a fallback itself, that it
 * `rejected` the request.
 *
 * @category models
 * @since 0.1.0
 */
export type Cause = Reason | "wait" | "condition" | "rejected"
