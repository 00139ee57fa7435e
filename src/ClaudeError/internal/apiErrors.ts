/** The five errors that the API, or the connection to it, can end an attempt with. */
import * as Schema from "effect/Schema"
import { limitTexts } from "../../internal/limitTexts.ts"
import { apiFields, facts, keyFields, optionalString, tryAgain } from "./fields.ts"

/**
 * This key cannot make this call: HTTP 401, 402, 403, a credit balance that is too low, an organization on hold.
 * Another key may.
 *
 * `keyLabel` and `keyGroup` name the key that was used.
 *
 * @category errors
 * @since 0.1.0
 */
export class AuthError extends Schema.TaggedError<AuthError>("effect-claude/AuthError")("AuthError", {
  kind: Schema.Literals(["authentication", "permission", "billing"]),
  ...keyFields,
  ...apiFields
}) {
  /** The error of the attempt before, where there was one. It does not cross a wire. */
  declare readonly lastError?: ApiError | undefined
  get isRetryable(): boolean {
    return this.shouldRetry ?? false
  }
  override get message(): string {
    const [what, todo] = authTexts[this.kind]
    return `${what}${facts(this)}. ${todo}`
  }
}

const authTexts = {
  authentication: ["Claude did not accept the API key", "Check that the key is right, not revoked and not expired."],
  permission: ["The API key may not make this call", "Use a key whose workspace and organization allow it."],
  billing: ["The account of this API key cannot pay", "Check its credit balance and payment details."]
} as const

/**
 * The request must change before it can succeed: every 4xx that is not about the key, the limits or the connection.
 * Only a conflict (409) can succeed unchanged, and is retried.
 *
 * @category errors
 * @since 0.1.0
 */
export class BadRequestError
  extends Schema.TaggedError<BadRequestError>("effect-claude/BadRequestError")("BadRequestError", apiFields)
{
  /** The error of the attempt before, where there was one. It does not cross a wire. */
  declare readonly lastError?: ApiError | undefined
  get isRetryable(): boolean {
    return this.shouldRetry ?? this.status === 409
  }
  override get message(): string {
    return `Claude cannot answer this request${facts(this)}. Change the request; sending it again will not help.`
  }
}

/**
 * A limit of the organization or workspace was reached: HTTP 429, or a spend limit reported as 400.
 *
 * - `limit: "spend"` stands until money is added or the month ends, and is never retryable.
 * - `keyLabel` and `keyGroup` name the key that was used; keys of one group share limits.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitError
  extends Schema.TaggedError<RateLimitError>("effect-claude/RateLimitError")("RateLimitError", {
    limit: Schema.Literals(["requests", "inputTokens", "outputTokens", "acceleration", "spend", "unknown"]),
    ...keyFields,
    ...apiFields
  })
{
  /** The error of the attempt before, where there was one. It does not cross a wire. */
  declare readonly lastError?: ApiError | undefined
  get isRetryable(): boolean {
    return this.limit !== "spend" && (this.shouldRetry ?? true)
  }
  override get message(): string {
    const what = limitTexts[this.limit]
    if (this.limit === "spend") {
      return `Claude refused the call: ${what} was reached${facts(this)}. Raise the limit or wait until it resets.`
    }
    return `Claude refused the call: ${what} was reached${facts(this)}. ${tryAgain(this.retryAfter)}`
  }
}

/**
 * No answer arrived, or only part of one.
 *
 * - `timeout` and `idle`: `limit` says which of the time limits expired.
 * - `truncated`: the answer ended before it was complete.
 * - `malformed`: the reply did not come from the API (a proxy's page, a body that is not JSON), or was larger than
 *   `maxBytes`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionError
  extends Schema.TaggedError<ConnectionError>("effect-claude/ConnectionError")("ConnectionError", {
    reason: Schema.Literals([
      "dns",
      "refused",
      "reset",
      "tls",
      "timeout",
      "idle",
      "truncated",
      "malformed",
      "unknown"
    ]),
    /** Code of the system or the runtime, such as `ECONNRESET`. */
    code: optionalString,
    /** The time limit that expired. */
    limit: Schema.optional(Schema.Literals(["headers", "firstContent", "idle", "call", "deadline"])),
    ...apiFields
  })
{
  /** The error of the attempt before, where there was one. It does not cross a wire. */
  declare readonly lastError?: ApiError | undefined
  /** No other attempt changes what a foreign reply says, or a time limit that the answer itself exceeds. */
  get isRetryable(): boolean {
    const isRefused = this.status !== undefined && this.status >= 400 && this.status < 500
    const isFinal = (this.reason === "malformed" && (this.billed !== "no" || isRefused)) ||
      (this.limit === "call" && this.billed === "yes")
    return this.shouldRetry ?? !isFinal
  }
  override get message(): string {
    const code = this.code === undefined ? "" : ` [${this.code}]`
    const what = this.limit === undefined ? connectionTexts[this.reason] : timeoutTexts[this.limit]
    const again = this.isRetryable ? "Try again; if it keeps failing, check" : "Check"
    return `${what}${code}${facts(this)}. ${again} the network, the base URL and the time limits.`
  }
}

const connectionTexts = {
  dns: "The host of the API was not found",
  refused: "The connection to the API was refused",
  reset: "The connection to the API broke",
  tls: "No secure connection to the API could be made",
  timeout: "The API did not answer in time",
  idle: "The stream stopped sending",
  truncated: "The answer ended before it was complete",
  malformed: "The reply did not come from the Claude API",
  unknown: "The connection to the API failed"
} as const

const timeoutTexts = {
  headers: "The API sent no response headers in time",
  firstContent: "The stream brought no content in time",
  idle: "The stream sent nothing for too long",
  call: "The attempt exceeded its time limit",
  deadline: "The deadline of the caller passed"
} as const

/**
 * The API failed: HTTP 5xx, 529, or an `error` event inside a stream that began with 200.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerError extends Schema.TaggedError<ServerError>("effect-claude/ServerError")("ServerError", {
  /** The API is short of capacity for all its users (529, `overloaded_error`). See `isOverloaded`. */
  overloaded: Schema.Boolean,
  ...apiFields
}) {
  /** The error of the attempt before, where there was one. It does not cross a wire. */
  declare readonly lastError?: ApiError | undefined
  get isRetryable(): boolean {
    return this.shouldRetry ?? this.status !== 501
  }
  override get message(): string {
    const what = this.overloaded ? "Claude is overloaded" : "Claude failed"
    return `${what}${facts(this)}. ${tryAgain(this.retryAfter)}`
  }
}

/**
 * What one attempt can fail with once it was sent.
 *
 * @category models
 * @since 0.1.0
 */
export type ApiError = AuthError | BadRequestError | RateLimitError | ConnectionError | ServerError

/**
 * Decodes and encodes an `ApiError`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ApiError = Schema.Union([AuthError, BadRequestError, RateLimitError, ConnectionError, ServerError])

/**
 * Whether a failure is an error of the API or of the connection to it, and not a local refusal.
 *
 * @category guards
 * @since 0.1.0
 */
export const isApiError = (error: unknown): error is ApiError =>
  error instanceof AuthError || error instanceof BadRequestError || error instanceof RateLimitError ||
  error instanceof ConnectionError || error instanceof ServerError

/**
 * Whether the API was short of capacity (529, `overloaded_error`): the usual reason to fall back to another model.
 *
 * Narrows for `Effect.catchIf`. A stream that was interrupted by overload is a `StreamInterruptedError`: look at its
 * `cause`.
 *
 * **Example** (Another model while one is overloaded)
 *
 * ```ts
 * import { ClaudeError } from "effect-claude"
 * import { Effect } from "effect"
 *
 * const call: Effect.Effect<string, ClaudeError.CallError> = Effect.fail(
 *   new ClaudeError.ServerError({ overloaded: true })
 * )
 * const answer = Effect.catchIf(call, ClaudeError.isOverloaded, () => Effect.succeed("from another model"))
 *
 * await Effect.runPromise(answer) // => "from another model"
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const isOverloaded = (error: unknown): error is ServerError & { readonly overloaded: true } =>
  error instanceof ServerError && error.overloaded
