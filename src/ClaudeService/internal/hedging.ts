/** A second attempt for a stream whose first content is late: the first that shows content is the answer, and the other one is ended. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Attempt from "../../Attempt.ts"
import type { Budget } from "../../Budget.ts"
import type { CircuitBreaker } from "../../CircuitBreaker.ts"
import type { Hedge } from "../../Hedge.ts"
import type { Call } from "../../Monitor.ts"
import type { Progress } from "../../RetryPolicy.ts"

/** An attempt that shows content. */
interface Opened {
  readonly attempt: Attempt.MessageAttempt
  /** Ends it. */
  readonly close: Effect.Effect<void>
}

/** A budget that could not pay for so many more is nearly spent. */
const sparedCalls = 20

/** What second attempts stand on. */
export interface Parts {
  readonly hedge: Hedge["Service"]
  readonly breaker: Pick<CircuitBreaker["Service"], "state">
  readonly budget: Pick<Budget["Service"], "check">
}

/** Completes when so much time has passed since an attempt was sent. */
const late = Effect.fnUntraced(function*(attempt: Attempt.Attempt, millis: number) {
  while (true) {
    const { sentAt } = attempt
    const left = sentAt === undefined ? millis : sentAt + millis - (yield* Clock.currentTimeMillis)
    if (left <= 0) return
    yield* Effect.sleep(left)
  }
})

export const make = ({ breaker, budget, hedge }: Parts) => {
  /** What it takes for a second attempt; undefined where there must be none. */
  const taken = Effect.fnUntraced(function*(attempt: Attempt.MessageAttempt) {
    const { ceilingNanoUsd, facts } = attempt
    if ((yield* breaker.state(facts.group)).phase !== "closed") return undefined
    if (ceilingNanoUsd !== undefined) {
      const many = { ...attempt, ceilingNanoUsd: sparedCalls * ceilingNanoUsd }
      if (Exit.isFailure(yield* Effect.exit(budget.check(many)))) return undefined
    }
    return hedge.take(attempt, yield* Clock.currentTimeMillis)
  })

  /** Opens an attempt, and another one where it is late. */
  return <A extends Opened, E>(
    attempt: Attempt.MessageAttempt,
    { beside }: Progress,
    call: Call,
    open: (attempt: Attempt.MessageAttempt) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      if (!hedge.isOn || !hedge.isFor(attempt)) return open(attempt)
      Attempt.onContent(attempt, (now) => hedge.learn(attempt, now - (attempt.sentAt ?? now)))
      const millis = hedge.lateAfter(attempt)
      if (millis === undefined) return open(attempt)

      const opened: Array<A> = []
      const over = Deferred.makeUnsafe<void>()
      let failed: Exit.Exit<A, E> | undefined
      const noted = (one: A) =>
        Effect.sync(() => {
          if (attempt.race !== undefined) attempt.race.won ??= one.attempt.number
          opened.push(one)
        })

      const first = Effect.onExit(Effect.tap(open(attempt), noted), (exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) failed = exit
          Deferred.doneUnsafe(over, Effect.void)
        }))

      const second = Effect.gen(function*() {
        const isLate = yield* Effect.raceFirst(
          Effect.as(Deferred.await(over), false),
          Effect.as(late(attempt, millis), true)
        )
        const takenNanoUsd = isLate ? yield* taken(attempt) : undefined
        // Where there is no second one, the first decides alone.
        if (takenNanoUsd === undefined) return yield* Effect.interrupt
        const race: Attempt.Race = { first: attempt.number, won: undefined, takenNanoUsd }
        attempt.race = race
        beside.sent++
        const { callId, context, endpoint, estimate, facts, isFast, kind, model, number, optimized, request } = attempt
        const again: Attempt.MessageAttempt = {
          callId,
          context,
          endpoint,
          estimate,
          facts,
          isFast,
          kind,
          model,
          optimized,
          request,
          race,
          fallbacks: attempt.fallbacks,
          number: number + 1,
          key: undefined,
          otherThan: attempt.key?.group,
          // It waits for nothing: then it would be late itself.
          waitUntil: yield* Clock.currentTimeMillis,
          outcome: Attempt.Outcome.NotSent()
        }
        call.hedged(again, millis)
        return yield* Effect.onExit(Effect.tap(open(again), noted), () =>
          Effect.sync(() => {
            if (again.outcome._tag !== "NotSent") return
            beside.sent--
            attempt.race = undefined
          }))
      })

      return Effect.race(first, second).pipe(
        Effect.catchCause((cause) => failed ?? Effect.failCause(cause)),
        Effect.tap((winner) => {
          if (attempt.race === undefined) return Effect.void
          if (winner.attempt !== attempt) hedge.learn(attempt, Infinity)
          call.won(winner.attempt)
          return Effect.forEach(opened.filter((one) => one !== winner), ({ close }) => close, { discard: true })
        })
      )
    })
}

/** Opens an attempt, and another one where it is late. */
export type Hedged = ReturnType<typeof make>
