import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Metric, Stream } from "effect"
import { CallContext, ClaudeError, ClaudeService, Monitor } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"

const { hello } = ClaudeTest

const over = (...script: ReadonlyArray<ClaudeTest.Answer<ClaudeError.ApiError>>) =>
  ClaudeService.layerWithParts({ api: ClaudeTest.layerApi(...script), keys: [ClaudeTest.key] }).pipe(
    // A registry of its own for each test.
    Layer.provideMerge(Layer.sync(Metric.MetricRegistry, () => new Map()))
  )

const unavailable = new ClaudeError.ServerError({ overloaded: false, status: 500, shouldRetry: false })

/** What the metrics say, by name and labels. */
const metrics = Effect.map(Metric.snapshot, (all) =>
  Object.fromEntries(
    all.filter(({ id }) => id.startsWith("anthropic_")).map(({ attributes = {}, id, state }) => [
      `${id}{${Object.entries(attributes).map(([name, value]) => `${name}=${value}`).join()}}`,
      "count" in state && "sum" in state ? { count: state.count, sum: state.sum } : Object.values(state)[0]
    ])
  ))

describe("Monitor", () => {
  it.effect("counts successes and failures, their latency and their tokens", () =>
    Effect.gen(function*() {
      yield* Effect.replicateEffect(ClaudeService.create(hello), 3)
      yield* Effect.flip(ClaudeService.create(hello))
      const all = yield* metrics
      const { sinceStart } = yield* Monitor.snapshot
      assert.deepInclude(all, {
        "anthropic_requests_total{model=claude-sonnet-5-5,status=success}": 3,
        "anthropic_requests_total{model=claude-sonnet-5-5,status=error}": 1,
        "anthropic_active_requests{}": 0
      })
      assert.deepInclude(sinceStart, { total: 4, success: 3, error: 1, successRate: 0.75 })
    }).pipe(Effect.provide(over("One.", "Two.", "Three.", unavailable))))

  it.effect("tells of everything that happens to a call", () =>
    Effect.gen(function*() {
      const events = yield* Effect.forkChild(
        Monitor.events.pipe(
          Stream.filter(({ _tag }) => _tag !== "KeyChanged"),
          Stream.takeUntil(({ _tag }) => _tag === "CallEnded"),
          Stream.runCollect
        ),
        { startImmediately: true }
      )
      const call = yield* Effect.forkChild(CallContext.annotate(ClaudeService.create(hello), { user: "ada" }))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(call)
      const all = yield* Fiber.join(events)
      assert.deepStrictEqual(all.map(({ _tag }) => _tag), [
        "CallStarted",
        "AttemptStarted",
        "AttemptEnded",
        "Retrying",
        "Waited",
        "AttemptStarted",
        "AttemptEnded",
        "CallEnded"
      ])
      assert.deepStrictEqual(all.map(({ sequence }) => sequence), [...all.keys()].map((i) => all[0]!.sequence + i))
    }).pipe(Effect.provide(over(new ClaudeError.ServerError({ overloaded: true }), "At last."))))
})
