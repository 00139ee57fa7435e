/** Second attempts at late streams: when there is one, which of both is the answer, and what both cost. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer, Random, Redacted, Stream } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as KeyPool from "effect-claude/KeyPool"
import * as MessageStream from "effect-claude/MessageStream"
import * as Monitor from "effect-claude/Monitor"
import * as RateLimiter from "effect-claude/RateLimiter"
import type * as Request from "effect-claude/Request"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { settle } from "./utils/http.ts"

const overloaded = new ClaudeError.ServerError({ overloaded: true, status: 529 })

type Answer = ClaudeTest.Answer<ClaudeError.ApiError>

/** An answer whose first content comes after so many milliseconds. */
const after = (millis: number, text: string): Answer => Effect.delay(Effect.succeed(text), Duration.millis(millis))

const known = 10

/** Ten streams that take a tenth of a second, and then others. */
const over = (
  script: ReadonlyArray<Answer>,
  parts: Pick<ClaudeConfig.Options, "breaker" | "retry" | "limiter" | "budget"> = {},
  keys: ReadonlyArray<Attempt.Key> = [ClaudeTest.key]
) => {
  const api = ClaudeTest.layerApi(...Array.from({ length: known }, () => after(100, "Known.")), ...script)
  const hedge = { share: 1, minimumCalls: known }
  return Layer.merge(ClaudeService.layerWithParts({ retry: { retries: 0 }, ...parts, api, keys, hedge }), api)
}

const text = (request: Request.Request = ClaudeTest.hello) =>
  Stream.mkString(MessageStream.text(ClaudeService.stream(request)))

/** Lets so many seconds pass, and gives what became of a call. */
const within = <A, E, R>(call: Effect.Effect<A, E, R>, seconds = 60) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(call, { startImmediately: true })
    yield* settle
    yield* TestClock.adjust(Duration.seconds(seconds))
    return yield* Fiber.await(fiber)
  })

const learnt = Effect.repeat(within(text(), 1), { times: known - 1 })

const rows = Effect.flatMap(
  CostLedger.CostLedger,
  (ledger) => Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
)

const sent = Effect.map(ClaudeTest.requests, ({ length }) => length - known)

describe("Hedge", () => {
  it.effect("sends a second attempt where the first is late, takes the first content, and records both with what they cost", () =>
    Effect.gen(function*() {
      yield* learnt
      const reports: Array<ClaudeService.StreamReport> = []
      const records = yield* Effect.forkChild(
        Stream.runCollect(
          Stream.take(
            Stream.filter((yield* Monitor.Monitor).events, ({ _tag }) => _tag === "Hedged" || _tag === "CallEnded"),
            2
          )
        ),
        { startImmediately: true }
      )
      const call = ClaudeService.streamWithReport(
        ClaudeTest.hello,
        (report) => Effect.sync(() => void reports.push(report))
      )
      assert.deepStrictEqual(yield* within(Stream.mkString(MessageStream.text(call))), Exit.succeed("Second."))
      const [first, second] = (yield* rows).slice(known)
      assert.deepInclude(first, { attempt: 1, outcome: "aborted", rules: [], latencyMillis: 150 })
      assert.deepInclude(second, { attempt: 2, outcome: "completed", rules: ["hedge"], callId: first!.callId })
      assert.isAbove(first!.nanoUsd!, 0)
      assert.deepInclude(reports[0], { attempts: 2, outcome: "completed", costNanoUsd: second!.nanoUsd! })
      const [hedged, ended] = yield* Fiber.join(records)
      assert.deepInclude(hedged, { _tag: "Hedged", attempt: 2, lateMillis: 100 })
      const record = ended?._tag === "CallEnded" ? ended.record : undefined
      assert.deepInclude(record, { attempts: 2, retries: 0, hedges: 1, firstTokenMillis: 150 })
      assert.strictEqual(record?.costNanoUsd, first!.nanoUsd! + second!.nanoUsd!)
    }).pipe(Effect.provide(over([after(10_000, "First."), after(50, "Second.")]))))

  it.effect("ends the second attempt where the first shows content before", () =>
    Effect.gen(function*() {
      yield* learnt
      assert.deepStrictEqual(yield* within(text()), Exit.succeed("First."))
      const last = (yield* rows).slice(known)
      assert.deepStrictEqual(last.map(({ attempt, outcome }) => [attempt, outcome]), [[1, "completed"], [2, "aborted"]])
    }).pipe(Effect.provide(over([after(150, "First."), after(10_000, "Second.")]))))

  it.effect("takes a key of another group", () => {
    const key = (label: string): Attempt.Key => ({ label, group: label, secret: Redacted.make(`sk-ant-${label}`) })
    return Effect.gen(function*() {
      yield* learnt
      yield* within(text())
      const labels = (yield* rows).slice(known).map(({ key }) => key)
      assert.strictEqual(new Set(labels).size, 2)
    }).pipe(Effect.provide(over([after(10_000, "First."), after(50, "Second.")], {}, [key("a"), key("b")])))
  })

  it.effect("goes on with the first where the second fails, and fails with its error where both do", () =>
    Effect.gen(function*() {
      yield* learnt
      assert.deepStrictEqual(yield* within(text()), Exit.succeed("First."))
      const exit = yield* within(text())
      assert.deepInclude(Exit.isFailure(exit) ? yield* Effect.flip(exit) : {}, {
        _tag: "ServerError",
        overloaded: true
      })
      assert.strictEqual(yield* sent, 4)
    }).pipe(Effect.provide(over([
      after(500, "First."),
      new ClaudeError.BadRequestError({ status: 400 }),
      Effect.delay(Effect.fail(overloaded), "1 second"),
      Effect.delay(Effect.fail(new ClaudeError.BadRequestError({ status: 400 })), "2 seconds")
    ]))))

  const tools = [{ type: "web_search_20250305" as const, name: "web_search" as const }]

  it.effect.each<readonly [string, (call: typeof text) => Effect.Effect<string, unknown, ClaudeService.ClaudeService>]>(
    [
      ["a call that wants none", (call) => CallContext.annotate(call(), { hedge: false })],
      ["a request with tools that the API runs", (call) => call({ ...ClaudeTest.hello, tools })],
      ["a kind of calls that is not known", (call) => CallContext.annotate(call(), { requestType: "new" })],
      ["a whole answer", () => ClaudeService.text(ClaudeTest.hello)]
    ]
  )("makes no second attempt for %s", ([, make]) =>
    Effect.gen(function*() {
      yield* learnt
      assert.deepStrictEqual(yield* within(make(text)), Exit.succeed("First."))
      assert.strictEqual(yield* sent, 1)
    }).pipe(Effect.provide(over([after(10_000, "First.")]))))

  it.effect("makes none where a budget could not pay for twenty more such calls", () =>
    Effect.gen(function*() {
      yield* learnt
      const [account] = yield* Effect.flatMap(Budget.Budget, (budget) => budget.snapshot)
      yield* Effect.flatMap(Budget.Budget, (budget) =>
        budget.setBudgets([{ name: "all", limit: account!.spentNanoUsd / 1e9 + 0.015 }]))
      assert.deepStrictEqual(yield* within(text()), Exit.succeed("First."))
      assert.strictEqual(yield* sent, 1)
    }).pipe(Effect.provide(over([after(10_000, "First.")], { budget: { budgets: [{ name: "all", limit: 10 }] } }))))

  it.effect("makes none while the circuit is not closed", () =>
    Effect.gen(function*() {
      yield* learnt
      const { state } = yield* CircuitBreaker.CircuitBreaker
      yield* within(text(), 1)
      assert.strictEqual((yield* state("sonnet-5-5")).phase, "open")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* within(text()), Exit.succeed("First."))
      assert.strictEqual(yield* sent, 2)
    }).pipe(Effect.provide(over([overloaded, after(10_000, "First.")], { breaker: { consecutiveFailures: 1 } }))))

  it.effect("makes none that would have to wait for limits", () =>
    Effect.gen(function*() {
      yield* learnt
      yield* Effect.flatMap(RateLimiter.RateLimiter, ({ setLimits }) => setLimits({ requestsPerMinute: 1 }))
      yield* TestClock.adjust("1 hour")
      const exit = yield* within(
        ClaudeService.streamWithReport(ClaudeTest.hello, () => Effect.void).pipe(
          MessageStream.text,
          Stream.mkString
        )
      )
      assert.deepStrictEqual(exit, Exit.succeed("First."))
      assert.strictEqual(yield* sent, 1)
    }).pipe(Effect.provide(over([after(10_000, "First.")], { limiter: { limits: { requestsPerMinute: 1_000 } } }))))

  it.effect("at any instant of an interruption leaves no key, no room and no reservation taken", () =>
    Effect.gen(function*() {
      const request = { ...ClaudeTest.hello, messages: [{ role: "user" as const, content: "x".repeat(400) }] }
      const read = Stream.runDrain(ClaudeService.stream(request))
      for (let n = 0; n < 200; n++) {
        const call = yield* Effect.forkChild(read, { startImmediately: true })
        const steps = n < 40 ? 60 : yield* Random.nextIntBetween(0, 40)
        for (let step = 0; step < steps && call.pollUnsafe() === undefined; step++) {
          yield* settle
          yield* TestClock.adjust(10)
        }
        yield* Fiber.interrupt(call)
      }
      yield* settle
      const keys = yield* Effect.flatMap(KeyPool.KeyPool, (pool) => pool.snapshot)
      assert.deepStrictEqual(keys.map(({ inFlight }) => inFlight), [0])
      const groups = yield* Effect.flatMap(RateLimiter.RateLimiter, (limiter) => limiter.snapshot)
      assert.deepStrictEqual(groups.map(({ inFlight, waiting }) => inFlight + waiting), [0])
      const [account] = yield* Effect.flatMap(Budget.Budget, (budget) => budget.snapshot)
      const all = yield* rows
      const recorded = all.reduce((sum, { nanoUsd }) => sum + (nanoUsd ?? 0), 0)
      assert.deepStrictEqual([account?.reservedNanoUsd, account?.spentNanoUsd], [0, recorded])
      assert.isAbove(all.filter(({ rules }) => rules.includes("hedge")).length, 10)
      const { totals } = yield* (yield* Simulator.Simulator).bill
      // Some were given up on their way.
      assert.isAtMost(totals.requests, all.length)
      assert.isAtLeast(totals.requests, all.length - 20)
    }).pipe(Effect.provide(Simulator.layerClaude({
      latency: { firstToken: { median: 60, sigma: 0.8 } }
    }, {
      hedge: { share: 1, minimumCalls: 20, quantile: 0.6 },
      budget: { budgets: [{ name: "all", limit: 1_000 }] },
      limiter: { limits: { requestsPerMinute: 1_000_000 } },
      breaker: { mode: "observe" }
    }))))
})
