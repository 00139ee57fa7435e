/** How the parts of a service stand, as plain data. */
import { VERSION } from "@anthropic-ai/sdk/version"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { AccountStatus } from "../../Budget.ts"
import type * as CircuitBreaker from "../../CircuitBreaker.ts"
import type * as CostLedger from "../../CostLedger.ts"
import type * as KeyPool from "../../KeyPool.ts"
import type * as RateLimiter from "../../RateLimiter.ts"
import { Reason, type State } from "./readiness.ts"
import type { Seen } from "./traffic.ts"
import { version } from "./version.ts"

const optionalNumber = Schema.optional(Schema.Finite)
const optionalString = Schema.optional(Schema.String)

const Circuit = Schema.Struct({
  group: Schema.String,
  mode: Schema.Literals(["normal", "observe", "forcedOpen", "disabled"]),
  phase: Schema.Literals(["closed", "open", "halfOpen"]),
  retryAfterMillis: Schema.Finite,
  openings: Schema.Finite,
  calls: Schema.Finite,
  failures: Schema.Finite,
  slow: Schema.Finite
})

const Level = Schema.Struct({ perMinute: Schema.Finite, capacity: Schema.Finite, free: Schema.Finite })

const Limit = Schema.Struct({
  keyGroup: Schema.String,
  group: Schema.String,
  waiting: Schema.Finite,
  inFlight: Schema.Finite,
  pausedMillis: Schema.Finite,
  closed: Schema.Boolean,
  requests: Schema.optional(Level),
  inputTokens: Schema.optional(Level),
  outputTokens: Schema.optional(Level),
  tokens: Schema.optional(Level)
})

const Key = Schema.Struct({
  label: Schema.String,
  group: Schema.String,
  state: Schema.Literals(["usable", "cooling", "quarantined", "drained", "removed"]),
  weight: Schema.Finite,
  inFlight: Schema.Finite,
  reasons: Schema.Array(Schema.String),
  retryAfterMillis: optionalNumber
})

const Budget = Schema.Struct({
  budget: Schema.String,
  account: Schema.String,
  limitNanoUsd: Schema.Finite,
  spentNanoUsd: Schema.Finite,
  reservedNanoUsd: Schema.Finite,
  remainingNanoUsd: Schema.Finite,
  /** Undefined for a window without an end. */
  windowEnd: optionalNumber
})

const Last = Schema.Struct({
  at: Schema.Finite,
  model: Schema.String,
  error: optionalString,
  message: optionalString
})

/**
 * How a service stands, for an engineer. Times are in milliseconds, since the epoch where they are moments; money is in integer nano-dollars.
 *
 * - `circuits`: those that have seen calls. `limits`: the rate limits of each key group and model group, and the calls that wait for them.
 * - `budgets`: at most 200 accounts, those with the least left first; undefined where their store does not answer.
 * - `ledger`: rows that wait to be written, and rows that are lost.
 * - `lastSuccess`, `lastError`: of calls, since the start.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Detail = Schema.Struct({
  at: Schema.Finite,
  startedAt: Schema.Finite,
  ready: Schema.Boolean,
  reasons: Schema.Array(Reason),
  active: Schema.Finite,
  circuits: Schema.Array(Circuit),
  limits: Schema.Array(Limit),
  keys: Schema.Array(Key),
  budgets: Schema.optional(Schema.Array(Budget)),
  ledger: Schema.Struct({ pendingRows: Schema.Finite, lostRows: Schema.Finite, isDown: Schema.Boolean }),
  lastSuccess: Schema.optional(Last),
  lastError: Schema.optional(Last),
  versions: Schema.Struct({ "effect-claude": Schema.String, sdk: Schema.String })
})

/**
 * How a service stands.
 *
 * @category models
 * @since 0.1.0
 */
export type Detail = typeof Detail.Type

export const versions = { "effect-claude": version, sdk: VERSION }

/** The most accounts of budgets, and the most rate limits, that are shown. */
const maxShown = 200

const circuitOf = ({ retryAfter, ...circuit }: CircuitBreaker.Snapshot): typeof Circuit.Type => ({
  ...circuit,
  // JSON has no infinity.
  retryAfterMillis: Math.min(Duration.toMillis(retryAfter), Number.MAX_SAFE_INTEGER)
})

const levelOf = (level: RateLimiter.Level | undefined): typeof Level.Type | undefined =>
  level && { perMinute: level.perMinute, capacity: level.capacity, free: Math.floor(level.free) }

const limitOf = ({ group, inFlight, keyGroup, levels, waiting }: RateLimiter.Snapshot): typeof Limit.Type => ({
  keyGroup,
  group,
  waiting,
  inFlight,
  pausedMillis: levels.pausedMillis,
  closed: levels.closed,
  requests: levelOf(levels.requests),
  inputTokens: levelOf(levels.inputTokens),
  outputTokens: levelOf(levels.outputTokens),
  tokens: levelOf(levels.tokens)
})

const keyOf = ({ retryAfter, ...key }: KeyPool.Snapshot): typeof Key.Type => ({
  ...key,
  retryAfterMillis: retryAfter && Duration.toMillis(retryAfter)
})

const budgetOf = (status: AccountStatus): typeof Budget.Type => ({
  budget: status.budget,
  account: status.account,
  limitNanoUsd: status.limitNanoUsd,
  spentNanoUsd: status.spentNanoUsd,
  reservedNanoUsd: status.reservedNanoUsd,
  remainingNanoUsd: status.remainingNanoUsd,
  windowEnd: status.windowEnd === Infinity ? undefined : status.windowEnd
})

const shareLeft = ({ limitNanoUsd, remainingNanoUsd }: AccountStatus): number => remainingNanoUsd / limitNanoUsd

const lastOf = (seen: Seen | undefined): typeof Last.Type | undefined =>
  seen && { at: seen.at, model: seen.model, error: seen.error, message: seen.message }

export const detailOf = (
  { budgets, circuits, keys, limits }: State,
  { lastError, lastSuccess }: { readonly lastError: Seen | undefined; readonly lastSuccess: Seen | undefined },
  { isDown, lostRows, pendingRows }: CostLedger.Status,
  rest: Pick<Detail, "active" | "at" | "ready" | "reasons" | "startedAt">
): Detail => ({
  ...rest,
  circuits: circuits.filter(({ calls, openings, phase }) => calls + openings > 0 || phase !== "closed").map(circuitOf),
  limits: limits.slice(0, maxShown).map(limitOf),
  keys: keys.map(keyOf),
  budgets: budgets && [...budgets].sort((a, b) => shareLeft(a) - shareLeft(b)).slice(0, maxShown).map(budgetOf),
  ledger: { pendingRows, lostRows, isDown },
  lastSuccess: lastOf(lastSuccess),
  lastError: lastOf(lastError),
  versions
})
