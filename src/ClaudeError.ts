/**
 * The typed errors of a call: what the API can answer (`ApiError`) and what never left the process (`Refusal`).
 *
 * Nothing else in this package decides what is retryable or billed. No key, prompt or header is ever in an error; all of
 * them are schemas, so they cross a wire.
 *
 * **Example** (Handling failures by tag)
 *
 * ```ts
 * import { ClaudeError } from "effect-claude"
 * import { Effect } from "effect"
 *
 * const call: Effect.Effect<string, ClaudeError.CallError> = Effect.fail(
 *   new ClaudeError.RateLimitError({ limit: "requests" })
 * )
 * const answer = call.pipe(
 *   Effect.catchTags({
 *     RateLimitError: (error) => Effect.succeed(`limited by ${error.limit}`),
 *     BadRequestError: (error) => Effect.succeed(error.message)
 *   })
 * )
 *
 * await Effect.runPromise(answer) // => "limited by requests"
 * ```
 *
 * @since 0.1.0
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Usage } from "./Usage.ts"

/**
 * Whether the tokens of a failed call cost money: `"no"` when the API refused it, `"unknown"` when it may have worked
 * on it, `"yes"` when it had finished.
 *
 * @category models
 * @since 0.1.0
 */
export type Billed = "no" | "yes" | "unknown"

const Billed = Schema.Literals(["no", "yes", "unknown"])
const optionalString = Schema.optional(Schema.String)
const wait = Schema.optional(Schema.DurationFromMillis)
const attempts = Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(0)))

/** What every answer of the API may tell, whatever its tag. */
const apiFields = {
  /** HTTP status; undefined where none arrived, and for `error` events inside a stream. */
  status: Schema.optional(Schema.Int),
  /** `error.type` of the body. */
  errorType: optionalString,
  /** `error.details.error_code` of the body: stable, where there is one. */
  errorCode: optionalString,
  /** `request-id`, to quote to the vendor. */
  requestId: optionalString,
  /** What the API said, without what the request said: shortened, and anything quoted from the request left out. */
  detail: optionalString,
  /** The wait the server asked for. */
  retryAfter: wait,
  /** The header `x-should-retry`, where present. */
  shouldRetry: Schema.optional(Schema.Boolean),
  billed: Billed.pipe(Schema.withConstructorDefault(Effect.succeed("no"))),
  /** Attempts sent for this call, this one included. */
  attempts: Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(1)))
}

interface ApiFields {
  readonly status?: number | undefined
  readonly detail?: string | undefined
  readonly requestId?: string | undefined
  readonly retryAfter?: Duration.Duration | undefined
}

const facts = (error: ApiFields): string => {
  const known = [
    ...(error.status === undefined ? [] : [`HTTP ${error.status}`]),
    ...(error.requestId === undefined ? [] : [`request ${error.requestId}`])
  ]
  const where = known.length === 0 ? "" : ` (${known.join(", ")})`
  return error.detail === undefined ? where : `${where}: ${error.detail.replace(/\.$/, "")}`
}

const tryAgain = (retryAfter: Duration.Duration | undefined): string =>
  retryAfter === undefined ? "Try again later." : `Try again in ${Duration.format(retryAfter)}.`

/**
 * This key cannot make this call: HTTP 401, 402, 403, a credit balance that is too low, an organization on hold.
 * Another key may.
 *
 * @category errors
 * @since 0.1.0
 */
export class AuthError extends Schema.TaggedError<AuthError>("effect-claude/AuthError")("AuthError", {
  kind: Schema.Literals(["authentication", "permission", "billing"]),
  ...apiFields
}) {
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
 * Only a conflict (409) may pass when sent again.
 *
 * @category errors
 * @since 0.1.0
 */
export class BadRequestError
  extends Schema.TaggedError<BadRequestError>("effect-claude/BadRequestError")("BadRequestError", apiFields)
{
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
 * `limit: "spend"` stands until money is added or the month ends, and is never retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitError
  extends Schema.TaggedError<RateLimitError>("effect-claude/RateLimitError")("RateLimitError", {
    limit: Schema.Literals(["requests", "inputTokens", "outputTokens", "acceleration", "spend", "unknown"]),
    ...apiFields
  })
{
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

const limitTexts = {
  requests: "the limit of requests a minute",
  inputTokens: "the limit of input tokens a minute",
  outputTokens: "the limit of output tokens a minute",
  acceleration: "the limit on how fast traffic may grow",
  spend: "a spend limit",
  unknown: "a rate limit"
} as const

/**
 * No answer, or an answer cut short.
 *
 * - `timeout` and `idle`: `limit` says which of the time limits ended it.
 * - `truncated`: the answer ended before it was whole.
 * - `malformed`: something answered, but not the API (a proxy's page, bytes that are no JSON), or more than `maxBytes`.
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
    /** The time limit that was passed. */
    limit: Schema.optional(Schema.Literals(["headers", "firstContent", "idle", "call", "deadline"])),
    ...apiFields
  })
{
  get isRetryable(): boolean {
    return this.shouldRetry ?? true
  }
  override get message(): string {
    const code = this.code === undefined ? "" : ` [${this.code}]`
    const what = this.limit === undefined ? connectionTexts[this.reason] : timeoutTexts[this.limit]
    return `${what}${code}${facts(this)}. Try again; if it stays, check the network, the base URL and the time limits.`
  }
}

const connectionTexts = {
  dns: "The host of the API was not found",
  refused: "The connection to the API was refused",
  reset: "The connection to the API broke",
  tls: "No secure connection to the API could be made",
  timeout: "The API did not answer in time",
  idle: "The stream fell silent",
  truncated: "The answer ended before it was whole",
  malformed: "What answered was not the Claude API",
  unknown: "The connection to the API failed"
} as const

const timeoutTexts = {
  headers: "The API sent no response headers in time",
  firstContent: "The stream brought no content in time",
  idle: "The stream fell silent for too long",
  call: "The call took longer than one attempt may",
  deadline: "The deadline of the caller passed"
} as const

/**
 * The API failed: HTTP 5xx, 529, or an `error` event inside a stream that began with 200.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerError extends Schema.TaggedError<ServerError>("effect-claude/ServerError")("ServerError", {
  /** The API is short of capacity (529, `overloaded_error`), for all its users. */
  overloaded: Schema.Boolean,
  ...apiFields
}) {
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
 * Whether a failure is an answer of the API (or its absence), and not one of our own refusals.
 *
 * @category guards
 * @since 0.1.0
 */
export const isApiError = (error: unknown): error is ApiError =>
  error instanceof AuthError || error instanceof BadRequestError || error instanceof RateLimitError ||
  error instanceof ConnectionError || error instanceof ServerError

/**
 * The breaker of this model group is open: the API failed too often lately, so nothing was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitOpenError
  extends Schema.TaggedError<CircuitOpenError>("effect-claude/CircuitOpenError")("CircuitOpenError", {
    /** The model group whose breaker is open. */
    group: Schema.String,
    retryAfter: Schema.DurationFromMillis,
    attempts
  })
{
  readonly isRetryable: boolean = false
  readonly billed: Billed = "no"
  override get message(): string {
    return `The circuit of ${this.group} is open after too many failures. ${tryAgain(this.retryAfter)}`
  }
}

/**
 * Our own limiter refused: the wait would pass the deadline, the queue is full, or no bucket is ever large enough.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitedLocallyError
  extends Schema.TaggedError<RateLimitedLocallyError>("effect-claude/RateLimitedLocallyError")(
    "RateLimitedLocallyError",
    {
      reason: Schema.Literals(["deadline", "queueFull", "tooLarge"]),
      /** The model group whose limit it is. */
      group: Schema.String,
      /** The wait that it would have been; undefined where no wait helps. */
      retryAfter: wait,
      attempts
    }
  )
{
  readonly isRetryable: boolean = false
  readonly billed: Billed = "no"
  override get message(): string {
    const text = {
      deadline: `Waiting for room in the limits of ${this.group} would pass the deadline.`,
      queueFull: `Too many calls already wait for room in the limits of ${this.group}.`,
      tooLarge: `The request is larger than the whole limit of ${this.group}.`
    }[this.reason]
    return this.reason === "tooLarge"
      ? `${text} Make it smaller or raise the limit.`
      : `${text} ${tryAgain(this.retryAfter)}`
  }
}

/**
 * A budget has no room for the worst case of this call. Amounts are integer nano-dollars (1 USD = 1_000_000_000).
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetExceededError
  extends Schema.TaggedError<BudgetExceededError>("effect-claude/BudgetExceededError")("BudgetExceededError", {
    budget: Schema.String,
    /** Whose account it is, such as `"tenant acme"`; undefined where the budget has one account for all. */
    account: optionalString,
    limitNanoUsd: Schema.Int,
    spentNanoUsd: Schema.Int,
    reservedNanoUsd: Schema.Int,
    neededNanoUsd: Schema.Int,
    /** When its window has made room, in milliseconds since the epoch; undefined where it never does. */
    resetsAt: Schema.optional(Schema.Int),
    /** The wait until then. Calls that end below their worst case may make room sooner. */
    retryAfter: wait,
    attempts
  })
{
  readonly isRetryable: boolean = false
  readonly billed: Billed = "no"
  override get message(): string {
    const usd = (nano: number) => `$${(nano / 1e9).toFixed(4)}`
    const whose = this.account === undefined ? "" : ` of ${this.account}`
    const todo = this.retryAfter === undefined
      ? "Waiting does not help: raise its limit, or ask for less (max_tokens)."
      : tryAgain(this.retryAfter)
    return `The budget "${this.budget}"${whose} has no room: ${usd(this.neededNanoUsd)} needed, ` +
      `${usd(this.spentNanoUsd)} spent and ${usd(this.reservedNanoUsd)} reserved of ${usd(this.limitNanoUsd)}. ${todo}`
  }
}

/**
 * Nobody can say whether a budget has room, so the call was not sent.
 *
 * - `store`: where budgets are kept did not answer in time.
 * - `accounts`: the budget has as many accounts as it may, all of them with money spent in their window.
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetUnavailableError
  extends Schema.TaggedError<BudgetUnavailableError>("effect-claude/BudgetUnavailableError")("BudgetUnavailableError", {
    reason: Schema.Literals(["store", "accounts"]),
    retryAfter: wait,
    attempts
  })
{
  readonly isRetryable: boolean = false
  readonly billed: Billed = "no"
  override get message(): string {
    return this.reason === "store"
      ? `The store of the budgets does not answer, and nothing is spent unseen. ${tryAgain(this.retryAfter)}`
      : "A budget has more accounts than are kept. Raise maxAccounts, or keep its accounts in a database."
  }
}

/**
 * A budget is armed and the model has no price, so nobody can say what the call would cost.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnpricedModelError
  extends Schema.TaggedError<UnpricedModelError>("effect-claude/UnpricedModelError")("UnpricedModelError", {
    model: Schema.String,
    attempts
  })
{
  readonly isRetryable: boolean = false
  readonly billed: Billed = "no"
  readonly retryAfter: Duration.Duration | undefined = undefined
  override get message(): string {
    return `There is no price for ${this.model} and a budget is armed. Add its price to the price book.`
  }
}

/**
 * The sanitizer refused the request. Findings name the rule and the place, never the text.
 *
 * @category errors
 * @since 0.1.0
 */
export class InputRejectedError
  extends Schema.TaggedError<InputRejectedError>("effect-claude/InputRejectedError")("InputRejectedError", {
    findings: Schema.Array(Schema.Struct({ rule: Schema.String, path: Schema.String })),
    attempts
  })
{
  readonly isRetryable: boolean = false
  readonly billed: Billed = "no"
  readonly retryAfter: Duration.Duration | undefined = undefined
  override get message(): string {
    const found = this.findings.map(({ path, rule }) => `${rule} at ${path}`).join(", ")
    return `The request was not sent because of its content: ${found}. Change it, or the rules.`
  }
}

/**
 * No key can make this call: none is configured, or each is cooling down or quarantined.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoUsableKeyError
  extends Schema.TaggedError<NoUsableKeyError>("effect-claude/NoUsableKeyError")("NoUsableKeyError", {
    /** A reason for each label; empty when there is no key at all. */
    reasons: Schema.Record(Schema.String, Schema.String),
    retryAfter: wait,
    attempts
  })
{
  readonly isRetryable: boolean = false
  readonly billed: Billed = "no"
  override get message(): string {
    const reasons = Object.entries(this.reasons).map(([label, reason]) => `${label}: ${reason}`)
    if (reasons.length === 0) return "There is no API key. Set ANTHROPIC_API_KEY or provide another key store."
    return `No API key is usable (${reasons.join("; ")}). ${tryAgain(this.retryAfter)}`
  }
}

/**
 * The deadline of the caller passed, or the next wait would pass it.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeadlineExceededError
  extends Schema.TaggedError<DeadlineExceededError>("effect-claude/DeadlineExceededError")("DeadlineExceededError", {
    /** What the API last answered, where it did. */
    lastError: Schema.optional(ApiError),
    attempts
  })
{
  readonly isRetryable: boolean = false
  get retryAfter(): Duration.Duration | undefined {
    return this.lastError?.retryAfter
  }
  get billed(): Billed {
    return this.lastError?.billed ?? "no"
  }
  override get message(): string {
    const last = this.lastError === undefined ? "" : ` The last attempt said: ${this.lastError.message}`
    return `The deadline left no time for attempt ${this.attempts + 1}.${last}`
  }
}

/**
 * What stopped a call before it was sent.
 *
 * @category models
 * @since 0.1.0
 */
export type Refusal =
  | CircuitOpenError
  | RateLimitedLocallyError
  | BudgetExceededError
  | BudgetUnavailableError
  | UnpricedModelError
  | InputRejectedError
  | NoUsableKeyError
  | DeadlineExceededError

/**
 * Decodes and encodes a `Refusal`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Refusal = Schema.Union([
  CircuitOpenError,
  RateLimitedLocallyError,
  BudgetExceededError,
  BudgetUnavailableError,
  UnpricedModelError,
  InputRejectedError,
  NoUsableKeyError,
  DeadlineExceededError
])

/**
 * A stream failed after its first content was given out, so it cannot be retried unseen: the reader decides.
 *
 * - `partial`: the message as far as it came; a tool call or thinking block that was not finished is left as it stood.
 * - `usage`: what the API had reported, and output counted from what arrived.
 * - `costNanoUsd`: what that costs, in integer nano-dollars; undefined where the model has no price.
 * - `cause`: what ended it.
 *
 * @category errors
 * @since 0.1.0
 */
export class StreamInterruptedError
  extends Schema.TaggedError<StreamInterruptedError>("effect-claude/StreamInterruptedError")("StreamInterruptedError", {
    // The message is the SDK's own type and came as JSON; it passes through unread.
    partial: Schema.Unknown as unknown as Schema.Codec<Message>,
    usage: Usage,
    costNanoUsd: Schema.optional(Schema.Int),
    cause: Schema.Union([ApiError, DeadlineExceededError]),
    attempts
  })
{
  readonly isRetryable: boolean = false
  get retryAfter(): Duration.Duration | undefined {
    return this.cause.retryAfter
  }
  /** `"yes"` once the final usage had arrived, else the vendor does not say. */
  get billed(): Billed {
    return this.partial.stop_reason === null ? "unknown" : "yes"
  }
  override get message(): string {
    return `The stream ended after ${this.usage.outputTokens} output tokens, before the message was whole. ` +
      `Keep or drop the partial message, or ask again. ${this.cause.message}`
  }
}

/**
 * What a call that waits for the whole answer can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type CallError = ApiError | Refusal

/**
 * Decodes and encodes a `CallError`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const CallError = Schema.Union([ApiError, Refusal])

/**
 * What a stream can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type StreamError = CallError | StreamInterruptedError

/**
 * Decodes and encodes a `StreamError`: every error of this module.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StreamError = Schema.Union([CallError, StreamInterruptedError])
