/** What the sources of a store gave, in their order, and what of it the store uses. */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Key } from "../../Attempt.ts"
import { wrongLabel } from "../../internal/keyText.ts"
import { Malformed, parse } from "./document.ts"
import { typed } from "./failure.ts"
import { KeyStoreError, type Secret, type Source } from "./source.ts"

/** The source as it is where the store is built, whoever reads it: with that configuration. */
export const bound = (source: Source, provider: ConfigProvider.ConfigProvider): Source => {
  const here = <A>(effect: Effect.Effect<A, unknown>) =>
    Effect.provideService(effect, ConfigProvider.ConfigProvider, provider)
  const { all, remove, set } = source
  return {
    ...source,
    read: (name) => here(Effect.suspend(() => source.read(name))),
    all: all === undefined ? undefined : here(all),
    set: set === undefined ? undefined : (name, secret) => here(set(name, secret)),
    remove: remove === undefined ? undefined : (name) => here(remove(name))
  }
}

/** A key, and where it is stored. */
export interface Found {
  readonly key: Key
  /** The name that it is stored under, with all keys that are. */
  readonly name: string
  readonly version: string | undefined
}

/** What one source gave. */
export interface Reading {
  readonly source: Source
  readonly result: Result.Result<ReadonlyArray<Found>, KeyStoreError>
}

export const defaultName = "anthropic-api-key"

const withSecret = (key: Key, { expiresAt, headers }: Secret): Key => ({
  ...key,
  ...(expiresAt === undefined ? undefined : { expiresAt }),
  ...(headers === undefined ? undefined : { headers })
})

/** Somebody may give a key in place of its label, which must not be repeated. */
const shown = (label: string): string => wrongLabel(label) === undefined ? label : "so"

const absent = (source: Source, label?: string): KeyStoreError =>
  new KeyStoreError({
    store: source.name,
    kind: "absent",
    reason: label === undefined ? "it has no key" : `it has no key labelled ${shown(label)}`
  })

const invalid = (source: Source, reason: string): Effect.Effect<never, KeyStoreError> =>
  Effect.fail(new KeyStoreError({ store: source.name, kind: "invalid", reason }))

/** Everything that a source holds. */
const secretsOf = (source: Source): Effect.Effect<ReadonlyArray<readonly [string, Secret | undefined]>, unknown> =>
  source.all === undefined
    ? Effect.forEach(
      source.names ?? [defaultName],
      (name) => Effect.map(source.read(name), (secret) => [name, secret] as const)
    )
    : Effect.map(source.all, Object.entries<Secret>)

const foundIn = (
  source: Source,
  secrets: ReadonlyArray<readonly [string, Secret | undefined]>
): Effect.Effect<ReadonlyArray<Found>, KeyStoreError> =>
  Effect.suspend(() => {
    const found: Array<Found> = []
    const labels = new Set<string>()
    for (const [name, secret] of secrets) {
      if (secret === undefined) continue
      const keys = parse(name, secret.secret)
      // A key as the name of a label must not be repeated.
      if (keys instanceof Malformed) {
        return invalid(source, `${wrongLabel(name) === undefined ? name : "one of its names"}: ${keys.reason}`)
      }
      for (const key of keys) {
        if (labels.has(key.label)) return invalid(source, `it has two keys labelled ${key.label}`)
        labels.add(key.label)
        found.push({ key: withSecret(key, secret), name, version: secret.version })
      }
    }
    return found.length === 0 ? Effect.fail(absent(source)) : Effect.succeed(found)
  })

/** Reads a source. A success has at least one key. */
export const read = (source: Source, timeoutMillis: number): Effect.Effect<Reading> =>
  typed(source.name, timeoutMillis, Effect.suspend(() => secretsOf(source))).pipe(
    Effect.flatMap((secrets) => foundIn(source, secrets)),
    Effect.result,
    Effect.map((result) => ({ source, result }))
  )

/** No source has what was asked for. One source speaks for itself, several are listed. */
export const noneOf = (readings: ReadonlyArray<Reading>, label?: string): KeyStoreError => {
  const errors = readings.map(({ result, source }) =>
    Result.isFailure(result) && (label === undefined || result.failure.kind !== "absent")
      ? result.failure
      : absent(source, label)
  )
  const [only, ...others] = errors
  if (only !== undefined && others.length === 0) return only
  return new KeyStoreError({
    store: readings.map(({ source }) => source.name).join(", "),
    kind: errors.some((error) => error.kind !== "absent") || label === undefined ? "none" : "absent",
    reason: label === undefined ? "no source has a key" : `no source has a key labelled ${shown(label)}`,
    sources: errors.map(({ kind, reason, remedy, store }) => ({ source: store, kind, reason, remedy }))
  })
}
