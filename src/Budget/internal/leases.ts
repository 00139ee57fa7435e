/** The leases of the calls that run, renewed while there are any. */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Renewal, Reserve } from "./data.ts"

/** The most leases that one step renews. */
const maxRenewals = 256

export interface Leases {
  readonly start: (ask: Reserve) => void
  readonly end: (lease: string | undefined) => void
}

/** A lease is renewed four times in its length. `renew` succeeds whether or not the store answers. */
export const make = Effect.fnUntraced(function*(
  renew: (renewals: ReadonlyArray<Renewal>) => Effect.Effect<void>
): Effect.fn.Return<Leases, never, Scope.Scope> {
  const run = yield* FiberSet.makeRuntime<never>()
  const running = new Map<string, Renewal>()
  let isRenewing = false

  const renewAll = Effect.suspend(() => {
    const renewals = [...running.values()]
    const chunks = Array.from(
      { length: Math.ceil(renewals.length / maxRenewals) },
      (_, index) => renewals.slice(index * maxRenewals, (index + 1) * maxRenewals)
    )
    return Effect.forEach(chunks, renew, { discard: true })
  })

  const loop = (millis: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      isRenewing = running.size > 0
      if (!isRenewing) return Effect.void
      return Effect.andThen(Effect.delay(Effect.exit(renewAll), millis / 4), loop(millis))
    })

  return {
    start: ({ accounts, lease }) => {
      if (lease === undefined) return
      const { id, millis } = lease
      running.set(id, { lease: id, millis, accounts })
      if (isRenewing) return
      isRenewing = true
      run(loop(millis))
    },
    end: (lease) => {
      if (lease !== undefined) running.delete(lease)
    }
  }
})
