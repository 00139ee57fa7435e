/**
 * How calls begin, and whole ones run: their attempts, each under its policies. At the end of a service, attempts that still run are settled before their
 * policies end, and later ones are a defect.
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Attempt from "../../Attempt.ts"
import type { Settle } from "../../Attempt.ts"
import { bounded, type CallContext } from "../../CallContext.ts"
import type { ClaudeApi } from "../../ClaudeApi.ts"
import type { ApiError, CallError, InputRejectedError, Refusal } from "../../ClaudeError.ts"
import * as CostOptimizer from "../../CostOptimizer.ts"
import * as Estimate from "../../Estimate.ts"
import type { Course, Fallback } from "../../Fallback.ts"
import * as InputSanitizer from "../../InputSanitizer.ts"
import type { KeyPool } from "../../KeyPool.ts"
import * as Model from "../../Model.ts"
import type * as Monitor from "../../Monitor.ts"
import type { PriceBook } from "../../PriceBook.ts"
import type { Request } from "../../Request.ts"
import type { Changed, Progress, RetryPolicy } from "../../RetryPolicy.ts"
import * as Deprecation from "./deprecation.ts"
import { previousOf } from "./previous.ts"
import { type CallReport, type MessageCall, reportOf } from "./reports.ts"

/** What calls stand on. */
export interface Parts {
  readonly book: PriceBook["Service"]
  readonly perAttempt: Attempt.Policy<Refusal>
  readonly api: Pick<ClaudeApi["Service"], "send">
  readonly retries: RetryPolicy["Service"]
  readonly mayMove: KeyPool["Service"]["mayMove"]
  readonly changed: Changed
  readonly monitor: Pick<Monitor.Monitor["Service"], "call">
  readonly kinds: Attempt.CallKinds
  readonly fallback: Fallback["Service"]
}

/** Makes the calls of a service that are answered as a whole. */
export const make = Effect.fnUntraced(function*(parts: Parts) {
  const { api, book, changed, fallback, kinds, mayMove, monitor, perAttempt, retries } = parts
  const { lookup } = yield* Model.Catalogue
  const { begin, beginMessage, sanitize, start } = yield* beginnings(kinds, fallback)

  /** Runs the attempts of a call, each under its policies. */
  const run = <T extends Attempt.Attempt, A>(
    call: Monitor.Call,
    base: Omit<T, "number">,
    send: (attempt: T, progress: Progress) => Effect.Effect<A, ApiError>,
    course?: Course
  ): Effect.Effect<A, CallError> => {
    let last: T | undefined
    return retries.retry(
      (progress) => {
        const { moves, number } = progress
        const now = course?.base ?? base
        const previous = last && previousOf(last, now.model)
        const attempt = last = { ...now, number, moves, previous } as T // `now` has the rest
        return call.attempt(attempt, Attempt.guard(perAttempt, attempt, Effect.suspend(() => send(attempt, progress))))
      },
      (error) => mayMove(last, error),
      call,
      changed,
      course
    )
  }

  const create = (request: Request): Effect.Effect<Message, CallError> =>
    Effect.flatMap(
      bounded,
      (context) =>
        monitor.call(start("chat", request.model, context, request), (call) =>
          Effect.flatMap(
            beginMessage(request, context, call, false),
            ({ base, course }) => run(call, base, api.send, course)
          ))
    )

  const createWithReport = (request: Request): Effect.Effect<CallReport, CallError> =>
    Effect.flatMap(
      bounded,
      (context) =>
        monitor.call(start("chat", request.model, context, request), (recorder) =>
          Effect.flatMap(beginMessage(request, context, recorder, false), (call) => {
            let last: readonly [Attempt.MessageAttempt, Progress]
            const sent = run(recorder, call.base, (attempt: Attempt.MessageAttempt, progress) => {
              last = [attempt, progress]
              return api.send(attempt)
            }, call.course)
            return Effect.zipWith(sent, Clock.currentTimeMillis, (message, now) => ({
              ...reportOf(book, call, ...last, now),
              message
            }))
          }))
    )

  /** A call that costs nothing. */
  const ask = <A>(
    operation: Exclude<Monitor.Operation, "chat">,
    model: string,
    begun: Effect.Effect<(attempt: Attempt.Attempt) => Effect.Effect<A, ApiError>, InputRejectedError>
  ): Effect.Effect<A, CallError> =>
    Effect.flatMap(
      bounded,
      (context) =>
        monitor.call(start(operation, model, context), (call) =>
          Effect.flatMap(begun, (send) => {
            const endpoint = operation === "count_tokens" ? "countTokens" : "models"
            return run<Attempt.Attempt, A>(call, { ...begin(call, model, context, lookup(model)), endpoint }, send)
          }))
    )

  return { ask, begin: beginMessage, create, createWithReport, sanitize, start }
})

/** How calls begin: what all attempts of one share. */
const beginnings = Effect.fnUntraced(function*(kinds: Attempt.CallKinds, fallback: Fallback["Service"]) {
  const sanitizer = yield* InputSanitizer.InputSanitizer
  const optimizer = yield* CostOptimizer.CostOptimizer
  const run = (yield* Random.nextIntBetween(0, 36 ** 10)).toString(36).padStart(10, "0")
  const warned = new Set<string>()
  let calls = 0

  const start = (
    operation: Monitor.Operation,
    model: string,
    context: CallContext,
    request?: Request,
    stream = false
  ): Monitor.Start => ({
    callId: `call-${run}-${(++calls).toString(36)}`,
    operation,
    stream,
    model,
    context,
    request
  })

  const begin = (
    { callId }: Monitor.Call,
    model: string,
    context: CallContext,
    facts: Model.Model
  ): Omit<Attempt.Common, "number"> => ({
    callId,
    model,
    facts,
    context,
    key: undefined,
    outcome: Attempt.Outcome.NotSent()
  })

  const beginMessage = (
    given: Request,
    context: CallContext,
    call: Monitor.Call,
    stream: boolean
  ): Effect.Effect<MessageCall, InputRejectedError> =>
    Effect.clockWith((clock) => {
      const began = clock.currentTimeMillisUnsafe()
      const { requestType } = context
      const begun = (
        asked: Request,
        { advice, changes, request }: CostOptimizer.Optimized
      ): Effect.Effect<MessageCall> => {
        const kind = kinds.of(request.model, requestType)
        const { facts } = kind
        const base: MessageCall["base"] = {
          ...begin(call, request.model, context, facts),
          endpoint: "messages",
          request,
          estimate: Estimate.make(request, facts, context.estimate),
          kind,
          isFast: request.speed === "fast" && Model.isFast(facts, request.speed),
          optimized: changes.length === 0 ? undefined : { askedModel: asked.model, changes }
        }
        const course = fallback.rules.length === 0 && context.fallback === undefined
          ? undefined
          : fallback.follow(base, (model) => kinds.of(model, requestType), (step) => call.fellBack(step))
        const begun = Effect.succeed({ base, advice, began, course })
        return (facts.deprecatedOn ?? facts.retiresOn) !== undefined && !warned.has(facts.id)
          ? Effect.andThen(Deprecation.warn(facts, warned), begun)
          : begun
      }
      const optimized = (asked: Request): Effect.Effect<MessageCall> => {
        if (optimizer === CostOptimizer.off) return begun(asked, { request: asked, changes: [], advice: [] })
        const lengths = (model: string) => kinds.of(model, requestType).lengths
        return Effect.flatMap(optimizer.optimize(asked, { stream, lengths }), (found) => begun(asked, found))
      }
      return sanitizer === InputSanitizer.off
        ? optimized(given)
        : Effect.flatMap(sanitizer.sanitize(given), optimized)
    })

  return { begin, beginMessage, sanitize: sanitizer.sanitize, start }
})

const ended = Effect.suspend(() =>
  Effect.die(
    new Error(
      "ClaudeService: a call was made after its layer had ended. Keep the layer alive as long as anything calls: provide it around the whole " +
        "program, and wait for background fibers before it ends."
    )
  )
)

/**
 * The policy until the scope closes. Then the attempts that it admitted are settled by what is known of them, which is `Aborted` for those that run, and
 * their number is logged.
 */
export const untilClosed = Effect.fnUntraced(function*<Own>(
  { admit }: Attempt.Policy<Own>
): Effect.fn.Return<Attempt.Policy<Own>, never, Scope.Scope> {
  const open = new Set<Settle>()
  let isEnded = false

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isEnded = true
      const left = [...open]
      if (left.length === 0) return Effect.void
      return Effect.andThen(
        Effect.forEach(left, Effect.exit, { discard: true }),
        Effect.logWarning(
          `ClaudeService: ${left.length} attempts were still running when the layer ended. They were settled as aborted; what they cost is estimated.`
        )
      )
    })
  )

  return {
    admit: (attempt) =>
      Effect.flatMap(isEnded ? ended : admit(attempt), (settle) => {
        if (isEnded) return Effect.andThen(settle, ended)
        // Once: when its attempt ends, or when the service does.
        const once: Settle = Effect.suspend(() => open.delete(once) ? settle : Effect.void)
        open.add(once)
        return Effect.succeed(once)
      })
  }
})
