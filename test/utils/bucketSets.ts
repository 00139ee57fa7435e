/** Asks bucket sets of the limiter, and makes what they are asked. */
import { Effect } from "effect"
import { type Amounts, zero } from "../../src/RateLimiter/internal/Amounts.ts"
import type { BucketSet } from "../../src/RateLimiter/internal/BucketSet.ts"
import type { Limits } from "../../src/RateLimiter/internal/Limits.ts"
import type { Report, Ticket } from "../../src/RateLimiter/internal/Store.ts"

export const amounts = (requests: number, inputTokens = 0, outputTokens = 0): Amounts => ({
  requests,
  inputTokens,
  outputTokens,
  tokens: inputTokens + outputTokens
})

export interface Asked {
  readonly limits: Limits
  readonly usage: Amounts
  readonly reserve: Amounts
  readonly withinMillis: number
}

/** The ticket, where it is granted, and the wait, `Infinity` for what is too large. */
export const reserve = (buckets: BucketSet, { limits, withinMillis, ...need }: Asked) =>
  Effect.map(buckets.reserve(limits, { ...need, withinMillis }, withinMillis), ({ reservation }) => ({
    ticket: reservation._tag === "Granted" ? reservation.ticket : undefined,
    waitMillis: reservation._tag === "TooLarge" ? Infinity : reservation.waitMillis,
    closed: reservation._tag === "Full" && reservation.closed
  }))

export const reportOf = (ticket: Ticket, more: Partial<Report> = {}): Report => ({
  ticket,
  usage: zero,
  release: zero,
  observed: undefined,
  pause: undefined,
  ...more
})
