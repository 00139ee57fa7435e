/**
 * One attempt of a call as policies see it, what became of it, and the one shape of a policy.
 *
 * **Example** (A policy that allows one attempt at a time)
 *
 * ```ts
 * import { Attempt } from "effect-claude"
 * import { Effect, Semaphore } from "effect"
 *
 * export const oneAtATime = Effect.map(Semaphore.make(1), (semaphore): Attempt.Policy => ({
 *   admit: () => Effect.as(Effect.interruptible(semaphore.take(1)), Effect.asVoid(semaphore.release(1)))
 * }))
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { CallContext } from "./CallContext.ts"
import type { ApiError } from "./ClaudeError.ts"
import type { Estimate } from "./Estimate.ts"
import type { CallKind, CallKinds } from "./internal/callKinds.ts"
import type { ModelRefusal } from "./internal/modelRefusal.ts"
import type * as Model from "./Model.ts"
import * as PriceBook from "./PriceBook.ts"
import type { Request } from "./Request.ts"
import * as Usage from "./Usage.ts"

export { CallKind, CallKinds, type Lengths } from "./internal/callKinds.ts"
export type { ModelRefusal } from "./internal/modelRefusal.ts"
export type { Request } from "./Request.ts"

/**
 * An API key. `label` is what logs, errors and reports show instead of it; keys of one `group` (organization or
 * workspace) share rate limits.
 *
 * @category models
 * @since 0.1.0
 */
export interface Key {
  readonly label: string
  readonly group: string
  readonly secret: Redacted.Redacted<string>
}

/**
 * One bucket as the server reports it: tokens or requests. `resetAt` (milliseconds since the epoch) is when it is full
 * again, not when the next request fits.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limit {
  readonly limit: number
  readonly remaining: number
  readonly resetAt: number | undefined
}

/**
 * The rate-limit headers of one response; a family that was not sent is undefined.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  readonly requests: Limit | undefined
  readonly tokens: Limit | undefined
  readonly inputTokens: Limit | undefined
  readonly outputTokens: Limit | undefined
}

/**
 * What an optimizer did to a request: the rule, what changed in words, and the integer nano-dollars that it probably saves; undefined where
 * that is not known.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  readonly rule: string
  readonly what: string
  readonly savedNanoUsd: number | undefined
}

/**
 * What became of an attempt so far.
 *
 * - `NotSent`: nothing left this process; all that was taken for it goes back.
 * - `Aborted`: sent, and nobody waited for the end. This stands from the moment of sending until something better is
 *   known, with the usage seen so far; output that no total covered yet is counted from what arrived.
 * - `Failed`: sent, and the API or the network failed it.
 * - `Completed`: the whole answer arrived.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = Data.TaggedEnum<{
  NotSent: {}
  Aborted: {
    readonly usage: Usage.Usage
    /** What the head of the response and the start of the message said, once they arrived. */
    readonly limits?: Limits | undefined
    readonly model?: string | undefined
    readonly requestId?: string | undefined
  }
  Failed: {
    readonly usage: Usage.Usage
    readonly error: ApiError
    readonly limits: Limits | undefined
    readonly model?: string | undefined
  }
  Completed: {
    readonly usage: Usage.Usage
    readonly limits: Limits | undefined
    /** The model that served it, as the answer names it; undefined where the answer names none. */
    readonly model: string | undefined
    readonly requestId: string | undefined
    readonly stopReason: string | undefined
    /** Why the model refused, where it did: refusals are charged by rules of their own. */
    readonly refusal?: ModelRefusal | undefined
  }
}>

/**
 * Makes and matches outcomes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const Outcome = Data.taggedEnum<Outcome>()

/**
 * How far the cost of an attempt can be trusted.
 *
 * - `exact`: the API reported what was used, or said that it charges nothing.
 * - `derived`: the answer was cut short: input as the API reported it, output counted from what arrived.
 * - `estimated`: it was sent, and nothing came back that reports what was used.
 *
 * @category models
 * @since 0.1.0
 */
export type Confidence = "exact" | "derived" | "estimated"

/**
 * What an attempt used and what that costs. `cost` is undefined where its model has no price.
 *
 * @category models
 * @since 0.1.0
 */
export interface AttemptCost {
  readonly model: string
  readonly usage: Usage.Usage
  readonly cost: PriceBook.Cost | undefined
  readonly confidence: Confidence
}

/**
 * What all attempts have. The key pool writes `key`, the port writes `sentAt` and `outcome`; nobody else writes.
 *
 * - `callId`: the same for all attempts of a call.
 * - `number`: 1 for the first.
 * - `facts`: what the catalogue knows about `model`, or `Model.unknown`.
 * - `sentAt`: milliseconds since the epoch; undefined until it is sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Common {
  readonly callId: string
  readonly number: number
  readonly model: string
  readonly facts: Model.Model
  readonly context: CallContext
  key: Key | undefined
  sentAt?: number | undefined
  outcome: Outcome
}

/**
 * An attempt to get a message.
 *
 * - `kind`: what calls of this model and request type used before.
 * - `isFast`: it will be served in fast mode, which has prices and rate limits of its own.
 * - `optimized`: the model that the caller asked for and what was changed since; undefined where nothing was.
 * - `cost`: what it cost, from its settlement on; `costOf` computes it once.
 * - `onContent`: what policies want to do at the first content of a stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessageAttempt extends Common {
  readonly endpoint: "messages"
  readonly request: Request
  readonly estimate: Estimate
  readonly kind: CallKind
  readonly isFast: boolean
  readonly optimized?: { readonly askedModel: string; readonly changes: ReadonlyArray<Change> } | undefined
  cost?: AttemptCost | undefined
  onContent?: ReadonlyArray<(now: number) => void> | undefined
}

/**
 * An attempt to count the tokens of a prompt.
 *
 * @category models
 * @since 0.1.0
 */
export interface CountTokensAttempt extends Common {
  readonly endpoint: "countTokens"
}

/**
 * An attempt to read about models.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelsAttempt extends Common {
  readonly endpoint: "models"
}

/**
 * One attempt. Each endpoint has rate limits of its own, and only messages cost anything.
 *
 * @category models
 * @since 0.1.0
 */
export type Attempt = MessageAttempt | CountTokensAttempt | ModelsAttempt

/**
 * Gives back or charges what was taken for an attempt, once, from what became of it. It reads `attempt.outcome` and cannot fail.
 *
 * @category models
 * @since 0.1.0
 */
export type Settle = Effect.Effect<void>

/**
 * Admits an attempt and returns its settlement, which runs exactly once whatever happens to the attempt.
 *
 * `admit` runs uninterruptibly. A policy that waits makes the wait alone interruptible and undoes it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy<out Own = never> {
  readonly admit: (attempt: Attempt) => Effect.Effect<Settle, Own>
}

/**
 * The settlement of an attempt for which nothing was taken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const nothing: Settle = Effect.void

/**
 * Admits without taking anything.
 *
 * @category constructors
 * @since 0.1.0
 */
export const admitted: Effect.Effect<Settle> = Effect.succeed(nothing)

/** The later settlement first; the earlier one runs even if that has a defect. */
const inReverse = (first: Settle, second: Settle): Settle => {
  if (first === nothing) return second
  if (second === nothing) return first
  return Effect.matchCauseEffect(second, {
    onFailure: (cause) => Effect.andThen(first, Effect.failCause(cause)),
    onSuccess: () => first
  })
}

/**
 * Admits in order, settles in reverse; a policy that refuses settles those before it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const both = <E1, E2>(first: Policy<E1>, second: Policy<E2>): Policy<E1 | E2> => ({
  admit: (attempt) =>
    Effect.flatMap(first.admit(attempt), (settle) =>
      Effect.matchCauseEffect(second.admit(attempt), {
        onFailure: (cause) => Effect.andThen(settle, Effect.failCause(cause)),
        onSuccess: (other) => Effect.succeed(inReverse(settle, other))
      }))
})

type OwnOf<P> = P extends Policy<infer Own> ? Own : never

/**
 * `both` for any number of policies.
 *
 * @category combinators
 * @since 0.1.0
 */
export const all = <const Policies extends ReadonlyArray<Policy<unknown>>>(
  ...policies: Policies
): Policy<OwnOf<Policies[number]>> =>
  // What the policies add together is what each of them adds.
  policies.reduceRight((rest, policy) => both(policy, rest)) as Policy<OwnOf<Policies[number]>>

/**
 * Runs an effect under a policy.
 *
 * @category combinators
 * @since 0.1.0
 */
export const guard = <Own, A, E, R>(
  policy: Policy<Own>,
  attempt: Attempt,
  use: Effect.Effect<A, E, R>
): Effect.Effect<A, E | Own, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(policy.admit(attempt), (settle) => Effect.onExit(restore(use), () => settle))
  )

/**
 * Runs a stream under a policy: settled when the stream ends, fails, or its reader stops.
 *
 * @category combinators
 * @since 0.1.0
 */
export const guardStream = <Own, A, E, R>(
  policy: Policy<Own>,
  attempt: Attempt,
  use: Stream.Stream<A, E, R>
): Stream.Stream<A, E | Own, R> =>
  Stream.unwrap(Effect.as(Effect.acquireRelease(policy.admit(attempt), (settle) => settle), use))

/**
 * Registers what a policy does when the first content of a stream arrives: the API has answered, though the attempt goes on.
 *
 * @category combinators
 * @since 0.1.0
 */
export const onContent = (attempt: MessageAttempt, run: (now: number) => void): void => {
  attempt.onContent = attempt.onContent === undefined ? [run] : [...attempt.onContent, run]
}

/**
 * The first content of a stream has arrived. `ClaudeService` calls it once for each attempt, with milliseconds since the epoch.
 *
 * @category combinators
 * @since 0.1.0
 */
export const contentArrived = (attempt: MessageAttempt, now: number): void => {
  const listeners = attempt.onContent
  attempt.onContent = undefined
  listeners?.forEach((run) => run(now))
}

/**
 * What an attempt cost, by its outcome and the prices of the time at which it was sent (`now` where it does not say); undefined where
 * nothing was sent or what was asked for is free for everybody. It is computed once and kept in `attempt.cost`: call it when the attempt
 * has ended.
 *
 * Where nothing came back, or an answer that does not report its prompt, the cost is estimated: all of the prompt as plain input, at the speed
 * and region asked for, and as output what such calls produce on average, or `max_tokens` before the first of them. A refusal that was cut
 * off before it was whole is charged like any answer that was.
 *
 * @category getters
 * @since 0.1.0
 */
export const costOf = (
  book: Pick<PriceBook.PriceBook["Service"], "cost">,
  attempt: Attempt,
  now: number
): AttemptCost | undefined => {
  if (attempt.endpoint !== "messages") return undefined
  return attempt.cost ??= computed(book, attempt, now)
}

const computed = (
  book: Pick<PriceBook.PriceBook["Service"], "cost">,
  attempt: MessageAttempt,
  now: number
): AttemptCost | undefined => {
  const { estimate, isFast, outcome, request } = attempt
  if (outcome._tag === "NotSent") return undefined
  const model = outcome.model ?? attempt.model
  if (outcome._tag === "Failed" && outcome.error.billed === "no") {
    return { model, usage: Usage.zero, cost: PriceBook.free, confidence: "exact" }
  }
  const at = attempt.sentAt ?? now
  const { usage: reported } = outcome
  const refusal = outcome._tag === "Completed" ? outcome.refusal : undefined
  // No prompt is empty.
  if (Usage.promptTokens(reported) > 0) {
    const confidence = outcome._tag === "Completed" ? "exact" : "derived"
    return { model, usage: reported, cost: book.cost({ model, usage: reported, at, refusal }), confidence }
  }
  const isTotal = outcome._tag === "Completed" && reported.outputTokens > 0
  const usage: Usage.Usage = {
    ...(isFast ? { speed: "fast" } : undefined),
    ...(typeof request.inference_geo === "string" ? { inferenceGeo: request.inference_geo } : undefined),
    ...reported,
    inputTokens: estimate.inputTokens,
    outputTokens: isTotal
      ? reported.outputTokens
      : Math.min(estimate.expectedOutputTokens ?? attempt.kind.meanOutput ?? Infinity, estimate.maxOutputTokens)
  }
  return { model, usage, cost: book.cost({ model, usage, at, refusal }), confidence: "estimated" }
}

/**
 * Input tokens of an attempt that count towards rate limits: what a cache served does not, except for models where it does.
 *
 * @category getters
 * @since 0.1.0
 */
export const countedInput = ({ facts }: Attempt, usage: Usage.Usage): number =>
  usage.inputTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens +
  (facts.countsCacheReads ? usage.cacheReadTokens : 0)

/** Teaches what calls of the attempt's kind use. */
const learn = (kinds: CallKinds, attempt: MessageAttempt, now: number): void => {
  const { context, estimate, kind, model, optimized, outcome, sentAt } = attempt
  if (outcome._tag !== "Completed") return
  const { stopReason, usage } = outcome
  const isCut = stopReason === "max_tokens"
  kind.add({
    estimatedInputTokens: estimate.inputTokens,
    inputTokens: countedInput(attempt, usage),
    outputTokens: usage.outputTokens,
    millis: sentAt === undefined ? undefined : now - sentAt,
    isCut
  })
  if (optimized !== undefined && optimized.askedModel !== model) {
    kinds.of(optimized.askedModel, context.requestType).addLength(usage.outputTokens, isCut)
  }
}

/**
 * The policy that takes nothing and teaches `attempt.kind` what completed calls used. It stands innermost, so that it settles first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const learning = (kinds: CallKinds): Policy => ({
  admit: (attempt) =>
    attempt.endpoint === "messages"
      ? Effect.succeed(
        Effect.clockWith((clock) => Effect.sync(() => learn(kinds, attempt, clock.currentTimeMillisUnsafe())))
      )
      : admitted
})
