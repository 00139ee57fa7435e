/** Looks at single keys of a store, and changes them. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Key } from "../../Attempt.ts"
import { print, wrongKey } from "./document.ts"
import { typed } from "./failure.ts"
import { type Found, noneOf, read, type Reading } from "./reading.ts"
import { KeyStoreError, type ListedKey, type Source, type SourceReport } from "./source.ts"
import type { Settings } from "./store.ts"

const foundBy = ({ result }: Reading): ReadonlyArray<Found> => Result.isSuccess(result) ? result.success : []

const isWritable = (source: Source): boolean => source.set !== undefined && source.remove !== undefined

const hex = (bytes: ArrayBuffer): string =>
  Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("")

const fingerprintOf = (secret: Redacted.Redacted<string>): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.digest("SHA-256", new TextEncoder().encode(Redacted.value(secret)))),
    (bytes) => hex(bytes).slice(0, 12)
  )

const listed = (source: Source, { key, version }: Found, isUsed: boolean): ListedKey => ({
  label: key.label,
  group: key.group,
  weight: key.weight ?? 1,
  source: source.name,
  isUsed,
  version,
  expiresAt: key.expiresAt
})

const readOnly = (store: string, reason: string): KeyStoreError =>
  new KeyStoreError({ store, kind: "readOnly", reason, remedy: "Store it in a source that can be written." })

/** What looks at the sources. */
const looking = (sources: ReadonlyArray<Source>, { timeoutMillis, use }: Settings) => {
  const readEach = Effect.forEach(sources, (source) => read(source, timeoutMillis))

  const get = Effect.fnUntraced(function*(label: string) {
    const readings: Array<Reading> = []
    for (const source of sources) {
      const reading = yield* read(source, timeoutMillis)
      const found = foundBy(reading).find(({ key }) => key.label === label)
      if (found !== undefined) return found.key
      readings.push(reading)
    }
    return yield* noneOf(readings, label)
  })

  /** The reports of all sources, with each key beside what is listed of it. */
  const reports = Effect.map(readEach, (readings) => {
    const labels = new Set<string>()
    let isFirst = true
    return readings.map((reading) => {
      const found = foundBy(reading)
      const isRead = use === "all" || isFirst
      if (found.length > 0) isFirst = false
      const keys = found.map((one) => {
        const isUsed = isRead && !labels.has(one.key.label)
        if (isUsed) labels.add(one.key.label)
        return { key: one.key, listed: listed(reading.source, one, isUsed) }
      })
      return { reading, keys }
    })
  })

  const report = Effect.map(reports, (all) =>
    all.map(({ keys, reading: { result, source } }): SourceReport => ({
      source: source.name,
      isWritable: isWritable(source),
      keys: keys.map(({ listed }) => listed),
      error: Result.isFailure(result) ? result.failure : undefined
    })))

  const list = Effect.fnUntraced(function*(options: { readonly fingerprint?: boolean | undefined } = {}) {
    const all = yield* reports
    const readings = all.map(({ reading }) => reading)
    const keys = all.flatMap(({ keys }) => keys)
    // Nothing anywhere is an empty list, as long as every source that exists could be asked.
    const hasFailed = readings.some(({ result }) =>
      Result.isFailure(result) && result.failure.kind !== "absent" && result.failure.kind !== "unavailable"
    )
    if (keys.length === 0 && hasFailed) return yield* noneOf(readings)
    return yield* Effect.forEach(keys, ({ key, listed }) =>
      options.fingerprint === true
        ? Effect.map(fingerprintOf(key.secret), (fingerprint): ListedKey => ({ ...listed, fingerprint }))
        : Effect.succeed(listed))
  })

  return { get, list, report }
}

/** What changes the sources. */
const writing = (sources: ReadonlyArray<Source>, { timeoutMillis }: Settings, noteChange: Effect.Effect<void>) => {
  const chosen = (named: string | undefined): Effect.Effect<Source, KeyStoreError> => {
    const source = sources.find((source) => named === undefined ? isWritable(source) : source.name === named)
    const all = sources.map(({ name }) => name).join(", ")
    if (source !== undefined && isWritable(source)) return Effect.succeed(source)
    if (source !== undefined) return Effect.fail(readOnly(source.name, "keys cannot be stored in it"))
    return Effect.fail(
      named === undefined
        ? readOnly(all, "keys cannot be stored in any of its sources")
        : new KeyStoreError({ store: all, kind: "absent", reason: "there is no source of that name" })
    )
  }

  /** What stands under the name of a label: its keys, or those that it shares the name with. */
  const replace = (source: Source, label: string, key: Key | undefined): Effect.Effect<boolean, KeyStoreError> =>
    Effect.gen(function*() {
      const reading = yield* read(source, timeoutMillis)
      if (Result.isFailure(reading.result) && reading.result.failure.kind !== "absent") {
        return yield* reading.result.failure
      }
      const all = foundBy(reading)
      const old = all.find((found) => found.key.label === label)
      if (old === undefined && key === undefined) return false
      const name = old?.name ?? label
      const rest = all.filter((found) => found.name === name && found.key.label !== label).map((found) => found.key)
      const keys = key === undefined ? rest : [...rest, key]
      const write = keys.length === 0 ? source.remove?.(name) : source.set?.(name, print(name, keys))
      yield* typed(source.name, timeoutMillis, write ?? Effect.void) // only sources with both are chosen
      return true
    })

  const set = Effect.fnUntraced(function*(key: Key, options: { readonly source?: string | undefined } = {}) {
    const wrong = wrongKey(key)
    const source = yield* chosen(options.source)
    if (wrong !== undefined) return yield* new KeyStoreError({ store: source.name, kind: "invalid", reason: wrong })
    yield* replace(source, key.label, key)
    yield* noteChange
    return source.name
  })

  const remove = Effect.fnUntraced(function*(
    label: string,
    options: { readonly source?: string | undefined } = {}
  ) {
    const from = options.source === undefined ? sources.filter(isWritable) : [yield* chosen(options.source)]
    if (from.length === 0) yield* chosen(undefined)
    const removed: Array<string> = []
    const readings: Array<Reading> = []
    for (const source of from) {
      const result = yield* Effect.result(replace(source, label, undefined))
      if (Result.isSuccess(result)) {
        if (result.success) removed.push(source.name)
        else readings.push({ source, result: Result.succeed([]) })
      } else readings.push({ source, result: Result.fail(result.failure) })
    }
    if (removed.length === 0) return yield* noneOf(readings, label)
    yield* noteChange
    return removed
  })

  return { set, remove }
}

export const manage = (sources: ReadonlyArray<Source>, settings: Settings, noteChange: Effect.Effect<void>) => ({
  ...looking(sources, settings),
  ...writing(sources, settings, noteChange)
})
