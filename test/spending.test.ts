/** What a budget counts as spent is what the ledger has in its rows, attempt by attempt, however attempts end. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schema, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import { ServerError } from "effect-claude/ClaudeError"
import * as CostLedger from "effect-claude/CostLedger"
import * as PriceBook from "effect-claude/PriceBook"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { between } from "./utils/between.ts"

/** Some prices change at midnight. */
const start = Date.parse("2026-10-06T23:30:00Z")

/** None is reported of many attempts, which are then estimated. */
const tokens = Schema.Union([Schema.Literal(0), between(0, 100_000)])

const Ending = Schema.Union([
  Schema.TaggedStruct("NotSent", {}),
  Schema.TaggedStruct("Aborted", { input: tokens, output: tokens }),
  Schema.TaggedStruct("Failed", { input: tokens, output: tokens, billed: Schema.Literals(["yes", "no", "unknown"]) }),
  Schema.TaggedStruct("Completed", {
    input: tokens,
    output: tokens,
    cacheRead: tokens,
    refusal: Schema.Boolean,
    served: Schema.Literals(["asked", "another", "unknown"])
  })
])

const Call = Schema.Struct({
  model: Schema.Literals(["claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"]),
  requestType: Schema.UndefinedOr(Schema.Literal("summary")),
  fast: Schema.Boolean,
  us: Schema.Boolean,
  estimate: tokens,
  maxOutput: between(1, 100_000),
  /** From admission to sending, and from there to the end. */
  waits: between(0, 20),
  runs: between(0, 20),
  ending: Ending
})
type Call = typeof Call.Type

/** Only some models have a fast mode. */
const isFast = ({ fast, model }: Call): boolean => fast && model === "claude-opus-5-5"

const outcomeOf = (call: Call): Attempt.Outcome => {
  const { ending, model } = call
  switch (ending._tag) {
    case "NotSent":
      return Attempt.Outcome.NotSent()
    case "Aborted":
      return Attempt.Outcome.Aborted({
        usage: Usage.make({ inputTokens: ending.input, outputTokens: ending.output })
      })
    case "Failed":
      return Attempt.Outcome.Failed({
        usage: Usage.make({ inputTokens: ending.input, outputTokens: ending.output }),
        error: new ServerError({ overloaded: false, billed: ending.billed }),
        limits: undefined
      })
    case "Completed":
      return Attempt.Outcome.Completed({
        usage: Usage.make({
          inputTokens: ending.input,
          outputTokens: ending.output,
          cacheReadTokens: ending.cacheRead
        }),
        limits: undefined,
        model: ending.served === "unknown"
          ? undefined
          : ending.served === "asked" || isFast(call)
          ? model
          : "claude-haiku-5-5",
        requestId: undefined,
        stopReason: ending.refusal ? "refusal" : "end_turn",
        refusal: ending.refusal ? { category: "bio", beforeOutput: ending.output === 0 } : undefined
      })
  }
}

describe("budget and ledger", () => {
  for (const order of ["the budget outside", "the ledger outside"] as const) {
    it.effect.prop(
      `agree to the nano-dollar on every attempt, with ${order}`,
      { calls: Schema.Array(Call).check(Schema.isMaxLength(12)) },
      ({ calls }) =>
        Effect.gen(function*() {
          yield* TestClock.setTime(start)
          const context = yield* Layer.build(
            Layer.fresh(Layer.mergeAll(
              Budget.layer({ budgets: [{ name: "all", limit: 1e6 }] }),
              CostLedger.layer()
            )).pipe(Layer.provide(PriceBook.layer()))
          )
          const budget = Context.get(context, Budget.Budget)
          const ledger = Context.get(context, CostLedger.CostLedger)
          const kinds = new Attempt.CallKinds()
          const policy = order === "the budget outside"
            ? Attempt.all(budget, ledger, Attempt.learning(kinds))
            : Attempt.all(ledger, budget, Attempt.learning(kinds))
          const run = (call: Call, index: number) => {
            const { estimate, maxOutput, model, requestType, runs, us, waits } = call
            const attempt = ClaudeTest.attempt({
              callId: `call-${index}`,
              request: {
                model,
                max_tokens: maxOutput,
                messages: [],
                ...(isFast(call) ? { speed: "fast" } : undefined),
                ...(us ? { inference_geo: "us" } : undefined)
              },
              context: { requestType },
              estimate: { inputTokens: estimate, maxOutputTokens: maxOutput },
              kind: kinds.of(model, requestType)
            })
            return Attempt.guard(
              policy,
              attempt,
              Effect.sleep(`${waits} minutes`).pipe(
                Effect.andThen(Effect.clockWith((clock) =>
                  Effect.sync(() => {
                    attempt.sentAt = clock.currentTimeMillisUnsafe()
                  })
                )),
                Effect.andThen(Effect.sleep(`${runs} minutes`)),
                Effect.andThen(Effect.sync(() => {
                  attempt.outcome = outcomeOf(call)
                }))
              )
            )
          }
          const fibers = yield* Effect.forEach(calls, (call, index) => Effect.forkChild(run(call, index)))
          for (let minute = 0; minute <= 40; minute++) {
            yield* TestClock.adjust("1 minute")
            const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
            const [state] = yield* budget.snapshot
            assert.strictEqual(state?.spentNanoUsd, rows.reduce((sum, { nanoUsd }) => sum + nanoUsd!, 0))
            if (minute < 40) continue
            yield* Fiber.joinAll(fibers)
            assert.strictEqual(state?.reservedNanoUsd, 0)
            assert.strictEqual(rows.length, calls.filter(({ ending }) => ending._tag !== "NotSent").length)
          }
        }).pipe(Effect.scoped),
      { arbitrary: { runs: 60 } }
    )
  }
})
