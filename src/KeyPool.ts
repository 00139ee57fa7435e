/**
 * Which key an attempt uses.
 *
 * **Example** (Keys of two organizations)
 *
 * ```ts
 * import { KeyPool, KeyStore } from "effect-claude"
 * import { Layer, Redacted } from "effect"
 *
 * export const layer = KeyPool.layer({ strategy: "leastLoaded" }).pipe(
 *   Layer.provide(KeyStore.layerKeys([
 *     { label: "a-1", group: "org-a", secret: Redacted.make("sk-ant-...") },
 *     { label: "b-1", group: "org-b", secret: Redacted.make("sk-ant-..."), weight: 0.5 }
 *   ]))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type { Key, Policy } from "./Attempt.ts"
import { NoUsableKeyError } from "./ClaudeError.ts"
import { make as makeStrategy, type StrategyName } from "./KeyPool/internal/strategies.ts"
import { KeyStore, type KeyStoreError } from "./KeyStore.ts"

export type { StrategyName } from "./KeyPool/internal/strategies.ts"

/**
 * - `strategy`: how a key is chosen among those that may be used now. Default `prefixAffinity` for keys of several groups, else `weighted`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly strategy?: StrategyName | undefined
}

/**
 * Admits an attempt by giving it a key.
 *
 * @category services
 * @since 0.1.0
 */
export class KeyPool extends Context.Service<KeyPool, Policy<NoUsableKeyError>>()("effect-claude/KeyPool") {}

/** A key, and the attempts that use it. */
class Member {
  readonly key: Key
  readonly weight: number
  inFlight = 0

  constructor(key: Key) {
    this.key = key
    this.weight = key.weight ?? 1
  }
}

/**
 * Builds the pool from the keys that the store has now.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const keys = yield* Effect.flatMap(KeyStore, (store) => store.keys)
  const random = yield* Random.Random
  const clock = yield* Clock.Clock
  const members = keys.map((key) => new Member(key))
  const candidates = members.filter(({ weight }) => weight > 0)
  const isMany = new Set(keys.map(({ group }) => group)).size > 1
  const strategy = makeStrategy(options.strategy ?? (isMany ? "prefixAffinity" : "weighted"), {
    random: () => random.nextDoubleUnsafe()
  })
  return KeyPool.of({
    admit: (attempt) =>
      Effect.suspend(() => {
        if (!Arr.isArrayNonEmpty(candidates)) {
          return Effect.fail(new NoUsableKeyError({ reasons: {}, attempts: attempt.number - 1 }))
        }
        const member = candidates.length === 1
          ? candidates[0]
          : strategy.pick(attempt, candidates, clock.currentTimeMillisUnsafe()) as Member // one of those it was given
        attempt.key = member.key
        member.inFlight++
        return Effect.succeed(Effect.sync(() => {
          member.inFlight--
          strategy.settled?.(attempt, member, clock.currentTimeMillisUnsafe())
        }))
      })
  })
})

/**
 * A pool over the keys of the `KeyStore`. Each call makes a pool of its own: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<KeyPool, KeyStoreError, KeyStore> =>
  Layer.effect(KeyPool, make(options))
