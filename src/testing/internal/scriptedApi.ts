/** The port over a script: it gives the scripted answers, records the calls, and writes outcomes as the real port does. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { type Attempt, type MessageAttempt, Outcome } from "../../Attempt.ts"
import type { CallContext } from "../../CallContext.ts"
import { BadRequestError, type CallError, ConnectionError, isApiError } from "../../ClaudeError.ts"
import { refusalOfMessage } from "../../internal/modelRefusal.ts"
import * as Model from "../../Model.ts"
import type { CountTokensRequest, Request } from "../../Request.ts"
import * as Usage from "../../Usage.ts"
import * as Scripted from "./scriptedReply.ts"

/**
 * The answer to one call.
 *
 * - A text, a block, or a `Reply` is a message, for whole answers and for streams.
 * - An effect runs for its answer: where it fails, the call fails; `Effect.delay` delays the answer.
 * - A function computes the answer from the request.
 *
 * @category models
 * @since 0.1.0
 */
export type Answer<E = CallError> =
  | string
  | Scripted.Block
  | Scripted.Reply
  | Effect.Effect<string | Scripted.Block | Scripted.Reply, E>
  | ((request: Request, context: CallContext) => Answer<E>)

/**
 * An answer that repeats forever; made by `ClaudeTest.forever`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Forever<out A = Answer> {
  readonly forever: A
}

/**
 * A call as it arrived; with `layerApi`, one attempt. `attempt` is what policies see; its `outcome` says how it ended.
 *
 * @category models
 * @since 0.1.0
 */
export type Call =
  & { readonly context: CallContext; readonly attempt: Attempt }
  & (
    | { readonly method: "create" | "stream"; readonly request: Request }
    | { readonly method: "countTokens"; readonly request: CountTokensRequest }
    | { readonly method: "model"; readonly request: string }
    | { readonly method: "models"; readonly request: undefined }
  )

/** Sets the number of the attempt that an error ended, unless the script names a later one. */
const counted = <E>(error: E, { number }: Attempt): E => {
  if (!isApiError(error) || error.attempts >= number) return error
  // Whichever of the five it is, it is made again from its own fields.
  const Same = error.constructor as new(fields: object) => typeof error
  return new Same({ ...error, attempts: number })
}

/** Ends with the deadline of the caller, as every wait in the port does. */
const inTime = <A, E>(effect: Effect.Effect<A, E>, { context }: Attempt): Effect.Effect<A, E | ConnectionError> => {
  const { deadline } = context
  if (deadline === undefined) return effect
  return Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.timeoutOrElse(effect, {
      duration: Math.max(0, deadline - now),
      orElse: () => Effect.fail(new ConnectionError({ reason: "timeout", limit: "deadline", billed: "unknown" }))
    }))
}

const pause = (millis: number, attempt: Attempt): Effect.Effect<void, ConnectionError> =>
  millis === 0 ? Effect.void : inTime(Effect.sleep(millis), attempt)

const completed = (usage: Usage.Usage, rendered?: Scripted.Rendered): Outcome => {
  const refusal = rendered === undefined ? undefined : refusalOfMessage(rendered.message)
  return Outcome.Completed({
    usage,
    limits: undefined,
    model: rendered?.message.model,
    requestId: rendered?.requestId,
    stopReason: rendered?.message.stop_reason ?? undefined,
    ...(refusal === undefined ? undefined : { refusal })
  })
}

/** Records a failure. An error that does not come from the API is the refusal of a policy, and then nothing was sent. */
const failed = (attempt: Attempt, error: unknown) =>
  Effect.sync(() => {
    const usage = attempt.outcome._tag === "NotSent" ? Usage.zero : attempt.outcome.usage
    attempt.outcome = isApiError(error) ? Outcome.Failed({ usage, error, limits: undefined }) : Outcome.NotSent()
  })

/** The port over a script, and what it records. `E` is what the script can fail with. */
export const make = <E>(script: ReadonlyArray<Answer<E> | Forever<Answer<E>>>) => {
  const calls: Array<Call> = []
  let position = 0

  const answerTo = (method: string, request: Request, { context, number }: Attempt) => {
    const next = script[position]
    if (next === undefined) {
      const last = JSON.stringify(request.messages.at(-1)?.content)?.slice(0, 200)
      return Effect.die(
        new Error(
          `ClaudeTest has no answer for call ${calls.length} (${method}, attempt ${number}, model ${request.model}, ` +
            `last message ${last}): the script has ${script.length}. Add one, or end it with ClaudeTest.forever.`
        )
      )
    }
    const repeats = Predicate.hasProperty(next, "forever")
    if (!repeats) position++
    let answer = repeats ? next.forever : next
    while (typeof answer === "function") answer = answer(request, context)
    return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
  }

  const begin = (method: "create" | "stream", attempt: MessageAttempt) =>
    Clock.clockWith((clock) => {
      const { context, request } = attempt
      const number = calls.push({ method, request, context, attempt })
      attempt.sentAt = clock.currentTimeMillisUnsafe()
      attempt.outcome = Outcome.Aborted({ usage: Usage.zero })
      return Effect.map(
        inTime(answerTo(method, request, attempt), attempt),
        (answer) => Scripted.render(answer, request, number)
      )
    })

  /** Calls that need no script. */
  const free = <A, E>(call: Call, answer: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      calls.push(call)
      return answer.pipe(
        Effect.tap(() => Effect.sync(() => (call.attempt.outcome = completed(Usage.zero)))),
        Effect.tapError((error) => failed(call.attempt, error))
      )
    })

  const port = {
    baseUrl: "http://claude.test",
    send: (attempt: MessageAttempt) =>
      begin("create", attempt).pipe(
        Effect.tap(({ steps }) => pause(steps.reduce((sum, { millis }) => sum + millis, 0), attempt)),
        Effect.flatMap((rendered) => {
          const { error, message } = rendered
          if (error !== undefined) return Effect.fail(error)
          attempt.outcome = completed(Usage.fromReported(message.usage), rendered)
          return Effect.succeed(message)
        }),
        Effect.mapError((error) => counted(error, attempt)),
        Effect.tapError((error) => failed(attempt, error))
      ),
    stream: (attempt: MessageAttempt) =>
      Stream.unwrap(Effect.map(begin("stream", attempt), (rendered) => {
        const usage = Usage.fromReported(rendered.message.usage)
        return Stream.fromIterable(rendered.steps).pipe(
          Stream.mapEffect(({ event, millis, outputTokens }) =>
            Effect.map(pause(millis, attempt), () => {
              attempt.outcome = event.type === "message_stop"
                ? completed(usage, rendered)
                : Outcome.Aborted({ usage: { ...usage, outputTokens } })
              return event
            })
          ),
          Stream.concat(rendered.error === undefined ? Stream.empty : Stream.fail(rendered.error))
        )
      })).pipe(
        Stream.mapError((error) => counted(error, attempt)),
        Stream.tapError((error) => failed(attempt, error))
      ),
    countTokens: (attempt: Attempt, params: CountTokensRequest) =>
      free(
        { method: "countTokens", request: params, context: attempt.context, attempt },
        Effect.sync(() => ({ input_tokens: Scripted.inputTokens(params) }))
      ),
    models: (attempt: Attempt) =>
      free({ method: "models", request: undefined, context: attempt.context, attempt }, Effect.sync(Scripted.models)),
    model: (attempt: Attempt, id: string) =>
      free(
        { method: "model", request: id, context: attempt.context, attempt },
        Effect.suspend(() => {
          const model = Scripted.models().find((model) => model.id === Model.find(id)?.id)
          return model === undefined
            ? Effect.fail(new BadRequestError({ status: 404, errorType: "not_found_error", detail: `model: ${id}` }))
            : Effect.succeed(model)
        })
      )
  }
  const recorded = {
    calls: Effect.sync(() => [...calls]),
    unused: Effect.sync(() => script.slice(position).filter((next) => !Predicate.hasProperty(next, "forever")).length)
  }
  return { port, recorded }
}
