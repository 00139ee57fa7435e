/** The policies together, in their order around each attempt. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Random, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostOptimizer from "effect-claude/CostOptimizer"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { answer, apiError, driven, fetchOf, hello, json, keys, keysOf, message, settle, sse } from "./utils/http.ts"
import { tracing } from "./utils/tracing.ts"

/** The service, and its policies to look at. */
const under = (
  fetch: typeof globalThis.fetch,
  options: ClaudeConfig.Options & { readonly optimizer?: CostOptimizer.Options },
  own = keys
) => ClaudeService.layerWithParts({ ...options, api: { fetch }, keys: own })

const ask = ClaudeService.create(hello)

const group = Effect.map(
  Effect.flatMap(RateLimiter.RateLimiter, (limiter) => limiter.snapshot),
  ([first]) => ({ waiting: first?.waiting ?? 0, inFlight: first?.inFlight ?? 0 })
)

const phase = Effect.map(
  Effect.flatMap(CircuitBreaker.CircuitBreaker, (breaker) => breaker.state("opus-4")),
  (state) => state.phase
)

const strict: ClaudeConfig.Options = {
  retry: { retries: 0 },
  breaker: { consecutiveFailures: 2, openDuration: "10 seconds", jitter: 0 }
}

describe("the limiter", () => {
  it.effect("paces a burst that the API would refuse", () =>
    Effect.gen(function*() {
      const { fetch, requests } = yield* Simulator.Simulator
      const burst = Effect.all(Array.from({ length: 20 }, () => ask), { concurrency: "unbounded" })
      const limits = { requestsPerMinute: 60 }
      const own = keysOf(Simulator.apiKey)
      const exit = yield* driven(
        Effect.provide(burst, under(fetch, { limiter: { limits, burst: "5 seconds" } }, own))
      )
      assert.isTrue(Exit.isSuccess(exit), String(exit))
      assert.deepStrictEqual((yield* requests).byStatus, { 200: 20 })
      assert.isAtLeast(yield* Clock.currentTimeMillis, 15_000)
    }).pipe(Effect.provide(Simulator.layer({ limits: { requestsPerMinute: 60, burstMinutes: 5 / 60 } }))))

  it.effect("counts fast calls within the standard limits of a model that ignores fast mode", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => json(message))
      yield* Effect.gen(function*() {
        const fast = ClaudeService.create({ ...hello, model: "claude-opus-4-6", speed: "fast" })
        const calls = yield* Effect.forkChild(Effect.all([fast, fast, fast], { concurrency: "unbounded" }))
        yield* settle
        assert.strictEqual(state.requests, 1)
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(state.requests, 3)
        yield* Fiber.join(calls)
      }).pipe(Effect.provide(under(fetch, { limiter: { limits: { requestsPerMinute: 1 } } })))
    }))

  it.effect("holds all callers back for what a refusal asks for", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf((n) =>
        n === 1 ? apiError(429, "rate_limit_error", { headers: { "retry-after": "7" } }) : json(message)
      )
      yield* Effect.gen(function*() {
        const first = yield* Effect.forkChild(ask)
        yield* settle
        const second = yield* Effect.forkChild(ask)
        yield* TestClock.adjust("6 seconds")
        assert.strictEqual(state.requests, 1)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.joinAll([first, second])
        assert.strictEqual(state.requests, 3)
      }).pipe(Effect.provide(under(fetch, {})))
    }))

  it.effect("is replaced by a layer", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => json(message))
      const layer = ClaudeService.layer({ api: { fetch }, keys, limiter: RateLimiter.layerOff })
      yield* Effect.provide(Effect.all([ask, ask, ask]), layer)
      assert.strictEqual(state.requests, 3)
    }))

  it.effect("refuses at once what could not be sent before the deadline", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => json(message))
      yield* Effect.gen(function*() {
        yield* ask
        const error = yield* Effect.flip(CallContext.withDeadline(ask, "20 seconds"))
        assert.deepInclude(error, { _tag: "RateLimitedLocallyError", reason: "deadline", attempts: 0 })
        assert.strictEqual(state.requests, 1)
        assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      }).pipe(Effect.provide(under(fetch, { limiter: { limits: { requestsPerMinute: 1 } } })))
    }))
})

describe("the breaker", () => {
  it.effect("refuses before the queue of the limiter is joined, and sends nothing", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => apiError(500, "api_error"))
      yield* Effect.gen(function*() {
        yield* Effect.exit(ask)
        yield* Effect.exit(ask)
        const error = yield* Effect.flip(ask)
        assert.deepInclude(error, { _tag: "CircuitOpenError", isRetryable: false, attempts: 0 })
        assert.strictEqual(state.requests, 2)
        assert.deepStrictEqual(yield* group, { waiting: 0, inFlight: 0 })
        assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      }).pipe(Effect.provide(under(fetch, { ...strict, limiter: { limits: { requestsPerMinute: 2 } } })))
    }))

  it.effect("refuses again those that waited while it opened, and their room is free again", () =>
    Effect.gen(function*() {
      const gates = [yield* Deferred.make<Response>(), yield* Deferred.make<Response>()]
      const { fetch, state } = fetchOf((n) => Effect.runPromise(Deferred.await(gates[n - 1]!)))
      yield* Effect.gen(function*() {
        const calls = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(Effect.exit(ask)))
        yield* settle
        assert.deepStrictEqual(yield* group, { waiting: 1, inFlight: 2 })
        for (const gate of gates) yield* Deferred.succeed(gate, apiError(500, "api_error"))
        yield* settle
        assert.strictEqual(yield* phase, "open")
        yield* TestClock.adjust("5 seconds")
        const [, , third] = yield* Effect.forEach(calls, Fiber.join)
        assert.include(String(third), "CircuitOpenError")
        assert.strictEqual(state.requests, 2)
        assert.deepStrictEqual(yield* group, { waiting: 0, inFlight: 0 })
      }).pipe(
        Effect.provide(under(fetch, { ...strict, limiter: { limits: { requestsPerMinute: 20 }, burst: "6 seconds" } }))
      )
    }))

  it.effect("ends the retries of a call that it refuses", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => apiError(500, "api_error"))
      const exit = yield* driven(
        Effect.provide(
          Effect.flip(ask),
          under(fetch, {
            breaker: { consecutiveFailures: 2, openDuration: "1 hour", maxOpenDuration: "1 hour" },
            retry: { retries: 9 }
          })
        )
      )
      assert.deepInclude(Exit.isSuccess(exit) ? exit.value : {}, { _tag: "CircuitOpenError", attempts: 2 })
      assert.strictEqual(state.requests, 2)
    }))

  it.effect("lets those go soon that wait for it, when its mode or its options change or when it is reset", () =>
    Effect.gen(function*() {
      const changes: ReadonlyArray<
        (breaker: CircuitBreaker.CircuitBreaker["Service"]) => Effect.Effect<void, unknown>
      > = [
        (breaker) => breaker.setMode("disabled"),
        (breaker) => breaker.update({ mode: "observe" }),
        (breaker) => breaker.update({ openDuration: 1, maxOpenDuration: 1 }),
        (breaker) => breaker.reset("opus-4")
      ]
      for (const change of changes) {
        const { fetch } = fetchOf((n) => n <= 2 ? apiError(500, "api_error") : json(message))
        yield* Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.CircuitBreaker
          yield* Effect.exit(ask)
          yield* Effect.exit(ask)
          const began = yield* Clock.currentTimeMillis
          const waiting = yield* Effect.forkChild(
            Effect.andThen(CallContext.annotate(ask, { retries: 1 }), Clock.currentTimeMillis)
          )
          yield* settle
          yield* TestClock.adjust("2 seconds")
          assert.isUndefined(waiting.pollUnsafe())
          yield* change(breaker)
          yield* TestClock.adjust("20 seconds")
          assert.isAtMost((yield* Fiber.join(waiting)) - began, 3_100)
        }).pipe(Effect.provide(under(fetch, strict)))
      }
    }))

  it.effect("is not closed by a request that cannot be encoded, which proves nothing", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf((n) => n <= 2 ? apiError(500, "api_error") : json(message))
      yield* Effect.gen(function*() {
        yield* Effect.exit(ask)
        yield* Effect.exit(ask)
        yield* TestClock.adjust("10 seconds")
        const error = yield* Effect.flip(ClaudeService.create({ ...hello, metadata: { user_id: 1n as never } })) // no JSON
        assert.strictEqual(error._tag, "BadRequestError")
        assert.strictEqual(yield* phase, "halfOpen")
        yield* ask
        assert.strictEqual(yield* phase, "closed")
        assert.strictEqual(state.requests, 3)
      }).pipe(Effect.provide(under(fetch, strict)))
    }))

  it.effect("takes the first content of a stream for its verdict", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf((n) => n <= 2 ? apiError(500, "api_error") : sse([answer]))
      yield* Effect.gen(function*() {
        yield* Effect.exit(ask)
        yield* Effect.exit(ask)
        assert.strictEqual(yield* phase, "open")
        yield* TestClock.adjust("10 seconds")
        const read = yield* Deferred.make<void>()
        const reader = ClaudeService.stream(hello).pipe(
          Stream.tap(() => Effect.andThen(Deferred.succeed(read, undefined), Effect.never)),
          Stream.runDrain
        )
        const fiber = yield* Effect.forkChild(reader)
        yield* Deferred.await(read)
        assert.strictEqual(yield* phase, "closed")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* phase, "closed")
      }).pipe(Effect.provide(under(fetch, strict)))
    }))
})

describe("what a call costs", () => {
  const sonnet = { ...hello, model: "claude-sonnet-5-5" }
  const served = { ...message, model: "claude-sonnet-5-5", usage: { input_tokens: 1_000, output_tokens: 100 } }

  it.effect("is in its report, and of every attempt in the ledger", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf((n) => n === 1 ? apiError(500, "api_error") : json(served))
      yield* Effect.gen(function*() {
        const exit = yield* driven(CallContext.annotate(ClaudeService.createWithReport(sonnet), { user: "ada" }))
        assert.strictEqual(Exit.isSuccess(exit) ? exit.value.costNanoUsd : undefined, 3_000_000)
        const ledger = yield* CostLedger.CostLedger
        const fiber = yield* Effect.forkChild(ledger.flush)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(fiber)
        const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
        assert.deepStrictEqual(
          rows.map(({ attempt, error, key, nanoUsd, user }) => ({ attempt, error, key, nanoUsd, user })),
          [
            { attempt: 1, error: "ServerError", key: "test", nanoUsd: 0, user: "ada" },
            { attempt: 2, error: undefined, key: "test", nanoUsd: 3_000_000, user: "ada" }
          ]
        )
      }).pipe(Effect.provide(under(fetch, {})))
    }))

  it.effect("is undefined for a model without a price", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => json({ ...served, model: "claude-tomorrow" }))
      const report = yield* Effect.provide(ClaudeService.createWithReport(sonnet), under(fetch, {}))
      assert.isUndefined(report.costNanoUsd)
    }))

  it.effect("is told of a stream that broke", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => sse([answer.subarray(0, answer.length - 300)]))
      const error = yield* Effect.flip(
        Effect.provide(Stream.runDrain(ClaudeService.stream(sonnet)), under(fetch, {}))
      )
      if (error._tag !== "StreamInterruptedError") return assert.fail(error._tag)
      const { inputTokens, outputTokens } = error.usage
      assert.deepStrictEqual([inputTokens, outputTokens > 3], [2_679, true])
      // Opus 4.6, as the stream said: input, two cache writes, a cache read and what arrived.
      assert.strictEqual(
        error.costNanoUsd,
        2_679 * 5_000 + 100 * 6_250 + 200 * 10_000 + 1_024 * 500 + outputTokens * 25_000
      )
    }))

  it.effect("is bounded by a budget before anything is waited for", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => json(served))
      yield* Effect.gen(function*() {
        yield* ClaudeService.create(sonnet)
        const error = yield* Effect.flip(ClaudeService.create(sonnet))
        assert.deepInclude(error, {
          _tag: "BudgetExceededError",
          budget: "all",
          spentNanoUsd: 3_000_000,
          reservedNanoUsd: 0,
          isRetryable: false
        })
        assert.strictEqual(state.requests, 1)
        assert.deepStrictEqual(yield* group, { waiting: 0, inFlight: 0 })
        const unpriced = yield* Effect.flip(ClaudeService.create({ ...hello, model: "claude-tomorrow" }))
        assert.strictEqual(unpriced._tag, "UnpricedModelError")
      }).pipe(Effect.provide(under(fetch, { budget: { budgets: [{ name: "all", limit: 0.0031 }] } })))
    }))

  it.effect("is bounded for each key, and each attempt of a call counts", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf((n) => n === 1 ? apiError(529, "overloaded_error") : json(served))
      yield* Effect.gen(function*() {
        assert.isTrue(Exit.isSuccess(yield* driven(ClaudeService.create(sonnet))))
        const [state] = yield* (yield* Budget.Budget).snapshot
        assert.deepInclude(state!, { account: "test", spentNanoUsd: 3_000_000, reservedNanoUsd: 0 })
      }).pipe(Effect.provide(under(fetch, { budget: { budgets: [{ name: "keys", per: "key", limit: 1 }] } })))
    }))

  it.effect("is bounded better once the optimizer has learnt how long such answers are", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => json(served))
      const rules = [CostOptimizer.shorterAnswers({ when: [], minTokens: 1, minCalls: 3 })]
      const long = CallContext.annotate(ClaudeService.createWithReport({ ...sonnet, max_tokens: 8_000 }), {
        requestType: "triage"
      })
      yield* Effect.gen(function*() {
        const changes = []
        for (let i = 0; i < 4; i++) changes.push((yield* long).changes.map(({ rule }) => rule))
        assert.deepStrictEqual(changes, [[], [], [], ["shorterAnswers"]])
      }).pipe(Effect.provide(under(fetch, { optimizer: { rules } })))
    }))

  it.effect("is made smaller by rules that are told of everywhere", () =>
    Effect.gen(function*() {
      let body = ""
      const { fetch } = fetchOf((_, init) => {
        body = String(init.body)
        return json({ ...served, model: "claude-haiku-5-5" })
      })
      const rules = [
        CostOptimizer.cheaperModel({ to: "claude-haiku-5-5", when: "triage" }),
        CostOptimizer.batchAdvice()
      ]
      const { spans, tracer } = tracing()
      yield* Effect.gen(function*() {
        const ledger = yield* CostLedger.CostLedger
        const fed = yield* Effect.forkChild(Stream.runCollect(Stream.take(ledger.feed, 1)), { startImmediately: true })
        const report = yield* ClaudeService.createWithReport(sonnet).pipe(
          CallContext.annotate({ requestType: "triage", priority: "bulk" })
        )
        assert.deepStrictEqual(report.changes.map(({ rule }) => rule), ["cheaperModel"])
        assert.deepStrictEqual(report.advice.map(({ rule }) => rule), ["batchAdvice"])
        assert.isAbove(report.changes[0]!.savedNanoUsd ?? 0, 0)
        const [row] = yield* Fiber.join(fed)
        assert.deepInclude(row ?? {}, {
          askedModel: "claude-sonnet-5-5",
          sentModel: "claude-haiku-5-5",
          model: "claude-haiku-5-5",
          rules: ["cheaperModel"],
          optimizerSavedNanoUsd: report.changes[0]!.savedNanoUsd
        })
        const call = spans.find(({ name }) => name.startsWith("chat "))
        assert.strictEqual(call?.attributes.get("claude.asked_model"), "claude-sonnet-5-5")
        assert.deepStrictEqual(call?.attributes.get("claude.optimizer.rules"), ["cheaperModel"])
        assert.strictEqual(JSON.parse(body).model, "claude-haiku-5-5")
      }).pipe(Effect.withTracer(tracer), Effect.provide(under(fetch, { optimizer: { rules } })))
    }))
})

describe("interruption", () => {
  it.effect("at any instant leaves no permit, no place and no tokens taken", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const limits = { requestsPerMinute: 600, inputTokensPerMinute: 60_000, outputTokensPerMinute: 60_000 }
      const layer = under(
        fetch,
        {
          limiter: { limits, burst: "1 second" },
          breaker: { consecutiveFailures: 3, openDuration: "1 second", maxOpenDuration: "1 second" },
          retry: { base: 50, budget: false }
        },
        keysOf(Simulator.apiKey)
      )
      yield* Effect.gen(function*() {
        const limiter = yield* RateLimiter.RateLimiter
        const fibers: Array<Fiber.Fiber<unknown>> = []
        for (let i = 0; i < 400; i++) {
          const request = { ...hello, max_tokens: 30 }
          const call: Effect.Effect<unknown, unknown, ClaudeService.ClaudeService> = i % 2 === 0
            ? ClaudeService.create(request)
            : Stream.runDrain(ClaudeService.stream(request))
          fibers.push(yield* Effect.forkChild(Effect.exit(call)))
          yield* TestClock.adjust(yield* Random.nextIntBetween(0, 20))
          yield* settle
          if (i % 3 === 0) yield* Fiber.interrupt(fibers[yield* Random.nextIntBetween(0, fibers.length - 1)]!)
        }
        yield* Fiber.interruptAll(fibers)
        yield* settle
        for (const { inFlight, waiting } of yield* limiter.snapshot) assert.deepStrictEqual([waiting, inFlight], [0, 0])
        // Nothing sticks: after a while the next call goes out, and finds every bucket full again.
        yield* TestClock.adjust("2 minutes")
        const { levels } = (yield* limiter.snapshot)[0]!
        for (const dimension of ["requests", "inputTokens", "outputTokens"] as const) {
          assert.approximately(levels[dimension]!.free, levels[dimension]!.capacity, 1e-6)
          assert.approximately(levels[dimension]!.reserved, 0, 1e-6)
        }
        assert.isTrue(Exit.isSuccess(yield* driven(ask)))
      }).pipe(Effect.provide(layer))
    }).pipe(
      Effect.provide(Simulator.layer({
        limits: { requestsPerMinute: 600, burstMinutes: 1 / 60 },
        latency: { firstToken: { median: 30, sigma: 1 }, perToken: 2 }
      })),
      Random.withSeed("policies")
    ))
})
