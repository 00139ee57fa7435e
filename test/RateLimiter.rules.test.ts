import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Logger, Redacted } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as CallContext from "effect-claude/CallContext"
import { RateLimitError } from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as RateLimiter from "effect-claude/RateLimiter"
import type * as RetryPolicy from "effect-claude/RetryPolicy"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { driven } from "./utils/http.ts"
import { type Call, chance, poisson, quantile, seeds, traffic, waits } from "./utils/limiterTraffic.ts"

interface Sketch extends Partial<CallContext.CallContext> {
  readonly input?: number
  readonly maxOutput?: number
  readonly kind?: Attempt.CallKind
  readonly keyGroup?: string
}

const attemptOf = ({ input = 10, keyGroup = "g", kind, maxOutput = 10, ...context }: Sketch = {}) =>
  ClaudeTest.attempt({
    model: "claude-opus-4-8",
    context,
    estimate: { inputTokens: input, maxOutputTokens: maxOutput },
    kind,
    key: { label: "k", group: keyGroup, secret: Redacted.make("s") }
  })

const completed = (usage: Partial<Usage.Usage>) =>
  Attempt.Outcome.Completed({
    usage: Usage.make(usage),
    limits: undefined,
    model: undefined,
    requestId: undefined,
    stopReason: "end_turn"
  })

/** Lets everything that can go on go on. */
const settled = Effect.repeat(Effect.yieldNow, { times: 8 })

/** Sends an attempt that is under way until somebody says how it ends. */
const call = (sketch: Sketch = {}) =>
  Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const attempt = attemptOf(sketch)
    const admitted = yield* Deferred.make<void>()
    const ended = yield* Deferred.make<void>()
    const use = Effect.suspend(() => {
      attempt.outcome = Attempt.Outcome.Aborted({ usage: Usage.zero })
      return Effect.andThen(Deferred.succeed(admitted, undefined), Deferred.await(ended))
    })
    const fiber = yield* Effect.forkChild(Attempt.guard(limiter, attempt, use), { startImmediately: true })
    yield* settled
    return {
      attempt,
      isAdmitted: Deferred.isDone(admitted),
      end: (outcome: Attempt.Outcome) =>
        Effect.suspend(() => {
          attempt.outcome = outcome
          return Effect.andThen(Deferred.succeed(ended, undefined), settled)
        }),
      /** Why it was refused, where it was by now. */
      refusal: Effect.suspend(() => {
        const exit = fiber.pollUnsafe()
        const isRefused = exit !== undefined && Exit.isFailure(exit)
        return isRefused ? Effect.orDie(Effect.flip(Fiber.join(fiber))) : Effect.undefined
      })
    }
  })

const snapshot = Effect.flatMap(RateLimiter.RateLimiter, (limiter) => Effect.map(limiter.snapshot, ([one]) => one!))

const limited = (options: RateLimiter.Options) => Effect.provide(RateLimiter.layer(options))

const refusedFor = (retryAfter: Duration.Input) =>
  Attempt.Outcome.Failed({
    usage: Usage.zero,
    error: new RateLimitError({ limit: "unknown", retryAfter: Duration.fromInputUnsafe(retryAfter) }),
    limits: undefined
  })

/** What a kind learns of calls of which one in five uses ten times its estimated input. */
const oneInFive = (seed: number) => {
  const next = chance(seed)
  const kind = new Attempt.CallKind()
  for (let i = 0; i < 200 || kind.input(20_000) < 190_000; i++) {
    const inputTokens = next() < 0.2 ? 20_000 : 2_000
    kind.add({ estimatedInputTokens: 2_000, inputTokens, outputTokens: 10, millis: 100, isCut: false })
  }
  return kind
}

describe("RateLimiter, too large", () => {
  it.effect.each(seeds)(
    "is judged by the estimate; what others used only paces (%i)",
    (seed) =>
      Effect.gen(function*() {
        const kind = oneInFive(seed)
        for (let i = 0; i < 5; i++) {
          const one = yield* call({ kind, input: 20_000 })
          assert.isUndefined(yield* one.refusal)
          // It waits for the whole bucket at most.
          yield* TestClock.adjust("1 minute")
          assert.isTrue(yield* one.isAdmitted)
          yield* one.end(completed({ inputTokens: 20_000 }))
        }
        const large = yield* call({ kind, input: 140_000 })
        const error = yield* large.refusal
        assert.deepInclude(error, { reason: "tooLarge", needed: 140_000, limit: 100_000 })
      }).pipe(limited({ limits: { inputTokensPerMinute: 100_000 } }))
  )

  it.effect("takes no more than a whole bucket for what others used, so that others need not wait for its answer", () =>
    Effect.gen(function*() {
      yield* call({ kind: oneInFive(1), input: 20_000 })
      const small = yield* call({ input: 1_000 })
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* small.isAdmitted)
    }).pipe(limited({ limits: { inputTokensPerMinute: 100_000 } })))

  it.effect("is not what a cache serves: a prompt larger than the limit goes where such prompts counted for less", () =>
    Effect.gen(function*() {
      const kind = new Attempt.CallKind()
      for (let i = 0; i < 50; i++) {
        kind.add({ estimatedInputTokens: 50_000, inputTokens: 5_000, outputTokens: 10, millis: 100, isCut: false })
      }
      assert.isTrue(yield* (yield* call({ kind, input: 200_000 })).isAdmitted)
    }).pipe(limited({ limits: { inputTokensPerMinute: 100_000 } })))
})

describe("RateLimiter, a full queue", () => {
  it.effect.each(seeds)(
    "has room for the more urgent: the newest of the lowest class leaves, and is told (%i)",
    (seed) =>
      Effect.gen(function*() {
        const next = chance(seed)
        yield* call()
        const bulk = yield* Effect.replicateEffect(call({ priority: "bulk" }), 4)
        const standard = yield* call()
        const refusals = Effect.forEach(bulk, ({ refusal }) => Effect.map(refusal, (error) => error?.reason))
        assert.deepStrictEqual(yield* refusals, Array.from({ length: 4 }, () => undefined))
        for (let left = 3; left >= 0; left--) {
          const urgent = yield* call({ priority: next() < 0.5 ? "interactive" : "standard" })
          assert.isUndefined(yield* urgent.refusal)
          assert.deepStrictEqual(yield* refusals, bulk.map((_, index) => index < left ? undefined : "queueFull"))
          assert.strictEqual((yield* snapshot).waiting, 5)
        }
        const error = yield* bulk[3]!.refusal
        assert.isAbove(Duration.toMillis(error!.retryAfter!), 0)
        // No bulk is left, and bulk makes nobody leave.
        assert.strictEqual((yield* (yield* call({ priority: "bulk" })).refusal)?.reason, "queueFull")
        assert.isUndefined(yield* standard.refusal)
      }).pipe(limited({ limits: { requestsPerMinute: 1 }, maxQueue: 5 }))
  )

  it.effect("is not one tenant's alone: the newest of whoever has most waiting makes room for another of its class", () =>
    Effect.gen(function*() {
      yield* call()
      const many = yield* Effect.replicateEffect(call({ tenant: "many" }), 4)
      const few = [yield* call({ tenant: "few" }), yield* call({ tenant: "few" })]
      const reasons = (calls: typeof many) =>
        Effect.forEach(calls, ({ refusal }) => Effect.map(refusal, (error) => error?.reason))
      assert.deepStrictEqual(yield* reasons(many), [undefined, undefined, "queueFull", "queueFull"])
      // Both have as many now.
      assert.strictEqual((yield* (yield* call({ tenant: "few" })).refusal)?.reason, "queueFull")
      assert.strictEqual((yield* (yield* call({ tenant: "many" })).refusal)?.reason, "queueFull")
      assert.deepStrictEqual(yield* reasons(few), [undefined, undefined])
    }).pipe(limited({ limits: { requestsPerMinute: 1 }, maxQueue: 4 })))

  it.effect("never lets anybody wait where no queue is wanted", () =>
    Effect.gen(function*() {
      yield* call({ priority: "bulk" })
      assert.strictEqual((yield* (yield* call({ priority: "interactive" })).refusal)?.reason, "queueFull")
    }).pipe(limited({ limits: { requestsPerMinute: 1 }, maxQueue: 0 })))
})

describe("RateLimiter, no futile wait", () => {
  it.effect.each(seeds)(
    "lets calls start beside slow ones before limits are known: the API would have refused those (%i)",
    (seed) =>
      Effect.gen(function*() {
        const next = chance(seed)
        for (let i = 0; i < 4; i++) {
          yield* call()
          yield* TestClock.adjust(Math.floor(next() * 100))
        }
        const fifth = yield* call({ deadline: 30_400 })
        yield* TestClock.adjust("2 seconds")
        assert.isTrue(yield* fifth.isAdmitted)
        // More and more of them, as if the others had ended.
        const more = yield* Effect.replicateEffect(call(), 20)
        yield* TestClock.adjust("4 seconds")
        for (const one of more) assert.isTrue(yield* one.isAdmitted)
      }).pipe(limited({}))
  )

  it.effect("refuses at once before limits are known whoever has less time than that takes", () =>
    Effect.gen(function*() {
      yield* Effect.replicateEffect(call(), 4)
      const error = yield* (yield* call({ deadline: 1_500 })).refusal
      assert.deepInclude(error, { reason: "deadline", retryAfter: Duration.seconds(2) })
      yield* TestClock.adjust("1 second")
      yield* call()
      const behind = yield* call({ deadline: 3_500 })
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* behind.isAdmitted)
    }).pipe(limited({})))

  it.effect("halves what it sends at once when the API refuses one, also of those that it had let in", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.replicateEffect(call(), 4)
      yield* TestClock.adjust("2 seconds")
      yield* Effect.replicateEffect(call(), 8)
      yield* calls[0]!.end(refusedFor("1 second"))
      yield* TestClock.adjust("1 second")
      const one = yield* call()
      assert.isFalse(yield* one.isAdmitted)
    }).pipe(limited({})))

  it.effect("refuses those who wait as soon as a pause outlasts their deadlines", () =>
    Effect.gen(function*() {
      const first = yield* call()
      const [early, late, patient] = [
        yield* call({ deadline: 20_000 }),
        yield* call({ deadline: 50_000 }),
        yield* call()
      ]
      yield* first.end(refusedFor("30 seconds"))
      yield* settled
      assert.strictEqual((yield* early.refusal)?.reason, "deadline")
      assert.isUndefined(yield* late.refusal)
      assert.isUndefined(yield* patient.refusal)
      yield* TestClock.adjust("45 seconds")
      assert.isTrue(yield* late.isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 4 }, burst: "15 seconds" })))
})

describe("RateLimiter, long pauses", () => {
  it.effect("refuses a pause that is longer than maxRetryAfter at once, and says how long it is", () =>
    Effect.gen(function*() {
      const first = yield* call()
      const waiting = yield* call()
      yield* first.end(refusedFor("1 hour"))
      yield* settled
      for (const one of [waiting, yield* call()]) {
        const error = yield* one.refusal
        assert.deepInclude(error, { reason: "paused", retryAfter: Duration.hours(1) })
        assert.include(error!.message, "longer than calls may wait")
      }
      yield* TestClock.adjust("59 minutes")
      const near = yield* call()
      assert.isUndefined(yield* near.refusal)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(yield* near.isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 1 } })))

  it.effect("waits for longer ones where it may", () =>
    Effect.gen(function*() {
      const first = yield* call()
      yield* first.end(refusedFor("1 hour"))
      const one = yield* call()
      yield* TestClock.adjust("1 hour")
      assert.isTrue(yield* one.isAdmitted)
    }).pipe(limited({ limits: { requestsPerMinute: 600 }, maxRetryAfter: "2 hours" })))

  const limitOnce = {
    fault: Simulator.Fault.Status({ status: 429, headers: { "retry-after": "90" } }),
    when: { times: 1 }
  }

  it.effect("bounds the wait of later calls by what bounds the retries", () =>
    Effect.gen(function*() {
      const claude = ClaudeService.text({
        model: "claude-opus-4-6",
        max_tokens: 64,
        messages: [{ role: "user", content: "Hi" }]
      })
      const twice = (retry: RetryPolicy.Options, limiter: ClaudeService.Parts["limiter"] = {}) =>
        driven(
          Effect.provide(
            Effect.all([Effect.result(claude), Effect.result(claude)]),
            Simulator.layerClaude({ answer: () => "Hello.", faults: [limitOnce] }, { retry, limiter } as {})
          )
        )
      const began = yield* Clock.currentTimeMillis
      assert.containSubset(yield* twice({}), {
        value: [
          { failure: { _tag: "RateLimitError" } },
          { failure: { _tag: "RateLimitedLocallyError", reason: "paused" } }
        ]
      })
      assert.isBelow((yield* Clock.currentTimeMillis) - began, 60_000)
      assert.containSubset(yield* twice({ maxRetryAfter: "2 minutes", retries: 0 }), {
        value: [{ failure: { _tag: "RateLimitError" } }, { success: "Hello." }]
      })
      assert.isAtLeast((yield* Clock.currentTimeMillis) - began, 90_000)
      // A limiter that is given as a layer too, unless it has a bound of its own.
      const patient = { maxRetryAfter: "2 minutes", retries: 0 } as const
      assert.containSubset(yield* twice(patient, RateLimiter.layer()), {
        value: [{ failure: { _tag: "RateLimitError" } }, { success: "Hello." }]
      })
      assert.containSubset(yield* twice(patient, RateLimiter.layer({ maxRetryAfter: "1 minute" })), {
        value: [{}, { failure: { _tag: "RateLimitedLocallyError", reason: "paused" } }]
      })
    }))
})

describe("RateLimiter, charges", () => {
  const warnings = () => {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String([message].flat()[0])))
    return { lines, layer: Logger.layer([logger]) }
  }

  it.effect.each([
    { usage: { inputTokens: Number.MAX_SAFE_INTEGER } },
    { usage: { outputTokens: Number.MAX_SAFE_INTEGER } },
    { usage: { cacheWrite1hTokens: Number.MAX_SAFE_INTEGER, outputTokens: 11 } }
  ])("are capped at what the request could have used, and the oddity is logged: $usage", ({ usage }) => {
    const { layer, lines } = warnings()
    return Effect.gen(function*() {
      for (let i = 0; i < 2; i++) {
        const odd = yield* call({ keyGroup: "odd" })
        yield* odd.end(completed({ inputTokens: 10, outputTokens: 10, ...usage }))
      }
      assert.lengthOf(lines, 1)
      assert.include(lines[0]!, "RateLimiter: an answer of claude-opus-4-8 reports more tokens than its request could")
      const { levels } = yield* snapshot
      // Twice the context of the model, and twice max_tokens.
      assert.isAtLeast(levels.inputTokens!.free, 4_000_000 - 2_000_000 - 20)
      assert.isAtLeast(levels.outputTokens!.free, 1_000 - 20)
      assert.isTrue(yield* (yield* call({ keyGroup: "odd" })).isAdmitted)
    }).pipe(
      limited({ limits: { inputTokensPerMinute: 4_000_000, outputTokensPerMinute: 1_000 } }),
      Effect.provide(layer)
    )
  })

  it.effect("are capped while a stream is under way", () =>
    Effect.gen(function*() {
      const stream = yield* call({ maxOutput: 100 })
      stream.attempt.outcome = Attempt.Outcome.Aborted({
        usage: Usage.make({ inputTokens: 10, outputTokens: Number.MAX_SAFE_INTEGER })
      })
      yield* TestClock.adjust("1 second")
      yield* call()
      assert.isAtLeast((yield* snapshot).levels.outputTokens!.free, 890)
    }).pipe(limited({ limits: { outputTokensPerMinute: 1_000 } })))

  it.effect("leave room for tools that the API runs itself, which samples several times for one request", () => {
    const { layer, lines } = warnings()
    return Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      const attempt = ClaudeTest.attempt({
        model: "claude-opus-4-8",
        request: { ...ClaudeTest.hello, tools: [{ type: "web_search_20250305", name: "web_search" }] },
        maxTokens: 100,
        estimate: { inputTokens: 10, maxOutputTokens: 100 }
      })
      const settle = yield* limiter.admit(attempt)
      attempt.outcome = completed({ inputTokens: 30, outputTokens: 300 })
      yield* settle
      assert.isEmpty(lines)
      assert.strictEqual((yield* snapshot).levels.outputTokens!.free, 700)
    }).pipe(limited({ limits: { outputTokensPerMinute: 1_000 } }), Effect.provide(layer))
  })
})

/** Five tenants or users or request types of equal share; the first has most of the demand, which is one and a half times the limit. */
const crowd = (
  seed: number,
  part: number,
  minutes: number,
  nameOf: (index: number) => Partial<CallContext.CallContext>
) => {
  const next = chance(seed)
  const demand = 1.5 * 100
  return Array.from(
    { length: 5 },
    (_, index) =>
      poisson(next, demand * (index === 0 ? part : (1 - part) / 4), minutes, () => ({
        input: 500 + Math.floor(next() * 1_000),
        context: nameOf(index)
      }))
  ).flat()
}

describe("RateLimiter, fair shares inside a class", () => {
  const limits = { inputTokensPerMinute: 100_000 }
  const minutes = 10

  const run = (calls: ReadonlyArray<Call>, options: RateLimiter.Options = {}, length = minutes) =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      return yield* traffic(calls, length, () => limiter)
    }).pipe(limited({ limits, ...options }))

  const kinds: ReadonlyArray<readonly [string, (index: number) => Partial<CallContext.CallContext>]> = [
    ["tenants", (index) => ({ tenant: `t${index}`, user: "everybody" })],
    ["users", (index) => ({ user: `u${index}`, requestType: "any" })],
    ["request types", (index) => ({ requestType: `r${index}` })],
    [
      "names that objects have",
      (index) => ({ tenant: ["__proto__", "constructor", "toString", "", "valueOf"][index] })
    ],
    ["long names", (index) => ({ tenant: "x".repeat(1_000) + index })]
  ]

  for (const [name, nameOf] of kinds) {
    for (const part of [0.68, 0.95]) {
      it.effect.each(name === "tenants" ? seeds : [1])(
        `gives ${name} with little demand all of it beside one with ${part} of it (%i)`,
        (seed) =>
          Effect.gen(function*() {
            const calls = crowd(seed, part, minutes, nameOf)
            const sent = yield* run(calls)
            const of = (index: number) =>
              sent.filter(({ context }) => JSON.stringify(context) === JSON.stringify(nameOf(index)))
            for (let index = 1; index < 5; index++) {
              // What comes in the last seconds has its turn after the end.
              const mine = of(index).filter(({ at }) => at < (minutes - 0.1) * 60_000)
              const got = mine.filter(({ sentAt }) => sentAt !== undefined).length
              assert.isAtLeast(got / mine.length, 0.99)
              assert.isAtMost(quantile(waits(mine, minutes), 0.5), 3_000)
            }
            const total = sent.reduce((sum, { input, sentAt }) => sum + (sentAt === undefined ? 0 : input), 0)
            // The bucket, and its refill.
            assert.isAtLeast(total, 0.99 * 100_000 * (minutes + 1))
          })
      )
    }
  }

  const used = (calls: ReadonlyArray<{ readonly input: number; readonly sentAt: number | undefined }>) =>
    calls.reduce((sum, { input, sentAt }) => sum + (sentAt === undefined || sentAt < 60_000 ? 0 : input), 0)

  it.effect.each(seeds)(
    "shares by tokens, not by calls, and by weight where one is given (%i)",
    (seed) =>
      Effect.gen(function*() {
        const next = chance(seed)
        const calls = [
          ...poisson(next, 20, minutes, { input: 8_000, context: { tenant: "large" } }),
          ...poisson(next, 200, minutes, { input: 800, context: { tenant: "small" } })
        ]
        const shareOf = (options?: RateLimiter.Options) =>
          Effect.map(run(calls, options), (sent) => {
            const [large, small] = ["large", "small"].map((tenant) =>
              used(sent.filter(({ context }) => context?.tenant === tenant))
            )
            return large! / (large! + small!)
          })
        assert.approximately(yield* shareOf(), 0.5, 0.02)
        assert.approximately(yield* shareOf({ weights: { large: 3 } }), 0.75, 0.02)
      })
  )

  it.effect("counts what was used in the end, not what was expected", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      const counts: Record<string, number> = { talks: 0, answers: 0 }
      const worker = (tenant: string, outputTokens: number) =>
        Effect.forever(Effect.suspend(() => {
          const attempt = attemptOf({ tenant, maxOutput: 1_000 })
          const use = Effect.map(Effect.sleep("1 second"), () => {
            attempt.outcome = completed({ inputTokens: 10, outputTokens })
            counts[tenant]! += outputTokens
          })
          return Attempt.guard(limiter, attempt, use)
        }))
      yield* Effect.forkChild(Effect.all([
        ...Array.from({ length: 20 }, () => worker("talks", 1_000)),
        ...Array.from({ length: 20 }, () => worker("answers", 100))
      ], { concurrency: "unbounded" }))
      for (let second = 0; second < 600; second++) yield* TestClock.adjust("1 second")
      assert.isAtLeast(counts["answers"]! / (counts["answers"]! + counts["talks"]!), 0.45)
    }).pipe(limited({ limits: { outputTokensPerMinute: 20_000 } })))

  it.effect("serves one tenant's calls in the order in which they came", () =>
    Effect.gen(function*() {
      const calls = Array.from({ length: 20 }, (_, index) => ({
        at: index,
        input: index % 2 === 0 ? 20_000 : 1_000,
        context: { tenant: index < 12 ? "a" : "b" }
      }))
      const sent = yield* run(calls, {}, 4)
      for (const tenant of ["a", "b"]) {
        const times = sent.filter(({ context }) => context?.tenant === tenant).map(({ sentAt }) => sentAt!)
        assert.deepStrictEqual(times, [...times].sort((a, b) => a - b))
      }
    }))

  it.effect("counts only what waits for the same tenant into a wait where that is its share", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.replicateEffect(call({ tenant: "many" }), 30)
      assert.lengthOf(calls, 30)
      const own = yield* call({ tenant: "one", deadline: 3_000 })
      assert.isUndefined(yield* own.refusal)
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(yield* own.isAdmitted)
      assert.strictEqual((yield* (yield* call({ tenant: "many", deadline: 6_000 })).refusal)?.reason, "deadline")
    }).pipe(limited({ limits: { requestsPerMinute: 60 }, burst: "1 second" })))

  it.effect("remembers a bounded number of tenants", () =>
    Effect.gen(function*() {
      const calls = Array.from({ length: 3_000 }, (_, at) => ({ at, input: 100, context: { tenant: `t${at}` } }))
      const sent = yield* run(calls, {}, 5)
      assert.isTrue(sent.every(({ sentAt }) => sentAt !== undefined))
    }))

  it.effect.each(["é".repeat(300), "a\0b"])(
    "weighs tenants by the names that are given, whatever these are (%#)",
    (name) =>
      Effect.gen(function*() {
        const served: Record<string, number> = { [name]: 0, other: 0 }
        const ask = (tenant: string) =>
          ClaudeService.create(ClaudeTest.hello).pipe(
            CallContext.annotate({ tenant }),
            Effect.tap(Effect.sync(() => served[tenant]!++))
          )
        for (let n = 0; n < 100; n++) yield* Effect.forEach([name, "other"], (tenant) => Effect.forkChild(ask(tenant)))
        yield* TestClock.adjust("100 seconds")
        assert.approximately(served[name]! / (served[name]! + served["other"]!), 0.75, 0.03)
      }).pipe(Effect.provide(ClaudeService.layerWithParts({
        api: ClaudeTest.layerApi(ClaudeTest.forever("Yes.")),
        keys: [ClaudeTest.key],
        limiter: { limits: { requestsPerMinute: 60 }, burst: "1 second", weights: { [name]: 3 } }
      })))
  )

  it.effect("refuses weights that make no sense", () =>
    Effect.gen(function*() {
      for (const weight of [0, -1, NaN, Infinity]) {
        const exit = yield* Effect.exit(Effect.provide(snapshot, RateLimiter.layer({ weights: { acme: weight } })))
        assert.include(String(exit), "RangeError: RateLimiter: weights.acme must be a number above 0")
      }
    }))
})
