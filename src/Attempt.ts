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
import { constant, identity } from "effect/Function"
import * as Stream from "effect/Stream"
import {
  type Attempt,
  type AttemptCost,
  type MessageAttempt,
  type Outcome,
  type Policy,
  type Settle,
  type WaitReason
} from "./Attempt/internal/attempt.ts"
import type { CallKinds } from "./Attempt/internal/callKinds.ts"
import type { Billed } from "./ClaudeError.ts"
import * as PriceBook from "./PriceBook.ts"
import * as Usage from "./Usage.ts"

export {
  type Attempt,
  type AttemptCost,
  type Change,
  type Common,
  type Confidence,
  type CountTokensAttempt,
  type Fallback,
  type Key,
  type Limit,
  type Limits,
  type MessageAttempt,
  type ModelsAttempt,
  Outcome,
  type Policy,
  type Race,
  type Settle,
  type Wait,
  type WaitReason
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

type OwnOf<P> = P extends Policy<infer Own> ? Own : never

/**
 * Admits in order, settles in reverse; a policy that refuses settles those before it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const all = <const Policies extends ReadonlyArray<Policy<unknown>>>(
  ...given: Policies
): Policy<OwnOf<Policies[number]>> => {
  const policies = given as ReadonlyArray<Policy<OwnOf<Policies[number]>>>
  return {
    admit: (attempt) => {
      let taken: Array<Settle>
      let asked: number
      const next = (settle: Settle): Effect.Effect<Settle, OwnOf<Policies[number]>> => {
        if (settle !== nothing) taken.push(settle)
        const policy = policies[asked++]
        return policy === undefined
          ? Effect.succeed(inReverse(taken))
          : Effect.flatMapEager(policy.admit(attempt), next)
      }
      const first = Effect.suspend(() => {
        taken = []
        asked = 0
        return next(nothing)
      })
      return Effect.catchCause(first, (cause) => Effect.ensuring(Effect.failCause(cause), inReverse(taken)))
    }
  }
}

/**
 * Settles the last first, and the others even if one has a defect; no interruption comes between. `Effect.ensuring` for each takes three times as many
 * frames.
 */
const inReverse = (settles: ReadonlyArray<Settle>): Settle => {
  if (settles.length < 2) return settles[0] ?? nothing
  let left: number
  const next = (): Settle => {
    const settle = settles[--left]!
    return left === 0 ? settle : Effect.flatMap(settle, next)
  }
  const last = Effect.suspend(() => {
    left = settles.length
    return next()
  })
  return Effect.uninterruptible(
    Effect.catchCause(last, (cause) => Effect.ensuring(Effect.failCause(cause), inReverse(settles.slice(0, left))))
  )
}

/**
 * `all` of two policies.
 *
 * @category combinators
 * @since 0.1.0
 */
export const both = <E1, E2>(first: Policy<E1>, second: Policy<E2>): Policy<E1 | E2> => all(first, second)

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
): Effect.Effect<A, E | Own, R> => Effect.acquireUseRelease(policy.admit(attempt), constant(use), identity)

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
): Stream.Stream<A, E | Own, R> => Stream.unwrap(Effect.as(Effect.acquireRelease(policy.admit(attempt), identity), use))

/**
 * Notes that a wait of an attempt is over, however it ended. A wait of no time is none.
 *
 * @category combinators
 * @since 0.1.0
 */
export const waited = (attempt: Attempt, reason: WaitReason, millis: number): void => {
  if (millis > 0) attempt.waits = [...attempt.waits ?? [], { for: reason, millis }]
}

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
 * Whether the API charges for an attempt, as far as its outcome says.
 *
 * @category getters
 * @since 0.1.0
 */
export const billedOf = (outcome: Outcome): Billed => {
  switch (outcome._tag) {
    case "NotSent":
      return "no"
    case "Aborted":
      return "unknown"
    case "Failed":
      return outcome.error.billed
    case "Completed":
      return "yes"
  }
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
  const { estimate, facts, isFast, outcome, request } = attempt
  if (attempt.cost !== undefined || outcome._tag === "NotSent") return attempt.cost
  // Other platforms, which have names and prices of their own, may answer with the name that the API has for the same model.
  const isSame = outcome.model === facts.id && attempt.model !== facts.id && !facts.aliases.includes(attempt.model)
  const model = isSame ? attempt.model : outcome.model ?? attempt.model
  if (outcome._tag === "Failed" && outcome.error.billed === "no") {
    attempt.cost = { model, usage: Usage.zero, cost: PriceBook.free, confidence: "exact" }
    return attempt.cost
  }
  const isCompleted = outcome._tag === "Completed"
  let { usage } = outcome
  let isEstimated = false
  let confidence: AttemptCost["confidence"] = isCompleted
    ? outcome.isEstimated === true || outcome.usage.isAssumed === true ? "estimated" : "exact"
    : outcome.hasHiddenOutput === true
    ? "estimated"
    : "derived"
  // What was counted from a text may be more than can have been produced.
  if (!isCompleted && usage.outputTokens > estimate.maxOutputTokens) {
    usage = { ...usage, outputTokens: estimate.maxOutputTokens }
  }
  // No prompt is empty.
  if (Usage.promptTokens(usage) === 0) {
    const isTotal = isCompleted && usage.outputTokens > 0
    usage = {
      ...(isFast ? { speed: "fast" } : undefined),
      ...(typeof request.inference_geo === "string" ? { inferenceGeo: request.inference_geo } : undefined),
      ...usage,
      inputTokens: estimate.inputTokens,
      outputTokens: isTotal
        ? usage.outputTokens
        : Math.min(estimate.expectedOutputTokens ?? attempt.kind.meanOutput ?? Infinity, estimate.maxOutputTokens)
    }
    confidence = "estimated"
    isEstimated = true
  }
  const at = attempt.sentAt ?? now
  const cost = book.cost({ model, usage, at, isEstimated, refusal: isCompleted ? outcome.refusal : undefined })
  attempt.cost = { model, usage, cost, confidence }
  return attempt.cost
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

/**
 * The policy that takes nothing and teaches `attempt.kind` what completed calls used. It stands innermost, so that it settles first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const learning = (kinds: CallKinds): Policy => ({
  admit: (attempt) =>
    attempt.endpoint !== "messages" ? admitted : Effect.succeed(Effect.clockWith((clock) => {
      const { context, estimate, kind, model, optimized, outcome, sentAt } = attempt
      if (outcome._tag !== "Completed" || outcome.isEstimated === true) return Effect.void
      const { stopReason, usage } = outcome
      const isCut = stopReason === "max_tokens"
      kind.add({
        estimatedInputTokens: estimate.inputTokens,
        inputTokens: countedInput(attempt, usage),
        outputTokens: usage.outputTokens,
        millis: sentAt === undefined ? undefined : clock.currentTimeMillisUnsafe() - sentAt,
        isCut
      })
      if (optimized !== undefined && optimized.askedModel !== model) {
        kinds.of(optimized.askedModel, context.requestType).addLength(usage.outputTokens, isCut)
      }
      return Effect.void
    }))
})
