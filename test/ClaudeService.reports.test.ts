/** What the caller of a stream learns at its end, and what `text` refuses to give. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as CallContext from "effect-claude/CallContext"
import { type ApiError, RateLimitedLocallyError, type Refusal, ServerError } from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostOptimizer from "effect-claude/CostOptimizer"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"

type Script = ReadonlyArray<ClaudeTest.Answer<ApiError>>

const overloaded = new ServerError({ overloaded: true, status: 529 })

const over = (script: Script, policies: ReadonlyArray<Attempt.Policy<Refusal>> = []) =>
  ClaudeService.layer({
    policies,
    api: ClaudeTest.layerApi(...script),
    keys: [ClaudeTest.key],
    retry: { throttledBase: "1 second", retries: 1 },
    breaker: { mode: "disabled" }
  })

/** Reads a stream and gives its exit and every report that came. */
const read = (
  script: Script,
  use: (
    stream: ReturnType<ClaudeService.ClaudeService["Service"]["stream"]>
  ) => Effect.Effect<unknown, unknown> = Stream.runDrain,
  policies: ReadonlyArray<Attempt.Policy<Refusal>> = []
) =>
  Effect.gen(function*() {
    const reports: Array<ClaudeService.StreamReport> = []
    const claude = yield* ClaudeService.ClaudeService
    const stream = claude.streamWithReport(ClaudeTest.hello, (report) =>
      Effect.sync(() => {
        reports.push(report)
      }))
    const fiber = yield* Effect.forkChild(Effect.exit(use(stream)))
    yield* TestClock.adjust("1 minute")
    return { exit: yield* Fiber.join(fiber), reports }
  }).pipe(Effect.provide(over(script, policies)))

describe("streamWithReport", () => {
  it.effect("reports once what a whole stream took, its retries included", () =>
    Effect.gen(function*() {
      const { exit, reports } = yield* read([Effect.fail(overloaded), "Yes."])
      assert.isTrue(Exit.isSuccess(exit))
      assert.lengthOf(reports, 1)
      const [report] = reports
      assert.deepInclude(report, {
        outcome: "completed",
        attempts: 2,
        keyLabel: ClaudeTest.key.label,
        model: ClaudeTest.hello.model,
        changes: []
      })
      assert.lengthOf(report!.waits, 1)
      assert.isAtLeast(Duration.toMillis(report!.latency), 500)
      assert.isAbove(report!.usage.outputTokens, 0)
      assert.isAbove(report!.costNanoUsd!, 0)
    }))

  it.effect("reports a stream that fails before its first content", () =>
    Effect.gen(function*() {
      const { exit, reports } = yield* read([Effect.fail(overloaded), Effect.fail(overloaded)])
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(reports.map(({ attempts, outcome }) => [outcome, attempts]), [["failed", 2]])
    }))

  it.effect("reports a stream that breaks after its first content, with the same cost as its error", () =>
    Effect.gen(function*() {
      const reports: Array<ClaudeService.StreamReport> = []
      const stream = ClaudeService.streamWithReport(ClaudeTest.hello, (report) =>
        Effect.sync(() => {
          reports.push(report)
        }))
      const error = yield* Effect.flip(Stream.runDrain(stream))
      assert.strictEqual(error._tag, "StreamInterruptedError")
      assert.lengthOf(reports, 1)
      assert.deepInclude(reports[0], { outcome: "failed", attempts: 1 })
      assert.strictEqual(reports[0]?.costNanoUsd, "costNanoUsd" in error ? error.costNanoUsd : undefined)
      assert.isAbove(reports[0]!.costNanoUsd!, 0)
    }).pipe(Effect.provide(Simulator.layerClaude({
      faults: [{ fault: Simulator.Fault.ResetMidStream({ after: { events: 5 } }), when: { times: 1 } }]
    }))))

  it.effect("reports a stream that its reader gives up, when all that was taken is settled", () =>
    Effect.gen(function*() {
      const { reports } = yield* read(["One two three."], (stream) => Stream.runDrain(Stream.take(stream, 3)))
      assert.deepStrictEqual(reports.map(({ outcome }) => outcome), ["aborted"])
      const interrupted = yield* read(
        ["One two three."],
        (stream) => Effect.timeout(Stream.runForEach(stream, () => Effect.never), 10)
      )
      assert.deepStrictEqual(interrupted.reports.map(({ outcome }) => outcome), ["aborted"])
    }))

  it.effect("tells a reader that gave up while the call waited from a call that failed", () =>
    Effect.gen(function*() {
      const outcomes = (reports: ReadonlyArray<ClaudeService.StreamReport>) =>
        reports.map(({ attempts, outcome }) => [outcome, attempts])
      const impatient = (stream: Stream.Stream<unknown, unknown>) => Effect.timeout(Stream.runDrain(stream), 100)
      const full: Attempt.Policy = { admit: () => Effect.interruptible(Effect.never) }
      const backingOff = yield* read([Effect.fail(overloaded), "Yes."], impatient)
      assert.deepStrictEqual(outcomes(backingOff.reports), [["aborted", 1]])
      const queued = yield* read(["Yes."], impatient, [full])
      assert.deepStrictEqual(outcomes(queued.reports), [["aborted", 0]])
      const refusing: Attempt.Policy<Refusal> = {
        admit: () => Effect.fail(new RateLimitedLocallyError({ reason: "queueFull", group: "x", attempts: 0 }))
      }
      const refused = yield* read(["Yes."], Stream.runDrain, [refusing])
      assert.deepStrictEqual(outcomes(refused.reports), [["failed", 0]])
      const late = yield* read(["Yes."], (stream) => Stream.runDrain(CallContext.withDeadlineStream(stream, 0)))
      assert.deepStrictEqual(outcomes(late.reports), [["failed", 0]])
    }))

  it.effect("reports what the optimizer changed", () =>
    Effect.gen(function*() {
      let changes: ReadonlyArray<string> = []
      const optimizer = { rules: [CostOptimizer.cheaperModel({ to: "claude-haiku-5-5", when: () => true })] }
      const layer = ClaudeService.layer({ api: ClaudeTest.layerApi("Yes."), keys: [ClaudeTest.key], optimizer })
      yield* ClaudeService.streamWithReport({ ...ClaudeTest.hello, model: "claude-opus-5" }, (report) =>
        Effect.sync(() => {
          changes = report.changes.map(({ rule }) =>
            rule
          )
        })).pipe(Stream.runDrain, Effect.provide(layer))
      assert.deepStrictEqual(changes, ["cheaperModel"])
    }))
})

describe("text", () => {
  const asked = (...script: Script) => ClaudeService.text(ClaudeTest.hello).pipe(Effect.provide(over(script)))

  it.effect("gives a whole answer", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* asked("Yes."), "Yes.")
      assert.strictEqual(yield* asked({ content: ["Yes"], stopReason: "stop_sequence" }), "Yes")
    }))

  it.effect("says how many attempts an answer that is none took", () =>
    Effect.gen(function*() {
      const cut = { content: ["Half a sen"], stopReason: "max_tokens" as const }
      const fiber = yield* Effect.forkChild(Effect.flip(asked(Effect.fail(overloaded), cut)))
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* Fiber.join(fiber), { reason: "maxTokens", attempts: 2 })
    }))

  for (
    const [reason, reply] of [
      ["maxTokens", { content: ["Half a sen"], stopReason: "max_tokens" }],
      ["refusal", { content: [], stopReason: "refusal" }],
      ["toolUse", { content: ["Let me see.", ClaudeTest.toolUse("look", {})], stopReason: "tool_use" }],
      ["pausedTurn", { content: ["Searching"], stopReason: "pause_turn" }]
    ] as const
  ) {
    it.effect(`fails typed where the answer is none: ${reason}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(asked(reply))
        assert.deepInclude(error, { _tag: "IncompleteAnswerError", reason })
      }))
  }
})
