/** A key store over sources in order: reads them once for all who ask at the same time, remembers what they gave, and follows their changes. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"
import type { Key } from "../../Attempt.ts"
import { typed } from "./failure.ts"
import { type Found, noneOf, read, type Reading } from "./reading.ts"
import type { KeyStoreError, Source } from "./source.ts"

/** The options of `KeyStore`, documented there. */
export interface Settings {
  readonly use: "first" | "all"
  readonly timeoutMillis: number
  readonly refreshBeforeMillis: number
}

/** Waits after a failure, doubling from one to the other. */
const minBackoffMillis = 1_000
const maxBackoffMillis = 60_000

const sameKey = (a: Key, b: Key): boolean =>
  a.label === b.label && a.group === b.group && a.weight === b.weight && a.expiresAt === b.expiresAt &&
  Equal.equals(a.secret, b.secret) && JSON.stringify(a.headers) === JSON.stringify(b.headers)

const sameKeys = (a: ReadonlyArray<Key>, b: ReadonlyArray<Key>): boolean =>
  a.length === b.length && a.every((key, index) => sameKey(key, b[index]!)) // both are as long

/** What comes without notice: nothing is wrong with a machine that has no keyring. */
const isQuiet = ({ kind }: KeyStoreError): boolean => kind === "absent" || kind === "unavailable"

/**
 * - `keys`: reads the sources; who asks while they are being read gets the same answer.
 * - `changes`: the keys as last read, then all keys each time they differ. The first subscriber starts to follow the sources.
 * - `noteChange`: makes who follows the sources read them.
 */
export interface Following {
  readonly keys: Effect.Effect<ReadonlyArray<Key>, KeyStoreError>
  readonly changes: Stream.Stream<ReadonlyArray<Key>>
  readonly noteChange: Effect.Effect<void>
}

/** What a store remembers. */
class Memory {
  /** The keys that were read last, published or not. */
  keys: ReadonlyArray<Key> | undefined
  /** What each source gave last. A source that fails keeps it, one that answers that it has none does not. */
  readonly good = new Map<Source, ReadonlyArray<Found>>()
  /** Sources that failed when they were read last, and whether a warning said so: one does for each failure. */
  readonly failing = new Map<Source, boolean>()

  /** No source has a key any more, which was logged. */
  isEmpty = false

  /** What a source counts for: what it gave now, or what it gave before it failed. */
  resolve({ result, source }: Reading): ReadonlyArray<Found> {
    if (Result.isSuccess(result)) {
      this.good.set(source, result.success)
      return result.success
    }
    if (result.failure.kind === "absent") this.good.delete(source)
    return this.good.get(source) ?? []
  }

  /** Says once that a source fails, and once that it answers again. */
  log({ result, source }: Reading): Effect.Effect<void> {
    const wasSaid = this.failing.get(source)
    if (Result.isSuccess(result) || result.failure.kind === "absent") {
      this.failing.delete(source)
      return wasSaid === true ? Effect.logInfo(`KeyStore: ${source.name} answers again.`) : Effect.void
    }
    const hasGood = this.good.has(source)
    const isWarning = hasGood || !isQuiet(result.failure)
    if (wasSaid === true || wasSaid === isWarning) return Effect.void
    this.failing.set(source, isWarning)
    const text = `KeyStore: ${result.failure.message}${hasGood ? " The keys that it gave before stay in use." : ""}`
    return isWarning ? Effect.logWarning(text) : Effect.logDebug(text)
  }

  logEmpty(): Effect.Effect<void> {
    if (this.isEmpty || this.failing.size > 0) return Effect.void
    this.isEmpty = true
    return Effect.logWarning("KeyStore: no source has a key any more. The last ones stay in use.")
  }
}

/** Later keys with a label that an earlier source has are left out. */
const distinct = (found: ReadonlyArray<Found>): ReadonlyArray<Key> => {
  const keys = new Map<string, Key>()
  for (const { key } of found) if (!keys.has(key.label)) keys.set(key.label, key)
  return [...keys.values()]
}

/**
 * How long from now until the first of the keys that end is read again: so long before its end, or after half of what is left of its life. Not above 0
 * where it has ended.
 */
const untilRefresh = (keys: ReadonlyArray<Key>, now: number, refreshBeforeMillis: number): number => {
  const left = Math.min(...keys.map(({ expiresAt = Infinity }) => expiresAt)) - now
  return left === Infinity || left <= 0
    ? left
    : Math.max(minBackoffMillis, left - Math.min(refreshBeforeMillis, left / 2))
}

/** Reads sources in order, until one has keys or all of them. */
const readAll = Effect.fnUntraced(function*(sources: ReadonlyArray<Source>, settings: Settings, memory: Memory) {
  const readings: Array<Reading> = []
  const found: Array<Found> = []
  for (const source of sources) {
    const reading = yield* read(source, settings.timeoutMillis)
    yield* memory.log(reading)
    readings.push(reading)
    found.push(...memory.resolve(reading))
    if (found.length > 0 && settings.use === "first") break
  }
  const hasFailed = readings.some(({ result }) => Result.isFailure(result) && !isQuiet(result.failure))
  return { readings, keys: distinct(found), hasFailed }
})

/**
 * Runs `onChange` whenever a source says that it changed. Where its stream fails, it begins again after a back-off, which grows until a stream lasts
 * longer than the longest one: one that says something and fails would be begun each second otherwise.
 */
const listen = (source: Source, onChange: Effect.Effect<unknown>): Effect.Effect<void> => {
  if (source.changes === undefined) return Effect.void
  let backoffMillis = minBackoffMillis
  const run = typed(source.name, Infinity, Stream.runForEach(source.changes, () => onChange))
  const begin: Effect.Effect<void> = Effect.flatMap(
    Clock.currentTimeMillis,
    (began) =>
      Effect.catch(run, (error) =>
        Effect.gen(function*() {
          if ((yield* Clock.currentTimeMillis) - began > maxBackoffMillis) backoffMillis = minBackoffMillis
          const wait = backoffMillis
          backoffMillis = Math.min(wait * 2, maxBackoffMillis)
          if (wait === minBackoffMillis) {
            yield* Effect.logWarning(
              `KeyStore: changes of ${source.name} are not followed for a moment: ${error.reason}.`
            )
          }
          yield* Effect.sleep(wait)
          yield* onChange // something may have changed meanwhile
          return yield* begin
        }))
  )
  return begin
}

export const follow = Effect.fnUntraced(function*(
  sources: ReadonlyArray<Source>,
  settings: Settings
): Effect.fn.Return<Following, never, Scope.Scope> {
  const scope = yield* Scope.Scope
  const memory = new Memory()
  const published = yield* PubSub.sliding<Take.Take<ReadonlyArray<Key>>>({ capacity: 16, replay: 1 })
  yield* Effect.addFinalizer(() => PubSub.end(published, Exit.void))
  const signal = yield* Latch.make()
  let reading: Deferred.Deferred<ReadonlyArray<Key>, KeyStoreError> | undefined
  let hasFailed = false
  let isFollowing = false

  const once = Effect.gen(function*() {
    const all = yield* readAll(sources, settings, memory)
    const known = memory.keys
    hasFailed = all.hasFailed || all.keys.length === 0
    if (all.keys.length === 0) {
      if (known === undefined) return yield* noneOf(all.readings)
      return yield* Effect.as(memory.logEmpty(), known)
    }
    memory.isEmpty = false
    if (known !== undefined && sameKeys(known, all.keys)) return known
    memory.keys = all.keys
    yield* PubSub.publish(published, [all.keys])
    return all.keys
  })

  /** One reading for all who ask meanwhile. It goes on where one of them is interrupted, and is bounded by the time limit of each source. */
  const keys = Effect.suspend(() => {
    if (reading !== undefined) return Deferred.await(reading)
    const mine = Deferred.makeUnsafe<ReadonlyArray<Key>, KeyStoreError>()
    reading = mine
    const done = (exit: Exit.Exit<ReadonlyArray<Key>, KeyStoreError>) => {
      reading = undefined
      return Deferred.done(mine, exit)
    }
    return Effect.andThen(Effect.forkDetach(Effect.onExit(once, done)), Deferred.await(mine))
  })

  const loop = Effect.gen(function*() {
    let backoffMillis = minBackoffMillis
    // What was read just before somebody subscribed is not read again: a keyring may ask its user each time.
    let isKnown = memory.keys !== undefined
    while (true) {
      signal.closeUnsafe()
      if (!isKnown) yield* Effect.exit(keys)
      isKnown = false
      const now = yield* Clock.currentTimeMillis
      const refresh = untilRefresh(memory.keys ?? [], now, settings.refreshBeforeMillis)
      const isBackoff = hasFailed || refresh <= 0
      const wait = isBackoff ? Math.min(backoffMillis, refresh > 0 ? refresh : Infinity) : refresh
      const signalled = yield* Number.isFinite(wait)
        ? Effect.timeoutOption(signal.await, wait)
        : Effect.asSome(signal.await)
      if (!isBackoff) backoffMillis = minBackoffMillis
      else if (Option.isNone(signalled)) backoffMillis = Math.min(backoffMillis * 2, maxBackoffMillis)
    }
  })

  const start = Effect.suspend(() => {
    if (isFollowing) return Effect.void
    isFollowing = true
    // A source that fails is left alone during a back-off, however often it is polled.
    const changed = (source: Source) =>
      Effect.suspend(() => hasFailed && memory.failing.has(source) ? Effect.void : signal.open)
    const listening = Effect.forEach(sources, (source) => Effect.forkIn(listen(source, changed(source)), scope))
    return Effect.andThen(listening, Effect.forkIn(loop, scope))
  })

  return {
    keys,
    changes: Stream.unwrap(Effect.as(start, Stream.fromPubSubTake(published))),
    noteChange: Effect.asVoid(signal.open)
  }
})
