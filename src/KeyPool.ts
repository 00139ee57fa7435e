/**
 * Which key an attempt uses, and which keys it had better not use.
 *
 * What a failure says decides whom it concerns:
 *
 * - **The key**: 401, 402 and "credit balance too low" quarantine it. A 403 does so for the model that was asked for. Quarantined keys are
 *   checked off the path of calls, on an endpoint that is free, until the API accepts them again.
 * - **Its group** (an organization or workspace): rate limits and spend limits. The group cools down for as long as the API asks, for the
 *   model group concerned, or for all models after a spend limit. In a pool of one group there is nowhere to go, and the rate limiter paces
 *   its calls.
 * - **Neither**: overloads, other failures of the API, and requests that are wrong.
 *
 * A call whose key or group fails goes on with another one at once. That is no retry: with one good key among five dead ones it is answered.
 * While every group cools down, calls wait for the first one, if their deadline and `maxRetryAfter` allow that, and else fail immediately
 * with `NoUsableKeyError`, which says why for each key.
 *
 * **Example** (Keys of two organizations)
 *
 * ```ts
 * import { ClaudeService } from "effect-claude"
 * import { Redacted } from "effect"
 *
 * export const claude = ClaudeService.layer({
 *   keys: [
 *     { label: "a-1", group: "org-a", secret: Redacted.make("sk-ant-...") },
 *     { label: "b-1", group: "org-b", secret: Redacted.make("sk-ant-..."), weight: 0.5 }
 *   ]
 * })
 * ```
 *
 * **Example** (Replacing a key while calls run)
 *
 * ```ts
 * import { type Attempt, KeyPool } from "effect-claude"
 * import { Effect } from "effect"
 *
 * export const rotate = (next: Attempt.Key, last: string) =>
 *   Effect.gen(function*() {
 *     const pool = yield* KeyPool.KeyPool
 *     yield* pool.add(next)
 *     yield* pool.drain(last) // until no attempt uses it
 *     yield* pool.remove(last)
 *   })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { type Attempt, type Key, nothing, type Policy, type Settle } from "./Attempt.ts"
import { ClaudeApi } from "./ClaudeApi.ts"
import { type ApiError, NoUsableKeyError, type Refusal } from "./ClaudeError.ts"
import * as Feed from "./internal/feed.ts"
import { MaxRetryAfter } from "./internal/maxRetryAfter.ts"
import * as Keeper from "./KeyPool/internal/keeper.ts"
import { checkKeys, mistakeIn } from "./KeyPool/internal/keys.ts"
import type { Member } from "./KeyPool/internal/Member.ts"
import { maxNewsMillis, News } from "./KeyPool/internal/news.ts"
import { Pool } from "./KeyPool/internal/Pool.ts"
import { type Change, type Snapshot, snapshotOf } from "./KeyPool/internal/snapshot.ts"
import type { StrategyName } from "./KeyPool/internal/strategies.ts"
import { make as makeTelemetry, type Telemetry } from "./KeyPool/internal/telemetry.ts"
import { KeyStore, type KeyStoreError } from "./KeyStore.ts"
import * as Model from "./Model.ts"

export type { Change, KeyState, Snapshot } from "./KeyPool/internal/snapshot.ts"
export type { StrategyName } from "./KeyPool/internal/strategies.ts"

/**
 * - `strategy`: how a key is chosen among those that may be used now. Default `prefixAffinity` for keys of several groups, else `weighted`.
 * - `maxRetryAfter`: the longest that a call waits for a key while all cool down. Default 60 seconds; in `ClaudeService.layer`, that of the options of
 *   `retry`.
 * - `maxQueue`: how many calls may wait for a key. Default 10,000.
 * - `checkAfter`: a quarantined key is checked at once, then after this time, which doubles with each check that fails. Default 1 second.
 * - `maxCheckAfter`: the longest time between two checks. Default 5 minutes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly strategy?: StrategyName | undefined
  readonly maxRetryAfter?: Duration.Input | undefined
  readonly maxQueue?: number | undefined
  readonly checkAfter?: Duration.Input | undefined
  readonly maxCheckAfter?: Duration.Input | undefined
}

/**
 * Admits an attempt by giving it a key.
 *
 * - `mayMove`: whether an attempt that has failed is followed by another one at once, with another key. `ClaudeService` asks after each failure. Where the API
 *   does not accept the last key and the store can change, it is read once more before that fails the call: for 5 seconds at most, once for all who wait.
 * - `snapshot`: every key as it stands.
 * - `changes`: what happens to keys, since the subscription. The last 256 are buffered for each subscriber; a slower one loses the oldest. The
 *   stream ends with the layer.
 * - `add`: adds a key, or replaces the one with its label; attempts that run go on with the key that they have. A key that is the same is
 *   only given its weight, and no longer drained. Changes of the `KeyStore` do not remove it, and what it replaced or `remove` removed comes back only
 *   where the store has it with another secret. An invalid weight is a defect.
 * - `setWeight`, `drain`, `remove`, `recheck`: whether there is a key with this label. `drain` gives it to no new attempts and waits until none
 *   uses it; `remove` forgets it immediately, and attempts that run end with it; `recheck` checks it now, where it is quarantined.
 *
 * @category services
 * @since 0.1.0
 */
export class KeyPool extends Context.Service<
  KeyPool,
  Policy<NoUsableKeyError> & {
    readonly mayMove: (attempt: Attempt | undefined, error: ApiError | Refusal) => Effect.Effect<boolean>
    readonly snapshot: Effect.Effect<ReadonlyArray<Snapshot>>
    readonly changes: Stream.Stream<Change>
    readonly add: (key: Key) => Effect.Effect<void>
    readonly setWeight: (label: string, weight: number) => Effect.Effect<boolean>
    readonly drain: (label: string) => Effect.Effect<boolean>
    readonly remove: (label: string) => Effect.Effect<boolean>
    readonly recheck: (label: string) => Effect.Effect<boolean>
  }
>()("effect-claude/KeyPool") {}

/** No. */
const no = Effect.succeed(false)

const settingsOf = (
  options: Options,
  bound: Duration.Input,
  clock: Clock.Clock,
  random: Random.Random,
  { moved }: Telemetry
) => ({
  moved,
  clock,
  random: () => random.nextDoubleUnsafe(),
  strategy: options.strategy,
  maxRetryAfterMillis: Duration.toMillis(options.maxRetryAfter ?? bound),
  maxQueue: options.maxQueue ?? 10_000,
  checkMillis: Math.max(1, Duration.toMillis(options.checkAfter ?? "1 second")),
  maxCheckMillis: Math.max(1, Duration.toMillis(options.maxCheckAfter ?? "5 minutes"))
})

/**
 * Builds the pool from the keys that the store has now, and follows its changes. It lives as long as its scope.
 *
 * Fails with `ConfigError` where two keys share a label, a weight is negative, or all weights are 0. The same in a later change is logged, and
 * the keys stay as they are.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const store = yield* KeyStore
  const api = yield* ClaudeApi
  const { lookup } = yield* Model.Catalogue
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const feed = yield* Feed.make<Change>({ name: "keys" })
  const telemetry = yield* makeTelemetry
  const pool = new Pool(settingsOf(options, yield* MaxRetryAfter, clock, yield* Random.Random, telemetry))
  pool.registry.replace(yield* Effect.flatMap(store.keys, checkKeys))

  const adopt = (keys: ReadonlyArray<Key>): Effect.Effect<void> => {
    const mistake = keys.length === 0 ? "there are none" : mistakeIn(keys)
    return mistake === undefined
      ? Effect.sync(() => pool.registry.replace(keys))
      : Effect.logWarning(`KeyPool: the keys of the store have changed, and are not used: ${mistake}.`)
  }
  // A store that cannot be read now gives no new keys.
  const news = new News(Effect.ignore(Effect.flatMap(store.keys, adopt)), () => pool.opened(), clock, scope)
  if (store.changes !== undefined) pool.news = news
  yield* Effect.forkScoped(Keeper.run(pool, { api, clock, feed, lookup, reload: news.ask, scope, telemetry }))
  if (store.changes !== undefined) yield* Effect.forkScoped(Stream.runForEach(store.changes, adopt))

  /** Gives a key to an attempt, until it is settled. */
  const lend = (attempt: Attempt, member: Member): Settle => {
    attempt.key = member.key
    member.inFlight++
    return Effect.sync(() => {
      member.inFlight--
      // Of the only key, only a failure teaches anything; but somebody may still wait for its end, as it was drained before.
      if (pool.only !== member || member.idle !== undefined || attempt.outcome._tag === "Failed") {
        pool.settled(attempt, member)
      }
    })
  }

  return KeyPool.of({
    admit: (attempt) =>
      Effect.suspend(() => {
        const { only } = pool
        return only !== undefined && attempt.context.keyGroup === undefined
          ? Effect.succeed(lend(attempt, only))
          : Effect.map(pool.take(attempt), (member) => lend(attempt, member))
      }),
    mayMove: (attempt, error) =>
      Effect.suspend(() => {
        if (attempt === undefined || pool.only?.key === attempt.key) return no
        if (pool.mayMove(attempt, error)) return Effect.succeed(true)
        const { context: { deadline = Infinity }, sentAt = 0 } = attempt
        if (pool.news === undefined || !pool.isMaybeReplaced(attempt) || !news.mayTell(sentAt)) return no
        const left = deadline - clock.currentTimeMillisUnsafe()
        return Effect.map(
          Effect.timeoutOption(news.ask, Math.max(0, Math.min(maxNewsMillis, left))),
          () => pool.mayMove(attempt, error)
        )
      }),
    snapshot: Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      return [...pool.registry.members.values()].map((member) => snapshotOf(member, now))
    }),
    changes: feed.stream,
    add: (key) =>
      Effect.suspend(() => {
        const mistake = mistakeIn([{ ...key, weight: key.weight || 1 }])
        return mistake === undefined
          ? Effect.sync(() => pool.registry.add(key))
          : Effect.die(new RangeError(`KeyPool: ${mistake}`))
      }),
    setWeight: (label, weight) =>
      Effect.suspend(() =>
        weight >= 0 && weight < Infinity
          ? Effect.sync(() => pool.registry.setWeight(label, weight))
          : Effect.die(new RangeError(`KeyPool: a weight must be a number from 0, and is ${weight}`))
      ),
    drain: (label) => pool.registry.drain(label),
    remove: (label) => Effect.sync(() => pool.registry.remove(label)),
    recheck: (label) => Effect.sync(() => pool.recheck(label))
  })
})

/**
 * A pool over the keys of the `KeyStore`. Each call makes a pool of its own: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<KeyPool, KeyStoreError | Config.ConfigError, KeyStore | ClaudeApi> =>
  Layer.effect(KeyPool, make(options))

/**
 * `layer` with options from configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<KeyPool, KeyStoreError | Config.ConfigError, KeyStore | ClaudeApi> =>
  Layer.effect(KeyPool, Effect.flatMap(Config.unwrap(options), make))

/**
 * The pool that only hands out the keys that the store has now: they take turns, whatever becomes of attempts.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOff: Layer.Layer<KeyPool, KeyStoreError, KeyStore> = Layer.effect(
  KeyPool,
  Effect.gen(function*() {
    const { keys } = yield* KeyStore
    const all = yield* keys
    let turn = 0
    return KeyPool.of({
      admit: (attempt) =>
        Effect.suspend(() => {
          const key = all[turn++ % Math.max(1, all.length)]
          if (key === undefined) return Effect.fail(new NoUsableKeyError({ reasons: {}, attempts: attempt.number - 1 }))
          attempt.key = key
          return Effect.succeed(nothing)
        }),
      mayMove: () => no,
      snapshot: Effect.succeed(all.map(({ group, label, weight = 1 }) => ({
        label,
        group,
        state: "usable",
        weight,
        inFlight: 0,
        reasons: [],
        retryAfter: undefined
      }))),
      changes: Stream.empty,
      add: () => Effect.void,
      setWeight: () => no,
      drain: () => no,
      remove: () => no,
      recheck: () => no
    })
  })
)
