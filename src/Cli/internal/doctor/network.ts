/** What the API says to a request without a key, and what its clock says. */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { current } from "../apiVersion.ts"
import { redact } from "../redact.ts"
import { type Check, check } from "./check.ts"

class UnreachableError extends Data.TaggedError("UnreachableError")<{ readonly message: string }> {}

/** Beyond these, calendar windows and hints that name a time are off. */
const warnMillis = 10_000
const failMillis = 300_000

const reasons: Readonly<Record<string, string>> = {
  ENOTFOUND: "its name is not known: check ANTHROPIC_BASE_URL and the DNS",
  EAI_AGAIN: "its name cannot be resolved: check the network and the DNS",
  ECONNREFUSED: "the connection is refused: check ANTHROPIC_BASE_URL and whether the server runs",
  ECONNRESET: "the connection is reset: check firewalls and proxies",
  ETIMEDOUT: "it does not answer: check the network and firewalls",
  UND_ERR_CONNECT_TIMEOUT: "it does not answer: check the network and firewalls",
  CERT_HAS_EXPIRED: "its certificate has expired",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is not trusted: give its authority as NODE_EXTRA_CA_CERTS",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is not trusted: give its authority as NODE_EXTRA_CA_CERTS",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is not trusted: give its authority as NODE_EXTRA_CA_CERTS"
}

const reasonOf = (cause: unknown): string => {
  const inner = Predicate.hasProperty(cause, "cause") ? cause.cause : cause
  const code = Predicate.hasProperty(inner, "code") ? String(inner.code) : ""
  return reasons[code] ?? (code || (inner instanceof Error ? inner.message : "it cannot be reached"))
}

const ask = (url: string, timeout: Duration.Duration) =>
  Effect.tryPromise({
    try: (signal) =>
      fetch(url, { signal, redirect: "manual", headers: { "anthropic-version": current } }).then((response) =>
        response.text().then(() => response)
      ),
    catch: (cause) => new UnreachableError({ message: redact(reasonOf(cause)) })
  }).pipe(
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () =>
        Effect.fail(
          new UnreachableError({
            message: `it does not answer within ${Duration.format(timeout)}: check the network and firewalls`
          })
        )
    })
  )

const skewOf = (date: string | null, began: number, ended: number): Check => {
  const server = date === null ? NaN : Date.parse(date)
  if (Number.isNaN(server)) return check("clock", "skipped", "The server did not say what time it is")
  // The header says whole seconds.
  const skew = Math.round(server + 500 - (began + ended) / 2)
  const size = Math.abs(skew)
  const seconds = (size / 1000).toFixed(size < 10_000 ? 1 : 0)
  if (size <= warnMillis) return check("clock", "ok", `The clock agrees with the server's within ${seconds} s`)
  return check(
    "clock",
    size > failMillis ? "fail" : "warn",
    `The clock is ${seconds} s ${skew > 0 ? "behind" : "ahead of"} the server's: turn on time synchronization`
  )
}

/** 401 is what the API says to a request without a key. */
const expected = new Set([200, 401, 403])

export const api = Effect.fnUntraced(function*(baseUrl: string, timeout: Duration.Duration) {
  const url = `${baseUrl.replace(/\/+$/, "")}/v1/models?limit=1`
  const began = yield* Clock.currentTimeMillis
  return yield* Effect.matchEffect(ask(url, timeout), {
    onFailure: ({ message }) =>
      Effect.succeed([
        check("api", "fail", `${redact(baseUrl)}: ${message}`),
        check("clock", "skipped", "The API was not reached")
      ]),
    onSuccess: ({ headers, status }) =>
      Effect.map(Clock.currentTimeMillis, (ended): ReadonlyArray<Check> => [
        expected.has(status)
          ? check("api", "ok", `${redact(baseUrl)} answers in ${ended - began} ms`)
          : check(
            "api",
            status >= 500 || status === 429 ? "warn" : "fail",
            `${
              redact(baseUrl)
            } answers HTTP ${status}, not as the API does: check ANTHROPIC_BASE_URL and https://status.anthropic.com`
          ),
        skewOf(headers.get("date"), began, ended)
      ])
  })
})
