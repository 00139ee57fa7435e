/** The metrics of a pool. */
import * as Effect from "effect/Effect"
import { counter, gauge, metrics } from "../../internal/metrics.ts"
import type { KeyState } from "./snapshot.ts"
import type { Rejection } from "./verdict.ts"

/** The most keys that have a gauge of their own. */
const maxLabels = 100

const stateGauge = (key: string) => gauge(metrics.keyState, { key })

const codes: Readonly<Record<KeyState, number>> = { usable: 0, cooling: 1, quarantined: 2, drained: 3, removed: 3 }

const moveCounter = (reason: MoveReason) => counter(metrics.keyMoves, { reason })

/** Why a call moves: the key was rejected, the API reported a limit of its group, the limiter had no room, or a budget of the key had none. */
export type MoveReason = Rejection | "limit" | "spend" | "busy" | "budget"

export interface Telemetry {
  readonly state: (key: string, state: KeyState) => void
  readonly moved: (reason: MoveReason) => void
}

export const make: Effect.Effect<Telemetry> = Effect.gen(function*() {
  const services = yield* Effect.context<never>()
  const gauges = new Map<string, ReturnType<typeof stateGauge>>()
  const counters = new Map<MoveReason, ReturnType<typeof moveCounter>>()
  return {
    state: (key, state) => {
      const gauge = gauges.get(key) ?? (gauges.size < maxLabels ? stateGauge(key) : undefined)
      if (gauge === undefined) return
      gauges.set(key, gauge)
      gauge.updateUnsafe(codes[state], services)
    },
    moved: (reason) => {
      const counter = counters.get(reason) ?? moveCounter(reason)
      counters.set(reason, counter)
      counter.updateUnsafe(1, services)
    }
  }
})
