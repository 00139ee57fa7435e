/**
 * Circuits that processes share through Redis (6 or newer) or Valkey, alone, with replicas or as a cluster.
 *
 * What one process finds out holds for all: results count together, an opening opens the circuit of all, and there are no more half-open calls than
 * `halfOpenCalls` among them.
 *
 * - **Consecutive failures** are those of one process: it knows in which order its attempts were admitted. The first with enough of them opens the
 *   circuit for all.
 * - **A healthy call never waits for Redis.** Each process decides by a copy of the circuit and reports its results in the background, at once
 *   where they are failures, else every `syncInterval`. An attempt asks Redis, in one round trip, where it may be a half-open call and where the copy is
 *   older than `staleAfter`, which it is at the first attempt.
 * - **When Redis is slow, down or empty**, no attempt waits longer than `storeTimeout`, each process decides by what it sees itself, one
 *   warning is logged, and Redis is tried again in the background, at first after one second. A circuit that opened meanwhile is then open for all.
 * - **When a replica takes over** that lacks the last writes, an opening that it missed is made up for by whoever knows of it. A closing that it
 *   missed is not: the circuit is then open for what was left of its time, and the next half-open call closes it. So many more half-open calls may go
 *   as were under way, and results that it missed count no more.
 * - **Time** is the server's. A key expires when nothing was counted for an hour.
 *
 * `state` shows what this process knows; the results in its window are its own. Modes are those of this process.
 *
 * Only circuits by base URL and model group are stored: no key, request or answer.
 *
 * **Example** (Breakers of a fleet)
 *
 * ```ts
 * import { NodeRedis } from "@effect/platform-node"
 * import * as CircuitBreakerRedis from "effect-claude/CircuitBreaker/Redis"
 * import { Layer } from "effect"
 *
 * export const layer = CircuitBreakerRedis.layer({ prefix: "my-service:", openDuration: "2 seconds" }).pipe(
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
import * as CircuitBreaker from "../CircuitBreaker.ts"
import type { ClaudeApi } from "../ClaudeApi.ts"
import * as RedisScript from "../internal/redisScript.ts"
import * as Script from "./internal/script.ts"

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
 * The options of the breaker and of its store.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends CircuitBreaker.Options, StoreOptions {}

/**
 * Builds the store.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStore = Effect.fnUntraced(function*(options: StoreOptions = {}) {
  const run = yield* RedisScript.make<Script.Answer>(Script.lua)
  const prefix = options.prefix ?? "effect-claude:"
  return CircuitBreaker.Store.of({
    step: (batch) =>
      Effect.map(
        // What stands in braces decides on which node of a cluster a key is.
        Effect.filterOrFail(
          run(`${prefix}circuit:{${batch.key}}`, Script.args(batch, Script.idleOf(batch))),
          Script.isAnswer,
          () => new Error("Redis gave another answer than the script does")
        ),
        Script.replyOf
      )
  })
})

/**
 * The store alone, for `CircuitBreaker.layerNoDeps`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStore = (options: StoreOptions = {}): Layer.Layer<CircuitBreaker.Store, never, Redis.Redis> =>
  Layer.effect(CircuitBreaker.Store, makeStore(options))

/**
 * `layerStore` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreConfig = (
  options: Config.Wrap<StoreOptions>
): Layer.Layer<CircuitBreaker.Store, Config.ConfigError, Redis.Redis> =>
  Layer.effect(CircuitBreaker.Store, Effect.flatMap(Config.unwrap(options), makeStore))

/**
 * The breaker with circuits in Redis.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<CircuitBreaker.CircuitBreaker, Config.ConfigError, ClaudeApi | Redis.Redis> =>
  CircuitBreaker.layerNoDeps(options).pipe(Layer.provide(layerStore(options)))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<CircuitBreaker.CircuitBreaker, Config.ConfigError, ClaudeApi | Redis.Redis> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))
