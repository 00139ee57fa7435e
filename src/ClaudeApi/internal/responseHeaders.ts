/** Reads the headers of a response: waits, advice on retrying, rate limits. */
import * as Duration from "effect/Duration"
import type { Limit, Limits } from "../../Attempt.ts"

/** The longest wait that is taken seriously. */
const maxWaitMillis = 366 * 24 * 60 * 60 * 1000

const wait = (millis: number): Duration.Duration | undefined =>
  Number.isFinite(millis) && millis > 0 && millis <= maxWaitMillis ? Duration.millis(Math.ceil(millis)) : undefined

/**
 * `retry-after-ms`, else `retry-after` in seconds, as an HTTP date or as an ISO date; undefined where there is none,
 * or one that is invalid or in the past.
 */
export const retryAfter = (headers: Headers, now: number): Duration.Duration | undefined => {
  const millis = headers.get("retry-after-ms")
  const inMillis = millis === null ? undefined : wait(Number.parseFloat(millis))
  if (inMillis !== undefined) return inMillis
  const text = headers.get("retry-after")?.trim()
  if (text === undefined || text === "") return undefined
  return /^[-+\d.]+$/.test(text) ? wait(Number.parseFloat(text) * 1000) : wait(Date.parse(text) - now)
}

/** The header `x-should-retry`. */
export const shouldRetry = (headers: Headers): boolean | undefined => {
  const value = headers.get("x-should-retry")
  return value === "true" ? true : value === "false" ? false : undefined
}

const limit = (headers: Headers, family: string): Limit | undefined => {
  const total = headers.get(`anthropic-ratelimit-${family}-limit`)
  const left = headers.get(`anthropic-ratelimit-${family}-remaining`)
  // Longer numbers are invalid, and with some 300 digits not finite.
  if (total === null || left === null || !/^\d{1,15}$/.test(total) || !/^-?\d{1,15}$/.test(left)) return undefined
  const reset = Date.parse(headers.get(`anthropic-ratelimit-${family}-reset`) ?? "")
  return { limit: Number(total), remaining: Number(left), resetAt: Number.isNaN(reset) ? undefined : reset }
}

/** The rate-limit headers; undefined where the response has none. */
export const limits = (headers: Headers): Limits | undefined => {
  const requests = limit(headers, "requests")
  const tokens = limit(headers, "tokens")
  const inputTokens = limit(headers, "input-tokens")
  const outputTokens = limit(headers, "output-tokens")
  return requests === undefined && tokens === undefined && inputTokens === undefined && outputTokens === undefined
    ? undefined
    : { requests, tokens, inputTokens, outputTokens }
}
