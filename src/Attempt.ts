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
 *   admit: () => Effect.asVoid(Effect.interruptible(semaphore.take(1))),
 *   settle: () => Effect.asVoid(semaphore.release(1))
 * }))
 * ```
 *
 * @since 0.1.0
 */
import type { MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { CallContext } from "./CallContext.ts"
import type { ApiError } from "./ClaudeError.ts"
import type { Estimate } from "./Estimate.ts"
import type { Usage } from "./Usage.ts"

/**
 * A request for a message: the SDK's own type. Whether it is streamed is decided by the method that takes it.
 *
 * @category models
 * @since 0.1.0
 */
export type Request = Omit<MessageCreateParamsNonStreaming, "stream">

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
 * A refusal by the model (`stop_reason: "refusal"`): the category that the answer names, and whether it came before any output.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refusal {
  readonly category: string | undefined
  readonly beforeOutput: boolean
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
    readonly usage: Usage
    /** What the head of the response and the start of the message said, once they arrived. */
    readonly limits?: Limits | undefined
    readonly model?: string | undefined
    readonly requestId?: string | undefined
  }
  Failed: {
    readonly usage: Usage
    readonly error: ApiError
    readonly limits: Limits | undefined
    readonly model?: string | undefined
  }
  Completed: {
    readonly usage: Usage
    readonly limits: Limits | undefined
    /** The model that served it, as the answer names it; undefined where the answer names none. */
    readonly model: string | undefined
    readonly requestId: string | undefined
    readonly stopReason: string | undefined
    /** Why the model refused, where it did: refusals are charged by rules of their own. */
    readonly refusal?: Refusal | undefined
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
 * One attempt. The key pool writes `key`, the port writes `sentAt` and `outcome`, nobody else writes.
 *
 * - `callId`: the same for all attempts of a call.
 * - `number`: 1 for the first.
 * - `endpoint`: each has rate limits of its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt {
  readonly callId: string
  readonly number: number
  readonly endpoint: "messages" | "countTokens" | "models"
  readonly model: string
  readonly context: CallContext
  readonly estimate: Estimate
  /** The model that the caller asked for and what was changed since; undefined where nothing was. */
  readonly optimized?: { readonly askedModel: string; readonly changes: ReadonlyArray<Change> } | undefined
  key: Key | undefined
  /** When it was sent, in milliseconds since the epoch; undefined until then. */
  sentAt?: number | undefined
  outcome: Outcome
}

/**
 * An attempt to get a message.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessageAttempt extends Attempt {
  readonly endpoint: "messages"
  readonly request: Request
}

/**
 * Admits an attempt, and settles it exactly once when it was admitted, whatever happened since.
 *
 * - `admit` runs uninterruptibly; a policy that waits makes the wait alone interruptible and undoes it.
 * - `settle` reads `attempt.outcome`. It cannot fail.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy<out Own = never> {
  readonly admit: (attempt: Attempt) => Effect.Effect<void, Own>
  readonly settle: (attempt: Attempt) => Effect.Effect<void>
}

/**
 * Admits in order, settles in reverse; a policy that refuses settles those before it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const both = <E1, E2>(first: Policy<E1>, second: Policy<E2>): Policy<E1 | E2> => ({
  admit: (attempt) =>
    Effect.flatMap(first.admit(attempt), () => Effect.onError(second.admit(attempt), () => first.settle(attempt))),
  settle: (attempt) => Effect.ensuring(second.settle(attempt), first.settle(attempt))
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
    Effect.flatMap(policy.admit(attempt), () => Effect.onExit(restore(use), () => policy.settle(attempt)))
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
  Stream.unwrap(Effect.as(
    Effect.acquireRelease(policy.admit(attempt), () => policy.settle(attempt)),
    use
  ))
