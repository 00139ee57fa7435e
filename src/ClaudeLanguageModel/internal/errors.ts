/** What the errors of calls are to `effect/ai`, and back. */
import * as AiError from "effect/ai/AiError"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { IncompleteAnswerError, StreamError, type TextError } from "../../ClaudeError.ts"

/** What a call of a language model can fail with below. */
export type CallFailure = TextError | StreamError

/** Whatever a call fails with, on a wire. */
const Failure = Schema.Union([StreamError, IncompleteAnswerError])

const toJson = Schema.encodeUnknownOption(Schema.toCodecJson(Failure))
const fromJson = Schema.decodeUnknownOption(Schema.toCodecJson(Failure))
const isFailure = Schema.is(Failure)

/** What the model had written is no business of those who read errors. */
const withoutContent = (json: Schema.Json): Schema.Json =>
  !isFields(json)
    ? json
    : isFields(json["partial"])
    ? { ...json, partial: { ...json["partial"], content: [] } }
    : "text" in json
    ? Object.fromEntries(Object.entries({ ...json, text: "" }).filter(([name]) => name !== "answer"))
    : json

const isFields = (json: Schema.Json | undefined): json is { readonly [field: string]: Schema.Json } =>
  Predicate.isObject(json)

const metadataOf = (error: CallFailure): AiError.ProviderMetadata => ({
  anthropic: Option.getOrElse(
    Option.map(toJson(error), withoutContent),
    () => ({ _tag: error._tag, message: error.message })
  ) as Schema.MutableJson // it was made here: nobody else holds it
})

/** `AiError.retryAfter` reads it from any reason; only one class has a field for it. */
const waiting = <Reason extends AiError.AiErrorReason>(
  reason: Reason,
  retryAfter: Duration.Duration | undefined
): Reason =>
  retryAfter === undefined
    ? reason
    : Object.defineProperty(reason, "retryAfter", { value: retryAfter, enumerable: false, configurable: true })

const network = (error: CallFailure): AiError.NetworkError =>
  new AiError.NetworkError({
    reason: "TransportError",
    method: "POST",
    url: "/v1/messages",
    description: error.message
  })

const authKinds = { authentication: "InvalidKey", permission: "InsufficientPermissions" } as const

const reasonFor = (error: CallFailure): AiError.AiErrorReason => {
  const description = error.message
  const metadata = metadataOf(error)
  const { retryAfter } = error
  const limited = () =>
    new AiError.RateLimitError({ ...(retryAfter === undefined ? undefined : { retryAfter }), metadata })
  const failing = () => new AiError.InternalProviderError({ description, metadata })
  const exhausted = (resetsAt?: number) =>
    new AiError.QuotaExhaustedError({
      ...(resetsAt === undefined ? undefined : { resetAt: DateTime.makeUnsafe(resetsAt) }),
      metadata
    })
  const invalid = (parameter?: string) =>
    new AiError.InvalidRequestError({ ...(parameter === undefined ? undefined : { parameter }), description, metadata })
  const unusable = () => new AiError.InvalidResponseError({ description, metadata })
  switch (error._tag) {
    case "RateLimitError":
      return error.limit === "spend" ? exhausted() : limited()
    case "AuthError":
      return error.kind === "billing"
        ? exhausted()
        : new AiError.AuthenticationError({ kind: authKinds[error.kind], description, metadata })
    case "BadRequestError":
      return error.isRetryable ? failing() : invalid()
    case "ConnectionError":
      return error.isRetryable ? network(error) : unusable()
    case "ServerError":
    case "CircuitOpenError":
    case "BudgetUnavailableError":
      return failing()
    case "RateLimitedLocallyError":
      return error.reason === "spend" ? exhausted() : error.reason === "tooLarge" ? invalid() : limited()
    case "BudgetExceededError":
      return exhausted(error.resetsAt)
    case "UnpricedModelError":
      return invalid("model")
    case "NoUsableKeyError":
      return error.kind === "limits"
        ? limited()
        : new AiError.AuthenticationError({
          kind: error.kind === "none" ? "MissingKey" : "InvalidKey",
          description,
          metadata
        })
    case "InputRejectedError":
      return new AiError.InvalidUserInputError({ description })
    case "DeadlineExceededError":
      return new AiError.UnknownError({ description, metadata })
    case "StreamInterruptedError":
      return unusable()
    case "IncompleteAnswerError":
      return error.reason === "refusal" ? new AiError.ContentPolicyError({ description, metadata }) : unusable()
  }
}

/** The error of a call as `effect/ai` has it; the original is the `cause` of its reason, and JSON in its metadata. */
export const toAiError = (method: string) => (error: CallFailure): AiError.AiError => {
  const reason = waiting(reasonFor(error), error.retryAfter)
  Object.defineProperty(reason, "cause", { value: error, enumerable: false, configurable: true })
  return fromReason(method)(reason)
}

export const fromReason = (method: string) => (reason: AiError.AiErrorReason): AiError.AiError =>
  AiError.make({ module: "ClaudeLanguageModel", method, reason })

/** The error of the call that became an error of `effect/ai`. */
export const failureOf = (error: AiError.AiError): CallFailure | undefined => {
  const { reason } = error
  if (isFailure(reason.cause)) return reason.cause
  const metadata = "metadata" in reason ? reason.metadata["anthropic"] : undefined
  return Predicate.isObject(metadata) ? Option.getOrUndefined(fromJson(metadata)) : undefined
}
