import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { CallContext, ClaudeApi, ClaudeError, ClaudeService, MessageStream } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"

const { hello } = ClaudeTest

const overloaded = new ClaudeError.ServerError({ overloaded: true, status: 529 })

/** The real policies over a scripted port. */
const underPolicies = (
  ...script: ReadonlyArray<
    ClaudeTest.Answer<ClaudeError.ApiError> | ClaudeTest.Forever<ClaudeTest.Answer<ClaudeError.ApiError>>
  >
) => {
  const api = ClaudeTest.layerApi(...script)
  return Layer.merge(ClaudeService.layer({ api, keys: [ClaudeTest.key] }), api)
}

describe("ClaudeTest.layer", () => {
  it.effect("gives the answers of the script in their order", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* ClaudeService.text(hello), "one")
      assert.strictEqual(yield* ClaudeService.text(hello), "two")
    }).pipe(Effect.provide(ClaudeTest.layer("one", ClaudeTest.text("t", "wo")))))

  it.effect("gives the same answer as a whole message and as a stream", () => {
    const reply: ClaudeTest.Reply = {
      content: [
        ClaudeTest.thinking("Which ", "city?"),
        "Let me look.",
        ClaudeTest.toolUse("weather", { city: "Paris" }, { pieces: ["{\"city\":", "\"Paris\"}"] }),
        ClaudeTest.block({ type: "redacted_thinking", data: "x" })
      ],
      stopReason: "pause_turn",
      model: "claude-opus-5-5",
      usage: { cache_read_input_tokens: 7 }
    }
    return Effect.gen(function*() {
      const whole = yield* ClaudeService.create(hello)
      const streamed = yield* MessageStream.message(ClaudeService.stream(hello))
      assert.strictEqual(whole.stop_reason, "pause_turn")
      assert.strictEqual(whole.model, "claude-opus-5-5")
      assert.strictEqual(whole.usage.cache_read_input_tokens, 7)
      assert.deepStrictEqual(whole.content.map((block) => block.type), [
        "thinking",
        "text",
        "tool_use",
        "redacted_thinking"
      ])
      const sameIds = (message: typeof whole) => ({
        ...message,
        id: "",
        content: message.content.map((block) => block.type === "tool_use" ? { ...block, id: "" } : block)
      })
      assert.deepStrictEqual(sameIds(streamed), sameIds(whole))
    }).pipe(Effect.provide(ClaudeTest.layer(ClaudeTest.forever(reply))))
  })

  it.effect("makes up an id for each tool call, and keeps one that is given", () =>
    Effect.gen(function*() {
      const ids = (yield* Effect.replicateEffect(ClaudeService.create(hello), 2)).flatMap(({ content }) =>
        content.map((block) => block.type === "tool_use" ? block.id : "")
      )
      assert.strictEqual(new Set(ids).size, 4)
      assert.strictEqual((yield* ClaudeService.create(hello)).stop_reason, "tool_use")
      const [block] = (yield* ClaudeService.create(hello)).content
      assert.include(block, { type: "tool_use", id: "mine" })
    }).pipe(Effect.provide(ClaudeTest.layer(
      { content: [ClaudeTest.toolUse("a", {}), ClaudeTest.toolUse("a", {})] },
      { content: [ClaudeTest.toolUse("a", {}), ClaudeTest.toolUse("a", {})] },
      ClaudeTest.toolUse("a", {}),
      ClaudeTest.toolUse("a", {}, { id: "mine" })
    ))))

  it.effect("streams text in the pieces of the script", () =>
    Effect.gen(function*() {
      const pieces = yield* ClaudeService.stream(hello).pipe(MessageStream.text, Stream.runCollect)
      assert.deepStrictEqual(pieces, ["Good ", "day", "!"])
    }).pipe(Effect.provide(ClaudeTest.layer(ClaudeTest.text("Good ", "day", "!")))))

  it.effect("takes its time where the script says so", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const read = ClaudeService.stream(hello).pipe(
        MessageStream.text,
        Stream.runForEach((piece) => Effect.sync(() => seen.push(piece)))
      )
      const reader = yield* Effect.forkChild(read)
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(seen, ["a"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(seen, ["a", "b"])
      yield* Fiber.join(reader)

      const whole = yield* Effect.forkChild(ClaudeService.text(hello))
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(whole.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(whole), "ab")

      const late = yield* Effect.forkChild(ClaudeService.text(hello))
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(late.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(late), "late")
    }).pipe(Effect.provide(ClaudeTest.layer(
      { content: [ClaudeTest.text("a", "b")], every: "1 second" },
      { content: [ClaudeTest.text("a", "b")], every: "1 second" },
      Effect.delay(Effect.succeed("late"), "5 seconds")
    ))))

  it.effect("computes answers from the request and what the caller said", () =>
    Effect.gen(function*() {
      const ask = ClaudeService.text({ ...hello, max_tokens: 7 }).pipe(CallContext.annotate({ user: "ada" }))
      assert.strictEqual(yield* ask, "ada may have 7")
      assert.strictEqual(yield* Effect.flip(ask), overloaded)
    }).pipe(Effect.provide(ClaudeTest.layer(
      ({ max_tokens }, { user }) => `${user} may have ${max_tokens}`,
      () => overloaded
    ))))

  it.effect("repeats the answer that stands for ever", () =>
    Effect.gen(function*() {
      const texts = yield* Effect.replicateEffect(ClaudeService.text(hello), 4)
      assert.deepStrictEqual(texts, ["first", "again", "again", "again"])
    }).pipe(Effect.provide(ClaudeTest.layer("first", ClaudeTest.forever("again")))))

  it.effect.prop(
    "gives every error to the program at once, as it is",
    { error: ClaudeError.CallError },
    ({ error }) =>
      Effect.gen(function*() {
        const expected = ClaudeError.isApiError(error) && error.attempts < 1 ? { ...error, attempts: 1 } : { ...error }
        const whole = yield* Effect.flip(ClaudeService.create(hello))
        const streamed = yield* Effect.flip(Stream.runDrain(ClaudeService.stream(hello)))
        assert.deepStrictEqual({ ...whole }, expected)
        assert.deepStrictEqual({ ...streamed }, expected)
        assert.strictEqual(whole.message, error.message)
      }).pipe(Effect.provide(ClaudeTest.layer(ClaudeTest.forever(error))))
  )

  it.effect("ends a stream after its content as the service does, and a whole answer with the error itself", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const error = yield* ClaudeService.stream(hello).pipe(
        MessageStream.text,
        Stream.runForEach((piece) => Effect.sync(() => seen.push(piece))),
        Effect.flip
      )
      assert.deepStrictEqual(seen, ["Half an ", "ans"])
      assert.instanceOf(error, ClaudeError.StreamInterruptedError)
      assert.strictEqual(error.cause, overloaded)
      assert.strictEqual(MessageStream.textOf(error.partial), "Half an ans")
      assert.isAbove(error.usage.outputTokens, 1)
      assert.deepStrictEqual(error.partial.content.map(({ type }) => type), ["text"])
      assert.strictEqual(yield* Effect.flip(ClaudeService.create(hello)), overloaded)
    }).pipe(
      Effect.provide(ClaudeTest.layer(ClaudeTest.forever({
        content: [ClaudeTest.text("Half an ", "ans"), ClaudeTest.toolUse("unfinished", {})],
        error: overloaded
      })))
    ))

  it.effect("keeps the deadline of the caller", () =>
    Effect.gen(function*() {
      const whole = yield* Effect.forkChild(Effect.flip(ClaudeService.create(hello)))
      const stream = yield* Effect.forkChild(Effect.flip(Stream.runDrain(ClaudeService.stream(hello))))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(whole))._tag, "DeadlineExceededError")
      assert.strictEqual((yield* Fiber.join(stream))._tag, "StreamInterruptedError")
    }).pipe(
      CallContext.withDeadline("5 seconds"),
      Effect.provide(ClaudeTest.layer(
        Effect.delay(Effect.succeed("late"), "1 minute"),
        { content: [ClaudeTest.text("a", "b")], every: "4 seconds" }
      ))
    ))

  it.effect("records what it was asked, by whom, and what became of it", () =>
    Effect.gen(function*() {
      yield* ClaudeService.create(hello).pipe(CallContext.annotate({ user: "ada" }))
      yield* ClaudeService.stream({ ...hello, max_tokens: 5 }).pipe(
        Stream.filter(MessageStream.isContent),
        Stream.take(1),
        Stream.runDrain
      )
      yield* Effect.ignore(ClaudeService.text(hello))
      yield* Effect.ignore(ClaudeService.text(hello))
      yield* ClaudeService.countTokens(hello)
      yield* ClaudeService.models

      const calls = yield* ClaudeTest.calls
      assert.deepStrictEqual(calls.map(({ method }) => method), [
        "create",
        "stream",
        "create",
        "create",
        "countTokens",
        "models"
      ])
      assert.strictEqual(calls[0]?.context.user, "ada")
      assert.deepStrictEqual(calls.map(({ attempt }) => attempt.outcome._tag), [
        "Completed",
        "Aborted",
        "Failed",
        "NotSent",
        "Completed",
        "Completed"
      ])
      assert.deepStrictEqual((yield* ClaudeTest.requests).map(({ max_tokens }) => max_tokens), [100, 5, 100, 100])
      assert.strictEqual(yield* ClaudeTest.unused, 1)
    }).pipe(
      Effect.provide(
        ClaudeTest.layer(
          "Hello.",
          ClaudeTest.text("a", "b"),
          overloaded,
          new ClaudeError.UnpricedModelError({ model: "x" }),
          "nobody asks",
          ClaudeTest.forever("")
        )
      )
    ))

  it.effect("is another Claude where another script is provided, around it or inside", () =>
    Effect.gen(function*() {
      const inner = ClaudeService.text(hello).pipe(Effect.provide(ClaudeTest.layer("inner")))
      assert.deepStrictEqual(yield* Effect.all([ClaudeService.text(hello), inner, ClaudeService.text(hello)]), [
        "outer",
        "inner",
        "outer"
      ])
    }).pipe(Effect.provide(ClaudeTest.layer("outer", "outer"))))

  it.effect("counts tokens always the same, and lists the models of the catalogue", () =>
    Effect.gen(function*() {
      const claude = yield* ClaudeService.ClaudeService
      const { usage } = yield* claude.create(hello)
      assert.deepStrictEqual(yield* claude.countTokens(hello), { input_tokens: usage.input_tokens })
      assert.deepStrictEqual([usage.input_tokens, usage.output_tokens], [6, 4])
      assert.include((yield* claude.models).map(({ id }) => id), "claude-sonnet-5-5")
      assert.strictEqual((yield* claude.model("claude-haiku-4-5")).id, "claude-haiku-4-5-20251001")
      const error = yield* Effect.flip(claude.model("no-such-model"))
      assert.instanceOf(error, ClaudeError.BadRequestError)
      assert.strictEqual(error.status, 404)
    }).pipe(Effect.provide(ClaudeTest.layer("Hello, you!"))))

  it.effect("dies with what was asked when the script has run out", () =>
    Effect.gen(function*() {
      yield* ClaudeService.create(hello)
      const exit = yield* Effect.exit(
        ClaudeService.create({ ...hello, messages: [{ role: "user", content: "And now?" }] })
      )
      assert.isTrue(Exit.hasDies(exit))
      const { message } = Cause.squash(Exit.isFailure(exit) ? exit.cause : Cause.empty) as Error
      assert.match(
        message,
        /no answer for call 2 \(create, attempt 1, model claude-sonnet-5-5, last message "And now\?"\)/
      )
      assert.match(message, /the script has 1\. /)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Stream.runDrain(ClaudeService.stream(hello)))))
    }).pipe(Effect.provide(ClaudeTest.layer("only one"))))
})

describe("ClaudeTest.layerApi", () => {
  it.effect("gives each attempt the next answer, under the real policies", () =>
    Effect.gen(function*() {
      const call = yield* Effect.forkChild(ClaudeService.createWithReport(hello))
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(call.pollUnsafe())
      yield* TestClock.adjust("8 seconds")
      const report = yield* Fiber.join(call)
      assert.strictEqual(MessageStream.textOf(report.message), "At last.")
      assert.strictEqual(report.attempts, 3)
      assert.strictEqual(report.keyLabel, "test")
      assert.strictEqual(report.requestId, "req_test_3")
      const calls = yield* ClaudeTest.calls
      assert.deepStrictEqual(calls.map(({ attempt }) => [attempt.number, attempt.outcome._tag]), [
        [1, "Failed"],
        [2, "Failed"],
        [3, "Completed"]
      ])
    }).pipe(Effect.provide(underPolicies(
      new ClaudeError.RateLimitError({ limit: "requests", retryAfter: Duration.seconds(3) }),
      overloaded,
      "At last."
    ))))

  it.effect("tells errors which attempt they ended", () =>
    Effect.gen(function*() {
      const call = yield* Effect.forkChild(Effect.flip(ClaudeService.create(hello)))
      yield* TestClock.adjust("1 minute")
      const error = yield* Fiber.join(call)
      assert.instanceOf(error, ClaudeError.ServerError)
      assert.strictEqual(error.attempts, 4)
      assert.strictEqual(error.status, 529)
      assert.strictEqual(error.message, overloaded.message)
    }).pipe(Effect.provide(underPolicies(ClaudeTest.forever(overloaded)))))

  it.effect("has a stream begun again that fails before its content, and not one that fails after", () =>
    Effect.gen(function*() {
      const call = yield* ClaudeService.stream(hello).pipe(
        MessageStream.text,
        Stream.runCollect,
        Effect.forkChild
      )
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(call), ["whole"])
      const error = yield* Effect.flip(Stream.runDrain(ClaudeService.stream(hello)))
      assert.strictEqual(error._tag, "StreamInterruptedError")
      assert.lengthOf(yield* ClaudeTest.calls, 3)
    }).pipe(Effect.provide(underPolicies(
      { content: [], error: overloaded },
      "whole",
      { content: ["half"], error: overloaded }
    ))))

  it.effect("writes the outcome of a stream while it is read, as the port does", () =>
    Effect.gen(function*() {
      const { attempt, outcomes } = yield* readThrough
      assert.deepStrictEqual(
        outcomes,
        [1, 1, 2, 4, 4, 4, 4].map((tokens, index) => [index < 6 ? "Aborted" : "Completed", tokens])
      )
      assert.strictEqual(attempt.outcome._tag, "Completed")
    }).pipe(Effect.provide(ClaudeTest.layerApi(ClaudeTest.text("12345", "67890")))))

  it.effect("writes down a refusal by the model, plain and streamed", () =>
    Effect.gen(function*() {
      yield* ClaudeService.create(hello)
      const streamed = yield* MessageStream.message(ClaudeService.stream(hello))
      assert.strictEqual(streamed.stop_details?.category, "bio")
      const refusal = { category: "bio", beforeOutput: true }
      for (const { attempt } of yield* ClaudeTest.calls) assert.deepInclude(attempt.outcome, { refusal })
    }).pipe(Effect.provide(underPolicies(ClaudeTest.forever({
      content: [],
      stopReason: "refusal",
      stopDetails: { type: "refusal", category: "bio", explanation: null }
    })))))
})

/** Each event of a stream as the outcome and the output tokens that stand when it arrives. */
const readThrough = Effect.gen(function*() {
  const api = yield* ClaudeApi.ClaudeApi
  const attempt = ClaudeTest.attempt({ request: hello, context: yield* CallContext.current })
  const outcomes = yield* api.stream(attempt).pipe(
    Stream.map(() =>
      attempt.outcome._tag === "NotSent" ? [] : [attempt.outcome._tag, attempt.outcome.usage.outputTokens]
    ),
    Stream.runCollect
  )
  return { attempt, outcomes }
})
