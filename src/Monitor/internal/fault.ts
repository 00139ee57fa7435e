/** Whose fault a failure is. */
import * as Cause from "effect/Cause"
import type { ApiError, StreamError } from "../../ClaudeError.ts"

/**
 * Whose fault a failure is.
 *
 * - `caller`: the request, or the time that its caller gave it.
 * - `policy`: a limit that you have set refused it: a budget, the rate limits, an open circuit, the sanitizer.
 * - `provider`: the API, or the network on the way to it.
 * - `own`: this service: its keys, its stores, its prices, a defect.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = "caller" | "policy" | "provider" | "own"

/** By tag; what a caller's deadline cut short is the fault of what took the time. */
const faults: Readonly<Record<StreamError["_tag"], Fault>> = {
  AuthError: "own",
  BadRequestError: "caller",
  BudgetExceededError: "policy",
  BudgetUnavailableError: "own",
  CircuitOpenError: "policy",
  ConnectionError: "provider",
  DeadlineExceededError: "caller",
  InputRejectedError: "policy",
  NoUsableKeyError: "own",
  RateLimitError: "provider",
  RateLimitedLocallyError: "policy",
  ServerError: "provider",
  StreamInterruptedError: "provider",
  UnpricedModelError: "own"
}

/** The failure of a call as metrics and records name it; a defect, and what a policy of the user made up, is `other`. */
export interface Failure {
  readonly error: string
  readonly fault: Fault
  readonly cause: StreamError | undefined
}

const isKnown = (error: unknown): error is StreamError =>
  typeof error === "object" && error !== null && "_tag" in error && typeof error._tag === "string" &&
  Object.hasOwn(faults, error._tag)

const defect: Failure = { error: "other", fault: "own", cause: undefined }

export const ofError = (error: unknown): Failure => {
  if (!isKnown(error)) return defect
  const { _tag } = error
  const fault = _tag === "DeadlineExceededError" && error.lastError !== undefined
    ? faults[error.lastError._tag]
    : faults[_tag]
  return { error: _tag, fault, cause: error }
}

/** Undefined where nothing failed but somebody stopped waiting. */
export const ofCause = (cause: Cause.Cause<unknown>): Failure | undefined =>
  Cause.hasInterruptsOnly(cause) ? undefined : ofError(Cause.squash(cause))

/** The label of a retry after an error. */
export const retryReason = (error: ApiError): string =>
  error._tag === "RateLimitError"
    ? "rate_limit"
    : error._tag === "ConnectionError"
    ? "connection"
    : error._tag === "ServerError"
    ? error.overloaded ? "overloaded" : "server"
    : "other"

export const succeeded = { status: "success", failure: undefined } as const

export const failureOf = (
  cause: Cause.Cause<unknown>
): { readonly status: "cancelled" | "error"; readonly failure: Failure | undefined } => ({
  status: Cause.hasInterruptsOnly(cause) ? "cancelled" : "error",
  failure: ofCause(cause)
})
