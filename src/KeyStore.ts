/**
 * Where API keys come from.
 *
 * **Example** (Keys that the program has)
 *
 * ```ts
 * import { KeyStore } from "effect-claude"
 * import { Redacted } from "effect"
 *
 * export const layer = KeyStore.layerKeys([
 *   { label: "team-a", group: "workspace-a", secret: Redacted.make("sk-ant-...") }
 * ])
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { Key } from "./Attempt.ts"

/**
 * The keys could not be read. `reason` never holds a key.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyStoreError extends Schema.TaggedError<KeyStoreError>("effect-claude/KeyStoreError")("KeyStoreError", {
  store: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `The API keys could not be read from ${this.store}: ${this.reason}.`
  }
}

/**
 * Where the keys of a pool come from.
 *
 * - `keys`: reads the current keys; a later read may return others.
 * - `changes`: all keys each time they differ from what was read before; a source that never changes has none.
 *
 * @category services
 * @since 0.1.0
 */
export class KeyStore extends Context.Service<KeyStore, {
  readonly keys: Effect.Effect<ReadonlyArray<Key>, KeyStoreError>
  readonly changes?: Stream.Stream<ReadonlyArray<Key>> | undefined
}>()("effect-claude/KeyStore") {}

/**
 * Fixed keys, for tests and for programs that fetch their keys themselves.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerKeys = (keys: ReadonlyArray<Key>): Layer.Layer<KeyStore> =>
  Layer.succeed(KeyStore, { keys: Effect.succeed(keys) })

/** Keys go into a header, so anything but visible ASCII is a mistake. */
const Keys = Schema.String.check(
  Schema.makeFilter(
    (text: string) => split(text).every((key) => /^[\x21-\x7e]+$/.test(key)) && split(text).length > 0,
    {
      expected: "API keys of visible ASCII characters, separated by commas"
    }
  )
)

const split = (text: string): ReadonlyArray<string> =>
  text.split(",").map((key) => key.trim()).filter((key) => key !== "")

/**
 * The keys of a configuration value: one, or several separated by commas. Their labels are `env-1`, `env-2` and so on,
 * and they share the group `default`. A value that cannot be a key fails with `ConfigError`, which does not repeat it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const config = (name: string): Config.Config<ReadonlyArray<Key>> =>
  Config.map(
    Config.schema(Schema.Redacted(Keys, { label: name }), name),
    (value) =>
      split(Redacted.value(value)).map((secret, index) => ({
        label: `env-${index + 1}`,
        group: "default",
        secret: Redacted.make(secret, { label: name })
      }))
  )

/**
 * The keys of `ANTHROPIC_API_KEY`: one, or several separated by commas.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEnv: Layer.Layer<KeyStore, Config.ConfigError> = Layer.effect(
  KeyStore,
  Effect.map(config("ANTHROPIC_API_KEY"), (keys) => ({ keys: Effect.succeed(keys) }))
)
