import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema, Stream } from "effect"
import { ClaudeError, Model, PriceBook, Usage } from "effect-claude"
import * as Attempt from "effect-claude/Attempt"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"

const book = PriceBook.make()

const november = Date.parse("2026-11-22T12:00:00Z")

const attemptOf = () => ClaudeTest.attempt()

/** Writes down what happens to it; refuses, waits or dies as it is told. */
const recording = (
  log: Array<string>,
  name: string,
  behaviour: "admits" | "refuses" | "waits" | "dies" | "throws" | "diesLate"
) => {
  const settle = Effect.suspend(() => {
    log.push(`-${name}`)
    return behaviour === "diesLate" ? Effect.die(name) : Effect.void
  })
  const policy: Attempt.Policy<string> = {
    admit: () => {
      if (behaviour === "throws") throw new Error(name)
      return Effect.suspend((): Effect.Effect<Attempt.Settle, string> => {
        if (behaviour === "refuses") return Effect.fail(name)
        if (behaviour === "dies") return Effect.die(name)
        if (behaviour === "waits") return Effect.interruptible(Effect.never)
        log.push(`+${name}`)
        return Effect.succeed(settle)
      })
    }
  }
  return policy
}

const Behaviour = Schema.Literals(["admits", "admits", "refuses", "waits", "dies", "throws", "diesLate"])
const Use = Schema.Literals(["succeeds", "fails", "dies", "hangs"])

const uses = {
  succeeds: Effect.succeed(1),
  fails: Effect.fail("use"),
  dies: Effect.die("use"),
  hangs: Effect.never
}

describe("policies", () => {
  for (const kind of ["guard", "guardStream"] as const) {
    it.effect.prop(
      `${kind} settles in reverse exactly those that were admitted, whatever happens`,
      {
        how: Schema.Literals(["all", "both"]),
        behaviours: Schema.Array(Behaviour).check(Schema.isMinLength(1), Schema.isMaxLength(5)),
        use: Use
      },
      ({ behaviours, how, use }) =>
        Effect.gen(function*() {
          const log: Array<string> = []
          const policies = behaviours.map((behaviour, i) => recording(log, String(i), behaviour))
          const policy = how === "all"
            ? Attempt.all(...policies)
            : policies.reduceRight((rest, one) => Attempt.both(one, rest))
          const run = Effect.suspend(() =>
            kind === "guard"
              ? Attempt.guard(policy, attemptOf(), uses[use])
              : Stream.runDrain(Attempt.guardStream(policy, attemptOf(), Stream.fromEffect(uses[use])))
          )
          const fiber = yield* Effect.forkChild(run)
          yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          const admitted = log.filter((entry) => entry.startsWith("+")).map((entry) => entry.slice(1))
          const settled = log.filter((entry) => entry.startsWith("-")).map((entry) => entry.slice(1))
          assert.deepStrictEqual(settled, [...admitted].reverse())
        })
    )
  }

  it.effect("settle when the reader of a stream stops early", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const stream = Attempt.guardStream(recording(log, "a", "admits"), attemptOf(), Stream.make(1, 2, 3))
      yield* Stream.runDrain(Stream.take(stream, 1))
      assert.deepStrictEqual(log, ["+a", "-a"])
    }))

  it.effect("settle those before one that throws", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const throwing: Attempt.Policy = {
        admit: () => {
          throw new Error("a defect")
        }
      }
      const policy = Attempt.all(recording(log, "a", "admits"), throwing)
      const exit = yield* Effect.exit(Attempt.guard(policy, attemptOf(), Effect.void))
      assert.deepStrictEqual([Exit.hasDies(exit), log], [true, ["+a", "-a"]])
    }))

  it.effect("settle all of them, whoever is interrupted meanwhile, and whoever has settled before", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const slow: Attempt.Policy = { admit: () => Effect.succeed(Effect.sleep("1 second")) }
      const policy = Attempt.all(recording(log, "a", "admits"), recording(log, "b", "admits"), slow)
      const settle = yield* policy.admit(attemptOf())
      for (let i = 0; i < 2; i++) {
        log.length = 0
        const fiber = yield* Effect.forkChild(settle, { startImmediately: true })
        const ending = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(ending)
        assert.deepStrictEqual(log, ["-b", "-a"])
      }
    }))

  it.effect("refuse with their own error", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Attempt.guard(recording([], "full", "refuses"), attemptOf(), Effect.void))
      assert.deepStrictEqual(exit, Exit.fail("full"))
    }))
})

describe("costOf", () => {
  const sent = (outcome: Attempt.Outcome, meanOutput?: number, model = "claude-sonnet-5"): Attempt.MessageAttempt => {
    const kind = new Attempt.CallKind()
    if (meanOutput !== undefined) {
      kind.add({ estimatedInputTokens: 0, inputTokens: 0, outputTokens: meanOutput, millis: undefined, isCut: false })
    }
    return ClaudeTest.attempt({ model, estimate: { inputTokens: 1_000, maxOutputTokens: 100 }, kind, outcome })
  }
  const completed = (
    usage: Usage.Usage,
    model: string | undefined,
    refusal?: Attempt.ModelRefusal,
    meanOutput?: number
  ) =>
    sent(
      Attempt.Outcome.Completed({
        usage,
        limits: undefined,
        model,
        requestId: undefined,
        stopReason: refusal === undefined ? "end_turn" : "refusal",
        refusal
      }),
      meanOutput
    )
  const usage = Usage.make({ inputTokens: 1_000, outputTokens: 100 })

  it("charges what other models used at their prices, or has no price, and an assumption is no exact figure", () => {
    const other = (model: string) => ({ ...usage, others: [{ model, usage: Usage.make({ outputTokens: 10 }) }] })
    const advised = Attempt.costOf(book, completed(other("claude-opus-5"), "claude-opus-5-5"), november)
    assert.deepStrictEqual([advised?.cost?.nanoUsd, advised?.confidence], [6_000_000 + 250_000, "exact"])
    assert.deepStrictEqual(advised?.cost?.picoUsd.output, 100 * 20_000_000 + 10 * 25_000_000)
    assert.isUndefined(Attempt.costOf(book, completed(other("a-model-of-tomorrow"), "claude-opus-5-5"), november)?.cost)
    const assumed = Attempt.costOf(book, completed({ ...usage, isAssumed: true }, "claude-opus-5-5"), november)
    assert.strictEqual(assumed?.confidence, "estimated")
  })

  it("prices a model of another platform by its name there, whatever name the answer has", () => {
    const vertex = "claude-haiku-4-5@20251001"
    const prices = PriceBook.make({ prices: [{ model: vertex, input: 2, output: 10 }] })
    const facts = Model.lookup(vertex)
    const at = (served: string, model = vertex) => {
      const attempt = { ...completed(usage, served), model, facts }
      return Attempt.costOf(prices, attempt, november)?.cost?.nanoUsd
    }
    assert.strictEqual(at("claude-haiku-4-5-20251001"), 3_000_000)
    assert.strictEqual(at(vertex), 3_000_000)
    assert.strictEqual(at("claude-haiku-4-5-20251001", "claude-haiku-4-5"), 1_500_000)
    assert.strictEqual(at("claude-opus-5"), 7_500_000)
  })

  it("prices the model that served, exactly", () => {
    const charge = Attempt.costOf(book, completed(usage, "claude-opus-5"), november)
    assert.deepStrictEqual([charge?.model, charge?.cost?.nanoUsd, charge?.confidence], [
      "claude-opus-5",
      7_500_000,
      "exact"
    ])
    assert.strictEqual(Attempt.costOf(book, completed(usage, undefined), november)?.cost?.nanoUsd, 3_000_000)
    const refusal = { category: undefined, beforeOutput: true }
    assert.strictEqual(Attempt.costOf(book, completed(usage, undefined, refusal), november)?.cost?.nanoUsd, 0)
  })

  it("is undefined for what was not sent and for what is free for everybody", () => {
    assert.isUndefined(Attempt.costOf(book, sent(Attempt.Outcome.NotSent()), november))
    assert.isUndefined(
      Attempt.costOf(book, { ...completed(usage, undefined), endpoint: "countTokens" }, november)
    )
  })

  it("has no cost where the model has no price", () => {
    const charge = Attempt.costOf(book, completed(usage, "a-model-of-tomorrow"), november)
    assert.isDefined(charge)
    assert.isUndefined(charge?.cost)
  })

  it("derives an answer that was cut short from what arrived, and guesses where nothing did", () => {
    const cut = Attempt.costOf(book, sent(Attempt.Outcome.Aborted({ usage })), november)
    assert.deepStrictEqual([cut?.cost?.nanoUsd, cut?.confidence], [3_000_000, "derived"])
    const silent = (meanOutput?: number) =>
      Attempt.costOf(book, sent(Attempt.Outcome.Aborted({ usage: Usage.zero }), meanOutput), november)
    assert.deepStrictEqual([silent()?.cost?.nanoUsd, silent()?.confidence], [3_000_000, "estimated"])
    assert.strictEqual(silent(10)?.cost?.nanoUsd, 2_100_000)
    assert.strictEqual(silent(10_000)?.cost?.nanoUsd, 3_000_000)
  })

  it("guesses at the price of the default region, and keeps what was reported", () => {
    const us = PriceBook.make({ defaultInferenceGeo: "us" })
    const silent = Attempt.Outcome.Aborted({ usage: Usage.zero })
    assert.strictEqual(Attempt.costOf(us, sent(silent), november)?.cost?.nanoUsd, 3_300_000)
    assert.strictEqual(Attempt.costOf(us, sent(Attempt.Outcome.Aborted({ usage })), november)?.cost?.nanoUsd, 3_000_000)
    assert.strictEqual(Attempt.costOf(us, completed(usage, undefined), november)?.cost?.nanoUsd, 3_000_000)
  })

  it("charges no more output than max_tokens where no total was reported", () => {
    const long = Attempt.Outcome.Aborted({ usage: { ...usage, outputTokens: 5_000 } })
    assert.strictEqual(Attempt.costOf(book, sent(long), november)?.usage.outputTokens, 100)
  })

  it("guesses, and charges not nothing, where a whole answer does not report its prompt", () => {
    const charge = Attempt.costOf(book, completed(Usage.zero, undefined, undefined, 10), november)
    assert.deepStrictEqual([charge?.cost?.nanoUsd, charge?.confidence], [2_100_000, "estimated"])
    const output = completed(Usage.make({ outputTokens: 20, inferenceGeo: "us" }), undefined, undefined, 10)
    assert.strictEqual(Attempt.costOf(book, output, november)?.cost?.nanoUsd, 2_420_000)
    const refusal = { category: undefined, beforeOutput: true }
    assert.strictEqual(
      Attempt.costOf(book, completed(Usage.zero, undefined, refusal), november)?.cost?.nanoUsd,
      0
    )
  })

  it("guesses at the speed and in the region that were asked for", () => {
    const silent = (more: Partial<Attempt.Request>) =>
      Attempt.costOf(
        book,
        ClaudeTest.attempt({
          request: { ...ClaudeTest.hello, model: "claude-opus-5", max_tokens: 100, ...more },
          estimate: { inputTokens: 1_000 },
          outcome: Attempt.Outcome.Aborted({ usage: Usage.zero })
        }),
        november
      )
    // (1,000 x 10 + 100 x 50) x 1.1 millionths of a dollar
    const fast = silent({ speed: "fast", inference_geo: "us" })
    assert.deepStrictEqual([fast?.cost?.nanoUsd, fast?.confidence], [16_500_000, "estimated"])
    assert.strictEqual(silent({ speed: null, inference_geo: null })?.cost?.nanoUsd, 7_500_000)
  })

  it("is computed once", () => {
    const attempt = completed(usage, undefined)
    const first = Attempt.costOf(book, attempt, november)
    assert.strictEqual(Attempt.costOf(PriceBook.make({ discount: 0.5 }), attempt, november), first)
    assert.strictEqual(attempt.cost, first)
  })

  it("is exactly nothing for what the API refused", () => {
    const error = new ClaudeError.RateLimitError({ limit: "requests", status: 429 })
    const charge = Attempt.costOf(
      book,
      sent(Attempt.Outcome.Failed({ usage: Usage.zero, error, limits: undefined })),
      november
    )
    assert.deepStrictEqual([charge?.cost?.nanoUsd, charge?.confidence], [0, "exact"])
  })
})
