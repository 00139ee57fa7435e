/** A stream that is held back until its first content, and carries what had arrived when it breaks later. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Attempt from "../../Attempt.ts"
import { bounded, type CallContext } from "../../CallContext.ts"
import type { ClaudeApi } from "../../ClaudeApi.ts"
import {
  type ApiError,
  DeadlineExceededError,
  type InputRejectedError,
  isApiError,
  type Refusal,
  type StreamError,
  StreamInterruptedError
} from "../../ClaudeError.ts"
import type { KeyPool } from "../../KeyPool.ts"
import * as MessageStream from "../../MessageStream.ts"
import type { Call, Monitor, Operation, Start } from "../../Monitor.ts"
import type { PriceBook } from "../../PriceBook.ts"
import type { Request } from "../../Request.ts"
import type { Changed, Progress, RetryPolicy } from "../../RetryPolicy.ts"
import * as Usage from "../../Usage.ts"
import type * as Hedging from "./hedging.ts"
import { previousOf } from "./previous.ts"
import { type MessageCall, reportOf, type StreamReport } from "./reports.ts"

type Events = Arr.NonEmptyReadonlyArray<MessageStream.Event>

type EventPull = Pull.Pull<Events, ApiError | Refusal>

/** An attempt whose stream has begun: what was read of it, and the rest. */
interface Opened {
  readonly attempt: Attempt.MessageAttempt
  readonly progress: Progress
  /** Settles it, and ends its request. */
  readonly close: Effect.Effect<void>
  readonly first: ReadonlyArray<MessageStream.Event>
  readonly rest: EventPull
}

/** The most events that are held back while a stream has not shown any content. */
const maxHeldBack = 256

const shows = (event: MessageStream.Event): boolean => MessageStream.isContent(event) || event.type === "message_delta"

/** Pulls until there is something to show, or the message ended without any content. */
const untilContent = (
  pull: EventPull
): Effect.Effect<ReadonlyArray<MessageStream.Event>, ApiError | Refusal> =>
  Effect.suspend(() => {
    let heldBack: ReadonlyArray<MessageStream.Event> = []
    const more: Effect.Effect<ReadonlyArray<MessageStream.Event>, ApiError | Refusal> = Pull.matchEffect(pull, {
      onSuccess: (events) => {
        heldBack = heldBack.length === 0 ? events : [...heldBack, ...events]
        return events.some(shows) || heldBack.length >= maxHeldBack ? Effect.succeed(heldBack) : more
      },
      onDone: () => Effect.succeed(heldBack),
      onFailure: Effect.failCause
    })
    return more
  })

/** Gives what was held back and then the rest; from here on a failure carries what had arrived. */
const afterContent = (
  book: PriceBook["Service"],
  { attempt, first, progress, rest }: Opened,
  call: Call,
  failed: (error: StreamError) => void
): Stream.Stream<MessageStream.Event, StreamError> => {
  // Dropped at the end, since Effect's channels keep what a stream refers to until a full garbage collection.
  let accumulator: MessageStream.Accumulator | undefined = MessageStream.accumulate()
  call.streaming(accumulator.message)
  const noted = (events: Events): Events => {
    for (const event of events) accumulator?.add(event)
    return events
  }
  const following = Effect.catch(
    Effect.map(rest, noted),
    (error): Effect.Effect<never, StreamError | Cause.Done> => {
      const message = accumulator?.message
      accumulator = undefined
      if (Cause.isDone(error)) return Effect.fail(error)
      // A number beyond all bounds came as JSON and has none: with it the error would cross no wire.
      const arrived = message?.()
      const partial = arrived && JSON.parse(JSON.stringify(arrived)) as Message
      if (!isApiError(error) || partial === undefined) {
        failed(error)
        return Effect.fail(error)
      }
      const cause = error._tag === "ConnectionError" && error.limit === "deadline"
        ? new DeadlineExceededError({ lastError: error, attempts: attempt.number, billed: error.billed })
        : error
      const usage = attempt.outcome._tag === "NotSent" ? Usage.zero : attempt.outcome.usage
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const costNanoUsd = Attempt.costOf(book, attempt, now)?.cost?.nanoUsd
        const { billed: billedBefore, lastError } = progress
        const { number: attempts } = attempt
        const before = { attempts, billedBefore, lastError }
        const interrupted = new StreamInterruptedError({ partial, usage, cause, costNanoUsd, ...before })
        failed(interrupted)
        return Effect.fail(interrupted)
      })
    }
  )
  let waiting = Arr.isReadonlyArrayNonEmpty(first) ? first : undefined
  return Stream.fromPull(Effect.succeed(Effect.suspend(() => {
    if (waiting === undefined) return following
    const events = waiting
    waiting = undefined
    return Effect.succeed(noted(events))
  })))
}

/** Before any attempt. */
const none: Progress = {
  number: 1,
  moves: 0,
  waitedMillis: [],
  billed: "no",
  lastError: undefined,
  beside: { sent: 0 }
}

interface Parts {
  readonly book: PriceBook["Service"]
  readonly perAttempt: Attempt.Policy<Refusal>
  readonly api: Pick<ClaudeApi["Service"], "stream">
  readonly retries: RetryPolicy["Service"]
  readonly mayMove: KeyPool["Service"]["mayMove"]
  readonly changed: Changed
  readonly monitor: Pick<Monitor["Service"], "callScoped">
  readonly start: (
    operation: Operation,
    model: string,
    context: CallContext,
    request: Request,
    stream: boolean
  ) => Start
  readonly begin: (
    request: Request,
    context: CallContext,
    call: Call,
    stream: boolean
  ) => Effect.Effect<MessageCall, InputRejectedError>
  readonly hedged: Hedging.Hedged
}

/** How far a stream got: to its first attempt, to its first content, or to a failure before that. */
type Phase = "waiting" | "open" | "failed"

const statuses = { completed: "success", failed: "error", aborted: "cancelled" } as const

const endOf = (phase: Phase, outcome: Attempt.Outcome): StreamReport["outcome"] =>
  outcome._tag === "Completed"
    ? "completed"
    : phase === "failed" || (phase === "open" && outcome._tag === "Failed")
    ? "failed"
    : "aborted"

/** Makes the streams of a service: each attempt under its policies, up to its first content retried transparently. */
export const make = ({ api, begin, book, changed, hedged, mayMove, monitor, perAttempt, retries, start }: Parts) => {
  /** Opens a stream up to its first content; a failure gives back all that its policies took. */
  const open = (
    call: Call,
    attempt: Attempt.MessageAttempt,
    progress: Progress,
    callScope: Scope.Scope
  ): Effect.Effect<Opened, ApiError | Refusal> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Scope.fork(callScope),
        (scope) =>
          call.attemptScoped(
            attempt,
            Stream.toPull(Attempt.guardStream(perAttempt, attempt, api.stream(attempt))).pipe(
              Effect.flatMap((rest) =>
                Effect.map(restore(untilContent(rest)), (first) => ({
                  attempt,
                  progress,
                  first,
                  rest,
                  close: Scope.close(scope, Exit.void)
                }))
              ),
              Effect.tap(() => Effect.map(Clock.currentTimeMillis, (now) => Attempt.contentArrived(attempt, now)))
            )
          ).pipe(
            Scope.provide(scope),
            Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
          )
      )
    )

  return <R = never>(
    request: Request,
    onEnd?: (report: StreamReport) => Effect.Effect<void, never, R>
  ): Stream.Stream<MessageStream.Event, StreamError, R> =>
    Stream.unwrap(
      Effect.flatMap(bounded, (context) =>
        monitor.callScoped(start("chat", request.model, context, request, true), (recorded) =>
          Effect.gen(function*() {
            const scope = yield* Effect.scope
            const call = yield* begin(request, context, recorded, true)
            const { course } = call
            let phase: Phase = "waiting"
            let last: readonly [Attempt.MessageAttempt, Progress] | undefined
            let failure: unknown
            const failed = (error: unknown): void => {
              failure = error
            }
            // Added before the attempts' own scopes, so that it runs when they have settled.
            yield* Effect.addFinalizer(() => {
              const [attempt, progress] = last ?? [{ ...call.base, number: 1 }, none]
              const outcome = endOf(phase, attempt.outcome)
              recorded.streamEnded(
                statuses[outcome],
                failure ?? (attempt.outcome._tag === "Failed" ? attempt.outcome.error : undefined)
              )
              return onEnd === undefined
                ? Effect.void
                : Effect.flatMap(Clock.currentTimeMillis, (now) =>
                  onEnd({ ...reportOf(book, call, attempt, progress, now), outcome }))
            })
            const opened = yield* Effect.onExit(
              retries.retry(
                (progress) => {
                  const { moves, number } = progress
                  const { base } = course ?? call
                  const previous = last && previousOf(last[0], base.model)
                  const attempt: Attempt.MessageAttempt = { ...base, number, moves, previous }
                  last = [attempt, progress]
                  const opened = hedged(attempt, progress, recorded, (one) =>
                    open(recorded, one, progress, scope))
                  return Effect.tap(opened, ({ attempt }) =>
                    Effect.map(Clock.currentTimeMillis, (now) => {
                      last = [attempt, progress]
                      recorded.contentArrived(now)
                    }))
                },
                (error) =>
                  mayMove(last?.[0], error),
                recorded,
                changed,
                course
              ),
              (exit) =>
                Effect.sync(() => {
                  if (Exit.isSuccess(exit)) {
                    phase = "open"
                  } else if (!Cause.hasInterruptsOnly(exit.cause)) {
                    phase = "failed"
                    failed(Cause.squash(exit.cause))
                  }
                })
            )
            return afterContent(book, opened, recorded, failed)
          })))
    )
}
