/** Whether the API accepts a key, by a request that costs nothing. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Attempt from "../../Attempt.ts"
import { CallContext } from "../../CallContext.ts"
import * as ClaudeApi from "../../ClaudeApi.ts"
import type { ApiError } from "../../ClaudeError.ts"
import * as Model from "../../Model.ts"

/**
 * - `accepted`: the API knows it.
 * - `refused`: it is wrong, revoked or expired, or may not make this call.
 * - `limited`: the API knows it, and a limit of its organization is reached.
 * - `unknown`: the API could not be asked.
 */
export type Verdict = "accepted" | "refused" | "limited" | "unknown"

export interface Checked {
  readonly verdict: Verdict
  readonly message: string
}

const verdictOf = (error: ApiError): Checked => {
  switch (error._tag) {
    case "AuthError":
      return { verdict: "refused", message: error.message }
    case "RateLimitError":
      return { verdict: "limited", message: error.message }
    case "BadRequestError": // of a key that was accepted
      return { verdict: "accepted", message: "accepted" }
    default:
      return { verdict: "unknown", message: error.message }
  }
}

/** Asks for the facts of a model with this key alone, once. */
export const checkKey = Effect.fnUntraced(function*(key: Attempt.Key, timeout: Duration.Duration) {
  const api = yield* ClaudeApi.ClaudeApi
  const context = yield* CallContext
  const now = yield* Clock.currentTimeMillis
  const attempt: Attempt.ModelsAttempt = {
    endpoint: "models",
    callId: "check",
    number: 1,
    model: Model.standard,
    facts: Model.lookup(Model.standard),
    context: { ...context, deadline: now + Duration.toMillis(timeout) },
    key,
    outcome: Attempt.Outcome.NotSent()
  }
  return yield* Effect.match(api.model(attempt, Model.standard), {
    onFailure: verdictOf,
    onSuccess: (): Checked => ({ verdict: "accepted", message: "accepted" })
  })
})
