/** What the errors of `ClaudeError` share: fields, and the parts of their messages. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * Whether the tokens of a failed call cost money: `"no"` when the API refused it, `"unknown"` when it may have worked
 * on it, `"yes"` when it had finished.
 *
 * @category models
 * @since 0.1.0
 */
export type Billed = "no" | "yes" | "unknown"

export const optionalString = Schema.optional(Schema.String)

/** The wait after which the call may succeed; undefined where none is known. */
export const wait = Schema.optional(Schema.DurationFromMillis)

/** Attempts sent for this call; 0 where nothing says otherwise, since a refused call sends none. */
export const attempts = Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(0)))

/** The worst of all attempts of the call. */
export const billed = Schema.Literals(["no", "yes", "unknown"]).pipe(
  Schema.withConstructorDefault(Effect.succeed("no"))
)

/** What every answer of the API can carry, whatever its tag. */
export const apiFields = {
  /** HTTP status; undefined where none arrived, and for `error` events inside a stream. */
  status: Schema.optional(Schema.Int),
  /** `error.type` of the body. */
  errorType: optionalString,
  /** `error.details.error_code` of the body: a stable code, which only some errors have. */
  errorCode: optionalString,
  /** The header `request-id`: quote it to the vendor's support. */
  requestId: optionalString,
  /** The API's explanation, shortened, with everything that it quotes from the request removed. */
  detail: optionalString,
  /** The wait the server asked for. */
  retryAfter: wait,
  /** The header `x-should-retry`, where present. */
  shouldRetry: Schema.optional(Schema.Boolean),
  billed,
  /** Attempts sent for this call, this one included. */
  attempts: Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(1)))
}

/** Which key an attempt used: the `label` and the `group` of its `Attempt.Key`, never the secret. */
export const keyFields = {
  keyLabel: optionalString,
  keyGroup: optionalString
}

interface Facts {
  readonly status?: number | undefined
  readonly detail?: string | undefined
  readonly requestId?: string | undefined
  readonly keyLabel?: string | undefined
}

/** The facts of an API error for its message: ` (HTTP 429, key env-1, request req_1): what the API said`. */
export const facts = (error: Facts): string => {
  const known = [
    ...(error.status === undefined ? [] : [`HTTP ${error.status}`]),
    ...(error.keyLabel === undefined ? [] : [`key ${error.keyLabel}`]),
    ...(error.requestId === undefined ? [] : [`request ${error.requestId}`])
  ]
  const where = known.length === 0 ? "" : ` (${known.join(", ")})`
  return error.detail === undefined ? where : `${where}: ${error.detail.replace(/\.$/, "")}`
}

export const tryAgain = (retryAfter: Duration.Duration | undefined): string =>
  retryAfter === undefined ? "Try again later." : `Try again in ${Duration.format(retryAfter)}.`
