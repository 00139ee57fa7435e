/** Reads what the headers of a response say: how much of the rate limits is left, and of a refusal, whether and when to try again. */
import * as Duration from "effect/Duration"
import type { Limit, Limits } from "../../Attempt.ts"

/** The longest wait that is taken seriously. */
const maxWaitMillis = 366 * 24 * 60 * 60 * 1000

const wait = (millis: number): Duration.Duration | undefined =>
  Number.isFinite(millis) && millis > 0 && millis <= maxWaitMillis ? Duration.millis(Math.ceil(millis)) : undefined

/** The three spellings of a date in HTTP, those of mail, and that of ISO. */
const dates = new RegExp(
  [
    String
      .raw`(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,\s+)?\d{1,2}[ -][a-z]{3}[ -]\d{2,4}\s+[\d:]+(?:\s+(?:GMT|UTC?|Z|[+-]\d\d:?\d\d))?`,
    String.raw`(?:mon|tue|wed|thu|fri|sat|sun)\s+[a-z]{3}\s+\d{1,2}\s+[\d:]+\s+\d{4}`,
    String.raw`\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?`
  ].join("|"),
  "gi"
)

/** The time of a date, in milliseconds since the epoch; where it names no zone it is of GMT. */
const timeOf = (date: string): number => {
  const zoned = /(?:GMT|UTC?|Z|[+-]\d\d:?\d\d)$/i.test(date.replace(/^\d{4}-\d\d-\d\d/, ""))
  return Date.parse(zoned ? date : `${date}${/^\d{4}-/.test(date) ? "Z" : " GMT"}`)
}

/** The longest of several waits. */
const longest = (waits: ReadonlyArray<Duration.Duration | undefined>): Duration.Duration | undefined =>
  waits.reduce(
    (longest, wait) =>
      longest === undefined || (wait !== undefined && Duration.isGreaterThan(wait, longest)) ? wait : longest,
    undefined
  )

/** A number with its unit, in milliseconds; one without is so many of `unit`. */
const timespan =
  /(?<![\w.-])\+?(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})\s*(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)?(?![\w.])/gi

const units: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000 }

const millisOf = (amount: string, unit: string, unitMillis: number): number =>
  Number(amount) *
  (unit === "" ? unitMillis : /^(ms|mil)/i.test(unit) ? 1 : units[unit.charAt(0).toLowerCase()] ?? 1000)

/** Seconds since the epoch in 2001, and milliseconds: no wait is that long. */
const firstEpoch = 1e9
const firstEpochMillis = 1e12

/** Longer values are no header of a server in its right mind. */
const maxLength = 256

/** All spans of time in a text, as waits from `from` on. */
const waitsIn = (text: string, unitMillis: number, from: number): ReadonlyArray<Duration.Duration | undefined> =>
  Array.from(text.matchAll(timespan), ([, amount = "", unit = ""]) => {
    const value = Number(amount)
    if (unit !== "" || value < firstEpoch) return wait(millisOf(amount, unit, unitMillis))
    return wait((value < firstEpochMillis ? value * 1000 : value) - from)
  })

/**
 * `retry-after-ms`, else `retry-after` in seconds (or with a unit), as a date of HTTP, mail or ISO, or as a time since the epoch; the longest of several. A time
 * counts from the `Date` of the same response, since the clock of the server may differ from ours. Undefined where there is none, or one that is invalid or in
 * the past.
 */
export const retryAfter = (headers: Headers, now: number): Duration.Duration | undefined => {
  const inMillis = longest(waitsIn((headers.get("retry-after-ms") ?? "").slice(0, maxLength), 1, now))
  if (inMillis !== undefined) return inMillis
  const text = (headers.get("retry-after") ?? "").slice(0, maxLength)
  if (text === "") return undefined
  const sent = Date.parse(headers.get("date") ?? "")
  const from = Number.isNaN(sent) ? now : sent
  return longest([
    ...(text.match(dates) ?? []).map((date) => wait(timeOf(date) - from)),
    ...waitsIn(text.replace(dates, ","), 1000, from)
  ])
}

/** The header `x-should-retry`. */
export const shouldRetry = (headers: Headers): boolean | undefined => {
  const value = headers.get("x-should-retry")
  return value === "true" ? true : value === "false" ? false : undefined
}

/** The names of the headers of one rate limit. */
const limitHeaders = (family: string) => ({
  limit: `anthropic-ratelimit-${family}-limit`,
  remaining: `anthropic-ratelimit-${family}-remaining`,
  reset: `anthropic-ratelimit-${family}-reset`
})

const families = {
  requests: limitHeaders("requests"),
  tokens: limitHeaders("tokens"),
  inputTokens: limitHeaders("input-tokens"),
  outputTokens: limitHeaders("output-tokens")
}

/** One rate limit; undefined where it was not sent or makes no sense. */
const limitOf = (headers: Headers, { limit, remaining, reset }: typeof families.requests): Limit | undefined => {
  const total = headers.get(limit)
  if (total === null) return undefined
  const left = headers.get(remaining)
  // Longer numbers are invalid, and with some 300 digits not finite.
  if (left === null || !/^\d{1,15}$/.test(total) || !/^-?\d{1,15}$/.test(left)) return undefined
  const resetAt = Date.parse(headers.get(reset) ?? "")
  return { limit: Number(total), remaining: Number(left), resetAt: Number.isNaN(resetAt) ? undefined : resetAt }
}

/** The rate limits; undefined where there are none. */
export const limits = (headers: Headers): Limits | undefined => {
  const requests = limitOf(headers, families.requests)
  const tokens = limitOf(headers, families.tokens)
  const inputTokens = limitOf(headers, families.inputTokens)
  const outputTokens = limitOf(headers, families.outputTokens)
  if ((requests ?? tokens ?? inputTokens ?? outputTokens) === undefined) return undefined
  return { requests, tokens, inputTokens, outputTokens }
}
