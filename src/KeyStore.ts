/**
 * Where API keys come from and where they are stored.
 *
 * A store reads its sources in order. `chain` takes the keys of the first source that has any; `effect-claude/KeyStore/Local` is that of
 * a machine: the environment, the keyring of the operating system, an encrypted file. Other sources are modules of their own, and any secret
 * manager is a `Source` of a few lines.
 *
 * - **Keys change while the program runs.** Sources that can change are followed, and `KeyPool` takes the new keys; running calls end on
 *   the old ones. Keys with an end are read again before it.
 * - **Keys that were read are never forgotten because of a failure.** Where a source fails, one warning is logged, its last keys stay in use, and it
 *   is tried again after 1 second, then less and less often down to once a minute.
 * - **Nothing shows a key**: errors, reports and lists have labels, groups and what is wrong.
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
 * **Example** (The environment first, then a secret manager)
 *
 * ```ts
 * import { KeyStore } from "effect-claude"
 * import { Effect, Redacted } from "effect"
 *
 * declare const fetchSecret: (name: string) => Promise<string>
 *
 * const manager: KeyStore.Source = {
 *   name: "manager",
 *   read: (name) => Effect.map(Effect.tryPromise(() => fetchSecret(name)), (key) => ({ secret: Redacted.make(key) })),
 *   names: ["anthropic-team-a", "anthropic-team-b"],
 *   changes: KeyStore.every("1 minute")
 * }
 *
 * export const layer = KeyStore.chain([KeyStore.environment, manager])
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Key } from "./Attempt.ts"
import * as Environment from "./KeyStore/internal/environment.ts"
import { fixed } from "./KeyStore/internal/fixed.ts"
import { manage } from "./KeyStore/internal/manage.ts"
import { bound } from "./KeyStore/internal/reading.ts"
import type { KeyStoreError, ListedKey, Source, SourceReport } from "./KeyStore/internal/source.ts"
import { follow } from "./KeyStore/internal/store.ts"

export {
  KeyStoreError,
  type ListedKey,
  type Secret,
  type Source,
  SourceFailure,
  type SourceReport
} from "./KeyStore/internal/source.ts"

/**
 * - `use`: `"first"` takes the keys of the first source that has any, `"all"` those of all sources; of two with the same label the earlier
 *   one counts. Default `"first"`.
 * - `timeout`: the longest that reading a source may take; then the next one is read. Default 30 seconds.
 * - `refreshBefore`: how long before its end a key is read again. Default 2 minutes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly use?: "first" | "all" | undefined
  readonly timeout?: Duration.Input | undefined
  readonly refreshBefore?: Duration.Input | undefined
}

/**
 * The keys of a pool, and their keeping.
 *
 * - `keys`: reads the current keys; a later read may return others. Whoever asks while they are being read gets the same answer.
 * - `changes`: all keys as they were last read, and again each time they differ; undefined where they never change.
 * - `get`: the key with a label, from the first source that has it.
 * - `set`: stores a key, or replaces the one with its label, in the first source that can be written or the one that is named; returns its name.
 * - `remove`: removes the key with a label from every source that can be written, or the one that is named; returns their names.
 * - `list`: the keys of all sources, without their secrets. `fingerprint` adds a part of a hash of each.
 * - `report`: what each source gives, or why it gives nothing, read now.
 *
 * @category services
 * @since 0.1.0
 */
export class KeyStore extends Context.Service<KeyStore, {
  readonly keys: Effect.Effect<ReadonlyArray<Key>, KeyStoreError>
  readonly changes?: Stream.Stream<ReadonlyArray<Key>> | undefined
  readonly get: (label: string) => Effect.Effect<Key, KeyStoreError>
  readonly set: (
    key: Key,
    options?: { readonly source?: string | undefined }
  ) => Effect.Effect<string, KeyStoreError>
  readonly remove: (
    label: string,
    options?: { readonly source?: string | undefined }
  ) => Effect.Effect<ReadonlyArray<string>, KeyStoreError>
  readonly list: (
    options?: { readonly fingerprint?: boolean | undefined }
  ) => Effect.Effect<ReadonlyArray<ListedKey>, KeyStoreError>
  readonly report: Effect.Effect<ReadonlyArray<SourceReport>>
}>()("effect-claude/KeyStore") {}

/**
 * Builds a store over sources, in order.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  sources: ReadonlyArray<Source>,
  options: Options = {}
): Effect.Effect<KeyStore["Service"], never, Scope.Scope> => {
  const settings = {
    use: options.use ?? "first",
    timeoutMillis: Duration.toMillis(options.timeout ?? "30 seconds"),
    refreshBeforeMillis: Duration.toMillis(options.refreshBefore ?? "2 minutes")
  }
  return Effect.gen(function*() {
    const provider = yield* ConfigProvider.ConfigProvider
    const here = sources.map((source) => bound(source, provider))
    const { changes, keys, noteChange } = yield* follow(here, settings)
    return KeyStore.of({ keys, changes, ...manage(here, settings, noteChange) })
  })
}

/**
 * A store over sources, in order. Building it reads nothing: a source that fails fails `keys`, and only where no other has a key. Each call
 * makes a store of its own: call it once and share the value.
 *
 * @category layers
 * @since 0.1.0
 */
export const chain = (sources: ReadonlyArray<Source>, options: Options = {}): Layer.Layer<KeyStore> =>
  Layer.effect(KeyStore, make(sources, options))

/**
 * A store over one source.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (source: Source, options: Options = {}): Layer.Layer<KeyStore> => chain([source], options)

/**
 * The changes of a source that has to be polled.
 *
 * @category constructors
 * @since 0.1.0
 */
export const every = (interval: Duration.Input): Stream.Stream<void> =>
  Stream.map(Stream.fromSchedule(Schedule.spaced(interval)), () => undefined)

/**
 * Keys of environment variables, as a source: `ANTHROPIC_API_KEYS` as JSON with `label`, `group`, `secret` and `weight` of each, and
 * `ANTHROPIC_API_KEY`, one key or several separated by commas. They never change.
 *
 * @category constructors
 * @since 0.1.0
 */
export const environment: Source = Environment.source

/**
 * Fixed keys, for tests and for programs that fetch their keys themselves. `changes` replaces them while the program runs.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerKeys = (
  keys: ReadonlyArray<Key>,
  changes?: Stream.Stream<ReadonlyArray<Key>>
): Layer.Layer<KeyStore> => Layer.succeed(KeyStore, fixed("program", keys, changes))

/**
 * The keys of a configuration value: one, several separated by commas, or JSON with `label`, `group`, `secret` and `weight` of each. Labels of
 * plain keys are `env-1`, `env-2` and so on, and they share the group `default`. A value that cannot be keys fails with `ConfigError`, which
 * does not repeat it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const config = (name: string): Config.Config<ReadonlyArray<Key>> => Environment.config(name)

/**
 * The keys of `ANTHROPIC_API_KEY` and `ANTHROPIC_API_KEYS`. Fails to build where neither has a key.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEnv: Layer.Layer<KeyStore, Config.ConfigError> = Layer.effect(
  KeyStore,
  Effect.map(Environment.keys, (keys) => fixed(environment.name, keys))
)
