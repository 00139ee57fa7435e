/**
 * Writes rows to a store that others share, in the background and in batches. While the store does not answer, rows wait in memory, at most
 * `maxPending` of them and `maxPendingBytes`; further ones are lost and counted.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { StoreClient } from "../../internal/storeClient.ts"
import { Backlog } from "./backlog.ts"
import { type Ask, CostLedgerError, type ReplyTo } from "./client.ts"
import type { Command } from "./data.ts"
import { evicting, type Writer } from "./recording.ts"

/**
 * - `flushMillis`: how long a row waits at most while the store answers.
 * - `batchRows`: how many rows are written at once; so many that wait are written before their time.
 * - `storeMillis`: how long a write may take, and all that is left at the end.
 */
export interface Settings {
  readonly flushMillis: number
  readonly batchRows: number
  readonly maxPending: number
  readonly maxPendingBytes: number
  readonly storeMillis: number
}

type Write = Extract<Command, { readonly _tag: "Write" }>

/** Random, so that processes that lost a store do not return to it together. */
const backoff = (client: Pick<StoreClient<never, unknown>, "waitMillis">): Effect.Effect<void> =>
  Clock.clockWith((clock) =>
    Effect.flatMap(
      Random.next,
      (chance) => Effect.sleep(client.waitMillis(clock.currentTimeMillisUnsafe()) * (1 - chance / 4))
    )
  )

export const make = Effect.fnUntraced(function*(
  ask: Ask,
  { batchRows, flushMillis, maxPending, maxPendingBytes, storeMillis }: Settings
): Effect.fn.Return<Writer, never, Scope.Scope> {
  const pending = new Backlog(maxPending, maxPendingBytes)
  const arrived = yield* Latch.make()
  const full = yield* Latch.make()
  const writing = yield* Semaphore.make(1)
  let evictedRows = 0
  let failure: CostLedgerError | undefined

  const client = new StoreClient<Write, ReplyTo<Write>>({
    name: "CostLedger",
    step: (command) =>
      Effect.tapError(ask(command), (error) =>
        Effect.sync(() => {
          failure = error
        })),
    timeoutMillis: storeMillis,
    maxRetryMillis: 30_000,
    whileLost: `Until it does, rows wait in memory, at most ${maxPending} of them.`
  })

  const writeBatch = Effect.suspend(() => {
    const { items, number } = pending.take(batchRows)
    failure = undefined
    return Effect.flatMap(client.step({ _tag: "Write", rows: items }), (reply) => {
      if (reply === undefined) {
        const cause = new Error(`no answer in ${storeMillis} ms`)
        return Effect.fail(failure ?? new CostLedgerError({ reason: "store", cause }))
      }
      pending.acknowledge(items, number)
      const isFirst = evictedRows === 0 && reply.evicted > 0
      evictedRows += reply.evicted
      return isFirst ? evicting : Effect.void
    })
  })

  /** What waits now; what comes meanwhile is left to the next time. */
  const flush = writing.withPermit(Effect.suspend(() => {
    let left = pending.size
    return Effect.whileLoop({
      while: () => left > 0,
      body: () => writeBatch,
      step: () => {
        left -= batchRows
      }
    })
  })).pipe(Effect.tap(pending.reportLost))

  // Registered before the writer is forked, so that it runs when that has ended.
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      Effect.ignore(Effect.timeout(flush, storeMillis)),
      pending.end
    )
  )

  yield* Effect.gen(function*() {
    if (pending.size === 0) yield* arrived.await
    yield* Effect.race(Effect.sleep(flushMillis), full.await)
    yield* arrived.close
    yield* full.close
    yield* Effect.ignore(flush)
    while (client.isLost) yield* Effect.andThen(backoff(client), Effect.ignore(flush))
  }).pipe(Effect.forever, Effect.forkScoped)

  return {
    write: (row) =>
      Effect.suspend(() => {
        if (!pending.push(row)) return pending.lose
        if (pending.size === 1) arrived.openUnsafe()
        if (pending.size >= batchRows) full.openUnsafe()
        return Effect.void
      }),
    flush,
    status: () => ({ pendingRows: pending.size, lostRows: pending.lostRows, evictedRows, isDown: client.isLost })
  }
})
