/** The buckets of one group, wherever they are kept. */
import type * as Effect from "effect/Effect"
import type { Amounts } from "./Amounts.ts"
import type { Levels } from "./Levels.ts"
import type { Limits } from "./Limits.ts"
import type { Report, Reservation } from "./Store.ts"

/** What an attempt takes on admission: `usage` at once, and `reserve` for the output that is predicted. */
export interface Need {
  readonly usage: Amounts
  readonly reserve: Amounts
}

export interface Reserved {
  readonly reservation: Reservation
}

/**
 * - `reserve`: takes what is needed in all dimensions or in none; `leftMillis` is how long the caller can wait for a reservation that begins later.
 *   It ends within a bound and does not fail.
 * - `report`: takes note and returns; nobody waits for it to arrive.
 * - `levels`: as last seen.
 */
export interface BucketSet {
  readonly reserve: (limits: Limits, need: Need, leftMillis: number) => Effect.Effect<Reserved>
  readonly report: (report: Report) => Effect.Effect<unknown>
  readonly levels: Effect.Effect<Levels>
}
