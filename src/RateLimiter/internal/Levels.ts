/** The buckets as a caller sees them, and how long a need would wait. */
import { type Amounts, dimensions } from "./Amounts.ts"
import { capacityOf, minute } from "./State.ts"
import type { Bucket, View } from "./Store.ts"

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
 * - `maxInput`: the most input tokens that there is ever room for at once; undefined where there is no limit.
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
  readonly maxInput: number | undefined
  readonly share: number
}

const levelOf = (bucket: Bucket | undefined, reserved: number): Level | undefined =>
  bucket && { perMinute: bucket.perMinute, capacity: bucket.capacity, free: bucket.level - reserved, reserved }

export const make = ({ buckets, closed, pausedMillis, reserved }: View, burstMillis: number, share: number): Levels => {
  const { inputTokens, tokens } = buckets
  const perMinute = Math.min(inputTokens?.perMinute ?? Infinity, tokens?.perMinute ?? Infinity)
  return {
    requests: levelOf(buckets.requests, reserved.requests),
    inputTokens: levelOf(inputTokens, reserved.inputTokens),
    outputTokens: levelOf(buckets.outputTokens, reserved.outputTokens),
    tokens: levelOf(tokens, reserved.tokens),
    pausedMillis,
    closed,
    maxInput: perMinute === Infinity ? undefined : capacityOf(perMinute / share, burstMillis),
    share
  }
}

/** When there is room for `need`, in milliseconds from now, if a part `share` of the refill goes to it. */
export const waitAt = (levels: Levels, need: Amounts, share: number): number => {
  let wait = 0
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level === undefined || need[dimension] === 0) continue
    wait = Math.max(wait, (need[dimension] - level.free) * minute / (level.perMinute * share))
  }
  return Math.ceil(wait)
}

/** How many minutes of refill a need takes, in the dimension that is the scarcest for it. */
export const minutesOf = (levels: Levels, need: Amounts): number => {
  let minutes = 0
  for (const dimension of dimensions) {
    const level = levels[dimension]
    if (level !== undefined) minutes = Math.max(minutes, need[dimension] / level.perMinute)
  }
  return minutes
}
