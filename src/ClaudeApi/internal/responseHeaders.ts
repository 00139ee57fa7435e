/** Reads what the headers of a refusal say about another attempt. */
import * as Duration from "effect/Duration"

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
