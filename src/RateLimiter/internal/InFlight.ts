/** The attempts that were admitted and are not settled: what each took of the limits, and what it turns out to use. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import { type Attempt, type CallKind, countedInput, type Outcome } from "../../Attempt.ts"
import type { RateLimitError } from "../../ClaudeError.ts"
import type { Usage } from "../../Usage.ts"
import { type Amounts, minus, zero } from "./Amounts.ts"
import type { Need } from "./BucketSet.ts"
import type { Pause, Report, Ticket } from "./Store.ts"

export interface InFlight {
  readonly attempt: Attempt
  readonly ticket: Ticket
  readonly kind: CallKind | undefined
  readonly predictedOutput: number
  readonly admittedAt: number
  /** What was taken for it so far, and what is still reserved. */
  used: Amounts
  reserved: Amounts
  /** Its rate-limit headers were reported. */
  isObserved: boolean
  /** Whether it has been under way for longer than the API takes to refuse, or is over. */
  standing: "fresh" | "letIn" | "over"
  /** Its index among those in flight. */
  place: number
}

/** The longest pause for which a group is closed at once; then the next answer decides anew. */
const maxPauseMillis = 60 * 60_000

/** For a refusal without a hint. */
const defaultPauseMillis = 1_000

const amounts = (requests: number, inputTokens: number, outputTokens: number): Amounts => ({
  requests,
  inputTokens,
  outputTokens,
  tokens: inputTokens + outputTokens
})

/**
 * What an attempt will probably use: input is taken at once, output reserved. What was learnt from others paces it, and may show that it is smaller than
 * estimated, but not that it is too large.
 */
export const needOf = (attempt: Attempt): Need => {
  const { priority } = attempt.context
  if (attempt.endpoint !== "messages") {
    return { usage: amounts(1, 0, 0), reserve: zero, withinMillis: 0, size: 0, priority }
  }
  const { estimate, kind } = attempt
  const inputTokens = kind.input(estimate.inputTokens)
  const outputTokens = estimate.expectedOutputTokens ?? kind.typicalOutput(estimate.maxOutputTokens)
  return {
    usage: { requests: 1, inputTokens, outputTokens: 0, tokens: inputTokens },
    reserve: { requests: 0, inputTokens: 0, outputTokens, tokens: outputTokens },
    withinMillis: 0,
    size: Math.min(inputTokens, estimate.inputTokens),
    priority
  }
}

/** A need whose input is at most `tokens`. */
export const withInput = (need: Need, tokens: number): Need => ({
  ...need,
  usage: { ...need.usage, inputTokens: tokens, tokens }
})

/** Where the catalogue does not say: no model reads more at once. */
const maxContextTokens = 1_000_000

/** How often the API samples for one request at most, where it runs tools itself, edits the context or falls back to other models. */
const maxSamples = 10

const samplesOnce = (
  { context_management, fallbacks, mcp_servers, tools }: Readonly<Record<string, unknown>>
): boolean =>
  context_management === undefined && fallbacks === undefined && mcp_servers === undefined &&
  !(Array.isArray(tools) && tools.some((tool) => (tool?.type ?? "custom") !== "custom"))

/** The most tokens that a request could have used. */
const mostOf = (attempt: Attempt): { readonly input: number; readonly output: number } => {
  if (attempt.endpoint !== "messages") return { input: 0, output: 0 }
  const { estimate, facts, request } = attempt
  const samples = samplesOnce({ ...request }) ? 1 : maxSamples
  return {
    input: samples * Math.max(facts.contextTokens ?? maxContextTokens, estimate.inputTokens),
    output: samples * estimate.maxOutputTokens
  }
}

/** What a usage counts, and whether that is more than the request could have used: then only that much counts. */
const countedOf = (attempt: Attempt, usage: Usage) => {
  const input = countedInput(attempt, usage)
  const output = usage.outputTokens
  // Most answers are below what one sample can use.
  if (attempt.endpoint === "messages") {
    const { estimate, facts } = attempt
    const isUsual = input <= Math.max(facts.contextTokens ?? maxContextTokens, estimate.inputTokens) &&
      output <= estimate.maxOutputTokens
    if (isUsual) return { input, output, isOdd: false }
  }
  const most = mostOf(attempt)
  return {
    input: Math.min(input, most.input),
    output: Math.min(output, most.output),
    isOdd: input > most.input || output > most.output
  }
}

/** By how much a usage exceeds what was taken. */
const beyond = ({ used }: InFlight, requests: number, inputTokens: number, outputTokens: number): Amounts => ({
  requests: requests - used.requests,
  inputTokens: inputTokens - used.inputTokens,
  outputTokens: outputTokens - used.outputTokens,
  tokens: inputTokens + outputTokens - used.tokens
})

const isKnown = (usage: Usage): boolean =>
  usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens > 0

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

/** The headers of its response, once. */
const observed = (self: InFlight, outcome: Outcome, now: number): Report["observed"] => {
  const limits = !self.isObserved && "limits" in outcome ? outcome.limits : undefined
  if (limits === undefined) return undefined
  self.isObserved = true
  return { limits, now }
}

/**
 * What is new since the last look; undefined where nothing is. A stream shows what has arrived. `assume`: what a plain call has produced shows
 * only at its end, so it is taken to be produced at the usual pace. Else a bucket that looks full, while the server's is drawn on, would
 * lose its refill.
 */
export const look = (self: InFlight, now: number, assume: boolean): Report | undefined => {
  const { attempt } = self
  const { outcome } = attempt
  if (outcome._tag !== "Aborted") return undefined
  const { usage } = outcome
  const isStream = isKnown(usage)
  const counted = countedOf(attempt, usage)
  const assumed = assume && !isStream ? self.kind?.producedIn(now - self.admittedAt) ?? 0 : 0
  const output = Math.max(
    self.used.outputTokens,
    Math.min(assumed, self.predictedOutput),
    isStream ? counted.output : 0
  )
  const input = isStream ? counted.input : self.used.inputTokens
  const headers = observed(self, outcome, now)
  const isSame = output === self.used.outputTokens && input === self.used.inputTokens
  if (isSame && headers === undefined) return undefined
  const reserved = amounts(0, 0, Math.max(0, self.predictedOutput - output))
  const report: Report = {
    ticket: self.ticket,
    usage: beyond(self, 1, input, output),
    release: minus(self.reserved, reserved),
    observed: headers,
    pause: undefined
  }
  self.used = amounts(1, input, output)
  self.reserved = reserved
  return report
}

/** What an attempt used in the end, and whether it reported more than it could have used. */
export interface Closed {
  readonly report: Report
  readonly isOdd: boolean
}

/**
 * What an attempt used in the end: the rest is taken or given back. Where its outcome says nothing, what was taken and reserved on admission stands,
 * unless the API said that it did not take the request on.
 */
export const close = (self: InFlight, now: number): Closed => {
  const { attempt, predictedOutput, reserved: release, ticket, used } = self
  const { outcome } = attempt
  let [requests, input, output] = [1, used.inputTokens, Math.max(predictedOutput, used.outputTokens)]
  const error = outcome._tag === "Failed" ? outcome.error : undefined
  const isThrottled = error?._tag === "RateLimitError"
  let isOdd = false
  if (outcome._tag === "NotSent" || isThrottled) [requests, input, output] = [0, 0, 0]
  else if (error?.billed === "no") [requests, input, output] = [error._tag === "ConnectionError" ? 0 : 1, 0, 0]
  else if (outcome._tag === "Completed" || isKnown(outcome.usage)) {
    ;({ input, isOdd, output } = countedOf(attempt, outcome.usage))
  }
  const usage = beyond(self, requests, input, output)
  return {
    report: {
      ticket,
      usage,
      release,
      observed: observed(self, outcome, now),
      pause: isThrottled ? pauseFor(error, now) : undefined
    },
    isOdd
  }
}
