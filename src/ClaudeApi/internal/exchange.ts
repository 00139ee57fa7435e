/**
 * One HTTP exchange: a request and its response, within the time limits. It ends the request on the wire as soon as nobody
 * wants the answer, and writes what became of its attempt.
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Scheduler from "effect/Scheduler"
import * as Tracer from "effect/Tracer"
import { type Attempt, type ModelRefusal, Outcome } from "../../Attempt.ts"
import { type ApiError, isApiError } from "../../ClaudeError.ts"
import * as Usage from "../../Usage.ts"
import * as ApiErrors from "./apiError.ts"
import { isErrorBody, isPageType, looksLikePage, saysError } from "./errorBody.ts"
import * as Failures from "./failures.ts"
import * as Misread from "./misread.ts"
import { harmlessName } from "./redact.ts"
import * as ResponseHeaders from "./responseHeaders.ts"
import { textOf, type Transport, type Waiting, type Wire } from "./transport.ts"

/** Where requests go and how; time limits, in milliseconds, and who watches them; the most bytes that are read of an answer. */
export interface Bounds {
  readonly baseUrl: string
  /** Users and passwords of proxies. */
  readonly secrets: ReadonlyArray<string>
  readonly send: Transport
  readonly headers: number
  readonly firstContent: number
  readonly idle: number
  readonly call: number
  readonly maxBytes: number
  /** Of all exchanges of the port. */
  readonly watch: Watch
}

export interface Exchange extends Failures.Asked, Waiting {
  readonly bounds: Bounds
  isOver: boolean
  /** The span that the request belongs to. */
  readonly span: Tracer.AnySpan | undefined
  /** Milliseconds since the epoch. */
  readonly began: number
  /** When it began and when its caller leaves, in milliseconds of the monotonic clock, which no correction of the system's time moves. */
  start: number
  readonly deadline: number
  /** The request could not be made, so nothing left this process. */
  isUnsent: boolean
  /** When its time limit expires, in milliseconds of the monotonic clock. */
  until: number
  /** Ends the current wait for the API with a failure; without effect once that wait is over. */
  expire: ((failure: Effect.Effect<never, ApiError>) => void) | undefined
  readonly watch: Watch
}

/** What an answer used, and which model gave it. */
export interface Used {
  readonly usage: Usage.Usage
  readonly model: string | undefined
  readonly stopReason: string | undefined
  readonly refusal: ModelRefusal | undefined
  /** Some of the output was not shown, and its tokens are an estimate. */
  readonly hasHiddenOutput?: boolean
  /** What was used was not reported in full, so some of it is an estimate. */
  readonly isEstimated?: boolean
}

export const unused: Used = { usage: Usage.zero, model: undefined, stopReason: undefined, refusal: undefined }

/** Milliseconds of the monotonic clock. */
export const elapsed = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** Opens an exchange; the caller closes it. */
export const open = (attempt: Attempt, request: Exchange["request"], bounds: Bounds): Effect.Effect<Exchange> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const clock = Context.get(context, Clock.Clock)
    const began = clock.currentTimeMillisUnsafe()
    const start = elapsed(clock)
    const { watch } = bounds
    const self: Exchange = {
      attempt,
      request,
      bounds,
      isOver: false,
      whenOver: undefined,
      clock,
      span: Context.getOrUndefined(context, Tracer.ParentSpan),
      began,
      start,
      deadline: start - began + (attempt.context.deadline ?? Infinity),
      carried: attempt.context.headers,
      headers: undefined,
      requestId: undefined,
      limits: undefined,
      billed: "unknown",
      isUnsent: false,
      timeLimit: "deadline",
      until: Infinity,
      expire: undefined,
      // Exchanges of one port nearly always follow one clock.
      watch: watch.clock === undefined || watch.clock === clock ? watch : new Watch(bounds.idle)
    }
    setLimit(self, "headers", start + bounds.headers, false)
    self.watch.add(self)
    return Effect.succeed(self)
  })

/** Ends the request on the wire, unless its answer was read to the end. */
export const close = (self: Exchange, ended: boolean): void => {
  if (!ended) {
    self.isOver = true
    self.whenOver?.()
  }
  self.watch.delete(self)
}

/** Sets the next time limit: the one that is given, or one of the whole exchange that expires earlier. */
export const setLimit = (self: Exchange, given: Failures.TimeLimit, until: number, hasContent: boolean): void => {
  const { bounds, deadline, start } = self
  const firstContent = hasContent ? Infinity : start + bounds.firstContent
  const call = start + bounds.call
  self.until = Math.min(until, deadline, firstContent, call)
  self.timeLimit = self.until === until
    ? given
    : self.until === deadline
    ? "deadline"
    : self.until === firstContent
    ? "firstContent"
    : "call"
}

/** A timer that is later than this tells of a process that did not run: a laptop slept. */
const maxLateMillis = 1000

/** How long a connection that lives may need to be heard after that. */
const awakeMillis = 30_000

/** Gives the time in which this process did not run back to all time limits, save the deadline of the caller. */
const awake = (self: Exchange, lateMillis: number): void => {
  const more = lateMillis + Math.min(self.bounds.idle, awakeMillis)
  self.start += more
  if (self.timeLimit !== "deadline") self.until = Math.min(self.until + more, self.deadline)
  if (self.until === self.deadline) self.timeLimit = "deadline"
}

/**
 * Ends the waits of exchanges at their time limits. One fiber serves all that are open, since a timer for each costs more than many reads. It wakes
 * whenever a limit can expire, and at least once every `idle`: no limit that is set in between can expire before that. It outlives the last exchange by
 * one turn of the event loop, so that calls one after the other share it: another fiber for each takes 17 us of 216.
 */
export class Watch {
  private readonly idle: number
  private readonly open = new Set<Exchange>()
  private fiber: Fiber.Fiber<void> | undefined
  private wakeAt = Infinity
  /** Counts the fibers: only the last one goes on. */
  private turn = 0
  private readonly later = new Scheduler.MixedScheduler().makeDispatcher()
  private leaves = false
  /** The clock of those that are open. */
  clock: Clock.Clock | undefined

  constructor(idle: number) {
    this.idle = idle
  }

  add(self: Exchange): void {
    // A fiber that outlived the last one and is late says nothing about this one.
    const isLate = this.open.size === 0 && this.wakeAt <= self.start
    this.open.add(self)
    if (isLate || self.until < this.wakeAt) this.restart(self.clock)
  }

  delete(self: Exchange): void {
    this.open.delete(self)
    if (this.open.size > 0 || this.leaves) return
    this.leaves = true
    this.later.scheduleTask(this.leave, 0)
  }

  private readonly leave = (): void => {
    this.leaves = false
    if (this.open.size === 0) this.restart(undefined)
  }

  private restart(clock: Clock.Clock | undefined): void {
    this.fiber?.interruptUnsafe()
    this.fiber = undefined
    this.clock = clock
    this.wakeAt = Infinity
    const turn = ++this.turn
    if (clock === undefined) return
    const fiber = Effect.runForkWith(Context.make(Clock.Clock, clock))(this.run(clock, turn))
    // Whoever was waiting goes on at once, and may have begun the next exchange.
    if (turn === this.turn) this.fiber = fiber
  }

  private readonly run = Effect.fnUntraced(function*(this: Watch, clock: Clock.Clock, turn: number) {
    while (turn === this.turn) {
      const now = elapsed(clock)
      let next = now + this.idle
      const due: Array<Exchange> = []
      for (const self of this.open) {
        const { bounds, deadline, start, until } = self
        if (now >= until) due.push(self)
        for (const at of [until, deadline, start + bounds.call]) if (at > now && at < next) next = at
      }
      this.wakeAt = next
      for (const self of due) self.expire?.(Failures.expired(self))
      if (turn !== this.turn) return
      yield* Effect.sleep(Math.max(1, Math.ceil(next - now)))
      const lateMillis = elapsed(clock) - next
      if (lateMillis <= maxLateMillis) continue
      for (const self of this.open) awake(self, lateMillis)
      // What arrived meanwhile is read first.
      yield* Effect.sleep(1)
    }
  })
}

/** Makes the request. */
export type Make = (self: Exchange) => Wire | Promise<Wire>

type Resume<A> = (result: Effect.Effect<A, ApiError>) => void

/** Sends the request; `onHead` runs as soon as the head of an answer is there, unless the time for it expired. */
export const begin = <A>(self: Exchange, make: Make, resume: Resume<A>, onHead: (response: Response) => void): void => {
  if (self.start >= self.until) return resume(Failures.expired(self))
  self.expire = resume
  const refused = (response: Response, said: string): void =>
    resume(Effect.failSync(() => ApiErrors.fromResponse(response.status, response.headers, said, Failures.sent(self))))
  const answered = (response: Response): void => {
    hear(self, response.headers)
    if (response.ok) return onHead(response)
    if (response.body === null) return refused(response, "")
    textOf(response.body.getReader()).then((said) => refused(response, said), () => refused(response, ""))
  }
  const unmade = (cause: unknown): void => {
    self.isUnsent = true
    resume(Effect.failSync(() => ApiErrors.unmade(cause, Failures.sent(self))))
  }
  const send = (wire: Wire): void => {
    self.bounds.send(wire, self).then(answered).catch((cause) =>
      resume(Effect.failSync(() => ApiErrors.fromFetch(cause, Failures.sent(self))))
    )
  }
  // Inside a promise, where what is thrown is a rejection too.
  Promise.resolve(self).then(make).then(send, unmade)
}

/** Keeps what the headers of the response say. */
const hear = (self: Exchange, headers: Headers): void => {
  self.headers = headers
  const requestId = headers.get("request-id")
  self.requestId = requestId === null || harmlessName.test(requestId)
    ? requestId ?? undefined
    : Failures.named(self, requestId)
  self.limits = ResponseHeaders.limits(headers)
}

/** A request that is answered by one JSON value: how it is made, what its answer looks like, and what that used. */
export interface Plain<A extends object> {
  readonly request: Exchange["request"]
  readonly make: Make
  readonly is: (body: object) => body is A
  readonly used: (body: A) => Used
}

/**
 * Sends a request and decodes the whole body of its response. The API had finished when the head came, so an answer that
 * is lost after that was billed.
 */
export const plain = <A extends object>(
  attempt: Attempt,
  bounds: Bounds,
  { is, make, request, used }: Plain<A>
): Effect.Effect<A, ApiError> =>
  Effect.acquireUseRelease(
    open(attempt, request, bounds),
    (self) => {
      attempt.sentAt = self.began
      attempt.outcome = Outcome.Aborted({ usage: Usage.zero })
      return Effect.callback((resume) => {
        const utf8 = new TextDecoder()
        let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
        let type = ""
        let text = ""
        let bytes = 0
        // What came before the connection broke, or before the time was up, may be the whole answer.
        const endedBy = (failure: () => Effect.Effect<never, ApiError>) => {
          const whole = Misread.whole(text + utf8.decode())
          resume(Option.isSome(whole) ? decoded(self, whole, text, type, is) : Effect.suspend(failure))
        }
        const expire = (failure: Effect.Effect<never, ApiError>) => endedBy(() => failure)
        const lost = (cause: unknown) => endedBy(() => Effect.fail(Failures.truncated(self, "yes", cause)))
        const onChunk = (chunk: ReadableStreamReadResult<Uint8Array>): void => {
          if (chunk.done) {
            text += utf8.decode()
            return resume(decoded(self, parsed(text), text, type, is))
          }
          // A `fetch` of one's own may give anything: what has no length is no answer.
          bytes += chunk.value?.byteLength ?? NaN
          if (!(bytes <= bounds.maxBytes)) return resume(Effect.fail(Failures.malformed(self, "yes")))
          text += utf8.decode(chunk.value, { stream: true })
          readMore()
        }
        const readMore = (): void => {
          if (reader === undefined) return resume(decoded(self, Option.none(), "", type, is))
          const now = elapsed(self.clock)
          setLimit(self, "idle", now + bounds.idle, true)
          if (now >= self.until) return endedBy(() => Failures.expired(self))
          reader.read().then(onChunk).catch(lost)
        }
        begin(self, make, resume, (response) => {
          self.billed = "yes"
          self.expire = expire
          reader = response.body?.getReader()
          type = response.headers.get("content-type") ?? ""
          readMore()
        })
      })
    },
    (self, exit) => {
      if (Exit.isSuccess(exit)) completed(self, used(exit.value))
      else failed(self, unused, exit.cause)
      close(self, Exit.isSuccess(exit))
      return Effect.void
    }
  )

/** What we read of a message. Its usage may be missing. */
export const isMessage = (body: object): body is Message =>
  "content" in body && Array.isArray(body.content) && body.content.every(Predicate.isObject) &&
  (("type" in body && body.type === "message") || ("role" in body && body.role === "assistant"))

const parsed: (text: string) => Option.Option<unknown> = Option.liftThrowable(JSON.parse)

/** What one JSON value is: an answer, or the error that came as one. */
export const decoded = <A extends object>(
  self: Exchange,
  body: Option.Option<unknown>,
  text: string,
  type: string,
  is: (body: object) => body is A
): Effect.Effect<A, ApiError> => {
  if (Option.isNone(body)) {
    const whole = Misread.whole(text)
    if (Option.isSome(whole)) return decoded(self, whole, text, type, is)
    if (isPageType(type) || looksLikePage(text)) return Effect.fail(Failures.page(self))
    const isCut = /^application\/json\b/.test(type) || Misread.isCut(text)
    return Effect.fail(isCut ? Failures.truncated(self, "yes") : Failures.malformed(self))
  }
  const { value } = body
  if (Array.isArray(value)) return decoded(self, Option.some(value[0]), text, type, is)
  if (!Predicate.isObject(value)) return Effect.fail(Failures.malformed(self))
  if (is(value) && (!("error" in value) || !saysError(value))) return Effect.succeed(value)
  const cleaned = Misread.cleaned(value)
  if (is(cleaned) && !saysError(value)) return Effect.succeed(cleaned)
  return Effect.fail(isErrorBody(value, self.headers) ? Failures.refused(self, value) : Failures.other(self, value))
}

/** Records that the whole answer arrived. */
export const completed = (self: Exchange, { isEstimated, model, refusal, stopReason, usage }: Used): void => {
  self.attempt.outcome = Outcome.Completed({
    usage: usage.others === undefined ? usage : Failures.harmless(self, usage),
    model: model === self.attempt.model ? model : Failures.named(self, model),
    stopReason: stopReason === "end_turn" ? stopReason : Failures.named(self, stopReason),
    limits: self.limits,
    requestId: self.requestId,
    ...(refusal === undefined ? undefined : { refusal }),
    ...(isEstimated === true ? { isEstimated } : undefined)
  })
}

/** Records a failure; after an interruption the outcome stays as it was. */
export const failed = (self: Exchange, used: Used, cause: Cause.Cause<ApiError | Cause.Done>): void => {
  for (const reason of cause.reasons) {
    if (reason._tag !== "Fail") continue
    if (self.isUnsent) {
      self.attempt.sentAt = undefined
      self.attempt.outcome = Outcome.NotSent()
    } else if (isApiError(reason.error)) {
      const { hasHiddenOutput, model, usage } = used
      self.attempt.outcome = Outcome.Failed({
        usage: Failures.harmless(self, usage),
        error: reason.error,
        limits: self.limits,
        model: Failures.named(self, model),
        ...(hasHiddenOutput === true ? { hasHiddenOutput } : undefined)
      })
    }
    return
  }
}
