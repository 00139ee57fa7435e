/** What an attempt is, what becomes of it, and what a policy is. */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { CallContext } from "../../CallContext.ts"
import type { ApiError } from "../../ClaudeError.ts"
import type { Estimate } from "../../Estimate.ts"
import type { Cause } from "../../internal/fallbackRule.ts"
import type { ModelRefusal } from "../../internal/modelRefusal.ts"
import type * as Model from "../../Model.ts"
import type * as PriceBook from "../../PriceBook.ts"
import type { Request } from "../../Request.ts"
import type * as Usage from "../../Usage.ts"
import type { CallKind } from "./callKinds.ts"

/**
 * An API key.
 *
 * - `label`: what logs, errors and reports show instead of it, unique among the keys of a pool.
 * - `group`: the organization or workspace. Its keys share rate limits, spend limits and prompt caches.
 * - `secret`: the key itself.
 * - `weight`: its share of the traffic relative to other keys, from 0 (none). Default 1.
 * - `headers`: what requests with it need besides, such as the beta of an OAuth token. Default none.
 * - `expiresAt`: milliseconds since the epoch; a key store replaces the key before. Default never.
 *
 * @category models
 * @since 0.1.0
 */
export interface Key {
  readonly label: string
  readonly group: string
  readonly secret: Redacted.Redacted<string>
  readonly weight?: number | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly expiresAt?: number | undefined
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
 * A step of a call from a model that could not answer to another one.
 *
 * - `because`: why it was taken.
 * - `changes`: what was changed in the request for the other model, in words that quote nothing of it.
 * - `skipped`: why the other model was passed over; undefined where it was asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fallback {
  readonly from: string
  readonly to: string
  readonly because: Cause
  readonly changes: ReadonlyArray<string>
  readonly skipped: string | undefined
}

/**
 * Two attempts for one answer, since the first was late.
 *
 * - `first`: the number of the first; the other one is the second.
 * - `won`: the number of the one that showed content first; undefined until one did.
 * - `takenNanoUsd`: what the second was expected to cost, in integer nano-dollars.
 *
 * @category models
 * @since 0.1.0
 */
export interface Race {
  readonly first: number
  won: number | undefined
  takenNanoUsd: number
}

/**
 * What became of an attempt so far.
 *
 * - `NotSent`: nothing left this process; all that was taken for it goes back.
 * - `Aborted`: sent, and nobody waited for the end. This stands from the moment of sending until something better is
 *   known, with the usage seen so far; output that no total covered yet is counted from what arrived, and estimated from the time
 *   that it took where it cannot be seen (`hasHiddenOutput`), such as hidden thinking.
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
    readonly hasHiddenOutput?: boolean | undefined
  }
  Failed: {
    readonly usage: Usage.Usage
    readonly error: ApiError
    readonly limits: Limits | undefined
    readonly model?: string | undefined
    readonly hasHiddenOutput?: boolean | undefined
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
    /** The answer does not report all that it used, so some of `usage` is an estimate or missing. */
    readonly isEstimated?: boolean | undefined
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
 * - `derived`: the answer was cut short: input as the API reported it, output counted from what arrived, which is all of it.
 * - `estimated`: it was sent, and nothing came back that reports what was used; or the answer was cut short, and some of its output cannot be
 *   seen, such as hidden thinking; or what was reported leaves something open that had to be assumed, such as how long cache writes live.
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
 * What an attempt can wait for: room in the rate limits, a key, or a half-open circuit.
 *
 * @category models
 * @since 0.1.0
 */
export type WaitReason = "limits" | "key" | "circuit"

/**
 * A wait that is over, in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wait {
  readonly for: WaitReason
  readonly millis: number
}

/**
 * What all attempts have. The key pool writes `key`, `patience` and `isUnaffordable`, the port writes `sentAt` and `outcome`; nobody else writes.
 *
 * - `callId`: the same for all attempts of a call.
 * - `number`: 1 for the first.
 * - `facts`: what the catalogue knows about `model`, or `Model.unknown`.
 * - `previous`: the attempt of the same call before it. Its own `previous` is there only where it followed without a retry, so that endless retries keep
 *   no endless chain.
 * - `moves`: how many attempts right before it failed for reasons of their keys, so that it follows at once with another one.
 * - `patience`: for how many milliseconds it may wait for the limits of its group, since keys of another could be used as well; undefined for as
 *   long as its deadline allows.
 * - `waitUntil`: it waits for nothing beyond this, in milliseconds since the epoch, since another model could be asked instead.
 * - `otherThan`: the key group that it should have no key of, where one of another may be used now.
 * - `waits`: what it waited for, in order. Policies that make it wait add to it with `waited`; undefined where it did not wait.
 * - `isUnaffordable`: a budget that counts by keys had no room for it with this one.
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
  readonly previous?: Attempt | undefined
  readonly moves?: number | undefined
  readonly waitUntil?: number | undefined
  readonly otherThan?: string | undefined
  key: Key | undefined
  patience?: number | undefined
  waits?: ReadonlyArray<Wait> | undefined
  isUnaffordable?: boolean | undefined
  sentAt?: number | undefined
  outcome: Outcome
}

/**
 * An attempt to get a message.
 *
 * - `kind`: what calls of this model and request type used before.
 * - `isFast`: it will be served in fast mode, which has prices and rate limits of its own.
 * - `optimized`: the model that the caller asked for and what was changed since; undefined where nothing was.
 * - `fallbacks`: the steps from the model that was to be asked to this one; undefined where it is that.
 * - `race`: that of two attempts for one answer, once there is a second one.
 * - `ceilingNanoUsd`: what it may cost at most, once a budget has computed it.
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
  readonly fallbacks?: ReadonlyArray<Fallback> | undefined
  race?: Race | undefined
  ceilingNanoUsd?: number | undefined
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
