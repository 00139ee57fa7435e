/** Bucket sets in the memory of this process. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { BoundedMap } from "../../internal/boundedMap.ts"
import * as Buckets from "./Buckets.ts"
import { make as makeState, type State } from "./State.ts"
import type { Batch } from "./Store.ts"

/** The most bucket sets that are kept; the least recently used one makes room. */
const maxStates = 10_000

export const make = Effect.map(Clock.Clock, (clock) => {
  const states = new BoundedMap<string, State>(maxStates)
  /** Attempts of one group come in runs. */
  let last: { readonly key: string; readonly state: State } | undefined
  const stateOf = ({ burstMillis, key }: Batch, now: number): State => {
    const state = states.get(key) ?? makeState(burstMillis, now)
    states.set(key, state)
    last = { key, state }
    return state
  }
  return {
    isLocal: true,
    step: (batch: Batch) =>
      Effect.sync(() => {
        const now = clock.currentTimeMillisUnsafe()
        const state = last?.key === batch.key ? last.state : stateOf(batch, now)
        return Buckets.apply(state, batch, now)
      })
  }
})
