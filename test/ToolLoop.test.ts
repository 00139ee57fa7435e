import type { Message, Tool } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Context, Data, Deferred, Effect, Exit, Fiber, Ref, Schema, Stream } from "effect"
import { CallContext, type ClaudeError, type ClaudeService, MessageStream, type Request, ToolLoop } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"

const Input = Schema.Struct({ n: Schema.Int })

const double = ToolLoop.tool("double", {
  description: "Doubles a number.",
  input: Input,
  success: Schema.Struct({ twice: Schema.Int, at: Schema.DateFromString }),
  handler: ({ n }) => Effect.succeed({ twice: 2 * n, at: new Date(0) })
})

const use = (n: unknown, name = "double", id = `toolu_${name}_${n}`) => ClaudeTest.toolUse(name, { n }, { id })

/** Both ways to run a loop: what it took and its last answer, if it has one. */
const ways = {
  whole: <const Tools extends ReadonlyArray<ToolLoop.AnyTool>>(options: ToolLoop.Options<Tools, never>) =>
    ToolLoop.run(ClaudeTest.hello, options),
  streamed: <const Tools extends ReadonlyArray<ToolLoop.AnyTool>>(options: ToolLoop.Options<Tools, never>) =>
    Effect.gen(function*() {
      let summary: ToolLoop.Summary | undefined
      const onEnd = (ended: ToolLoop.Summary) => Effect.sync(() => summary = ended)
      const message = yield* MessageStream.message(ToolLoop.stream(ClaudeTest.hello, { ...options, onEnd }))
      return { ...summary!, message }
    })
}

/** What the last request says of the results. */
const results = Effect.map(ClaudeTest.requests, (requests) => {
  const content = requests.at(-1)?.messages.at(-1)?.content ?? []
  return typeof content === "string" ? [] : content.flatMap((block) => block.type === "tool_result" ? [block] : [])
})

describe.each(Object.keys(ways) as ReadonlyArray<keyof typeof ways>)("a loop of tools, %s", (way) => {
  const run = ways[way]

  it.effect("sends the results of its tools back, encoded, and counts what all of it took", () =>
    Effect.gen(function*() {
      const { calls, costNanoUsd, message, steps, turns, usage } = yield* run({ tools: [double] })
      assert.strictEqual(MessageStream.textOf(message), "Four and six.")
      assert.deepStrictEqual(yield* results, [
        { type: "tool_result", tool_use_id: "toolu_double_2", content: `{"twice":4,"at":"1970-01-01T00:00:00.000Z"}` },
        { type: "tool_result", tool_use_id: "toolu_double_3", content: `{"twice":6,"at":"1970-01-01T00:00:00.000Z"}` }
      ])
      assert.deepStrictEqual(calls.map(({ id, isError, name }) => [id, name, isError]).sort(), [
        ["toolu_double_2", "double", false],
        ["toolu_double_3", "double", false]
      ])
      assert.strictEqual(steps.length, 2)
      assert.strictEqual(costNanoUsd, steps[0]!.costNanoUsd! + steps[1]!.costNanoUsd!)
      assert.strictEqual(usage.outputTokens, steps[0]!.usage.outputTokens + steps[1]!.usage.outputTokens)
      assert.deepStrictEqual(turns.map(({ role }) => role), ["user", "assistant", "user", "assistant"])
      const [asked] = yield* ClaudeTest.requests
      assert.deepStrictEqual(asked?.tools as unknown, [{
        name: "double",
        description: "Doubles a number.",
        input_schema: {
          type: "object",
          properties: { n: { type: "integer", minimum: -9007199254740991, maximum: 9007199254740991 } },
          required: ["n"],
          additionalProperties: false
        }
      }])
    }).pipe(Effect.provide(ClaudeTest.layer({ content: [use(2), use(3)] }, "Four and six."))))

  it.effect("gives back what does not fit, what is unknown, and declared failures, for the model to correct", () =>
    Effect.gen(function*() {
      class Odd extends Schema.TaggedError<Odd>("Odd")("Odd", { n: Schema.Int }) {}
      const half = ToolLoop.tool("half", {
        input: Input,
        failure: Odd,
        handler: ({ n }) => n % 2 === 0 ? Effect.succeed(String(n / 2)) : Effect.fail(new Odd({ n }))
      })
      const { calls } = yield* run({ tools: [half] })
      const [wrong, odd, unknown, even] = yield* results
      assert.match(String(wrong?.content), /^The input does not fit: Expected number\n {2}at \["n"\]/)
      assert.deepStrictEqual([wrong?.is_error, odd?.is_error, unknown?.is_error, even?.is_error], [
        true,
        true,
        true,
        undefined
      ])
      assert.strictEqual(odd?.content, `{"_tag":"Odd","n":3}`)
      assert.strictEqual(unknown?.content, "There is no tool with the name third.")
      assert.strictEqual(even?.content, "2")
      assert.strictEqual(calls.filter(({ isError }) => isError).length, 3)
    }).pipe(
      Effect.provide(
        ClaudeTest.layer({ content: [use("x", "half"), use(3, "half"), use(9, "third"), use(4, "half")] }, "Done.")
      )
    ))

  it.effect("fails with what its tools do not declare, and keeps the results that it has", () =>
    Effect.gen(function*() {
      class Down extends Data.TaggedError("Down") {}
      const seen = yield* Ref.make<ReadonlyArray<Request.Turn>>([])
      const ended: Array<ToolLoop.Summary> = []
      const fails = ToolLoop.tool("fails", { input: Input, handler: () => Effect.fail(new Down()) })
      const error = yield* Effect.flip(run({
        tools: [double, fails],
        concurrency: 1,
        record: (turns) => Ref.set(seen, turns),
        ...(way === "whole" ? { onEnd: (summary) => Effect.sync(() => ended.push(summary)) } : {})
      }))
      assert.strictEqual(error._tag, "Down")
      assert.deepStrictEqual(
        (yield* Ref.get(seen)).at(-1)?.content,
        [
          {
            type: "tool_result",
            tool_use_id: "toolu_double_2",
            content: `{"twice":4,"at":"1970-01-01T00:00:00.000Z"}`
          },
          {
            type: "tool_result",
            tool_use_id: "toolu_fails_1",
            content: "There is no result: the call did not run, or not to its end.",
            is_error: true
          }
        ]
      )
      if (way === "whole") {
        assert.deepStrictEqual(ended.map(({ calls, steps }) => [calls.length, steps.length]), [[1, 1]])
      }
    }).pipe(Effect.provide(ClaudeTest.layer({ content: [use(2), use(1, "fails")] }))))

  it.effect("runs the calls of one answer in parallel, within its bound", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const slow = ToolLoop.tool("slow", {
        input: Input,
        handler: () =>
          Effect.sync(() => most = Math.max(most, ++running)).pipe(
            Effect.andThen(Effect.sleep("1 second")),
            Effect.andThen(Effect.sync(() => String(running--)))
          )
      })
      const fiber = yield* Effect.forkChild(run({ tools: [slow], concurrency: 3 }))
      yield* TestClock.adjust("3 seconds")
      const { calls } = yield* Fiber.join(fiber)
      assert.strictEqual(most, 3)
      assert.strictEqual(calls.length, 7)
    }).pipe(Effect.provide(
      ClaudeTest.layer({ content: [1, 2, 3, 4, 5, 6, 7].map((n) => use(n, "slow")) }, "Done.")
    )))

  it.effect("ends with a typed error after its last step, and its last tools do not run", () =>
    Effect.gen(function*() {
      let ran = 0
      const tool = ToolLoop.tool("double", { input: Input, handler: () => Effect.sync(() => String(++ran)) })
      const error = yield* Effect.flip(run({ tools: [tool], maxSteps: 3 }))
      assert(error._tag === "ToolLoopLimitError")
      assert.deepInclude(error, { limit: "steps", steps: 3 })
      assert.isAbove(error.costNanoUsd!, 0)
      assert.strictEqual(error.answer.stop_reason, "tool_use")
      assert.notInclude(JSON.stringify(error), "toolu_")
      assert.strictEqual(ran, 2)
    }).pipe(Effect.provide(ClaudeTest.layer(ClaudeTest.forever(ClaudeTest.toolUse("double", { n: 1 }))))))

  it.effect("begins no step once it has cost as much as it may", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(run({ tools: [double], maxUsd: 0.000_01, maxSteps: 100 }))
      assert(error._tag === "ToolLoopLimitError")
      assert.strictEqual(error.limit, "dollars")
      assert.isAtLeast(error.costNanoUsd!, 10_000)
      assert.strictEqual((yield* ClaudeTest.calls).length, error.steps)
      assert.isBelow(error.steps, 100)
    }).pipe(Effect.provide(ClaudeTest.layer(ClaudeTest.forever(ClaudeTest.toolUse("double", { n: 1 }))))))

  it.effect("goes on where the API paused, in the same turn", () =>
    Effect.gen(function*() {
      const { message, steps, turns } = yield* run({ tools: [double] })
      assert.strictEqual(MessageStream.textOf(message), "It is over.")
      assert.strictEqual(steps.length, 2)
      const [, second] = yield* ClaudeTest.requests
      assert.deepStrictEqual(second?.messages.map(({ role }) => role), ["user", "assistant"])
      assert.deepStrictEqual(turns.map(({ content }) => typeof content === "string" ? 1 : content.length), [1, 2])
    }).pipe(Effect.provide(ClaudeTest.layer({ content: ["One moment."], stopReason: "pause_turn" }, "It is over."))))

  it.effect("leaves calls of the request's own tools to its caller", () =>
    Effect.gen(function*() {
      const own: Tool = { name: "own", input_schema: { type: "object" } }
      const request: Request.Request = { ...ClaudeTest.hello, tools: [own] }
      const ended = yield* way === "whole"
        ? ToolLoop.run(request, { tools: [double] })
        : Effect.map(MessageStream.message(ToolLoop.stream(request, { tools: [double] })), (message) => ({ message }))
      assert.strictEqual(ended.message.stop_reason, "tool_use")
      assert.strictEqual((yield* ClaudeTest.calls).length, 1)
    }).pipe(Effect.provide(ClaudeTest.layer({ content: [use(2), use(1, "own")] }))))

  it.effect("runs no tool of an answer that was cut or refused", () =>
    Effect.gen(function*() {
      for (const stopReason of ["max_tokens", "refusal"] as const) {
        const tool = ToolLoop.tool("double", { input: Input, handler: () => Effect.die("it ran") })
        const { message, turns } = yield* Effect.provide(
          run({ tools: [tool] }),
          ClaudeTest.layer({ content: ["So", use(1)], stopReason })
        )
        assert.strictEqual(message.stop_reason, stopReason)
        assert.strictEqual(turns.length, stopReason === "refusal" ? 1 : 3)
      }
    }))
})

it.effect("a choice that forces a call forces the first step alone", () =>
  Effect.gen(function*() {
    const tool_choice = { type: "any" as const, disable_parallel_tool_use: true }
    yield* ToolLoop.run({ ...ClaudeTest.hello, tool_choice }, { tools: [double] })
    const asked = yield* ClaudeTest.requests
    assert.deepStrictEqual(asked.map(({ tool_choice }) => tool_choice), [
      tool_choice,
      { type: "auto", disable_parallel_tool_use: true }
    ])
  }).pipe(Effect.provide(ClaudeTest.layer(use(1), "Done."))))

it.effect("a strict tool, and one that the API defines, are sent as such", () =>
  Effect.gen(function*() {
    const strict = ToolLoop.tool("strict", {
      input: Schema.Struct({ of: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int)) }),
      strict: true,
      fields: { cache_control: { type: "ephemeral" } },
      handler: ({ of }) => Effect.succeed(JSON.stringify(of))
    })
    const bash = ToolLoop.tool("bash", {
      input: Schema.Struct({ command: Schema.String }),
      fields: { type: "bash_20250124" },
      handler: ({ command }) => Effect.succeed(command)
    })
    yield* ToolLoop.run(ClaudeTest.hello, { tools: [strict, bash] })
    const [asked] = yield* ClaudeTest.requests
    const [first, second] = asked!.tools! as ReadonlyArray<Tool>
    assert.deepInclude(first, { name: "strict", strict: true, cache_control: { type: "ephemeral" } })
    assert.deepStrictEqual(first!.input_schema["required"], ["of"])
    assert.deepStrictEqual(second as unknown, { name: "bash", type: "bash_20250124" })
    assert.deepStrictEqual((yield* results).map(({ content }) => content), [`{"a":1}`, "ls"])
  }).pipe(Effect.provide(ClaudeTest.layer({
    content: [
      ClaudeTest.toolUse("strict", { of: [{ key: "a", value: 1 }] }),
      ClaudeTest.toolUse("bash", { command: "ls" })
    ]
  }, "Done."))))

it.effect("a loop runs through the real SDK against the simulated API, whole and streamed", () =>
  Effect.gen(function*() {
    const tools = [double]
    const { message, steps } = yield* ToolLoop.run(ClaudeTest.hello, { tools })
    assert.strictEqual(message.stop_reason, "end_turn")
    assert.strictEqual(steps.length, 2)
    const text = yield* ToolLoop.stream(ClaudeTest.hello, { tools }).pipe(MessageStream.text, Stream.mkString)
    assert.isNotEmpty(text)
    const { bill, requests } = yield* Simulator.Simulator
    const { rows } = yield* bill
    assert.strictEqual(rows.length, 4)
    assert.isDefined(yield* requests)
  }).pipe(Effect.provide(Simulator.layerClaude())))

it.effect("a model without a price is refused where dollars bound the loop", () =>
  Effect.gen(function*() {
    const request = { ...ClaudeTest.hello, model: "claude-nobody-knows" }
    const error = yield* Effect.flip(ToolLoop.run(request, { tools: [double], maxUsd: 1 }))
    assert.strictEqual(error._tag, "UnpricedModelError")
  }).pipe(Effect.provide(ClaudeTest.layer(use(1)))))

it.effect("a reader that stops early ends the loop, and its history has what arrived", () =>
  Effect.gen(function*() {
    const seen = yield* Ref.make<ReadonlyArray<Request.Turn>>([])
    const ended = yield* Deferred.make<ToolLoop.Summary>()
    const fiber = yield* ToolLoop.stream(ClaudeTest.hello, {
      tools: [double],
      record: (turns) => Ref.set(seen, turns),
      onEnd: (summary) => Effect.asVoid(Deferred.succeed(ended, summary))
    }).pipe(MessageStream.text, Stream.take(1), Stream.runDrain, Effect.forkChild)
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual((yield* Ref.get(seen)).at(-1)?.content as unknown, [
      { type: "text", text: "One ", citations: null }
    ])
    assert.strictEqual((yield* Deferred.await(ended)).steps.length, 1)
  }).pipe(Effect.provide(ClaudeTest.layer({ content: [ClaudeTest.text("One ", "two.")], every: "100 millis" }))))

describe("types", () => {
  it("of handlers follow the schemas, and their errors and needs are those of the loop", () => {
    class Clock extends Context.Service<Clock, { readonly now: number }>()("test/Clock") {}
    class Down extends Data.TaggedError("Down") {}
    class NotFound extends Schema.TaggedError<NotFound>("NotFound")("NotFound", {}) {}
    const now = ToolLoop.tool("now", {
      input: Schema.Struct({ zone: Schema.String, on: Schema.DateFromString }),
      success: Schema.DateFromString,
      failure: NotFound,
      handler: Effect.fnUntraced(function*({ on, zone }) {
        const { now } = yield* Clock
        const asked: Date = on
        const name: string = zone
        if (name === "") return yield* new NotFound()
        return now > asked.getTime() ? yield* new Down() : asked
      })
    })
    const typed: ToolLoop.Tool<Down, Clock> = now
    // @ts-expect-error: what it needs is part of it
    const short: ToolLoop.Tool<Down> = now
    ToolLoop.tool("wrong", {
      input: Input,
      // @ts-expect-error: without `success` a handler gives a text or blocks
      handler: ({ n }) => Effect.succeed(n)
    })
    const loop = ToolLoop.run(ClaudeTest.hello, { tools: [now, double] })
    const whole: Effect.Effect<
      { readonly message: Message; readonly costNanoUsd: number | undefined },
      ClaudeError.CallError | ToolLoop.ToolLoopLimitError | Down,
      ClaudeService.ClaudeService | Clock
    > = loop
    // @ts-expect-error: the error of a handler is an error of the loop
    const deaf: Effect.Effect<unknown, ClaudeError.CallError | ToolLoop.ToolLoopLimitError, unknown> = loop
    const plain: Effect.Effect<
      unknown,
      ClaudeError.CallError | ToolLoop.ToolLoopLimitError,
      ClaudeService.ClaudeService
    > = ToolLoop.run(ClaudeTest.hello, { tools: [] })
    const piped: Stream.Stream<
      MessageStream.Event,
      ClaudeError.StreamError | ToolLoop.ToolLoopLimitError | Down,
      ClaudeService.ClaudeService | Clock
    > = ToolLoop.stream({ tools: [now] })(ClaudeTest.hello)
    const caught = Effect.catchTag(loop, "Down", () => Effect.void)
    const left: Effect.Effect<unknown, ClaudeError.CallError | ToolLoop.ToolLoopLimitError, unknown> = caught
    assert.isDefined([typed, short, whole, deaf, plain, piped, left])
  })
})

it.effect("calls of a loop are calls of the service: its context and its deadline are theirs", () =>
  Effect.gen(function*() {
    const slow = ToolLoop.tool("slow", { input: Input, handler: () => Effect.as(Effect.sleep("1 minute"), "late") })
    const fiber = yield* ToolLoop.run(ClaudeTest.hello, { tools: [slow] }).pipe(
      CallContext.withDeadline("10 seconds"),
      Effect.exit,
      Effect.forkChild
    )
    yield* TestClock.adjust("2 minutes")
    const exit = yield* Fiber.join(fiber)
    assert.isTrue(Exit.isFailure(exit))
    const error = yield* Effect.flip(exit)
    assert.strictEqual(error._tag, "DeadlineExceededError")
  }).pipe(Effect.provide(ClaudeTest.layer(use(1, "slow"), ClaudeTest.forever("Never.")))))
