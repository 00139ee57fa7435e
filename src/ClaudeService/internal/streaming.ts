/** A stream that is held back until its first content, and carries what had arrived when it breaks later. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import * as Attempt from "../../Attempt.ts"
import {
  type ApiError,
  DeadlineExceededError,
  isApiError,
  type Refusal,
  type StreamError,
  StreamInterruptedError
} from "../../ClaudeError.ts"
import * as MessageStream from "../../MessageStream.ts"
import type { PriceBook } from "../../PriceBook.ts"
import * as Usage from "../../Usage.ts"

type Events = Arr.NonEmptyReadonlyArray<MessageStream.Event>

export type EventPull = Pull.Pull<Events, ApiError | Refusal>

/** An attempt whose stream has begun: what was read of it, and the rest. */
export interface Opened {
  readonly attempt: Attempt.MessageAttempt
  readonly first: ReadonlyArray<MessageStream.Event>
  readonly rest: EventPull
}

/** The most events that are held back while a stream has not shown any content. */
const maxHeldBack = 256

const shows = (event: MessageStream.Event): boolean => MessageStream.isContent(event) || event.type === "message_delta"

/** Pulls until there is something to show, or the message ended without any content. */
export const untilContent = (
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
export const afterContent = (
  book: PriceBook["Service"],
  { attempt, first, rest }: Opened
): Stream.Stream<MessageStream.Event, StreamError> => {
  const accumulator = MessageStream.accumulate()
  const noted = (events: Events): Events => {
    for (const event of events) accumulator.add(event)
    return events
  }
  const following = Effect.catch(
    Effect.map(rest, noted),
    (error): Effect.Effect<never, StreamError | Cause.Done> => {
      const partial = accumulator.message()
      if (Cause.isDone(error) || !isApiError(error) || partial === undefined) return Effect.fail(error)
      const cause = error._tag === "ConnectionError" && error.limit === "deadline"
        ? new DeadlineExceededError({ lastError: error, attempts: attempt.number })
        : error
      const usage = attempt.outcome._tag === "NotSent" ? Usage.zero : attempt.outcome.usage
      return Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.fail(
          new StreamInterruptedError({
            partial,
            usage,
            cause,
            costNanoUsd: Attempt.costOf(book, attempt, now)?.cost?.nanoUsd,
            attempts: attempt.number
          })
        ))
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
