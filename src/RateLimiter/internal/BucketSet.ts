/** The buckets of one group, wherever they are kept. */
import type * as Effect from "effect/Effect"
import type { Limits } from "./Limits.ts"
import type { Ask, Report, Reservation } from "./Store.ts"

/**
 * One dimension as it stands: its rate per minute, the most it holds, what is free now (below zero after an overdraft) and how much of its level is
 * reserved for predicted output.
 *
 * @category models
 * @since 0.1.0
 */
export interface Level {
  readonly perMinute: number
  readonly capacity: number
  readonly free: number
  readonly reserved: number
}

/**
 * A bucket set as it stands. A dimension that is neither configured nor known from headers is undefined.
 *
 * - `pausedMillis`: nothing is sent for so long. `closed`: a spend limit of the API is reached.
 * - `burstMillis`: a bucket holds at most what it refills in this time.
 * - `share`: the part of the limits that these are: less than 1 while a store that processes share is out of reach.
 *
 * @category models
 * @since 0.1.0
 */
export interface Levels {
  readonly requests: Level | undefined
  readonly inputTokens: Level | undefined
  readonly outputTokens: Level | undefined
  readonly tokens: Level | undefined
  readonly pausedMillis: number
  readonly closed: boolean
  readonly burstMillis: number
  readonly share: number
}

/** What an attempt asks for, at once. */
export type Need = Ask

export interface Reserved {
  readonly reservation: Reservation
}

/**
 * - `reserve`: takes what is needed in all dimensions or in none; `leftMillis` is how long the caller can wait for a reservation that begins later.
 *   It ends within a bound and does not fail.
 * - `report`: takes note and returns; nobody waits for it to arrive.
 * - `levels`: as last seen.
 * - `now`: the time, where the caller has just read it.
 * - `isShared`: other processes ask the same buckets.
 *
 * Buckets of this process answer as they are asked, and the effect has the answer already: ask where the effect is run.
 */
export interface BucketSet {
  readonly isShared: boolean
  readonly reserve: (limits: Limits, need: Need, leftMillis: number, now?: number) => Effect.Effect<Reserved>
  readonly report: (report: Report, now?: number) => Effect.Effect<unknown>
  readonly levels: Effect.Effect<Levels>
}
