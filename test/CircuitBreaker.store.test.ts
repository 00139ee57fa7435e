import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Context, Effect, Exit, Layer } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import { ServerError } from "effect-claude/ClaudeError"
import { TestClock } from "effect/testing"
import { suite } from "./suites/CircuitBreakerStore.ts"
import { attempt, failed } from "./utils/attempts.ts"
import * as settling from "./utils/settling.ts"

/** A store as a user writes one. */
const layerMap = (isLocal = false) =>
  Layer.sync(CircuitBreaker.Store, () => {
    const states = new Map<string, CircuitBreaker.State>()
    return {
      isLocal,
      step: (batch) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const [state, reply] = CircuitBreaker.step(states.get(batch.key), batch, now)
          states.set(batch.key, state)
          return reply
        })
    }
  })

/** The same over rows of text, as in a database. */
const layerRows = Layer.sync(CircuitBreaker.Store, () => {
  const rows = new Map<string, string>()
  return {
    step: (batch) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const row = rows.get(batch.key)
        const [state, reply] = CircuitBreaker.step(row === undefined ? undefined : JSON.parse(row), batch, now)
        rows.set(batch.key, JSON.stringify(state))
        return reply
      })
  }
})

suite({ name: "layerStoreMemory", layer: CircuitBreaker.layerStoreMemory, sleep: TestClock.adjust, test: it.effect })
suite({ name: "a map and step", layer: layerMap(), sleep: TestClock.adjust, test: it.effect })
suite({ name: "rows of text and step", layer: layerRows, sleep: TestClock.adjust, test: it.effect })

const down = failed(new ServerError({ overloaded: true }))

const call = Effect.fnUntraced(function*(breaker: CircuitBreaker.CircuitBreaker["Service"]) {
  const made = attempt()
  yield* settling.admit(breaker, made)
  made.outcome = down
  yield* settling.settle(made)
})

describe("a breaker over a local store of a user", () => {
  const layer = CircuitBreaker.layerNoDeps({ consecutiveFailures: 2, openDuration: "10 seconds", jitter: 0 })

  it.effect("opens at once", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* call(breaker)
      yield* call(breaker)
      assert.strictEqual((yield* Effect.flip(settling.admit(breaker, attempt())))._tag, "CircuitOpenError")
    }).pipe(Effect.provide(Layer.provide(layer, [layerMap(true), ClaudeApi.layer()]))))

  it.effect("takes its failure for a defect", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const exit = yield* Effect.exit(call(breaker))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    }).pipe(Effect.provide(Layer.provide(layer, [
      Layer.succeed(CircuitBreaker.Store, { isLocal: true, step: () => Effect.fail("broken") }),
      ClaudeApi.layer()
    ]))))
})

describe("breakers over a map and step", () => {
  it.effect("share their circuits", () =>
    Effect.gen(function*() {
      const layer = CircuitBreaker.layerNoDeps({ consecutiveFailures: 2, openDuration: "10 seconds", jitter: 0 })
      const build = Effect.map(Layer.build(Layer.fresh(layer)), Context.get(CircuitBreaker.CircuitBreaker))
      const [here, there] = [yield* build, yield* build]
      for (let left = 2; left > 0; left--) {
        yield* call(here)
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
    }).pipe(Effect.scoped, Effect.provide([layerMap(), ClaudeApi.layer()])))
})
