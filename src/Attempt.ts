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
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import {
  type Attempt,
  type AttemptCost,
  type MessageAttempt,
  type Policy,
  type Settle
} from "./Attempt/internal/attempt.ts"
import type { CallKinds } from "./Attempt/internal/callKinds.ts"
import * as PriceBook from "./PriceBook.ts"
import * as Usage from "./Usage.ts"

export {
  type Attempt,
  type AttemptCost,
  type Change,
  type Common,
  type Confidence,
  type CountTokensAttempt,
  type Key,
  type Limit,
  type Limits,
  type MessageAttempt,
  type ModelsAttempt,
  Outcome,
  type Policy,
  type Settle
} from "./Attempt/internal/attempt.ts"
export { CallKind, CallKinds, type Lengths } from "./Attempt/internal/callKinds.ts"
export type { ModelRefusal } from "./internal/modelRefusal.ts"
export type { Request } from "./Request.ts"

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
  return Effect.ensuring(second, first)
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
    Effect.flatMap(policy.admit(attempt), (settle) => Effect.ensuring(restore(use), settle))
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
