/** Why a failure lets a call go to another model. */
import * as Duration from "effect/Duration"
import type { CallError } from "../../ClaudeError.ts"
import type { Cause, Condition, Reason, Rule } from "../../internal/fallbackRule.ts"

const usual: ReadonlyArray<Condition> = ["overloaded", "circuitOpen", "limited", "retired"]

export const conditionsOf = ({ when }: Rule): ReadonlyArray<Condition> =>
  when === undefined ? usual : Array.isArray(when) ? when as ReadonlyArray<Condition> : [when as Condition]

const isWait = (condition: Condition): condition is { readonly wait: Duration.Input } => typeof condition === "object"

/** The milliseconds that calls wait for a model at most, by these rules; undefined for no bound. */
export const waitOf = (rules: ReadonlyArray<Rule>): number | undefined => {
  const waits = rules.flatMap(conditionsOf).filter(isWait).map(({ wait }) => Duration.toMillis(wait))
  return waits.length === 0 ? undefined : Math.min(...waits)
}

const reasonOf = (error: CallError): Reason | undefined => {
  switch (error._tag) {
    case "ServerError":
      return error.overloaded ? "overloaded" : "server"
    case "CircuitOpenError":
      return "circuitOpen"
    case "RateLimitError":
      return error.limit === "spend" ? undefined : "limited"
    case "RateLimitedLocallyError":
      return error.reason === "spend" || error.reason === "elsewhere" ? undefined : "limited"
    case "NoUsableKeyError":
      return error.kind === "limits" ? "limited" : undefined
    case "BudgetExceededError":
      return "budget"
    case "BadRequestError":
      return error.status === 404 ? "retired" : undefined
    default:
      return undefined
  }
}

/** What a call would wait for: not for a budget, nor for money of the organization. */
const waits = new Set<CallError["_tag"]>([
  "CircuitOpenError",
  "NoUsableKeyError",
  "RateLimitError",
  "RateLimitedLocallyError",
  "ServerError"
])

const isSpend = (error: CallError): boolean =>
  (error._tag === "RateLimitError" && error.limit === "spend") ||
  (error._tag === "RateLimitedLocallyError" && error.reason === "spend")

/** Whether it was refused only because it may wait no longer for this model. */
export const isImpatient = (error: CallError): boolean =>
  (error._tag === "RateLimitedLocallyError" && error.reason === "elsewhere") ||
  (error._tag === "NoUsableKeyError" && error.kind === "limits")

const isLong = (error: CallError, wait: Duration.Input): boolean => {
  if (!waits.has(error._tag) || isSpend(error)) return false
  if (error._tag === "RateLimitedLocallyError" && error.reason === "elsewhere") return true
  return error.retryAfter !== undefined && Duration.toMillis(error.retryAfter) > Duration.toMillis(wait)
}

/** It says something about the model, or about what became of the request for it. */
const isRejection = ({ _tag }: CallError): boolean =>
  _tag === "BadRequestError" || _tag === "AuthError" || _tag === "UnpricedModelError"

/** Undefined where a rule does not let a call go; `isFallback` where the model that failed was one already. */
export const causeOf = (rule: Rule, error: CallError, isFallback: boolean): Cause | undefined => {
  const reason = reasonOf(error)
  for (const condition of conditionsOf(rule)) {
    if (typeof condition === "function") {
      if (condition(error)) return "condition"
    } else if (isWait(condition)) {
      if (isLong(error, condition.wait)) return "wait"
    } else if (condition === reason) return reason
  }
  return isFallback && isRejection(error) ? "rejected" : undefined
}
