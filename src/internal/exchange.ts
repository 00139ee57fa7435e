/** One HTTP exchange: the head in time, the body in time, and the request ended on the wire when nobody wants it. */
import type Anthropic from "@anthropic-ai/sdk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { Attempt, Request } from "../Attempt.ts"
import { type ApiError, type Billed, ConnectionError } from "../ClaudeError.ts"
import * as ApiErrors from "./apiError.ts"

/** `headers` are those of the response, also of one that was an error. */
export interface Exchange {
  readonly attempt: Attempt
  /** What was asked, so that errors do not repeat it. */
  readonly request: Partial<Request> | undefined
  readonly controller: AbortController
  /** Milliseconds since the epoch. */
  readonly began: number
  headers: Headers | undefined
}

export const make = (attempt: Attempt, request: Exchange["request"]): Effect.Effect<Exchange> =>
  Effect.map(Clock.currentTimeMillis, (began) => ({
    attempt,
    request,
    controller: new AbortController(),
    began,
    headers: undefined
  }))

/** Ends the request on the wire; without effect once its answer was read to the end. */
export const abort = (self: Exchange): Effect.Effect<void> => Effect.sync(() => self.controller.abort())

const sent = (self: Exchange, now: number): ApiErrors.Sent => ({
  attempts: self.attempt.number,
  request: self.request,
  now
})

/** The answer ended before it was whole. */
export const truncated = (self: Exchange, billed: Billed, cause?: unknown): ConnectionError =>
  ApiErrors.fromConnection(cause, { reason: "truncated", billed }, sent(self, 0), self.headers)

/** What answered was not the API. */
export const malformed = (self: Exchange, billed: Billed = "unknown"): ConnectionError =>
  new ConnectionError({
    reason: "malformed",
    requestId: self.headers?.get("request-id") ?? undefined,
    billed,
    attempts: self.attempt.number
  })

/** An error of the API that came after a head of 200. */
export const refused = (self: Exchange, body: unknown): Effect.Effect<never, ApiError> =>
  Effect.flatMap(
    Clock.currentTimeMillis,
    (now) => Effect.fail(ApiErrors.fromBody(body, self.headers ?? new Headers(), "unknown", sent(self, now)))
  )

type Limit = NonNullable<ConnectionError["limit"]>

/** Fails when `until`, or the deadline of the caller if that is earlier, passes. Both are milliseconds since the epoch. */
export const withTimeLimit = <A>(
  self: Exchange,
  now: number,
  limit: Limit,
  until: number,
  effect: Effect.Effect<A, ApiError>
): Effect.Effect<A, ApiError> => {
  const deadline = self.attempt.context.deadline ?? Infinity
  const first = deadline < until ? { limit: "deadline" as const, until: deadline } : { limit, until }
  return Effect.timeoutOrElse(effect, {
    duration: Math.max(0, first.until - now),
    orElse: () =>
      Effect.fail(
        new ConnectionError({
          reason: first.limit === "idle" ? "idle" : "timeout",
          limit: first.limit,
          requestId: self.headers?.get("request-id") ?? undefined,
          billed: "unknown",
          attempts: self.attempt.number
        })
      )
  })
}

/** Options of the SDK's methods. */
export interface RequestOptions {
  readonly signal: AbortSignal
  readonly headers: Record<string, string>
}

/** A request of the SDK that was begun. */
export interface Begun {
  readonly asResponse: () => Promise<Response>
}

/** Sends the request and gives its response as soon as the head is there. */
export const head = (
  self: Exchange,
  client: Anthropic,
  send: (client: Anthropic, signal: AbortSignal) => Begun
): Effect.Effect<Response, ApiError> =>
  Effect.clockWith((clock) =>
    Effect.callback((resume) => {
      const failed = (cause: unknown) => {
        self.headers = ApiErrors.headersOf(cause)
        const error = Effect.failSync(() => ApiErrors.fromSdk(cause, sent(self, clock.currentTimeMillisUnsafe())))
        resume(error)
      }
      const begun = Result.try(() => send(client, self.controller.signal).asResponse())
      if (Result.isFailure(begun)) return failed(begun.failure)
      begun.success.then((response) => {
        self.headers = response.headers
        resume(Effect.succeed(response))
      }, failed)
    })
  )

/** One read of the body. */
export const read = (
  self: Exchange,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  billed: Billed
): Effect.Effect<ReadableStreamReadResult<Uint8Array>, ApiError> =>
  Effect.callback((resume) => {
    reader.read().then(
      (chunk) => resume(Effect.succeed(chunk)),
      (cause) => resume(Effect.failSync(() => truncated(self, billed, cause)))
    )
  })

/** The body of a plain answer, decoded. The API had finished when its head came, so what is lost now was paid. */
export const json = Effect.fnUntraced(function*(
  self: Exchange,
  response: Response,
  maxBytes: number
): Effect.fn.Return<object, ApiError> {
  const reader = response.body?.getReader()
  const utf8 = new TextDecoder()
  let text = ""
  let bytes = 0
  while (reader !== undefined) {
    const chunk = yield* read(self, reader, "yes")
    if (chunk.done) break
    bytes += chunk.value.byteLength
    if (bytes > maxBytes) return yield* malformed(self, "yes")
    text += utf8.decode(chunk.value, { stream: true })
  }
  const body = Result.try((): unknown => JSON.parse(text + utf8.decode()))
  if (Result.isSuccess(body)) {
    if (!Predicate.isObject(body.success)) return yield* malformed(self)
    return "error" in body.success ? yield* refused(self, body.success) : body.success
  }
  const promised = /^application\/json\b/.test(response.headers.get("content-type") ?? "")
  return yield* promised ? truncated(self, "yes") : malformed(self)
})
