/** What calls took. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Duration from "effect/Duration"
import * as Attempt from "../../Attempt.ts"
import type { Billed } from "../../ClaudeError.ts"
import type { Course } from "../../Fallback.ts"
import type { PriceBook } from "../../PriceBook.ts"
import type { Progress } from "../../RetryPolicy.ts"
import * as Usage from "../../Usage.ts"

/**
 * What a call took.
 *
 * - `attempts`: requests sent; `waits` are those before the second and later ones.
 * - `latency`: from the start of the call, waits included; for a stream, to its end.
 * - `fallbacks`: the steps from the model asked for to the one that served it, and those that passed a model over.
 * - `model`: the one that served it, as the answer names it.
 * - `costNanoUsd`: what its last attempt cost, in integer nano-dollars; undefined where its model has no price. Attempts before it that
 *   failed are in the ledger; `billedBefore` is the worst of what they cost.
 * - `changes`: what the optimizer did to the request; `advice`: what the caller might do.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly callId: string
  readonly requestId: string | undefined
  readonly attempts: number
  readonly waits: ReadonlyArray<Duration.Duration>
  readonly latency: Duration.Duration
  readonly keyLabel: string | undefined
  readonly fallbacks: ReadonlyArray<Attempt.Fallback>
  readonly model: string
  readonly usage: Usage.Usage
  readonly costNanoUsd: number | undefined
  readonly billedBefore: Billed
  readonly changes: ReadonlyArray<Attempt.Change>
  readonly advice: ReadonlyArray<Attempt.Change>
}

/**
 * A message and what it took to get it.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallReport extends Report {
  readonly message: Message
}

/**
 * What a stream took, and how it ended: whole, broken or refused (`failed`), or given up by its reader.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamReport extends Report {
  readonly outcome: "completed" | "failed" | "aborted"
}

/** A call for a message: what all of its attempts share, and what the caller might do better. */
export interface MessageCall {
  readonly base: Omit<Attempt.MessageAttempt, "number">
  readonly advice: ReadonlyArray<Attempt.Change>
  readonly began: number
  /** The other models that it may go on to. */
  readonly course: Course | undefined
}

/** What a call took, once its last attempt has settled. */
export const reportOf = (
  book: PriceBook["Service"],
  { advice, base, began }: MessageCall,
  attempt: Attempt.MessageAttempt,
  { billed, waitedMillis }: Progress,
  now: number
): Report => {
  const { fallbacks = [], key, model, number, outcome, race } = attempt
  const cost = Attempt.costOf(book, attempt, now)
  return {
    callId: base.callId,
    requestId: "requestId" in outcome ? outcome.requestId : "error" in outcome ? outcome.error.requestId : undefined,
    // The second of two has the number behind that of the first, whichever of them this is.
    attempts: outcome._tag === "NotSent" ? number - 1 : race === undefined ? number : race.first + 1,
    waits: waitedMillis.map((millis) => Duration.millis(millis)),
    latency: Duration.millis(now - began),
    keyLabel: key?.label,
    fallbacks,
    model: cost?.model ?? model,
    usage: outcome._tag === "NotSent" ? Usage.zero : outcome.usage,
    costNanoUsd: cost?.cost?.nanoUsd,
    billedBefore: billed,
    changes: base.optimized?.changes ?? [],
    advice
  }
}
