/** Other models for calls that the one asked for cannot answer: which conditions let a call go, what it costs, and what is told of it. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Layer, Result, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import type * as Fallback from "effect-claude/Fallback"
import * as MessageStream from "effect-claude/MessageStream"
import * as Monitor from "effect-claude/Monitor"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { driven } from "./utils/http.ts"

const opus = "claude-opus-5-5"
const sonnet = "claude-sonnet-5-5"
const haiku = "claude-haiku-5-5"

const broken = () => new ClaudeError.ServerError({ overloaded: false, status: 500 })

const overloaded = new ClaudeError.ServerError({ overloaded: true, status: 529 })

const hello = { ...ClaudeTest.hello, model: opus }

type Script = ReadonlyArray<ClaudeTest.Answer<ClaudeError.ApiError>>

/** The service over a script, with its parts and what it was asked beside it. */
const over = (
  fallback: Fallback.Options,
  script: Script,
  parts:
    & Pick<ClaudeConfig.Options, "breaker" | "retry" | "limiter" | "budget">
    & Pick<ClaudeService.Parts, "policies"> = {}
) => {
  const api = ClaudeTest.layerApi(...script)
  return Layer.merge(ClaudeService.layerWithParts({ ...parts, fallback, api, keys: [ClaudeTest.key] }), api)
}

const ask = ClaudeService.createWithReport(hello)

/** The models that were asked, in order. */
const asked = Effect.map(ClaudeTest.requests, (requests) => requests.map(({ model }) => model))

const rows = Effect.flatMap(
  CostLedger.CostLedger,
  (ledger) => Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
)

describe("Fallback", () => {
  it.effect("asks the next model at once, and tells in the report, the ledger and the record what was asked and served and why", () =>
    Effect.gen(function*() {
      const records = yield* Effect.forkChild(
        Stream.runCollect(
          Stream.take(
            Stream.filter((yield* Monitor.Monitor).events, ({ _tag }) => _tag === "CallEnded" || _tag === "FellBack"),
            2
          )
        ),
        { startImmediately: true }
      )
      const report = yield* ask
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      const step: Attempt.Fallback = { from: opus, to: sonnet, because: "overloaded", changes: [], skipped: undefined }
      assert.deepInclude(report, { model: sonnet, attempts: 2, waits: [], fallbacks: [step] })
      assert.deepStrictEqual(yield* asked, [opus, sonnet])
      const [first, second] = yield* rows
      assert.deepInclude(first, {
        attempt: 1,
        askedModel: opus,
        sentModel: opus,
        model: opus,
        rules: [],
        outcome: "failed"
      })
      assert.deepInclude(second, {
        attempt: 2,
        askedModel: opus,
        sentModel: sonnet,
        model: sonnet,
        rules: ["fallback:overloaded"],
        outcome: "completed"
      })
      assert.strictEqual(second?.nanoUsd, report.costNanoUsd)
      const [told, ended] = yield* Fiber.join(records)
      assert.deepInclude(told, { _tag: "FellBack", attempt: 1, ...step })
      assert.deepInclude(ended?._tag === "CallEnded" ? ended.record : {}, {
        model: opus,
        servedModel: sonnet,
        attempts: 2,
        retries: 0,
        moves: 0,
        fallbacks: [step]
      })
    }).pipe(Effect.provide(over([{ to: sonnet }], [overloaded, "Yes."]))))

  const limit = (retryAfter: Duration.Input, limit: "requests" | "spend" = "requests") =>
    new ClaudeError.RateLimitError({ limit, retryAfter: Duration.fromInputUnsafe(retryAfter), status: 429 })
  const missing = new ClaudeError.BadRequestError({ status: 404 })
  const bad = new ClaudeError.BadRequestError({ status: 400 })
  const cut = new ClaudeError.ConnectionError({ reason: "reset" })

  it.effect.each<readonly [ClaudeError.ApiError, Fallback.Condition, Fallback.Cause | undefined]>([
    [overloaded, "overloaded", "overloaded"],
    [overloaded, "server", undefined],
    [broken(), "server", "server"],
    [broken(), "overloaded", undefined],
    [limit("1 second"), "limited", "limited"],
    [limit("1 second", "spend"), "limited", undefined],
    [missing, "retired", "retired"],
    [bad, "retired", undefined],
    [limit("6 seconds"), { wait: "5 seconds" }, "wait"],
    [limit("5 seconds"), { wait: "5 seconds" }, undefined],
    [limit("6 seconds", "spend"), { wait: "5 seconds" }, undefined],
    [overloaded, { wait: 0 }, undefined],
    [cut, (error) => error._tag === "ConnectionError", "condition"],
    [bad, (error) => error._tag === "ConnectionError", undefined]
  ])("after %s by %s goes on because of %s", ([error, when, because]) =>
    Effect.gen(function*() {
      const exit = yield* driven(ask)
      const models = yield* asked
      if (because === undefined) return assert.deepStrictEqual(models, [opus])
      const report = exit
      assert.deepStrictEqual(models, [opus, sonnet])
      assert.isTrue(Exit.isSuccess(report) && report.value.fallbacks[0]?.because === because, String(exit))
    }).pipe(Effect.provide(over([{ to: sonnet, when }], [error, "Yes."], { retry: { retries: 0 } }))))

  it.effect("leaves a model whose circuit is open, and sends nothing to it", () =>
    Effect.gen(function*() {
      const { open } = yield* CircuitBreaker.CircuitBreaker
      yield* open({ for: "1 hour" }, "opus-5-5")
      const { attempts, fallbacks } = yield* ask
      assert.deepStrictEqual([attempts, fallbacks.map(({ because }) => because)], [1, ["circuitOpen"]])
      assert.deepStrictEqual(yield* asked, [sonnet])
    }).pipe(Effect.provide(over([{ to: sonnet }], ["Yes."]))))

  it.effect("takes the one of several models that a budget can still pay", () =>
    Effect.gen(function*() {
      const { fallbacks, model } = yield* ask
      assert.strictEqual(model, haiku)
      assert.deepStrictEqual(fallbacks.map(({ because, from, to }) => [from, to, because]), [
        [opus, sonnet, "budget"],
        [sonnet, haiku, "budget"]
      ])
      const [account] = yield* Effect.flatMap(Budget.Budget, (budget) => budget.snapshot)
      const [row] = yield* rows
      assert.strictEqual(account?.spentNanoUsd, row?.nanoUsd)
      assert.strictEqual(account?.reservedNanoUsd, 0)
    }).pipe(Effect.provide(over([{ to: sonnet, when: "budget" }, { to: haiku, when: "budget" }], ["Yes."], {
      budget: { budgets: [{ name: "all", limit: 0.0002 }] }
    }))))

  it.effect("does not ask a model that the catalogue says is retired, unless no other can be asked", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-26"))
      const retired = { ...ClaudeTest.hello, model: "claude-opus-4-1-20250805" }
      const report = yield* ClaudeService.createWithReport(retired)
      assert.deepInclude(report.fallbacks[0], { to: sonnet, because: "retired" })
      const alone = ClaudeService.create(retired).pipe(
        CallContext.annotate({ fallback: [{ to: "claude-3-5-haiku-20241022" }] })
      )
      yield* alone
      assert.deepStrictEqual(yield* asked, [sonnet, retired.model])
    }).pipe(Effect.provide(over([{ to: sonnet }], ["Yes.", "Yes."]))))

  it.effect("goes to another model instead of a line for limits that would last longer than asked, and back where that cannot answer", () =>
    Effect.gen(function*() {
      yield* ask
      const { fallbacks, model } = yield* ask
      assert.deepStrictEqual([model, fallbacks[0]?.because], [sonnet, "wait"])
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      const third = yield* Effect.forkChild(ask, { startImmediately: true })
      yield* TestClock.adjust("2 minutes")
      const report = yield* Fiber.join(third)
      assert.deepStrictEqual([report.model, report.attempts, report.fallbacks.length], [opus, 2, 1])
      assert.deepStrictEqual(yield* asked, [opus, sonnet, sonnet, opus])
    }).pipe(Effect.provide(over([{ to: sonnet, when: { wait: "5 seconds" } }], ["Yes.", "Yes.", bad, "Yes."], {
      limiter: { limits: (group) => group === "opus-5-5" ? { requestsPerMinute: 1 } : {} }
    }))))

  it.effect("goes to another model instead of one whose line is full", () =>
    Effect.gen(function*() {
      yield* ask
      const { fallbacks, model } = yield* ask
      assert.deepStrictEqual([model, fallbacks[0]?.because], [sonnet, "limited"])
    }).pipe(Effect.provide(over([{ to: sonnet }], ["Yes.", "Yes."], {
      limiter: { limits: (group) => group === "opus-5-5" ? { requestsPerMinute: 1 } : {}, maxQueue: 0 }
    }))))

  it.effect("goes to another model where the deadline leaves no time for this one", () =>
    Effect.gen(function*() {
      yield* ask
      const { fallbacks, model } = yield* CallContext.withDeadline(ask, "10 seconds")
      assert.deepStrictEqual([model, fallbacks[0]?.because], [sonnet, "limited"])
    }).pipe(Effect.provide(over([{ to: sonnet }], ["Yes.", "Yes."], {
      limiter: { limits: (group) => group === "opus-5-5" ? { requestsPerMinute: 1 } : {} }
    }))))

  it.effect("shows a policy of your own each model, and hears its refusals", () => {
    const admitted: Array<string> = []
    const own: Attempt.Policy<ClaudeError.RateLimitedLocallyError> = {
      admit: (attempt) => {
        admitted.push(attempt.model)
        return attempt.model === opus
          ? Effect.fail(new ClaudeError.RateLimitedLocallyError({ reason: "queueFull", group: "mine" }))
          : Attempt.admitted
      }
    }
    return Effect.gen(function*() {
      const { fallbacks } = yield* ask
      assert.deepStrictEqual(fallbacks.map(({ because }) => because), ["limited"])
      assert.deepStrictEqual(admitted, [opus, sonnet])
    }).pipe(Effect.provide(over([{ to: sonnet }], ["Yes."], { policies: [own] })))
  })

  it.effect("holds each rule against the failure of the model before, after the one that was taken last", () =>
    Effect.gen(function*() {
      const { fallbacks } = yield* ask
      assert.deepStrictEqual(fallbacks.map(({ because, to }) => [to, because]), [
        [sonnet, "overloaded"],
        [haiku, "server"]
      ])
    }).pipe(Effect.provide(over([
      { to: haiku, when: "budget" },
      { to: sonnet, when: "overloaded" },
      { to: opus },
      { to: haiku, when: "server" }
    ], [overloaded, broken(), "Yes."]))))

  it.effect("goes past a fallback that rejects the request, and fails with the error of the first model", () =>
    Effect.gen(function*() {
      const { fallbacks } = yield* ask
      assert.deepStrictEqual(fallbacks.map(({ because, to }) => [to, because]), [
        [sonnet, "overloaded"],
        [haiku, "rejected"]
      ])
      const error = yield* Effect.flip(ask)
      assert.deepInclude(error, { _tag: "ServerError", overloaded: true, attempts: 3, billed: "no" })
      assert.deepInclude(error.lastError, { _tag: "BadRequestError", attempts: 3 })
    }).pipe(Effect.provide(
      over([{ to: sonnet }, { to: haiku }], [overloaded, bad, "Yes.", overloaded, bad, bad], { retry: { retries: 0 } })
    )))

  it.effect("takes rules for some models alone, and those of the call before those of the layer", () =>
    Effect.gen(function*() {
      const model = (call: typeof ask) => Effect.map(Effect.result(call), Result.map(({ model }) => model))
      assert.deepStrictEqual(yield* model(ask), Result.succeed(haiku))
      const other = ClaudeService.createWithReport({ ...hello, model: sonnet })
      assert.isTrue(Result.isFailure(yield* model(other)))
      const own = CallContext.annotate(other, { fallback: [{ to: opus }] })
      assert.deepStrictEqual(yield* model(own), Result.succeed(opus))
      assert.isTrue(Result.isFailure(yield* model(CallContext.annotate(ask, { fallback: false }))))
    }).pipe(Effect.provide(
      over([{ from: [opus], to: haiku }], [overloaded, "Yes.", overloaded, overloaded, "Yes.", overloaded], {
        retry: { retries: 0 }
      })
    )))

  it.effect("never moves after the first content, nor for a refusal by the model, nor for a count of tokens", () =>
    Effect.gen(function*() {
      const broken = yield* Effect.flip(MessageStream.message(ClaudeService.stream(hello)))
      assert.strictEqual(broken._tag, "StreamInterruptedError")
      const { fallbacks, message } = yield* ask
      assert.deepStrictEqual([message.stop_reason, fallbacks.length], ["refusal", 0])
      yield* ClaudeService.countTokens({ model: opus, messages: hello.messages })
      const calls = yield* ClaudeTest.calls
      assert.deepStrictEqual(calls.map(({ method }) => method), ["stream", "create", "countTokens"])
      assert.deepStrictEqual(yield* asked, [opus, opus])
    }).pipe(Effect.provide(over([{ to: sonnet, when: () => true }], [
      { content: ["A"], error: overloaded },
      { content: [""], stopReason: "refusal" }
    ]))))

  it.effect("of a stream asks the next model before the first content, and reports who served it", () =>
    Effect.gen(function*() {
      const reports: Array<ClaudeService.StreamReport> = []
      const stream = ClaudeService.streamWithReport(hello, (report) => Effect.sync(() => void reports.push(report)))
      const message = yield* MessageStream.message(stream)
      assert.strictEqual(message.model, sonnet)
      assert.deepInclude(reports[0], { model: sonnet, attempts: 2, outcome: "completed" })
      assert.deepStrictEqual(reports[0]?.fallbacks.map(({ because }) => because), ["overloaded"])
      const sent = yield* rows
      assert.deepStrictEqual(sent.map(({ model, outcome }) => [model, outcome]), [
        [opus, "failed"],
        [sonnet, "completed"]
      ])
    }).pipe(Effect.provide(over([{ to: sonnet }], [overloaded, "Yes."]))))
})

describe("retries", () => {
  it.effect("begin again at the model asked for, by its error, within the retries of the call", () =>
    Effect.gen(function*() {
      const exit = yield* driven(ask)
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(yield* asked, [opus, sonnet, opus, sonnet, opus, sonnet, opus, sonnet])
      const error = yield* Effect.flip(exit)
      assert.deepInclude(error, { _tag: "ServerError", overloaded: true, attempts: 8 })
      assert.deepInclude(error.lastError, { _tag: "ServerError", overloaded: false })
    }).pipe(Effect.provide(
      over([{ to: sonnet }], [overloaded, broken(), overloaded, broken(), overloaded, broken(), overloaded, broken()])
    )))

  it.effect("of a call that asks two models take a token for each that it asks again, and a success brings them back", () =>
    Effect.gen(function*() {
      const all = yield* driven(ask)
      assert.isTrue(Exit.isSuccess(all))
      assert.deepStrictEqual(yield* asked, [opus, sonnet, opus, sonnet])
      yield* driven(ask)
      // Two tokens again: for the retry, and for the second attempt at the other model. The third round has none.
      assert.deepStrictEqual((yield* asked).slice(4), [opus, sonnet, opus, sonnet])
    }).pipe(Effect.provide(over(
      [{ to: sonnet }],
      [overloaded, overloaded, overloaded, "Yes.", overloaded, overloaded, overloaded, overloaded],
      { retry: { budget: { capacity: 2, earned: 0, perMinute: 0 } } }
    ))))

  it.effect("end with the deadline of the call, whichever models it asks", () =>
    Effect.gen(function*() {
      const slow = Effect.delay(Effect.fail(overloaded), "4 seconds")
      const fiber = yield* Effect.forkChild(
        CallContext.withDeadline(ask, "6 seconds").pipe(
          Effect.provide(over([{ to: sonnet }, { to: haiku }], [slow, slow, slow]))
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("20 seconds")
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error._tag, "DeadlineExceededError")
    }))

  it.effect("wait for the circuit of the model asked for, where no other answers", () =>
    Effect.gen(function*() {
      const { open, setMode } = yield* CircuitBreaker.CircuitBreaker
      yield* open({ for: "1 hour" }, "opus-5-5")
      yield* open({ for: "1 hour" }, "sonnet-5-5")
      const fails = yield* Effect.flip(ask)
      assert.deepInclude(fails, { _tag: "CircuitOpenError", group: "opus-5-5", attempts: 0 })
      yield* open({ for: "10 seconds" }, "opus-5-5")
      const call = yield* Effect.forkChild(ask, { startImmediately: true })
      yield* TestClock.adjust("12 seconds")
      assert.deepInclude(yield* Fiber.join(call), { model: opus, attempts: 1, fallbacks: [] })
      yield* setMode("normal")
    }).pipe(Effect.provide(over([{ to: sonnet }], ["Yes."]))))
})
