/** How the policy asks a store in another process: in batches, with leases that it renews. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { Outbox, StoreClient, type Worker, worker } from "../../internal/storeClient.ts"
import type { Batch, Decision, Renewal, Reply, Reserve, Settlement } from "./data.ts"
import * as Leases from "./leases.ts"

/**
 * - `reserve`: undefined where the store does not answer within `boundMillis`, or its own bound. When it is interrupted, it gives back what was reserved.
 * - `settle`: reaches the store in the background, exactly once; it is kept while the store does not answer.
 * - `step`: anything else, at once; undefined where the store does not answer.
 */
export interface Client {
  readonly reserve: (ask: Reserve, boundMillis: number) => Effect.Effect<Decision | undefined>
  readonly settle: (settlement: Settlement) => Effect.Effect<void>
  readonly step: (batch: Batch) => Effect.Effect<Reply | undefined>
}

/**
 * - `owner`: tells this process from others.
 * - `timeoutMillis`: the longest that a step may take.
 * - `maxSettlements`: how many settlements are kept while the store does not answer.
 * - `report`: is given each reply.
 */
export interface Options {
  readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>
  readonly owner: string
  readonly timeoutMillis: number
  readonly maxSettlements: number
  readonly report: (reply: Reply) => Effect.Effect<void>
}

/** The most settlements in one step, and the most reservations. */
const maxBatch = 256

interface Waiting {
  readonly ask: Reserve
  readonly answered: Deferred.Deferred<void>
  decision: Decision | undefined
  /** Its caller was interrupted, or waits no longer. */
  isGone: boolean
}

/** Waits until it is answered, its caller is interrupted or its time is over. */
const answered = (self: Waiting, millis: number, onGone: () => void): Effect.Effect<unknown> =>
  Effect.onExit(
    Effect.interruptible(Effect.timeoutOption(Deferred.await(self.answered), millis)),
    (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit) && Option.isSome(exit.value)) return
        self.isGone = true
        onGone()
      })
  )

/** Settlements of what may have been reserved, though nobody was told: if it was, its lease says how much. */
const givingBack = (asks: ReadonlyArray<Reserve>): ReadonlyArray<Settlement> =>
  asks.map(({ accounts, lease }) => ({
    lease: lease?.id,
    reservedNanoUsd: 0,
    spentNanoUsd: 0,
    reservations: accounts.map((account) => ({ account, slot: 0 }))
  }))

/**
 * Renews the leases that are due: in turn with the other batches, so that none is renewed that a settlement has ended; and before them, so that none
 * lapses by a clock that jumped.
 */
const renewing = (
  leases: Leases.Leases,
  renew: (renewals: ReadonlyArray<Renewal>) => Effect.Effect<Reply | undefined>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const renewals = leases.take()
    if (renewals.length === 0) return Effect.void
    return Effect.flatMap(
      renew(renewals),
      (reply) => reply === undefined || !leases.isDue() ? Effect.void : renewing(leases, renew)
    )
  })

export const make = Effect.fnUntraced(function*(
  { maxSettlements, owner, report, step, timeoutMillis }: Options
): Effect.fn.Return<Client, never, Scope.Scope> {
  const outbox = new Outbox<Settlement>(maxSettlements)
  let waiting: Array<Waiting> = []
  let unsure: ReadonlyArray<Settlement> = []

  const store = new StoreClient<Batch, Reply>({
    name: "Budget",
    step,
    timeoutMillis,
    isReply: ({ balances, decisions, events }) => [balances, decisions, events].every(Array.isArray),
    whileLost: "Calls are refused and settlements are queued until it recovers.",
    onFound: () => {
      const { dropped } = outbox
      outbox.dropped = 0
      return dropped === 0 ? undefined : `${dropped} settlements were dropped meanwhile: their cost is not counted.`
    }
  })
  const inTurn = yield* Semaphore.make(1)
  const leases = yield* Leases.make(() => wake())

  const giveBack = ({ decision }: Waiting): void => {
    if (decision?._tag === "Reserved") outbox.push(decision.settlement)
  }

  const answer = (self: Waiting, decision: Decision | undefined): void => {
    self.decision = decision
    if (self.isGone) giveBack(self)
    Deferred.doneUnsafe(self.answered, Effect.void)
  }

  const renew = renewing(leases, (renewals) => store.step({ owner, number: outbox.take(0).number, renewals }))

  const work = Effect.andThen(
    renew,
    Effect.suspend(() => {
      const asked = waiting.slice(0, maxBatch).filter(({ isGone }) => !isGone)
      waiting = waiting.slice(maxBatch)
      // Before anything else is asked.
      for (const settlement of unsure) outbox.push(settlement)
      unsure = []
      const { items: settlements, number } = outbox.take(maxBatch)
      if (asked.length === 0 && settlements.length === 0) return Effect.void
      const batch = { owner, number, settlements, reserves: asked.map(({ ask }) => ask) }
      return Effect.flatMap(store.step(batch), (reply) => {
        asked.forEach((self, index) => answer(self, reply?.decisions[index]))
        if (reply === undefined) {
          unsure = givingBack(asked.map(({ ask }) => ask))
          return Effect.void
        }
        outbox.acknowledge(number + settlements.length - 1)
        return report(reply)
      })
    })
  )

  const { wake }: Worker = yield* worker(store, {
    isLeft: () => waiting.length > 0 || outbox.size > 0 || leases.isDue(),
    work: inTurn.withPermit(work),
    timeoutMillis,
    atEnd: Effect.suspend(() => {
      const left = outbox.dropped + outbox.size
      return left === 0
        ? Effect.void
        : Effect.logWarning(`Budget: ${left} settlements were dropped at the end: their cost is not counted.`)
    })
  })

  return {
    reserve: (ask, boundMillis) =>
      Clock.clockWith((clock) => {
        if (store.waitMillis(clock.currentTimeMillisUnsafe()) > 0) return Effect.undefined
        const self: Waiting = { ask, answered: Deferred.makeUnsafe(), decision: undefined, isGone: false }
        waiting.push(self)
        wake()
        const onGone = () => {
          giveBack(self)
          wake()
        }
        return answered(self, Math.min(boundMillis, timeoutMillis), onGone).pipe(
          Effect.map(() => {
            if (self.isGone) return undefined
            if (self.decision?._tag === "Reserved") leases.start(ask, self.decision.settlement)
            return self.decision
          })
        )
      }),
    settle: (settlement) =>
      Effect.sync(() => {
        leases.end(settlement.lease)
        outbox.push(settlement)
        wake()
      }),
    step: (batch) => Effect.andThen(leases.isDue() ? inTurn.withPermit(renew) : Effect.void, store.step(batch))
  }
})
