/** The way to a store that processes share: one client, and a session for each bucket set. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { BoundedMap } from "../../internal/boundedMap.ts"
import { StoreClient, worker } from "../../internal/storeClient.ts"
import type { BucketSet } from "./BucketSet.ts"
import { type Done, type Link, type Outgoing, Session } from "./Session.ts"
import type { Batch, Reply } from "./Store.ts"

/**
 * - `timeoutMillis`: the longest that a call waits for the store.
 * - `flushMillis`: how long a report waits for an admission to go along with.
 * - `processes`: how many share the limits, until the store answers.
 * - `retryMillis`: the first back-off of the store's client.
 */
export interface Options {
  readonly step: (batch: Batch) => Effect.Effect<Reply, unknown>
  readonly timeoutMillis: number
  readonly flushMillis: number
  readonly processes: number
  readonly retryMillis?: number | undefined
}

/** The most bucket sets that are kept; the least recently opened one makes room. */
const maxSets = 10_000

/** Steps of the store, with what the process knows where the store asks for it. */
const stepOf = (step: Options["step"]) => ({ batch, withKnown }: Outgoing): Effect.Effect<Done, unknown> =>
  Effect.flatMap(step(batch), (reply) => {
    if (reply._tag === "Done") return Effect.succeed(reply)
    if (reply.reason !== "otherEpoch") return Effect.fail(reply.reason)
    return Effect.flatMap(
      step(withKnown()),
      (reply) => reply._tag === "Done" ? Effect.succeed(reply) : Effect.fail(reply.reason)
    )
  })

/** Makes the bucket sets of one store. */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<(key: string, burstMillis: number) => BucketSet, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const run = yield* FiberSet.makeRuntime<never>()
  const sessions = new BoundedMap<string, Session>(maxSets)
  const due = new Set<Session>()
  let isEnding = false
  const client = new StoreClient({
    name: "RateLimiter",
    step: stepOf(options.step),
    timeoutMillis: options.timeoutMillis,
    retryMillis: options.retryMillis,
    whileLost: "Until it does, each process goes on with its share of the limits.",
    onFound: () => {
      for (const session of sessions.values()) session.rejoin()
      return undefined
    }
  })
  const background = yield* worker(client, {
    isLeft: () => !isEnding && due.size > 0,
    // One is enough to see whether the store is back.
    work: Effect.suspend(() => {
      const now = client.isLost ? [...due].slice(0, 1) : [...due]
      for (const session of now) due.delete(session)
      return Effect.forEach(
        now,
        (session) => session.hasNews || client.isLost ? session.exchange(undefined) : Effect.void,
        { concurrency: "unbounded", discard: true }
      )
    }),
    // What is left goes along with the last batch of each session.
    timeoutMillis: 0,
    atEnd: Effect.suspend(() =>
      Effect.forEach([...sessions.values()], (session) => session.end(), { concurrency: "unbounded", discard: true })
    )
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isEnding = true
    })
  )
  const send = (session: Session) => {
    due.add(session)
    background.wake()
  }
  const flush = (session: Session, millis: number): void => {
    if (millis === 0) return send(session)
    if (session.isFlushPlanned || client.isLost) return
    session.isFlushPlanned = true
    run(Effect.delay(
      Effect.sync(() => {
        session.isFlushPlanned = false
        if (!client.isLost && session.hasNews) send(session)
      }),
      millis
    ))
  }
  const word = () => (random.nextIntUnsafe() >>> 0).toString(36)
  const { flushMillis, processes } = options
  const link: Link = { client, clock, run, flush, flushMillis, processes }
  return (key, burstMillis) => {
    const known = sessions.get(key)
    if (known !== undefined) return known
    const session = new Session(link, word() + word(), key, burstMillis)
    sessions.set(key, session)
    return session
  }
})
