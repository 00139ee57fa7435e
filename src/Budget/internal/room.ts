/** Callers that wait until settlements of calls in flight make room for them, each account in the order of arrival. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { Client } from "./client.ts"
import type { Decision, Reserve } from "./data.ts"
import { isFinal } from "./refusals.ts"

/** How often room is looked for that other processes made. */
const lookMillis = 500

interface Waiting {
  readonly ask: Reserve
  readonly answered: Deferred.Deferred<void>
  /** The account without room. */
  key: string
  decision: Decision | undefined
}

/**
 * The client, patient: `reserve` waits at most `waitMillis` for what is reserved to be settled, where that can make room. A refusal while it waits is
 * no event.
 */
export const make = Effect.fnUntraced(function*(
  client: Client,
  waitMillis: number
): Effect.fn.Return<Client, never, Scope.Scope> {
  const run = yield* FiberSet.makeRuntime<never>()
  const waiting = new Set<Waiting>()
  const news = yield* Latch.make()
  let isLooking = false

  const giveBack = (decision: Decision | undefined): Effect.Effect<void> =>
    decision?._tag === "Reserved" ? client.settle(decision.settlement) : Effect.void

  /** Asks for all that wait, in order; nobody passes one who waits for the same account. */
  const look = Effect.gen(function*() {
    const full = new Set<string>()
    for (const self of waiting) {
      if (self.ask.accounts.some(({ key }) => full.has(key))) continue
      const decision = yield* client.reserve(self.ask, Infinity)
      if (decision?._tag === "Refused" && !isFinal(decision, self.ask.nanoUsd)) {
        self.key = decision.account.key
        full.add(self.key)
      } else if (waiting.delete(self)) {
        self.decision = decision
        Deferred.doneUnsafe(self.answered, Effect.void)
      } else yield* giveBack(decision) // its caller went away meanwhile
    }
  })

  const keepLooking: Effect.Effect<void> = Effect.suspend(() => {
    isLooking = waiting.size > 0
    if (!isLooking) return Effect.void
    news.closeUnsafe()
    return Effect.andThen(
      look,
      Effect.suspend(() =>
        waiting.size === 0
          ? keepLooking
          : Effect.andThen(Effect.race(news.await, Effect.sleep(lookMillis)), keepLooking)
      )
    )
  })

  const waits = (ask: Reserve): string | undefined => {
    for (const { key } of waiting) if (ask.accounts.some((account) => account.key === key)) return key
    return undefined
  }

  /** Undefined where nothing made room. */
  const wait = (ask: Reserve, key: string, millis: number): Effect.Effect<Waiting | undefined> => {
    const self: Waiting = { ask, key, answered: Deferred.makeUnsafe(), decision: undefined }
    waiting.add(self)
    if (!isLooking) {
      isLooking = true
      run(keepLooking)
    }
    return Effect.interruptible(Effect.timeoutOption(Deferred.await(self.answered), millis)).pipe(
      Effect.onInterrupt(() => waiting.delete(self) ? Effect.void : giveBack(self.decision)),
      Effect.map(() => waiting.delete(self) ? undefined : self)
    )
  }

  return {
    ...client,
    reserve: Effect.fnUntraced(function*(ask, boundMillis) {
      const patient = { ...ask, isPatient: true }
      const end = (yield* Clock.currentTimeMillis) + Math.min(waitMillis, boundMillis)
      let key = waits(ask)
      if (key === undefined) {
        const decision = yield* client.reserve(patient, boundMillis)
        if (decision?._tag !== "Refused") return decision
        if (!isFinal(decision, ask.nanoUsd)) key = decision.account.key
      }
      const left = end - (yield* Clock.currentTimeMillis)
      if (key !== undefined && left > 0) {
        const answered = yield* wait(patient, key, left)
        if (answered !== undefined && answered.decision?._tag !== "Refused") return answered.decision
      }
      // Nothing made room: now it is refused, and told.
      return yield* client.reserve(ask, Math.max(1, boundMillis))
    }),
    settle: (settlement) => Effect.tap(client.settle(settlement), () => Effect.sync(() => news.openUnsafe()))
  }
})
