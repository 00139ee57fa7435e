/** The metrics of a pool. */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { KeyState } from "./snapshot.ts"
import type { Rejection } from "./verdict.ts"

/** The most keys that have a gauge of their own. */
const maxLabels = 100

/** One for each key: two that share a metric would look it up by its name at each update. */
const stateGauge = (key: string) =>
  Metric.gauge("anthropic_key_state", {
    description: "0: usable, 1: its group cools down, 2: quarantined, 3: drained or removed",
    attributes: { key }
  })

const codes: Readonly<Record<KeyState, number>> = { usable: 0, cooling: 1, quarantined: 2, drained: 3, removed: 3 }

const moveCounter = (reason: MoveReason) =>
  Metric.counter("anthropic_key_moves_total", {
    description: "Attempts that were followed immediately by another one with another key",
    incremental: true,
    attributes: { reason }
  })

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
