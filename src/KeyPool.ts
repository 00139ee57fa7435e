/**
 * Which key an attempt uses. Keys take turns.
 *
 * **Example** (A pool over the keys of the environment)
 *
 * ```ts
 * import { KeyPool, KeyStore } from "effect-claude"
 * import { Layer } from "effect"
 *
 * export const layer = KeyPool.layer().pipe(Layer.provide(KeyStore.layerEnv))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import { nothing, type Policy } from "./Attempt.ts"
import { NoUsableKeyError } from "./ClaudeError.ts"
import { KeyStore, type KeyStoreError } from "./KeyStore.ts"

/**
 * Admits an attempt by giving it a key.
 *
 * @category services
 * @since 0.1.0
 */
export class KeyPool extends Context.Service<KeyPool, Policy<NoUsableKeyError>>()("effect-claude/KeyPool") {}

/**
 * Builds the pool from the keys that the store has now.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.gen(function*() {
  const keys = yield* Effect.flatMap(KeyStore, (store) => store.keys)
  const turn = yield* Ref.make(0)
  return KeyPool.of({
    admit: Effect.fnUntraced(function*(attempt) {
      const index = yield* Ref.getAndUpdate(turn, (last) => (last + 1) % Math.max(1, keys.length))
      const key = keys[index]
      if (key === undefined) return yield* new NoUsableKeyError({ reasons: {}, attempts: attempt.number - 1 })
      attempt.key = key
      return nothing
    })
  })
})

/**
 * A pool over the keys of the `KeyStore`. Each call makes a pool of its own: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (): Layer.Layer<KeyPool, KeyStoreError, KeyStore> => Layer.effect(KeyPool, make)
