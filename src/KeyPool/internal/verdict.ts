/** What the end of an attempt says about the key that it used. */
import * as Duration from "effect/Duration"
import type { Attempt } from "../../Attempt.ts"
import type { AuthError, RateLimitError } from "../../ClaudeError.ts"

/**
 * - `Key`: the key is not accepted, or its account cannot pay.
 * - `Model`: the key may not do this: use this model.
 * - `Limit`: a rate limit of its group is reached, for all calls of this scope.
 * - `Spend`: its group may spend no more.
 */
export type Verdict =
  | { readonly _tag: "Key"; readonly reason: Rejection }
  | { readonly _tag: "Model"; readonly reason: Rejection }
  | { readonly _tag: "Limit"; readonly reason: RateLimitError["limit"]; readonly millis: number }
  | { readonly _tag: "Spend"; readonly reason: "spend"; readonly millis: number }

/** Why a key was rejected, as the API said it. */
export type Rejection = AuthError["kind"]

/** The longest cooldown; then the next answer decides anew. */
const maxCooldownMillis = 60 * 60_000

/** For a refusal without a hint. */
const defaultCooldownMillis = 1_000

/** They name a customer of the organization, for whom the request was made: no other key would help. */
const ofCustomer: ReadonlySet<string> = new Set([
  "linked_organization_billing_unavailable",
  "linked_organization_spend_limit_reached",
  "user_profile_billing_not_authorized",
  "user_profile_not_billable"
])

const ofKey = ({ errorCode, isRetryable, kind }: AuthError): Verdict | undefined => {
  if (isRetryable || (errorCode !== undefined && ofCustomer.has(errorCode))) return undefined
  return { _tag: kind === "permission" && errorCode !== "organization_on_hold" ? "Model" : "Key", reason: kind }
}

const ofGroup = ({ limit, retryAfter }: RateLimitError): Verdict => {
  const hint = retryAfter === undefined ? undefined : Duration.toMillis(retryAfter)
  return limit === "spend"
    ? { _tag: "Spend", reason: limit, millis: Math.min(hint ?? Infinity, maxCooldownMillis) }
    : { _tag: "Limit", reason: limit, millis: Math.min(hint ?? defaultCooldownMillis, maxCooldownMillis) }
}

/** Undefined where it says nothing: outages, overloads and bad requests have nothing to do with the key. */
export const verdictOf = ({ outcome }: Attempt): Verdict | undefined => {
  if (outcome._tag !== "Failed") return undefined
  const { error } = outcome
  return error._tag === "AuthError" ? ofKey(error) : error._tag === "RateLimitError" ? ofGroup(error) : undefined
}

/** What a permission is about: a model, or reading about models. */
export const subjectOf = ({ endpoint, model }: Attempt): string => endpoint === "models" ? "models" : model

/** What shares rate limits: a model group, its fast mode, counting tokens, or reading about models. */
export const scopeOf = (attempt: Attempt): string => {
  if (attempt.endpoint === "messages") return attempt.isFast ? `${attempt.facts.group}-fast` : attempt.facts.group
  return attempt.endpoint === "countTokens" ? "count-tokens" : "models"
}
