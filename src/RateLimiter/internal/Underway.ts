/**
 * The attempts that were admitted and are not settled: what was charged for each, and what it turns out to use.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import { type Attempt, type CallKind, countedInput, type Limits, type Outcome } from "../../Attempt.ts"
import type { RateLimitError } from "../../ClaudeError.ts"
import type { Usage } from "../../Usage.ts"
import { type Amounts, type Pause, type Report, type Ticket, zero } from "./Buckets.ts"
import type { Group } from "./Group.ts"

export interface Underway {
  readonly attempt: Attempt
  readonly group: Group
  readonly ticket: Ticket
  readonly kind: CallKind | undefined
  readonly predictedOutput: number
  readonly admittedAt: number
  charged: Amounts
  held: Amounts
  /** Its rate-limit headers were told. */
  heard: boolean
}

/** The longest pause for which a group is closed at once; then the next answer decides anew. */
const maxPauseMillis = 60 * 60_000

/** For a refusal without a hint. */
const defaultPauseMillis = 1_000

const isKnown = (usage: Usage): boolean =>
  usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens > 0

const limitsOf = (outcome: Outcome): Limits | undefined => "limits" in outcome ? outcome.limits : undefined

const amounts = (requests: number, inputTokens: number, outputTokens: number): Amounts => ({
  requests,
  inputTokens,
  outputTokens,
  tokens: inputTokens + outputTokens
})

/**
 * What an attempt has used of the limits, as far as its outcome tells. Where nothing was told, what was charged and held on admission
 * stands, unless the API said that it did not take the request on.
 */
const used = ({ attempt, charged, predictedOutput }: Underway): Amounts => {
  const { outcome } = attempt
  switch (outcome._tag) {
    case "NotSent":
      return zero
    case "Completed":
      return amounts(1, countedInput(attempt, outcome.usage), outcome.usage.outputTokens)
    case "Failed":
      if (outcome.error._tag === "RateLimitError") return zero
      if (outcome.error.billed === "no") return amounts(outcome.error._tag === "ConnectionError" ? 0 : 1, 0, 0)
      break
    case "Aborted":
      break
  }
  return isKnown(outcome.usage)
    ? amounts(1, countedInput(attempt, outcome.usage), outcome.usage.outputTokens)
    : amounts(1, charged.inputTokens, Math.max(predictedOutput, charged.outputTokens))
}

const minus = (a: Amounts, b: Amounts): Amounts => ({
  requests: a.requests - b.requests,
  inputTokens: a.inputTokens - b.inputTokens,
  outputTokens: a.outputTokens - b.outputTokens,
  tokens: a.tokens - b.tokens
})

const pauseOf = (outcome: Outcome, now: number): Pause | undefined =>
  outcome._tag === "Failed" && outcome.error._tag === "RateLimitError" ? pauseFor(outcome.error, now) : undefined

const pauseFor = ({ limit, retryAfter }: RateLimitError, now: number): Pause => {
  const hint = retryAfter === undefined ? undefined : Duration.toMillis(retryAfter)
  const millis = (wait: number) => Math.min(hint ?? wait, maxPauseMillis)
  if (limit === "spend") return { reason: "spend", millis: millis(untilNextMonth(now)) }
  return { reason: limit === "acceleration" ? "acceleration" : "throttle", millis: millis(defaultPauseMillis) }
}

/** Spend limits start anew at midnight UTC on the first. */
const untilNextMonth = (now: number): number =>
  DateTime.makeUnsafe(now).pipe(
    DateTime.startOf("month"),
    DateTime.add({ months: 1 }),
    DateTime.toEpochMillis
  ) - now

const hear = (self: Underway, outcome: Outcome, now: number): Report["observed"] => {
  const limits = self.heard ? undefined : limitsOf(outcome)
  if (limits === undefined) return undefined
  self.heard = true
  return { limits, now }
}

/**
 * What is new since the last look; undefined where nothing is. A stream says what has arrived. `assume`: what a plain call has produced shows
 * only in the end, so it is taken to be produced at the usual pace. Else a bucket that looks full, while the server's is drawn on, would
 * lose its refill.
 */
export const look = (self: Underway, now: number, assume: boolean): Report | undefined => {
  const { attempt } = self
  const { outcome } = attempt
  if (outcome._tag !== "Aborted") return undefined
  const { usage } = outcome
  const isStream = isKnown(usage)
  const assumed = assume && !isStream ? self.kind?.producedIn(now - self.admittedAt) ?? 0 : 0
  const output = Math.max(
    self.charged.outputTokens,
    Math.min(assumed, self.predictedOutput),
    isStream ? usage.outputTokens : 0
  )
  const input = isStream ? countedInput(attempt, usage) : self.charged.inputTokens
  const observed = hear(self, outcome, now)
  const isSame = output === self.charged.outputTokens && input === self.charged.inputTokens
  if (isSame && observed === undefined) return undefined
  const charged = amounts(1, input, output)
  const left = Math.max(0, self.predictedOutput - output)
  const held: Amounts = { requests: 0, inputTokens: 0, outputTokens: left, tokens: left }
  const report: Report = {
    ticket: self.ticket,
    charge: minus(charged, self.charged),
    release: minus(self.held, held),
    observed,
    pause: undefined
  }
  self.charged = charged
  self.held = held
  return report
}

/** What an attempt used in the end: the rest is charged or given back. */
export const close = (self: Underway, now: number): Report => {
  const { outcome } = self.attempt
  return {
    ticket: self.ticket,
    charge: minus(used(self), self.charged),
    release: self.held,
    observed: hear(self, outcome, now),
    pause: pauseOf(outcome, now)
  }
}
