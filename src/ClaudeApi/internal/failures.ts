/** How a request to the API fails: the errors of an exchange, from what is known of it; and what of its answer may be told. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Attempt, Limits } from "../../Attempt.ts"
import { type ApiError, type Billed, ConnectionError } from "../../ClaudeError.ts"
import type { Request } from "../../Request.ts"
import type * as Usage from "../../Usage.ts"
import * as ApiErrors from "./apiError.ts"
import { part, text } from "./errorBody.ts"
import { harmlessName, redact, token } from "./redact.ts"

export type TimeLimit = NonNullable<ConnectionError["limit"]>

/** What is known of a request when it fails. */
export interface Asked {
  readonly attempt: Attempt
  /** The request, so that errors do not repeat it. */
  readonly request: Partial<Request> | undefined
  /** Where it went, and what a proxy on the way was shown. */
  readonly bounds: { readonly baseUrl: string; readonly secrets: ReadonlyArray<string> }
  readonly clock: Clock.Clock
  /** Headers that the request carries besides its key, so that nothing repeats their values. */
  carried: Readonly<Record<string, string>>
  /** Of the response, also where it is an error; undefined until it arrives. */
  headers: Headers | undefined
  requestId: string | undefined
  limits: Limits | undefined
  /** Whether an answer that takes too long from here on cost money. */
  billed: Billed
  /** The time limit that expires next. */
  timeLimit: TimeLimit
}

/** What the answer must not repeat: the key, and the values of headers, save the vendor's names that its messages explain. */
export const secretsOf = ({ attempt: { key }, bounds: { secrets }, carried }: Asked): ReadonlyArray<string> => [
  ...secrets,
  ...(key === undefined ? [] : [Redacted.value(key.secret)]),
  ...Object.entries(carried).flatMap(([name, value]) => /^anthropic-(beta|version)$/i.test(name) ? [] : [value])
]

/** A name from the answer; undefined where it is none, or may be something that the request carries. */
export const named = (self: Asked, name: string | null | undefined): string | undefined =>
  name === self.attempt.model || (typeof name === "string" && harmlessName.test(name))
    ? name
    : token(name, secretsOf(self))

/** A usage without names of models that may be something else. What they used stays, and has no price. */
export const harmless = (self: Asked, usage: Usage.Usage): Usage.Usage =>
  usage.others === undefined
    ? usage
    : {
      ...usage,
      others: usage.others.map((other) => ({ ...other, model: named(self, other.model) ?? "unknown" }))
    }

export const sent = (self: Asked): ApiErrors.Sent => ({
  attempts: self.attempt.number,
  request: self.request,
  secrets: secretsOf(self),
  requestId: self.requestId,
  key: self.attempt.key,
  limits: self.limits,
  now: self.clock.currentTimeMillisUnsafe(),
  baseUrl: self.bounds.baseUrl
})

/** The answer ended before it was complete. */
export const truncated = (self: Asked, billed: Billed, cause?: unknown): ConnectionError =>
  ApiErrors.fromConnection(cause, { reason: "truncated", billed }, sent(self))

/** The reply did not come from the API. */
export const malformed = (self: Asked, billed: Billed = "unknown", detail?: string): ConnectionError =>
  new ConnectionError({
    reason: "malformed",
    detail,
    requestId: self.requestId,
    billed,
    attempts: self.attempt.number
  })

/** JSON that is neither an answer nor an error of the API, with its message if it has one. Anything else of it may be an answer. */
export const other = (self: Asked, body: unknown): ConnectionError => {
  const said = text(part(body, "message")) ?? text(part(body, "detail"))
  return malformed(self, "unknown", said === undefined ? undefined : redact(said, self.request, secretsOf(self)))
}

/** A page, which the API does not write. */
export const page = (self: Asked): ConnectionError =>
  malformed(self, "no", `${self.bounds.baseUrl} answered with a page`)

/** An error of the API that came after a head of 200. */
export const refused = (self: Asked, body: unknown): ApiError =>
  ApiErrors.fromBody(body, self.headers ?? new Headers(), "unknown", sent(self))

/** Its time limit has expired. */
export const expired = (self: Asked): Effect.Effect<never, ApiError> =>
  Effect.fail(
    new ConnectionError({
      reason: self.timeLimit === "idle" ? "idle" : "timeout",
      limit: self.timeLimit,
      requestId: self.requestId,
      billed: self.billed,
      attempts: self.attempt.number
    })
  )
