import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Logger, Scope, Semaphore } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as CircuitBreakerRedis from "effect-claude/CircuitBreaker/Redis"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as RateLimiterRedis from "effect-claude/RateLimiter/Redis"
import type { Redis } from "effect/persistence"
import type { BucketSet } from "../src/RateLimiter/internal/BucketSet.ts"
import * as Client from "../src/RateLimiter/internal/client.ts"
import { suite as circuitSuite } from "./suites/CircuitBreakerStore.ts"
import { suite as limiterSuite } from "./suites/RateLimiterStore.ts"
import { amounts, reserve } from "./utils/bucketSets.ts"
import { admit, count, permitSoon, phaseIs, rules, sharedCircuit, view } from "./utils/circuits.ts"
import { eventually } from "./utils/eventually.ts"
import * as TestRedis from "./utils/redis.ts"
import * as Fleet from "./utils/redisFleet.ts"

/** The stores of one connection. What comes first in braces decides on the slot: all keys are in one, which moves. */
const stores = (connection: Layer.Layer<Redis.Redis>) =>
  Layer.build(
    Layer.provide(
      Layer.merge(
        RateLimiterRedis.layerStore({ prefix: "{moved}:" }),
        CircuitBreakerRedis.layerStore({ prefix: "{moved}:" })
      ),
      connection
    )
  )

type Stores = Context.Context<RateLimiter.Store | CircuitBreaker.Store>

/** Both suites over stores that are made before all tests, while something goes on beside them. */
const suites = (
  name: string,
  make: Effect.Effect<{ readonly stores: Stores; readonly happened: () => number }, unknown, Scope.Scope>
) =>
  describe(`over ${name}`, () => {
    const scope = Scope.makeUnsafe()
    let made: { readonly stores: Stores; readonly happened: () => number } | undefined
    beforeAll(async () => {
      made = await Effect.runPromise(Effect.provide(Scope.provide(make, scope), Logger.layer([])))
    })
    afterAll(async () => {
      await Effect.runPromise(Scope.close(scope, Exit.void))
      assert.isAbove(made!.happened(), 1)
    })
    const layer = Layer.effectContext(Effect.sync(() => made!.stores))
    limiterSuite({ name, layer, sleep: Effect.sleep, toleranceMillis: 900, test: it.live, isConcurrent: true })
    circuitSuite({ name, layer, sleep: Effect.sleep, test: it.live, isConcurrent: true })
  })

describe.skipIf(!TestRedis.isInstalled)("stores over several servers of Redis", () => {
  suites(
    "a cluster whose slot moves",
    Effect.gen(function*() {
      const cluster = yield* Fleet.cluster
      let moves = 0
      const move = Effect.tap(cluster.move("{moved}"), () => Effect.sync(() => void moves++))
      yield* Effect.forkScoped(Effect.forever(Effect.delay(move, 100)))
      return { stores: yield* stores(Fleet.clusterConnection(cluster.urls)), happened: () => moves }
    })
  )

  suites(
    "a primary and a replica that swap",
    Effect.gen(function*() {
      const pair = yield* Fleet.pair
      const context = yield* stores(Fleet.pairConnection(pair))
      const steps = Semaphore.makeUnsafe(1_000)
      const limiter = Context.get(context, RateLimiter.Store)
      const breaker = Context.get(context, CircuitBreaker.Store)
      let swaps = 0
      // What is on its way while they swap may be lost, which the tests below are about.
      const swap = Effect.andThen(pair.isFollowing, steps.withPermits(1_000)(pair.swap))
      const swapped = Effect.tap(swap, () => Effect.sync(() => void swaps++))
      yield* Effect.forkScoped(Effect.forever(Effect.delay(swapped, 500)))
      return {
        stores: Context.make(RateLimiter.Store, { step: (batch) => steps.withPermit(limiter.step(batch)) }).pipe(
          Context.add(CircuitBreaker.Store, { step: (batch) => steps.withPermit(breaker.step(batch)) })
        ),
        happened: () => swaps
      }
    })
  )

  describe("a replica that takes over and lacks the last writes", { concurrent: true }, () => {
    /** A bucket of sixty that takes ten minutes to fill. */
    const ask = (requests: number) => ({
      limits: { requestsPerMinute: 6 },
      usage: amounts(requests),
      reserve: amounts(0),
      withinMillis: 0
    })

    const process = Effect.fnUntraced(function*(pair: Fleet.Pair) {
      const store = Context.get(yield* stores(Fleet.pairConnection(pair)), RateLimiter.Store)
      const open = yield* Client.make({
        step: store.step,
        timeoutMillis: 5_000,
        flushMillis: 20,
        processes: 1,
        retryMillis: 20
      })
      return open("opus-5 team", 600_000)
    })

    /** Takes one after the other until there is none left, and returns how many. */
    const drain = Effect.fnUntraced(function*(buckets: BucketSet) {
      let taken = 0
      while ((yield* reserve(buckets, ask(1))).ticket !== undefined) taken++
      return taken
    })

    const isBack = (buckets: BucketSet) =>
      eventually(Effect.andThen(reserve(buckets, ask(0)), buckets.levels), ({ share }) => share === 1, 20)

    it.live("gives out nothing twice that a process was told of, whichever comes first", () =>
      Effect.gen(function*() {
        const pair = yield* Fleet.pair
        const processes = yield* Effect.all([process(pair), process(pair), process(pair)])
        const [here, there, late] = processes
        for (const one of processes) yield* reserve(one, ask(1))
        yield* pair.isFollowing
        yield* Effect.sleep(100)
        yield* pair.cut
        for (let i = 0; i < 20; i++) yield* reserve(here, ask(1))
        for (let i = 0; i < 20; i++) yield* reserve(there, ask(1))
        yield* pair.takeOver
        // It knows nothing that was lost.
        yield* isBack(late)
        yield* isBack(there)
        yield* isBack(here)
        // Of sixty, 43 were taken; what is refilled meanwhile may be one more.
        const left = yield* Effect.map(late.levels, ({ requests }) => requests!.free)
        yield* reserve(late, ask(0))
        assert.isAtMost(yield* Effect.map(late.levels, ({ requests }) => requests!.free), left + 1)
        assert.isAtMost((yield* drain(here)) + (yield* drain(there)) + (yield* drain(late)), 18)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

    const times = { storeTimeout: 5_000, syncInterval: 20, staleAfter: 2_000 }

    const circuits = Effect.fnUntraced(function*(pair: Fleet.Pair, rules: CircuitBreaker.Rules) {
      const one = Effect.gen(function*() {
        const store = Context.get(yield* stores(Fleet.pairConnection(pair)), CircuitBreaker.Store)
        return yield* sharedCircuit(store, "circuit", rules, times)
      })
      return [yield* one, yield* one] as const
    })

    it.live("keeps a circuit open whose opening was lost, for all", () =>
      Effect.gen(function*() {
        const pair = yield* Fleet.pair
        const [here, there] = yield* circuits(pair, { ...rules, openDuration: 600_000, maxOpenDuration: 600_000 })
        yield* count(here, "success")
        yield* count(there, "success")
        // Whether the replica has heard of the circuit or not.
        yield* pair.cut
        yield* count(here, "failure", "failure", "failure")
        yield* phaseIs(here, "open")
        yield* pair.takeOver
        // Each acts now and then.
        const phases = Effect.map(Effect.all([view(here), view(there)]), (views) => views.map(({ phase }) => phase))
        yield* eventually(phases, (phases) => phases.every((phase) => phase === "open"), 20)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

    it.live("lets no circuit stick whose closing or whose half-open call was lost", () =>
      Effect.gen(function*() {
        const pair = yield* Fleet.pair
        const [here, there] = yield* circuits(pair, { ...rules, halfOpenDuration: 300 })
        yield* count(here, "failure", "failure", "failure")
        yield* phaseIs(there, "open")
        yield* pair.isFollowing
        yield* Effect.sleep(100)
        yield* pair.cut
        // One of two half-open calls never ends; the other closes the circuit.
        yield* permitSoon(here)
        yield* there.settle(yield* permitSoon(there), "success")
        yield* phaseIs(here, "closed")
        yield* pair.takeOver
        // The API is back: whoever may call is answered.
        const call = (circuit: typeof here) =>
          Effect.flatMap(admit(circuit), (admission) =>
            admission._tag === "Permit" ? circuit.settle(admission, "success") : Effect.void)
        const phases = Effect.map(
          Effect.all([call(here), call(there), view(here), view(there)]),
          ([, , ...views]) =>
            views.map(({ phase }) => phase)
        )
        let closed = 0
        yield* eventually(phases, (phases) => {
          closed = phases.every((phase) => phase === "closed") ? closed + 1 : 0
          // For longer than it takes both to hear of the store.
          return closed > 20
        }, 20)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))
  })
})
