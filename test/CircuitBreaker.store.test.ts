import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import { ServerError } from "effect-claude/ClaudeError"
import { TestClock } from "effect/testing"
import { suite } from "./suites/CircuitBreakerStore.ts"
import { attempt, failed } from "./utils/attempts.ts"
import * as settling from "./utils/settling.ts"

/** A store as a user writes one. */
const layerMap = Layer.sync(CircuitBreaker.Store, () => {
  const states = new Map<string, CircuitBreaker.State>()
  return {
    step: (batch) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const [state, reply] = CircuitBreaker.step(states.get(batch.key), batch, now)
        states.set(batch.key, state)
        return reply
      })
  }
})

suite({ name: "layerStoreMemory", layer: CircuitBreaker.layerStoreMemory, sleep: TestClock.adjust, test: it.effect })
suite({ name: "a map and step", layer: layerMap, sleep: TestClock.adjust, test: it.effect })

describe("breakers over a map and step", () => {
  it.effect("share their circuits", () =>
    Effect.gen(function*() {
      const layer = CircuitBreaker.layerNoDeps({ consecutiveFailures: 2, openDuration: "10 seconds", jitter: 0 })
      const build = Effect.map(Layer.build(Layer.fresh(layer)), Context.get(CircuitBreaker.CircuitBreaker))
      const [here, there] = [yield* build, yield* build]
      const down = failed(new ServerError({ overloaded: true }))
      for (let left = 2; left > 0; left--) {
        const made = attempt()
        yield* settling.admit(here, made)
        made.outcome = down
        yield* settling.settle(made)
        yield* TestClock.adjust(1)
      }
      const error = yield* Effect.flip(settling.admit(there, attempt()))
      assert.strictEqual(error._tag, "CircuitOpenError")
      const { group } = attempt().facts
      yield* here.reset(group)
      yield* TestClock.adjust("200 millis")
      yield* there.state(group)
      yield* TestClock.adjust("200 millis")
      assert.strictEqual((yield* there.state(group)).phase, "closed")
      yield* settling.admit(there, attempt())
    }).pipe(Effect.scoped, Effect.provide([layerMap, ClaudeApi.layer()])))
})
