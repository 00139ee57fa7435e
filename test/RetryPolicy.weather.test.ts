/** What the default policy loses and sends in bad weather, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random } from "effect"
import { ClaudeService } from "effect-claude"
import { type ApiError, ServerError } from "effect-claude/ClaudeError"
import * as RetryPolicy from "effect-claude/RetryPolicy"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"

const seeds = ["a", "b", "c", "d", "e"]
const overloaded = new ServerError({ overloaded: true })

interface Weather {
  readonly calls: number
  readonly everyMillis: number
  /** Whether an attempt fails, by the number of the call and of its attempt. */
  readonly fails: (call: number, attempt: number, lot: number) => boolean
}

/** Makes calls at a steady pace, and counts those that were lost and all that were sent. */
const through = (policy: RetryPolicy.RetryPolicy["Service"], { calls, everyMillis, fails }: Weather) =>
  Effect.gen(function*() {
    const seen = { lost: 0, sent: 0, sentLate: 0 }
    const fibers: Array<Fiber.Fiber<void>> = []
    for (let call = 0; call < calls; call++) {
      const attempts = policy.retry(({ number }) =>
        Effect.flatMap(Random.next, (lot): Effect.Effect<void, ApiError> => {
          seen.sent++
          if (call >= calls / 2) seen.sentLate++
          return fails(call, number, lot) ? Effect.fail(overloaded) : Effect.void
        })
      )
      fibers.push(yield* Effect.forkChild(Effect.catch(attempts, () => Effect.sync(() => void seen.lost++))))
      yield* TestClock.adjust(everyMillis)
    }
    yield* TestClock.adjust("10 minutes")
    yield* Effect.forEach(fibers, Fiber.join, { discard: true })
    return seen
  })

describe("retries in bad weather, five seeds", () => {
  for (const [rate, most] of [[0.3, 0.03], [0.15, 0.005]] as const) {
    it.effect(`lose at most ${most * 100} % of one call a second for an hour, where ${rate * 100} % of attempts fail`, () =>
      Effect.gen(function*() {
        for (const seed of seeds) {
          const policy = yield* RetryPolicy.make()
          const weather = {
            calls: 3_600,
            everyMillis: 1_000,
            fails: (_: number, __: number, lot: number) => lot < rate
          }
          const { lost } = yield* Random.withSeed(through(policy, weather), seed)
          assert.isAtMost(lost / 3_600, most, seed)
        }
      }))
  }

  for (const [name, everyMillis] of [["a second", 1_000], ["ten a second", 100]] as const) {
    it.effect(`send at most 1.1 requests a call to a dead API once the budget is spent, at ${name}`, () =>
      Effect.gen(function*() {
        for (const seed of seeds) {
          const policy = yield* RetryPolicy.make()
          const calls = 2_000
          const { sentLate } = yield* Random.withSeed(through(policy, { calls, everyMillis, fails: () => true }), seed)
          assert.isAtMost(sentLate / (calls / 2), 1.1, seed)
        }
      }))
  }

  it.effect("lose none of 300 calls, a minute apart, of which each fails once, nor where each fails three times", () =>
    Effect.gen(function*() {
      for (const failures of [1, 3]) {
        const policy = yield* RetryPolicy.make()
        const fails = (_: number, attempt: number) => attempt <= failures
        assert.deepInclude(yield* through(policy, { calls: 300, everyMillis: 60_000, fails }), {
          lost: 0,
          sent: 300 * (failures + 1)
        })
      }
    }))

  it.effect("retry light traffic always, also at an API that has been down for hours", () =>
    Effect.gen(function*() {
      const policy = yield* RetryPolicy.make()
      const { sentLate } = yield* through(policy, { calls: 400, everyMillis: 60_000, fails: () => true })
      assert.strictEqual(sentLate, 200 * 4)
    }))

  it.effect("lose no more through the whole service, with every policy on", () =>
    Effect.gen(function*() {
      const request = {
        model: "claude-haiku-5-5",
        max_tokens: 16,
        messages: [{ role: "user" as const, content: "Hi." }]
      }
      const fibers: Array<Fiber.Fiber<number>> = []
      for (let call = 0; call < 900; call++) {
        fibers.push(
          yield* Effect.forkChild(Effect.match(ClaudeService.create(request), {
            onFailure: () => 1,
            onSuccess: () => 0
          }))
        )
        yield* TestClock.adjust("1 second")
      }
      yield* TestClock.adjust("10 minutes")
      const lost = (yield* Effect.forEach(fibers, Fiber.join)).reduce((sum, one) => sum + one, 0)
      assert.isAtMost(lost / 900, 0.03)
    }).pipe(
      Effect.provide(Simulator.layerClaude({ seed: "hour", faults: [Simulator.overload({ probability: 0.3 })] }))
    ))
})
