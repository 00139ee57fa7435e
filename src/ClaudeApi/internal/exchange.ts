/** One HTTP exchange: the head in time, the body in time, and the request ended on the wire when nobody wants it. */
import type Anthropic from "@anthropic-ai/sdk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Attempt } from "../../Attempt.ts"
import { type ApiError, type Billed, ConnectionError } from "../../ClaudeError.ts"
import type { Request } from "../../Request.ts"
import * as ApiErrors from "./apiError.ts"

/** Time limits, in milliseconds, and the most bytes that are read of an answer. */
export interface Bounds {
  readonly headers: number
  readonly firstContent: number
  readonly idle: number
  readonly call: number
  readonly maxBytes: number
}

type Limit = NonNullable<ConnectionError["limit"]>

/** `headers` are those of the response, also of one that was an error. */
export interface Exchange {
  readonly attempt: Attempt
  /** What was asked, so that errors do not repeat it. */
  readonly request: Partial<Request> | undefined
  readonly bounds: Bounds
  readonly controller: AbortController
  /** Milliseconds since the epoch. */
  readonly began: number
  headers: Headers | undefined
  /** The limit that stands, and when it is passed, in milliseconds since the epoch. */
  limit: Limit
  until: number
  /** Ends the wait for the API; nothing happens where that is over. */
  expire: ((failure: Effect.Effect<never, ApiError>) => void) | undefined
  watch: Fiber.Fiber<never> | undefined
}

/** Begins an exchange, which has to be closed. */
export const make = (attempt: Attempt, request: Exchange["request"], bounds: Bounds): Effect.Effect<Exchange> =>
  Effect.flatMap(Clock.currentTimeMillis, (began) => {
    const self: Exchange = {
      attempt,
      request,
      bounds,
      controller: new AbortController(),
      began,
      headers: undefined,
      limit: "deadline",
      until: Infinity,
      expire: undefined,
      watch: undefined
    }
    limit(self, "headers", began + bounds.headers, false)
    return Effect.map(Effect.forkDetach(watch(self), { startImmediately: true }), (fiber) => {
      self.watch = fiber
      return self
    })
  })

/** Why a request is ended. One value for all: a reason made on the spot keeps its call stack, and with it the body, alive. */
const unwanted = new DOMException("nobody waits for the answer", "AbortError")

/** Ends the request on the wire, unless its answer was read to the end. */
export const close = (self: Exchange, ended: boolean): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!ended) self.controller.abort(unwanted)
    return self.watch === undefined ? Effect.void : Fiber.interrupt(self.watch)
  })

/** What stands from now on: what is given, or what of the whole exchange comes earlier. */
const limit = (self: Exchange, silence: Limit, until: number, content: boolean): void => {
  const { attempt: { context: { deadline = Infinity } }, began, bounds } = self
  self.limit = silence
  self.until = until
  const or = (limit: Limit, until: number) => {
    if (until >= self.until) return
    self.limit = limit
    self.until = until
  }
  or("deadline", deadline)
  if (!content) or("firstContent", began + bounds.firstContent)
  or("call", began + bounds.call)
}

const expired = (self: Exchange): Effect.Effect<never, ApiError> =>
  Effect.fail(
    new ConnectionError({
      reason: self.limit === "idle" ? "idle" : "timeout",
      limit: self.limit,
      requestId: self.headers?.get("request-id") ?? undefined,
      billed: "unknown",
      attempts: self.attempt.number
    })
  )

/**
 * Ends each wait for the API at its limit: one fiber for the whole exchange, since a timer for each read costs more than
 * the read. It looks up whenever a limit that stands now can pass, and at least every `idle`: no limit that is set in
 * between can pass before that.
 */
const watch = (self: Exchange): Effect.Effect<never> =>
  Effect.forever(Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const { attempt: { context: { deadline = Infinity } }, began, bounds } = self
    if (now >= self.until) self.expire?.(expired(self))
    const coming = [self.until, deadline, began + bounds.call, now + bounds.idle].filter((at) => at > now)
    return Effect.sleep(Math.max(1, Math.min(...coming) - now))
  }))

const sent = (self: Exchange, now: number): ApiErrors.Sent => ({
  attempts: self.attempt.number,
  request: self.request,
  secrets: [
    ...(self.attempt.key === undefined ? [] : [Redacted.value(self.attempt.key.secret)]),
    ...Object.values(self.attempt.context.headers)
  ],
  key: self.attempt.key,
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

/** Options of the SDK's methods. */
export interface RequestOptions {
  readonly signal: AbortSignal
  readonly headers: Record<string, string | null>
}

/** A request of the SDK that was begun. */
export interface Begun {
  readonly asResponse: () => Promise<Response>
}

/** Sends the request and gives its response as soon as the head is there, within the time for that. */
export const head = (
  self: Exchange,
  client: Anthropic,
  send: (client: Anthropic, signal: AbortSignal) => Begun
): Effect.Effect<Response, ApiError> =>
  Effect.clockWith((clock) => {
    if (self.began >= self.until) return expired(self)
    return Effect.callback((resume) => {
      self.expire = resume
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
  })

/** One read of the body, however long it takes. */
export const read = (
  self: Exchange,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  billed: Billed
): Effect.Effect<ReadableStreamReadResult<Uint8Array>, ApiError> =>
  Effect.callback((resume) => {
    self.expire = resume
    reader.read().then(
      (chunk) => resume(Effect.succeed(chunk)),
      (cause) => resume(Effect.failSync(() => truncated(self, billed, cause)))
    )
  })

/** One read of the body, within the time for silence, for the call, and where no content came yet for that. */
export const readInTime = (
  self: Exchange,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  billed: Billed,
  content: boolean
): Effect.Effect<ReadableStreamReadResult<Uint8Array>, ApiError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    limit(self, "idle", now + self.bounds.idle, content)
    return now >= self.until ? expired(self) : read(self, reader, billed)
  })

/** The body of a plain answer, decoded. The API had finished when its head came, so what is lost now was paid. */
export const json = Effect.fnUntraced(function*(
  self: Exchange,
  response: Response
): Effect.fn.Return<object, ApiError> {
  const reader = response.body?.getReader()
  const utf8 = new TextDecoder()
  let text = ""
  let bytes = 0
  while (reader !== undefined) {
    const chunk = yield* readInTime(self, reader, "yes", true)
    if (chunk.done) break
    bytes += chunk.value.byteLength
    if (bytes > self.bounds.maxBytes) return yield* malformed(self, "yes")
    text += utf8.decode(chunk.value, { stream: true })
  }
  const body = Result.try((): unknown => JSON.parse(text + utf8.decode()))
  if (Result.isSuccess(body)) {
    if (!Predicate.isObject(body.success)) return yield* malformed(self)
    return "error" in body.success && Predicate.isObject(body.success.error)
      ? yield* refused(self, body.success)
      : body.success
  }
  const promised = /^application\/json\b/.test(response.headers.get("content-type") ?? "")
  return yield* promised ? truncated(self, "yes") : malformed(self)
})
