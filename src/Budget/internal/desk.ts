/**
 * How a process asks a store of budgets.
 *
 * A store in this process answers at once. One across a network is asked for all that came up while it was busy, in one step; a caller waits for
 * it no longer than a bound, and what it settles is told in the background, once and in any case: while the store does not answer, settlements
 * are kept.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type Batch, type Done, holdsOf, type Reply, type Reserve, type Settle } from "./account.ts"

/** The store, as far as a desk needs it. */
export interface Counter {
  readonly isLocal: boolean
  readonly step: (batch: Batch) => Effect.Effect<Done, unknown>
}

/**
 * `reserve` answers with nothing where the store does not answer within `boundMillis`, and its own bound. An interruption of it gives back what was
 * reserved.
 */
export interface Desk {
  readonly reserve: (ask: Reserve, boundMillis: number) => Effect.Effect<Reply | undefined>
  readonly settle: (settle: Settle) => Effect.Effect<void>
}

/**
 * - `timeoutMillis`: the longest that a caller waits.
 * - `maxSettles`: how many settlements are kept while the store does not answer.
 */
export interface Bounds {
  readonly timeoutMillis: number
  readonly maxSettles: number
}

/** The most that one step holds of settlements, and of reservations. */
const maxBatch = 256

/** The longest time without the store before it is tried again, in milliseconds. */
const maxLostMillis = 10_000

interface Asking {
  readonly ask: Reserve
  readonly answered: Deferred.Deferred<void>
  reply: Reply | undefined
  /** Nobody waits any more. */
  gone: boolean
}

const local = (store: Counter, told: (done: Done) => Effect.Effect<void>): Desk => {
  const step = (settles: ReadonlyArray<Settle>, reserves: ReadonlyArray<Reserve>) =>
    Effect.orDie(store.step({ owner: "", number: 0, settles, reserves }))
  return {
    reserve: (ask) => Effect.flatMap(step([], [ask]), (done) => Effect.as(told(done), done.replies[0])),
    settle: (settle) => Effect.flatMap(step([settle], []), told)
  }
}

const remote = Effect.fnUntraced(function*(
  store: Counter,
  owner: string,
  bounds: Bounds,
  told: (done: Done) => Effect.Effect<void>
): Effect.fn.Return<Desk, never, Scope.Scope> {
  const run = yield* FiberSet.makeRuntime<never>()
  let asking: Array<Asking> = []
  let settles: Array<Settle> = []
  /** Settlements that were sent and may or may not have been made. */
  let unsure: Pick<Batch, "number" | "settles"> | undefined
  let number = 0
  let lostMillis = 0
  let tryAt = 0
  let dropped = 0
  let loop: Fiber.Fiber<void> | undefined

  const lose = (now: number, cause: Cause.Cause<unknown>): Effect.Effect<void> => {
    const first = lostMillis === 0
    lostMillis = Math.min(maxLostMillis, Math.max(1_000, lostMillis * 2))
    tryAt = now + lostMillis
    return first
      ? Effect.logWarning("Budget: its store does not answer. Until it does, calls under a budget are refused.", cause)
      : Effect.void
  }

  const regain = (): Effect.Effect<void> => {
    if (lostMillis === 0) return Effect.void
    lostMillis = 0
    const lost = dropped === 0 ? "" : ` ${dropped} settlements were dropped meanwhile: what they cost is missing.`
    dropped = 0
    return Effect.logInfo(`Budget: its store answers again.${lost}`)
  }

  const drop = (): void => {
    if (settles.length <= bounds.maxSettles) return
    settles.shift()
    dropped++
  }

  const giveBack = ({ ask, reply }: Asking): void => {
    if (reply?._tag !== "Reserved") return
    settles.push({ lease: ask.lease, heldNanoUsd: ask.nanoUsd, spentNanoUsd: 0, holds: holdsOf(ask, reply) })
    drop()
  }

  const isLeft = () => asking.length > 0 || settles.length > 0 || unsure !== undefined

  const turn: Effect.Effect<void> = Clock.clockWith((clock) => {
    const now = clock.currentTimeMillisUnsafe()
    if (now < tryAt && lostMillis > 0) return Effect.sleep(tryAt - now)
    const asked = asking.slice(0, maxBatch).filter(({ gone }) => !gone)
    asking = asking.slice(maxBatch)
    const sent = unsure ?? { number: ++number, settles: settles.slice(0, maxBatch) }
    if (unsure === undefined) settles = settles.slice(maxBatch)
    if (asked.length === 0 && sent.settles.length === 0) return Effect.void
    if (sent.settles.length > 0) unsure = sent
    const step = Effect.suspend(() => store.step({ owner, ...sent, reserves: asked.map(({ ask }) => ask) }))
    return Effect.matchCauseEffect(Effect.timeout(step, bounds.timeoutMillis), {
      onFailure: (cause) => {
        for (const { answered } of asked) Deferred.doneUnsafe(answered, Effect.void)
        return lose(clock.currentTimeMillisUnsafe(), cause)
      },
      onSuccess: (done) => {
        unsure = undefined
        asked.forEach((self, index) => {
          self.reply = done.replies[index]
          if (self.gone) giveBack(self)
          Deferred.doneUnsafe(self.answered, Effect.void)
        })
        return Effect.andThen(regain(), told(done))
      }
    })
  })

  const work: Effect.Effect<void> = Effect.suspend(() => {
    // Whoever asks in this turn of the event loop goes along.
    if (isLeft()) return Effect.flatMap(Effect.exit(Effect.andThen(Effect.yieldNow, turn)), () => work)
    loop = undefined
    return Effect.void
  })

  const wake = (): void => {
    if (loop !== undefined) return
    const fiber = run(work)
    if (fiber.pollUnsafe() === undefined) loop = fiber
  }

  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      wake()
      if (loop !== undefined) yield* Effect.timeoutOption(Fiber.await(loop), bounds.timeoutMillis)
      const left = dropped + settles.length + (unsure?.settles.length ?? 0)
      if (left > 0) {
        yield* Effect.logWarning(`Budget: ${left} settlements were dropped at the end: what they cost is missing.`)
      }
    })
  )

  return {
    reserve: (ask, boundMillis) =>
      Clock.clockWith((clock) => {
        if (lostMillis > 0 && clock.currentTimeMillisUnsafe() < tryAt) return Effect.undefined
        const self: Asking = { ask, answered: Deferred.makeUnsafe(), reply: undefined, gone: false }
        asking.push(self)
        wake()
        const wait = Effect.timeoutOption(Deferred.await(self.answered), Math.min(boundMillis, bounds.timeoutMillis))
        return Effect.interruptible(wait).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              if (Exit.isSuccess(exit) && Option.isSome(exit.value)) return
              self.gone = true
              giveBack(self)
              wake()
            })
          ),
          Effect.map(() => self.gone ? undefined : self.reply)
        )
      }),
    settle: (settle) =>
      Effect.sync(() => {
        settles.push(settle)
        drop()
        wake()
      })
  }
})

/** Opens a desk. `owner` tells this process from others; `told` hears of every step. */
export const make = (
  store: Counter,
  owner: string,
  bounds: Bounds,
  told: (done: Done) => Effect.Effect<void>
): Effect.Effect<Desk, never, Scope.Scope> =>
  store.isLocal ? Effect.succeed(local(store, told)) : remote(store, owner, bounds, told)
