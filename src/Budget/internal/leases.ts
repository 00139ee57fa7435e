/** The leases of the calls that run, due for renewal four times in their length. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Renewal, Reserve, Settlement } from "./data.ts"

/** The most leases that one step renews. */
const maxRenewals = 256

export interface Leases {
  readonly start: (ask: Reserve, settlement: Settlement) => void
  readonly end: (lease: string | undefined) => void
  readonly isDue: () => boolean
  /** Some of those that are due; they are due no more. */
  readonly take: () => ReadonlyArray<Renewal>
}

/** `onDue` runs when leases are due; they are due as well when the clock has jumped. */
export const make = Effect.fnUntraced(function*(onDue: () => void): Effect.fn.Return<Leases, never, Scope.Scope> {
  const run = yield* FiberSet.makeRuntime<never>()
  const clock = yield* Clock.Clock
  const running = new Map<string, Renewal>()
  let due: ReadonlyArray<string> = []
  /** When those that run were last due. */
  let lastAt = 0
  let everyMillis = Infinity
  let isWatching = false

  const collect = (): void => {
    const now = clock.currentTimeMillisUnsafe()
    if (running.size === 0 || (now >= lastAt && now < lastAt + everyMillis)) return
    lastAt = now
    due = [...running.keys()]
  }

  const watch: Effect.Effect<void> = Effect.suspend(() => {
    isWatching = running.size > 0
    if (!isWatching) return Effect.void
    return Effect.flatMap(Effect.sleep(everyMillis), () => {
      collect()
      if (due.length > 0) onDue()
      return watch
    })
  })

  return {
    start: ({ lease, nanoUsd }, { reservations }) => {
      if (lease === undefined) return
      const { id, millis } = lease
      if (running.size === 0) lastAt = clock.currentTimeMillisUnsafe()
      everyMillis = millis / 4
      running.set(id, { lease: id, millis, nanoUsd, reservations })
      if (isWatching) return
      isWatching = true
      run(watch)
    },
    end: (lease) => {
      if (lease !== undefined) running.delete(lease)
    },
    isDue: () => {
      collect()
      return due.length > 0
    },
    take: () => {
      collect()
      const taken = due.slice(0, maxRenewals)
      due = due.slice(maxRenewals)
      return taken.flatMap((lease) => running.get(lease) ?? [])
    }
  }
})
