/**
 * Rate limits that processes share through Redis (6 or newer) or Valkey, alone or as a cluster.
 *
 * All processes take from one set of buckets for each (key group, model group), and what headers or a 429 tell one of them holds for all.
 *
 * - **An admission is one round trip**, also when it must wait: its slot is booked up to a minute ahead. What became of
 *   attempts goes along with the next admission, or within `flushEvery` in the background, and delays no answer.
 * - **Who goes next.** Slots are given in the order in which processes ask. Each process has one place in that line, for the first of its
 *   own queue: so no process starves and no call does, however large. Priorities hold inside a process; where bulk work runs in processes of
 *   its own, its share is that of their number.
 * - **When Redis is slow, down or empty**, no call waits for it longer than `timeout`. Each process goes on with its share, which is
 *   what it last saw divided by the processes that were seen in the last five minutes; a request that is larger than the share waits for all of
 *   it and overdraws it. One warning is logged, and Redis is tried again in the background, at first after one second, then less and
 *   less often down to once in ten seconds. Then it is told what was used meanwhile. Where its data was lost, each process tells
 *   what it knew, and the scarcer holds.
 * - **Nothing is counted twice or lost** when an answer of Redis is: calls and reports are numbered. Reports that wait, beyond 64 for a
 *   group, are merged: charges add up, the newest headers and the longest pause stand. What a process that crashed held for its calls is
 *   free again after five minutes.
 * - **Time** is the server's. A key expires when nothing was asked for an hour.
 *
 * Give all processes the same limits: those of who asked last hold.
 *
 * Nothing but counts by key group and model group is stored: no key, request or answer.
 *
 * **Example** (Limits of a fleet)
 *
 * ```ts
 * import { NodeRedis } from "@effect/platform-node"
 * import { RateLimiter } from "effect-claude"
 * import * as RateLimiterRedis from "effect-claude/RateLimiter/Redis"
 * import { Layer } from "effect"
 *
 * export const layer = RateLimiter.layerNoDeps({ limits: "build" }).pipe(
 *   Layer.provide(RateLimiterRedis.layer({ prefix: "my-service:" })),
 *   Layer.provide(NodeRedis.layer({ url: "redis://localhost:6379" }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as Random from "effect/Random"
import { Store } from "../RateLimiter.ts"
import * as Script from "./internal/script.ts"
import * as Shared from "./internal/shared.ts"

/**
 * - `prefix`: of all keys. Default `effect-claude:`.
 * - `timeout`: the longest that a call waits for Redis. Default 250 milliseconds.
 * - `flushEvery`: how long what became of an attempt waits for an admission to go along with. Default 100 milliseconds.
 * - `processes`: how many processes share the limits, for one that Redis never told. Default 1.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
  readonly timeout?: Duration.Input | undefined
  readonly flushEvery?: Duration.Input | undefined
  readonly processes?: number | undefined
}

/**
 * How far ahead slots are booked. Far enough for any request to be booked at once, however large: else small ones of other processes would keep
 * overtaking it. Not without end: a group that is closed for an hour refuses, and keeps nobody.
 */
const aheadMillis = 60_000

const script = Redis.script((key: string, message: Script.Message) => [key, Script.encode(message)], {
  numberOfKeys: 1,
  lua: Script.lua()
}).withReturnType<string>()

/**
 * Builds the store.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const redis = yield* Redis.Redis
  const random = yield* Random.Random
  const step = redis.eval(script)
  const prefix = options.prefix ?? "effect-claude:"
  const word = () => (random.nextIntUnsafe() >>> 0).toString(36)
  const open = yield* Shared.make((key, message) => Effect.map(step(key, message), Script.decode), {
    boundMillis: Duration.toMillis(options.timeout ?? "250 millis"),
    retryMillis: 1_000,
    flushMillis: Duration.toMillis(options.flushEvery ?? "100 millis"),
    processes: Math.max(1, options.processes || 1),
    id: () => word() + word()
  })
  return Store.of({
    aheadMillis,
    // What stands in braces decides on which node of a cluster a key is.
    open: ({ burstMillis, group, keyGroup }) => open(`${prefix}limits:{${group} ${keyGroup}}`, burstMillis)
  })
})

/**
 * Keeps buckets in Redis.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Store, never, Redis.Redis> =>
  Layer.effect(Store, make(options))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Store, Config.ConfigError, Redis.Redis> =>
  Layer.effect(Store, Effect.flatMap(Config.unwrap(options), make))
