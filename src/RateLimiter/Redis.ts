/**
 * Rate limits that processes share through Redis (6 or newer) or Valkey, alone, with replicas or as a cluster.
 *
 * All processes take from one set of buckets for each (key group, model group), and what headers or a 429 show one of them holds for all.
 *
 * - **An admission is one round trip**, even if it must wait: it gets a reservation up to a minute ahead. What became of attempts goes along with the
 *   next admission, or within `flushEvery` in the background, and delays no answer.
 * - **Who goes next.** Reservations are made in the order in which processes ask. Each process has one place in that line, for the first of its own
 *   queue: so no process starves and no call does, however large. Priorities hold inside a process; where bulk work runs in separate processes,
 *   its share is that of their number.
 * - **When Redis is slow, down or empty**, no call waits for it longer than `storeTimeout`. Each process goes on with its share: what it last saw,
 *   divided by the processes that were seen in the last five minutes. A request that is larger than the share waits for all of it and overdraws it. One
 *   warning is logged, and Redis is tried again in the background, at first after one second, then less and less often down to once in ten
 *   seconds. Then it learns what was used meanwhile. Where its data was lost, each process sends what it knew, and the scarcer holds.
 * - **Nothing is counted twice or lost** if an answer of Redis is: batches and reports are numbered. Reports that wait, beyond 64 for a group, are
 *   merged: usage adds up, the newest headers and the longest pause stand. What a process that crashed had reserved for its calls is free
 *   again after five minutes.
 * - **When a replica takes over** that lacks the last writes, each process sends what it was told and they lack, and the scarcer holds: nothing is given
 *   out twice, except what only a process knew that has ended. A request may be refused by that which would have had room.
 * - **In a cluster** a group is one key. Where slots move, steps follow them, and nothing is lost.
 * - **Time** is the server's. A key expires an hour after its last use.
 *
 * Give all processes the same limits: those of whoever asked last hold.
 *
 * Nothing but counts by key group and model group is stored: no key, request or answer.
 *
 * **Example** (Limits of a fleet)
 *
 * ```ts
 * import { NodeRedis } from "@effect/platform-node"
 * import * as RateLimiterRedis from "effect-claude/RateLimiter/Redis"
 * import { Layer } from "effect"
 *
 * export const layer = RateLimiterRedis.layer({ limits: "build", prefix: "my-service:" }).pipe(
 *   Layer.provide(NodeRedis.layer({ url: "redis://localhost:6379" }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import * as RedisScript from "../internal/redisScript.ts"
import * as RateLimiter from "../RateLimiter.ts"
import * as script from "./internal/script.ts"
import * as wire from "./internal/wire.ts"

/**
 * - `prefix`: of all keys. Default `effect-claude:`.
 *
 * @category options
 * @since 0.1.0
 */
export interface StoreOptions {
  readonly prefix?: string | undefined
}

/**
 * The options of the limiter and of its store.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends RateLimiter.Options, StoreOptions {}

/**
 * Builds the store.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStore = Effect.fnUntraced(function*(options: StoreOptions = {}) {
  const run = yield* RedisScript.make<string>(script.lua())
  const prefix = options.prefix ?? "effect-claude:"
  return RateLimiter.Store.of({
    // What stands in braces decides on which node of a cluster a key is.
    step: (batch) => Effect.map(run(`${prefix}limits:{${batch.key}}`, wire.encode(batch)), wire.decode)
  })
})

/**
 * Keeps buckets in Redis.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStore = (options: StoreOptions = {}): Layer.Layer<RateLimiter.Store, never, Redis.Redis> =>
  Layer.effect(RateLimiter.Store, makeStore(options))

/**
 * `layerStore` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreConfig = (
  options: Config.Wrap<StoreOptions>
): Layer.Layer<RateLimiter.Store, Config.ConfigError, Redis.Redis> =>
  Layer.effect(RateLimiter.Store, Effect.flatMap(Config.unwrap(options), makeStore))

/**
 * The limiter with its buckets in Redis. Each call makes a new limiter: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<RateLimiter.RateLimiter, never, Redis.Redis> =>
  RateLimiter.layerNoDeps(options).pipe(Layer.provide(layerStore(options)))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<RateLimiter.ConfigOptions & StoreOptions>
): Layer.Layer<RateLimiter.RateLimiter, Config.ConfigError, Redis.Redis> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))
