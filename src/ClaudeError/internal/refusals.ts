/** The errors of calls that this package did not send. */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { ApiError } from "./apiErrors.ts"
import { attempts, billed, optionalString, tryAgain, wait } from "./fields.ts"

/** What the attempts that were sent before say of the call. */
const callFields = {
  attempts,
  billed,
  /** The last error of the API, where there was one. */
  lastError: Schema.optional(ApiError)
}

/**
 * The circuit breaker of this model group is open after too many failures of the API, so nothing was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitOpenError
  extends Schema.TaggedError<CircuitOpenError>("effect-claude/CircuitOpenError")("CircuitOpenError", {
    /** The model group whose circuit is open. */
    group: Schema.String,
    retryAfter: Schema.DurationFromMillis,
    /** Somebody holds it open, by the mode `forcedOpen` or by `CircuitBreaker.open`; the API may be well. */
    isForced: Schema.optional(Schema.Boolean),
    ...callFields
  })
{
  readonly isRetryable: boolean = false
  override get message(): string {
    return this.isForced === true
      ? `The circuit of ${this.group} is held open, by its mode forcedOpen or by CircuitBreaker.open, whatever the API does. ` +
        `Set its mode to normal. ${tryAgain(this.retryAfter)}`
      : `The circuit of ${this.group} is open after too many failures. ${tryAgain(this.retryAfter)}`
  }
}

/**
 * The rate limiter of this process refused the call.
 *
 * - `deadline`: the wait would pass the deadline.
 * - `queueFull`: too many calls already wait.
 * - `tooLarge`: the request needs more than its limit ever allows at once.
 * - `spend`: the API reported that a spend limit is reached, so calls are refused without being sent.
 * - `paused`: the API asked for a longer pause than calls may wait for (`maxRetryAfter`).
 * - `elsewhere`: it would have to wait, and keys of another group may have room. The call moves to one of them, so this reaches no caller.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitedLocallyError
  extends Schema.TaggedError<RateLimitedLocallyError>("effect-claude/RateLimitedLocallyError")(
    "RateLimitedLocallyError",
    {
      reason: Schema.Literals(["deadline", "queueFull", "tooLarge", "spend", "paused", "elsewhere"]),
      /** The model group whose limit it is. */
      group: Schema.String,
      /** With `tooLarge`: the input tokens that the request probably needs, and the most that fit at once. */
      needed: Schema.optional(Schema.Int),
      limit: Schema.optional(Schema.Int),
      /** How long the call would have waited; undefined where no wait helps. */
      retryAfter: wait,
      ...callFields
    }
  )
{
  readonly isRetryable: boolean = false
  override get message(): string {
    const text = {
      deadline: `Waiting for room in the limits of ${this.group} would pass the deadline.`,
      queueFull: `Too many calls already wait for room in the limits of ${this.group}.`,
      tooLarge: `The request is larger than the whole limit of ${this.group}` +
        (this.needed === undefined ? "." : `: about ${this.needed} input tokens, and the limit is ${this.limit}.`),
      spend: `A spend limit of the API is reached, so calls to ${this.group} are not sent. ` +
        "Raise it or wait until it resets.",
      paused: `The API asked to send nothing to ${this.group} for longer than calls may wait.`,
      elsewhere: `The limits of ${this.group} have no room at once; keys of another group may have.`
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
    /** The account that is exhausted, such as `"tenant acme"`; undefined where the budget has one account for all. */
    account: optionalString,
    limitNanoUsd: Schema.Int,
    spentNanoUsd: Schema.Int,
    reservedNanoUsd: Schema.Int,
    neededNanoUsd: Schema.Int,
    /** When its window will have room, in milliseconds since the epoch; undefined where it never will. */
    resetsAt: Schema.optional(Schema.Int),
    /** The wait until then. Calls that cost less than their worst case may make room sooner. */
    retryAfter: wait,
    /** Whether it counts attempts by their key, so that there may be room with another one. */
    isOfKey: Schema.optional(Schema.Boolean),
    ...callFields
  })
{
  readonly isRetryable: boolean = false
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
 * The call was not sent because its budgets cannot be checked.
 *
 * - `store`: the store of the budgets did not answer in time.
 * - `accounts`: the budget already has as many accounts as it may, each with spending in its window.
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetUnavailableError
  extends Schema.TaggedError<BudgetUnavailableError>("effect-claude/BudgetUnavailableError")("BudgetUnavailableError", {
    reason: Schema.Literals(["store", "accounts"]),
    retryAfter: wait,
    ...callFields
  })
{
  readonly isRetryable: boolean = false
  override get message(): string {
    return this.reason === "store"
      ? "The budget store does not answer; calls are refused because spending cannot be recorded. " +
        tryAgain(this.retryAfter)
      : "A budget has more accounts than it may keep. Raise maxAccounts, or keep its accounts in a database."
  }
}

/**
 * A budget is configured and the model has no price, so the cost of the call cannot be bounded.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnpricedModelError
  extends Schema.TaggedError<UnpricedModelError>("effect-claude/UnpricedModelError")("UnpricedModelError", {
    model: Schema.String,
    /** The model with a price whose name is nearly the same. */
    nearest: optionalString,
    ...callFields
  })
{
  readonly isRetryable: boolean = false
  readonly retryAfter: Duration.Duration | undefined = undefined
  override get message(): string {
    const nearest = this.nearest === undefined ? "" : ` Is ${this.nearest} meant?`
    return `There is no price for ${this.model}, and a budget needs one.${nearest} Correct its name, or add it to the price book.`
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
    ...callFields
  })
{
  readonly isRetryable: boolean = false
  /** `none`: no key is configured. `limits`: one will be usable in `retryAfter`. `keys`: waiting does not help, the keys must be replaced or paid for. */
  get kind(): "none" | "limits" | "keys" {
    if (Object.keys(this.reasons).length === 0) return "none"
    return this.retryAfter === undefined ? "keys" : "limits"
  }
  override get message(): string {
    const reasons = Object.entries(this.reasons).map(([label, reason]) => `${label}: ${reason}`)
    if (reasons.length === 0) return "There is no API key. Set ANTHROPIC_API_KEY or provide another key store."
    const todo = this.kind === "keys"
      ? "Check that they are right and paid for; they are checked again in the background."
      : tryAgain(this.retryAfter)
    return `No API key is usable (${reasons.join("; ")}). ${todo}`
  }
}

/**
 * Something that `InputSanitizer` found in a text of a request.
 *
 * - `kind`: what it is; `rule` says what exactly, such as `"ignoreInstructions"` or `"awsAccessKey"`.
 * - `action`: what was done: it was sent all the same (`observe`), removed (`clean`), or the call was refused (`reject`).
 * - `path`: the text in the request, such as `messages[2].content[0].text`; empty for what concerns the whole request.
 * - `offset`, `length`: where it stands in the text that was given, in UTF-16 units.
 * - `excerpt`: the beginning of what was found, where `InputSanitizer` was told to show it; never of a secret, of personal data, or in an error.
 *
 * @category models
 * @since 0.1.0
 */
export class InputFinding extends Schema.Class<InputFinding>("effect-claude/InputFinding")({
  kind: Schema.Literals([
    "tooLong",
    "control",
    "surrogate",
    "invisible",
    "bidirectional",
    "lookalike",
    "injection",
    "secret",
    "personal"
  ]),
  rule: Schema.String,
  severity: Schema.Literals(["low", "medium", "high"]),
  action: Schema.Literals(["observe", "clean", "reject"]),
  path: Schema.String,
  offset: Schema.Int,
  length: Schema.Int,
  excerpt: optionalString
}) {}

/**
 * `InputSanitizer` refused the request because of what its texts hold.
 *
 * - `findings`: everything that was found, also what was not the reason, up to the bound of the sanitizer.
 * - `total`: how much was found in all.
 *
 * @category errors
 * @since 0.1.0
 */
export class InputRejectedError
  extends Schema.TaggedError<InputRejectedError>("effect-claude/InputRejectedError")("InputRejectedError", {
    findings: Schema.Array(InputFinding),
    total: Schema.Int,
    ...callFields
  })
{
  readonly isRetryable: boolean = false
  readonly retryAfter: Duration.Duration | undefined = undefined
  /** The findings for which the request was refused. */
  get reasons(): ReadonlyArray<InputFinding> {
    return this.findings.filter(({ action }) => action === "reject")
  }
  override get message(): string {
    const { reasons } = this
    const places = reasons.slice(0, 3).map(({ kind, path, rule }) => `${kind} (${rule}) in ${path || "the request"}`)
    const more = reasons.length > places.length ? ` and ${reasons.length - places.length} more` : ""
    return `The input was rejected: ${places.join(", ")}${more}. ` +
      "Remove it, mark the part with InputSanitizer.trusted, or choose another action for the kind."
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
    ...callFields
  })
{
  readonly isRetryable: boolean = false
  get retryAfter(): Duration.Duration | undefined {
    return this.lastError?.retryAfter
  }
  override get message(): string {
    const last = this.lastError === undefined ? "" : ` The last attempt said: ${this.lastError.message}`
    return `The deadline left no time for attempt ${this.attempts + 1}.${last}`
  }
}

/**
 * A local refusal: what stopped a call before it was sent. (A refusal by the model is a normal answer with the stop
 * reason `refusal`; see `Attempt.ModelRefusal`.)
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
  | NoUsableKeyError
  | InputRejectedError
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
  NoUsableKeyError,
  InputRejectedError,
  DeadlineExceededError
])

/**
 * Whether a failure is a local refusal: nothing was sent.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRefusal = (error: unknown): error is Refusal =>
  error instanceof CircuitOpenError || error instanceof RateLimitedLocallyError ||
  error instanceof BudgetExceededError || error instanceof BudgetUnavailableError ||
  error instanceof UnpricedModelError || error instanceof NoUsableKeyError ||
  error instanceof InputRejectedError || error instanceof DeadlineExceededError
