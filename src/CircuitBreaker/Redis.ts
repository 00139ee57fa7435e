/**
 * Circuits that processes share through Redis (6 or newer) or Valkey, alone or as a cluster.
 *
 * What one process finds out holds for all: results count together, an opening closes the door of all, and there are no more trials than
 * `trials` among them.
 *
 * - **Failures in a row** are those of one process: it knows in which order its attempts were admitted. The first whose row is long enough
 *   opens the circuit for all.
 * - **A healthy call never waits for Redis.** Each process decides by a copy of the circuit and tells its results in the background, at
 *   once where they are failures, else every `syncEvery`. An attempt asks Redis, in one round trip, where it may be a trial and where
 *   the copy is older than `freshFor`, which it is at the first attempt.
 * - **When Redis is slow, down or empty**, no attempt waits longer than `timeout`, each process goes on by what it sees itself, one
 *   warning is logged, and Redis is tried again in the background, at first after one second. A circuit that opened meanwhile is open
 *   for all then.
 * - **Time** is the server's. A key expires when nothing was counted for an hour.
 *
 * `state` shows what this process knows; the results in its window are its own. Modes are those of this process.
 *
 * Nothing but circuits by base URL and model group is stored: no key, request or answer.
 *
 * **Example** (Breakers of a fleet)
 *
 * ```ts
 * import { NodeRedis } from "@effect/platform-node"
 * import { CircuitBreaker } from "effect-claude"
 * import * as CircuitBreakerRedis from "effect-claude/CircuitBreaker/Redis"
 * import { Layer } from "effect"
 *
 * export const layer = CircuitBreaker.layerNoDeps().pipe(
 *   Layer.provide(CircuitBreakerRedis.layer({ prefix: "my-service:" })),
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
import { type Rules, Store } from "../CircuitBreaker.ts"
import * as Script from "./internal/script.ts"
import * as Shared from "./internal/shared.ts"

/**
 * - `prefix`: of all keys. Default `effect-claude:`.
 * - `timeout`: the longest that an attempt waits for Redis. Default 250 milliseconds.
 * - `syncEvery`: how often results are told and news is heard, while there are attempts. Default 200 milliseconds.
 * - `freshFor`: how old the copy of a circuit may be before an attempt asks. Default 2 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
  readonly timeout?: Duration.Input | undefined
  readonly syncEvery?: Duration.Input | undefined
  readonly freshFor?: Duration.Input | undefined
}

const idleMillis = 3_600_000

/** A key outlives its circuit's window and open time. */
const idleOf = (rules: Rules): number =>
  Math.max(idleMillis, 2 * rules.maxOpenMillis, rules.window._tag === "Time" ? 2 * rules.window.millis : 0)

const script = Redis.script(
  (key: string, rules: Rules, report: Shared.Report) => [key, ...Script.args(rules, report, idleOf(rules))],
  { numberOfKeys: 1, lua: Script.lua }
).withReturnType<Script.Answer>()

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
  const circuit = yield* Shared.make(
    (key, rules, report) =>
      Effect.map(
        // What stands in braces decides on which node of a cluster a key is.
        Effect.filterOrFail(
          step(`${prefix}circuit:{${key}}`, rules, report),
          Script.isAnswer,
          () => new Error("Redis gave another answer than the script does")
        ),
        ([phase, epoch, waitMillis, openings, openedMillis, permits, granted]): Shared.Reply => ({
          // The script answers with one of the three.
          phase: Script.phases[phase]!,
          epoch,
          waitMillis,
          openings,
          openedMillis,
          permits,
          granted
        })
      ),
    {
      boundMillis: Duration.toMillis(options.timeout ?? "250 millis"),
      syncMillis: Duration.toMillis(options.syncEvery ?? "200 millis"),
      freshMillis: Duration.toMillis(options.freshFor ?? "2 seconds")
    }
  )
  return Store.of({
    circuit: (key, rules, changed) => Effect.succeed(circuit(key, rules, changed, () => random.nextDoubleUnsafe()))
  })
})

/**
 * Keeps circuits in Redis.
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
