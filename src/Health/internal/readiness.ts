/** What stands in the way of calls. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { AccountStatus } from "../../Budget.ts"
import type * as CircuitBreaker from "../../CircuitBreaker.ts"
import type * as KeyPool from "../../KeyPool.ts"
import type * as RateLimiter from "../../RateLimiter.ts"

/**
 * Why a service is not ready. `message` is for the operator: it names groups, keys by their labels, and budgets.
 *
 * - `stopping`: it shuts down.
 * - `circuit`: the circuit of a model group refuses attempts. It is no reason any more once an attempt may try again.
 * - `keys`: no key can be used, or only after a minute.
 * - `limits`: a spend limit of the API is reached, of every organization with a key that can be used.
 * - `budget`: a budget of all calls has no room, or an account of one that the program cannot do without.
 * - `budgetStore`: the store of the budgets does not answer, so calls are refused.
 * - `calls`: the last five calls or more have failed by the fault of the API, for a minute after the last of them. Where circuits break, those decide.
 * - `probe`: the last probe has failed, and no call has succeeded since.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Struct({
  kind: Schema.Literals(["stopping", "circuit", "keys", "limits", "budget", "budgetStore", "calls", "probe"]),
  subject: Schema.String,
  message: Schema.String
})

/**
 * Why a service is not ready.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/** The parts of a service as they stand. */
export interface State {
  readonly circuits: ReadonlyArray<CircuitBreaker.Snapshot>
  readonly keys: ReadonlyArray<KeyPool.Snapshot>
  readonly limits: ReadonlyArray<RateLimiter.Snapshot>
  /** Undefined where their store does not answer. */
  readonly budgets: ReadonlyArray<AccountStatus> | undefined
}

/** A call waits at most so long for a key or for the server. */
const maxWaitMillis = 60_000

const waitOf = (after: Duration.Duration | undefined): number => after === undefined ? 0 : Duration.toMillis(after)

const inTime = (millis: number): string =>
  millis > 0 && millis < Infinity
    ? ` It may end in ${Duration.format(Duration.seconds(Math.ceil(millis / 1_000)))}.`
    : ""

const ofCircuit = ({ group, mode, retryAfter }: CircuitBreaker.Snapshot): ReadonlyArray<Reason> => {
  if (mode === "forcedOpen") {
    return [{ kind: "circuit", subject: group, message: `The circuit of ${group} is held open.` }]
  }
  const millis = waitOf(retryAfter)
  if (mode !== "normal" || millis <= 0) return []
  return [{ kind: "circuit", subject: group, message: `The circuit of ${group} is open.${inTime(millis)}` }]
}

const isUsable = ({ retryAfter, state, weight }: KeyPool.Snapshot): boolean =>
  weight > 0 && (state === "usable" || (state === "cooling" && waitOf(retryAfter) <= maxWaitMillis))

/** The most keys that a message names. */
const maxNamed = 10

const ofKeys = (keys: ReadonlyArray<KeyPool.Snapshot>): ReadonlyArray<Reason> => {
  if (keys.some(isUsable)) return []
  const named = keys.slice(0, maxNamed).map(({ label, reasons, state }) => `${label}: ${reasons[0] ?? state}`)
  const more = keys.length > maxNamed ? `, and ${keys.length - maxNamed} more` : ""
  const message = keys.length === 0 ? "There is no key." : `No key can be used (${named.join("; ")}${more}).`
  return [{ kind: "keys", subject: "", message }]
}

/** Only those that leave no key for a model group. */
const ofLimits = (
  limits: ReadonlyArray<RateLimiter.Snapshot>,
  keys: ReadonlyArray<KeyPool.Snapshot>
): ReadonlyArray<Reason> => {
  const closed = limits.filter(({ levels }) => levels.closed)
  const usable = new Set(keys.filter(isUsable).map(({ group }) => group))
  const isClosed = (group: string) =>
    [...usable].every((keyGroup) => closed.some((limit) => limit.group === group && limit.keyGroup === keyGroup))
  return closed.filter(({ group }) => isClosed(group)).map(({ group, keyGroup, levels: { pausedMillis } }) => ({
    kind: "limits",
    subject: keyGroup === "" ? group : `${group} of ${keyGroup}`,
    message: `The API reported that a spend limit of ${keyGroup || "the organization"} is reached, so calls to ` +
      `${group} are not sent.${inTime(pausedMillis)}`
  }))
}

/** An account of a budget, as a key. */
export const accountId = ({ account, budget }: { readonly account: string; readonly budget: string }): string =>
  `${budget}\0${account}`

/** Of budgets of all calls, and of those that the program cannot do without. It names no account: whoever asks may read it. */
const ofBudgets = (
  budgets: ReadonlyArray<AccountStatus>,
  { amounts, names }: Needed,
  now: number
): ReadonlyArray<Reason> => {
  const full = budgets.filter((status) =>
    (status.countsAll || names.includes(status.budget)) &&
    status.remainingNanoUsd < (amounts.peek(accountId(status)) ?? 1)
  )
  return [...new Map(full.map((status) => [status.budget, status])).values()].map(({ budget, windowEnd }) => {
    const accounts = full.filter((status) => status.budget === budget && status.account !== "").length
    const where = accounts === 0 ? "" : ` in ${accounts} of its accounts`
    return {
      kind: "budget",
      subject: budget,
      message: `The budget "${budget}" has no room${where}.${inTime(windowEnd - now)}`
    }
  })
}

/** Budgets that the program cannot do without, and what calls needed that were refused last, by account. */
export interface Needed {
  readonly names: ReadonlyArray<string>
  readonly amounts: { readonly peek: (accountId: string) => number | undefined }
}

/** What stands in the way of some calls or of all. */
export const reasonsOf = (
  { budgets, circuits, keys, limits }: State,
  needed: Needed,
  now: number
): ReadonlyArray<Reason> => [
  ...circuits.flatMap(ofCircuit),
  ...ofKeys(keys),
  ...ofLimits(limits, keys),
  ...budgets === undefined
    ? [{ kind: "budgetStore" as const, subject: "", message: "The store of the budgets does not answer." }]
    : ofBudgets(budgets, needed, now)
]
