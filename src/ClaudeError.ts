/**
 * The typed errors of a call: errors of the API (`ApiError`), calls that were refused before they were sent (`Refusal`),
 * streams that broke (`StreamInterruptedError`), and answers without a complete text (`IncompleteAnswerError`) or that do not fit their schema
 * (`AnswerMismatchError`).
 *
 * Each error decides whether it is retryable and billed; nothing else in this package does. No key, prompt or header is
 * ever in an error. All of them are schemas, so they cross a wire.
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
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ApiError } from "./ClaudeError/internal/apiErrors.ts"
import { attempts, type Billed, billed, optionalString } from "./ClaudeError/internal/fields.ts"
import { DeadlineExceededError, Refusal } from "./ClaudeError/internal/refusals.ts"
import { Usage } from "./Usage.ts"

export {
  ApiError,
  AuthError,
  BadRequestError,
  ConnectionError,
  isApiError,
  isOverloaded,
  RateLimitError,
  ServerError
} from "./ClaudeError/internal/apiErrors.ts"
export type { Billed } from "./ClaudeError/internal/fields.ts"
export {
  BudgetExceededError,
  BudgetUnavailableError,
  CircuitOpenError,
  DeadlineExceededError,
  InputFinding,
  InputRejectedError,
  isRefusal,
  NoUsableKeyError,
  RateLimitedLocallyError,
  Refusal,
  UnpricedModelError
} from "./ClaudeError/internal/refusals.ts"

/** The message is the SDK's own type and came as JSON; it is passed through without decoding. */
const sdkMessage = Schema.Unknown as unknown as Schema.Codec<Message>

/**
 * A stream failed after its first content was delivered, so it cannot be retried transparently: the reader decides.
 *
 * - `partial`: the message as far as it arrived; an unfinished tool call or thinking block is left out.
 * - `usage`: what the API had reported, with output counted from what arrived.
 * - `costNanoUsd`: what that costs, in integer nano-dollars; undefined where the model has no price.
 * - `cause`: the error that ended it.
 * - `lastError`, `billedBefore`: the error of the API before that, and how the attempts before this one were billed at worst.
 *
 * @category errors
 * @since 0.1.0
 */
export class StreamInterruptedError
  extends Schema.TaggedError<StreamInterruptedError>("effect-claude/StreamInterruptedError")("StreamInterruptedError", {
    partial: sdkMessage,
    usage: Usage,
    costNanoUsd: Schema.optional(Schema.Int),
    cause: Schema.Union([ApiError, DeadlineExceededError]),
    lastError: Schema.optional(ApiError),
    billedBefore: billed,
    attempts
  })
{
  readonly isRetryable: boolean = false
  get retryAfter(): Duration.Duration | undefined {
    return this.cause.retryAfter
  }
  /** The worst of all attempts. `"yes"` once the final usage had arrived; before that the vendor does not say. */
  get billed(): Billed {
    return this.partial.stop_reason === null && this.billedBefore !== "yes" ? "unknown" : "yes"
  }
  override get message(): string {
    return `The stream ended after ${this.usage.outputTokens} output tokens, before the message was complete. ` +
      `Keep or drop the partial message, or ask again. ${this.cause.message}`
  }
}

/** What an error shows of itself: the answer is for the program, not for its logs. */
const withoutAnswer = (fields: object): object =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => name !== "answer" && name !== "text"))

/**
 * The API answered, but the answer is not a complete text.
 *
 * | `reason` | stop reason of the message | what to do |
 * | --- | --- | --- |
 * | `refusal` | `refusal` | Change the request, or ask another model. |
 * | `maxTokens` | `max_tokens` | Raise `max_tokens`. |
 * | `toolUse` | `tool_use` | Call `create`, run the tools and send their results. |
 * | `pausedTurn` | `pause_turn` | Call `create`, and send its content back to continue the turn. |
 * | `contextWindow` | `model_context_window_exceeded` | Shorten the conversation. |
 * | `empty` | `end_turn` or `stop_sequence`, without any text | Ask again. |
 * | `unknown` | any other | Call `create` and look at the message. |
 *
 * - `text`: the text that did arrive, possibly empty. Neither the error's `message` nor its `toJSON` shows it, or `answer`.
 * - `answer`: the message as it came.
 * - `costNanoUsd`: what it cost, in integer nano-dollars; undefined where that is not known.
 * - `category`: with `refusal`, the category that the API names, such as `"cyber"`.
 *
 * @category errors
 * @since 0.1.0
 */
export class IncompleteAnswerError
  extends Schema.TaggedError<IncompleteAnswerError>("effect-claude/IncompleteAnswerError")("IncompleteAnswerError", {
    reason: Schema.Literals(["refusal", "maxTokens", "toolUse", "pausedTurn", "contextWindow", "empty", "unknown"]),
    text: Schema.String,
    /** `stop_reason` as it was sent; undefined where there was none. */
    stopReason: optionalString,
    category: optionalString,
    /** `id` of the message. */
    messageId: Schema.String,
    model: Schema.String,
    usage: Usage,
    answer: Schema.optional(sdkMessage),
    costNanoUsd: Schema.optional(Schema.Int),
    attempts: Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(1))),
    /** The worst of the attempts before the one that answered. */
    billedBefore: billed
  })
{
  readonly isRetryable: boolean = false
  readonly retryAfter: Duration.Duration | undefined = undefined
  override toJSON(): object {
    return withoutAnswer({ ...this })
  }
  /** The worst of all attempts. Some refusals before any output are free, depending on their category. */
  get billed(): Billed {
    return this.reason === "refusal" && this.text === "" && this.billedBefore !== "yes" ? "unknown" : "yes"
  }
  override get message(): string {
    const category = this.category === undefined ? "" : ` (${this.category})`
    return {
      refusal: `The model refused to answer${category}. Change the request, or ask another model.`,
      maxTokens: `The answer was cut at max_tokens, after ${this.usage.outputTokens} output tokens. Raise max_tokens.`,
      toolUse: "The answer asks for a tool. Use create, and send the results of the tools back.",
      pausedTurn: "The model paused its turn. Use create, and send its content back to continue.",
      contextWindow: "The answer filled the model's context window. Shorten the conversation.",
      empty: "The answer has no text. Ask again, or use create to see what it has.",
      unknown: `The answer ended with the stop reason "${this.stopReason}". Use create to see the whole message.`
    }[this.reason]
  }
}

/**
 * The answer is complete, but what it holds does not fit the schema that was asked for.
 *
 * - `issues`: what does not fit, and where, by the names of the schema; at most ten. They show nothing of the answer, and neither do `message` and
 *   `toJSON`.
 * - `answer`: the message as it came.
 * - `costNanoUsd`: what it cost, in integer nano-dollars; undefined where that is not known.
 *
 * @category errors
 * @since 0.1.0
 */
export class AnswerMismatchError
  extends Schema.TaggedError<AnswerMismatchError>("effect-claude/AnswerMismatchError")("AnswerMismatchError", {
    issues: Schema.Array(Schema.String),
    answer: sdkMessage,
    usage: Usage,
    costNanoUsd: Schema.optional(Schema.Int),
    attempts: Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(1)))
  })
{
  readonly isRetryable: boolean = false
  readonly retryAfter: Duration.Duration | undefined = undefined
  readonly billed: Billed = "yes"
  override toJSON(): object {
    return withoutAnswer({ ...this })
  }
  override get message(): string {
    return `The answer does not fit its schema: ${this.issues.join("; ")}. Ask again, or see its answer.`
  }
}

/**
 * What a call for a whole message can fail with.
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
 * What a call for a text can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type TextError = CallError | IncompleteAnswerError

/**
 * Decodes and encodes a `TextError`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TextError = Schema.Union([CallError, IncompleteAnswerError])

/**
 * What a call for an object can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type ObjectError = TextError | AnswerMismatchError

/**
 * Decodes and encodes an `ObjectError`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ObjectError = Schema.Union([TextError, AnswerMismatchError])

/**
 * What a stream can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type StreamError = CallError | StreamInterruptedError

/**
 * Decodes and encodes a `StreamError`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StreamError = Schema.Union([CallError, StreamInterruptedError])

/**
 * The HTTP statuses that `httpStatus` gives.
 *
 * @category models
 * @since 0.1.0
 */
export type HttpStatus = 400 | 413 | 422 | 429 | 500 | 502 | 503 | 504

/**
 * The HTTP status with which a server should answer its own client when a call of Claude failed. Credentials, limits and
 * outages of the API are the server's problem, not its client's, so they are 5xx and never 401, 403 or 429.
 *
 * | error | status |
 * | --- | --- |
 * | `BadRequestError` | 400; 413 where the API said 413 |
 * | `AuthError` | 500: the credentials of the server, not of its client |
 * | `RateLimitError` | 503 |
 * | `ConnectionError` | 504 after a time limit (`timeout`, `idle`), else 502 |
 * | `ServerError` | 503 when overloaded, else 502 |
 * | `CircuitOpenError` | 503 |
 * | `RateLimitedLocallyError` | 503; 413 for `tooLarge` |
 * | `BudgetExceededError` | 429 |
 * | `BudgetUnavailableError` | 503 |
 * | `UnpricedModelError` | 500 |
 * | `NoUsableKeyError` | 503; 500 where no key is configured |
 * | `InputRejectedError` | 422; 413 where all that was rejected is too long |
 * | `DeadlineExceededError` | 504 |
 * | `StreamInterruptedError` | that of its `cause`, for servers that have not sent their headers yet |
 * | `IncompleteAnswerError` | 422 for `refusal`, 413 for `contextWindow`, 500 for `toolUse` and `pausedTurn`, else 502 |
 * | `AnswerMismatchError` | 502 |
 *
 * Where `error.retryAfter` is set, send it in seconds as the header `retry-after`. The messages of these errors are
 * written for the operator: they name keys, budgets and limits.
 *
 * **Example** (An upstream without capacity)
 *
 * ```ts
 * import { ClaudeError } from "effect-claude"
 *
 * ClaudeError.httpStatus(new ClaudeError.ServerError({ overloaded: true })) // => 503
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const httpStatus = (error: ObjectError | StreamError): HttpStatus => {
  switch (error._tag) {
    case "BadRequestError":
      return error.status === 413 ? 413 : 400
    case "ConnectionError":
      return error.reason === "timeout" || error.reason === "idle" ? 504 : 502
    case "ServerError":
      return error.overloaded ? 503 : 502
    case "AnswerMismatchError":
      return 502
    case "RateLimitedLocallyError":
      return error.reason === "tooLarge" ? 413 : 503
    case "NoUsableKeyError":
      return Object.keys(error.reasons).length === 0 ? 500 : 503
    case "BudgetExceededError":
      return 429
    case "AuthError":
    case "UnpricedModelError":
      return 500
    case "RateLimitError":
    case "CircuitOpenError":
    case "BudgetUnavailableError":
      return 503
    case "InputRejectedError":
      return error.reasons.length > 0 && error.reasons.every(({ kind }) => kind === "tooLong") ? 413 : 422
    case "DeadlineExceededError":
      return 504
    case "StreamInterruptedError":
      return httpStatus(error.cause)
    case "IncompleteAnswerError":
      return incompleteStatus[error.reason]
  }
}

const incompleteStatus: Readonly<Record<IncompleteAnswerError["reason"], HttpStatus>> = {
  refusal: 422,
  contextWindow: 413,
  toolUse: 500,
  pausedTurn: 500,
  maxTokens: 502,
  empty: 502,
  unknown: 502
}
