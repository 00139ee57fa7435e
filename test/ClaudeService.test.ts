import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Config,
  ConfigProvider,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Redacted,
  Stream
} from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostOptimizer from "effect-claude/CostOptimizer"
import * as Fallback from "effect-claude/Fallback"
import * as Hedge from "effect-claude/Hedge"
import * as InputSanitizer from "effect-claude/InputSanitizer"
import * as KeyPool from "effect-claude/KeyPool"
import * as MessageStream from "effect-claude/MessageStream"
import * as Monitor from "effect-claude/Monitor"
import * as PriceBook from "effect-claude/PriceBook"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as RetryPolicy from "effect-claude/RetryPolicy"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { answer, apiError, driven, fetchOf, hello, json, keys, message, over, settle, sse } from "./utils/http.ts"
import { tracing } from "./utils/tracing.ts"

const pieces = answer.toString("utf8").split("\n\n").map((part) => new TextEncoder().encode(`${part}\n\n`))
const reset = (controller: ReadableStreamDefaultController<Uint8Array>) =>
  controller.error(new TypeError("terminated", { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) }))

const failure = <A, E>(exit: Exit.Exit<A, E>): E => {
  const reason = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason) : undefined
  if (reason === undefined) throw new Error(`expected a failure, got ${exit}`)
  return reason.error
}

describe("a model that is deprecated", () => {
  const ask = (model: string) => ClaudeService.create({ ...hello, model })
  const linesOf = (day: string, ...models: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const lines: Array<unknown> = []
      const logger = Logger.make<unknown, void>(({ logLevel, message }) => void lines.push(logLevel, message))
      const { fetch } = fetchOf(() => json(message))
      yield* TestClock.setTime(Date.parse(day))
      yield* Effect.forEach(models, ask).pipe(Effect.provide(over(fetch)), Effect.provide(Logger.layer([logger])))
      return lines.flat()
    })

  it.effect("is logged once for each model, with the days that are left", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf(
        "2026-11-25T12:00:00Z",
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-opus-5-5",
        "claude-opus-4-5",
        "claude-sonnet-4-5"
      )
      assert.deepStrictEqual(lines, [
        "Warn",
        "The model claude-sonnet-4-5-20250929 is deprecated and retires on 2026-11-30, in 5 days. Call a newer model instead.",
        "Warn",
        "The model claude-opus-4-5-20251101 is deprecated and retires on 2027-01-22, in 58 days. Call a newer model instead."
      ])
    }))

  it.effect("is not logged before its day, and says on its last day that one day is left", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* linesOf("2026-09-29", "claude-sonnet-4-5"), [])
      assert.include(String((yield* linesOf("2026-11-29", "claude-sonnet-4-5"))[1]), "in 1 day.")
    }))

  it.effect("is logged as retired from its day on", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* linesOf("2026-11-30", "claude-sonnet-4-5", "claude-sonnet-4-5"), [
        "Warn",
        "The model claude-sonnet-4-5-20250929 was retired on 2026-11-30: calls to it fail."
      ])
    }))
})

describe("create", () => {
  it.effect("reports what it took", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf((n) =>
        n < 3 ? apiError(529, "overloaded_error") : json({ ...message, model: "claude-served" })
      )
      const exit = yield* driven(Effect.provide(ClaudeService.createWithReport(hello), over(fetch)))
      if (Exit.isFailure(exit)) return assert.fail(String(exit))
      const report = exit.value
      assert.deepInclude(report, {
        attempts: 3,
        keyLabel: "test",
        model: "claude-served",
        requestId: "req_1",
        usage: Usage.make({ inputTokens: 9, outputTokens: 4 })
      })
      assert.strictEqual(report.waits.length, 2)
      const waited = report.waits.reduce((sum, wait) => sum + Duration.toMillis(wait), 0)
      assert.strictEqual(Duration.toMillis(report.latency), waited)
      assert.match(report.callId, /^call-\w{10}-1$/)
    }))

  it.effect("does not retry what a success proved wrong to retry", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => json({ ...message, stop_reason: "refusal" }))
      const refused = yield* Effect.provide(ClaudeService.create(hello), over(fetch))
      assert.strictEqual(refused.stop_reason, "refusal")
      assert.strictEqual(state.requests, 1)
    }))

  it.effect("gives the text of an answer", () =>
    Effect.gen(function*() {
      const content = [{ type: "text", text: "a" }, { type: "tool_use", id: "t", name: "n", input: {} }, {
        type: "text",
        text: "b"
      }]
      const { fetch } = fetchOf(() => json({ ...message, content }))
      assert.strictEqual(yield* Effect.provide(ClaudeService.text(hello), over(fetch)), "ab")
    }))

  it.effect("ends at the deadline of its region, in a wait or in an attempt", () =>
    Effect.gen(function*() {
      const waiting = fetchOf(() => apiError(429, "rate_limit_error", { headers: { "retry-after": "30" } }))
      const early = yield* driven(
        ClaudeService.create(hello).pipe(CallContext.withDeadline("10 seconds"), Effect.provide(over(waiting.fetch)))
      )
      assert.deepInclude(failure(early), { _tag: "DeadlineExceededError", attempts: 1 })
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)

      const hanging = fetchOf(() => new Promise(() => {}))
      const late = yield* driven(
        ClaudeService.create(hello).pipe(CallContext.withDeadline("10 seconds"), Effect.provide(over(hanging.fetch)))
      )
      assert.deepInclude(failure(late), { _tag: "DeadlineExceededError", billed: "unknown" })
      assert.strictEqual(yield* Clock.currentTimeMillis, 10_000)
    }))

  it.effect("makes a span for the call and one for each attempt", () =>
    Effect.gen(function*() {
      const { spans, tracer } = tracing()
      const { fetch } = fetchOf((n) => n === 1 ? apiError(500, "api_error") : json(message))
      yield* driven(ClaudeService.create(hello).pipe(Effect.withTracer(tracer), Effect.provide(over(fetch))))
      assert.deepStrictEqual(spans.map((span) => span.name), [
        `chat ${hello.model}`,
        "claude.attempt",
        "claude.attempt"
      ])
      assert.isTrue(spans.every((span) => span.status._tag === "Ended"))
      assert.notInclude(JSON.stringify(spans.map((span) => [...span.attributes])), "hello")
    }))
})

describe("stream", () => {
  it.effect("begins again unseen until the first content", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf((n) => {
        if (n === 1) return apiError(529, "overloaded_error")
        if (n === 2) return sse(pieces.slice(0, 3), reset) // message_start, ping, an empty block
        return sse(pieces)
      })
      const exit = yield* driven(
        Stream.runCollect(ClaudeService.stream(hello)).pipe(Effect.provide(over(fetch)))
      )
      if (Exit.isFailure(exit)) return assert.fail(String(exit))
      assert.strictEqual(state.requests, 3)
      assert.strictEqual(exit.value.filter((event) => event.type === "message_start").length, 1)
      assert.strictEqual(exit.value.at(-1)?.type, "message_stop")
    }))

  it.effect("hands over what there was when it breaks after the first content", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => sse(pieces.slice(0, 12), reset))
      const seen: Array<string> = []
      const exit = yield* driven(
        ClaudeService.stream(hello).pipe(
          Stream.runForEach((event) => Effect.sync(() => seen.push(event.type))),
          Effect.provide(over(fetch))
        )
      )
      const error = failure(exit)
      if (error._tag !== "StreamInterruptedError") return assert.fail(error._tag)
      assert.strictEqual(state.requests, 1)
      assert.deepInclude(error.cause, { _tag: "ConnectionError", reason: "reset" })
      assert.deepStrictEqual(error.partial.content.map((block) => block.type), ["thinking", "text"])
      assert.strictEqual(MessageStream.textOf(error.partial), "Let me look at the weather in Zürich — one moment… 🌦")
      assert.strictEqual(error.usage.inputTokens, 2679)
      assert.isAtLeast(error.usage.outputTokens, 10)
      assert.strictEqual(error.billed, "unknown")
      assert.strictEqual(seen.length, 10) // pings are not shown
    }))

  it.effect("hands over what there was whatever it held", () =>
    Effect.gen(function*() {
      const odd = answer.toString("utf8").replace("3}", "1e999}").replace("\"standard\"", "5")
      const cut = new TextEncoder().encode(odd.slice(0, odd.indexOf("event: message_delta")))
      const { fetch } = fetchOf(() => sse([cut], reset))
      const exit = yield* driven(Stream.runDrain(ClaudeService.stream(hello)).pipe(Effect.provide(over(fetch))))
      assert.strictEqual(failure(exit)._tag, "StreamInterruptedError")
    }))

  it.effect("knows that an answer was paid whose totals had arrived", () =>
    Effect.gen(function*() {
      const failed = "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}\n\n"
      const { fetch } = fetchOf(() => sse([...pieces.slice(0, -2), new TextEncoder().encode(failed)]))
      const exit = yield* driven(Stream.runDrain(ClaudeService.stream(hello)).pipe(Effect.provide(over(fetch))))
      const error = failure(exit)
      assert.deepInclude(error, { _tag: "StreamInterruptedError", billed: "yes" })
      assert.isTrue(error._tag === "StreamInterruptedError" && error.usage.outputTokens === 510)
    }))

  it.effect("tells of the attempts before it, and the worst of what they cost", () =>
    Effect.gen(function*() {
      const paid = new ClaudeError.ConnectionError({ reason: "truncated", billed: "yes" })
      const exit = yield* driven(
        Stream.runDrain(ClaudeService.stream(hello)).pipe(
          Effect.provide(
            ClaudeService.layer({
              api: ClaudeTest.layerApi(paid, {
                content: ["Hello."],
                error: new ClaudeError.ServerError({ overloaded: true })
              }),
              keys
            })
          )
        )
      )
      const error = failure(exit)
      assert.deepInclude(error, { _tag: "StreamInterruptedError", attempts: 2, billed: "yes" })
      assert.strictEqual(error._tag === "StreamInterruptedError" ? error.lastError?._tag : "", "ConnectionError")
    }))

  it.effect("ends at the deadline with what there was", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => sse(pieces.slice(0, 5), () => new Promise(() => {})))
      const exit = yield* driven(
        Stream.runDrain(ClaudeService.stream(hello)).pipe(
          CallContext.withDeadline("7 seconds"),
          Effect.provide(over(fetch))
        )
      )
      const error = failure(exit)
      assert.isTrue(error._tag === "StreamInterruptedError" && error.cause._tag === "DeadlineExceededError")
      assert.strictEqual(yield* Clock.currentTimeMillis, 7000)
    }))

  it.effect("passes an answer without content on", () =>
    Effect.gen(function*() {
      const { fetch } = fetchOf(() => sse([pieces[0]!, ...pieces.slice(-3)]))
      const whole = yield* Effect.provide(MessageStream.message(ClaudeService.stream(hello)), over(fetch))
      assert.deepStrictEqual(whole.content, [])
      assert.strictEqual(whole.stop_reason, "tool_use")
    }))

  it.effect("is a new call each time it is run", () =>
    Effect.gen(function*() {
      const { fetch, state } = fetchOf(() => sse(pieces))
      yield* Effect.gen(function*() {
        const claude = yield* ClaudeService.ClaudeService
        const stream = claude.stream(hello)
        const [one, two] = [yield* Stream.runCollect(stream), yield* Stream.runCollect(stream)]
        assert.deepStrictEqual(one, two)
      }).pipe(Effect.provide(over(fetch)))
      assert.strictEqual(state.requests, 2)
    }))

  it.effect("interrupted before its content ends its request on the wire", () =>
    Effect.gen(function*() {
      let signal: AbortSignal | null | undefined
      const { fetch } = fetchOf((_, init) => {
        signal = init.signal
        return sse(pieces.slice(0, 3), () => new Promise(() => {}))
      })
      const fiber = yield* Effect.forkChild(
        Stream.runDrain(ClaudeService.stream(hello)).pipe(Effect.provide(over(fetch)))
      )
      yield* settle
      assert.isFalse(signal?.aborted)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(signal?.aborted)
    }))
})

describe("a policy", () => {
  /** What was admitted and not settled, and how each attempt was settled. */
  const recording = () => {
    const open = new Set<Attempt.Attempt>()
    const outcomes: Array<string> = []
    const layer = Layer.mock(KeyPool.KeyPool, {
      mayMove: () => Effect.succeed(false),
      admit: (attempt) =>
        Effect.sync(() => {
          open.add(attempt)
          attempt.key = { label: "test", group: "org", secret: Redacted.make("sk-ant-test") }
          return Effect.sync(() => {
            assert.isTrue(open.delete(attempt), "settled twice")
            outcomes.push(attempt.outcome._tag)
          })
        })
    })
    const service = (fetch: typeof globalThis.fetch) =>
      Effect.provide(ClaudeService.layer({ api: { fetch }, keys: layer }))
    return { open, outcomes, service }
  }

  const hang = () => new Promise<never>(() => {})
  const streaming = Stream.runDrain(ClaudeService.stream(hello))
  const endings: ReadonlyArray<{
    readonly name: string
    readonly answer: (n: number) => Response | Promise<Response>
    readonly call: Effect.Effect<unknown, unknown, ClaudeService.ClaudeService>
    readonly outcomes: ReadonlyArray<string>
  }> = [
    { name: "an answer", answer: () => json(message), call: ClaudeService.create(hello), outcomes: ["Completed"] },
    {
      name: "failures and an answer",
      answer: (n) => n < 3 ? apiError(529, "overloaded_error") : json(message),
      call: ClaudeService.create(hello),
      outcomes: ["Failed", "Failed", "Completed"]
    },
    {
      name: "an interrupted call",
      answer: hang,
      call: Effect.timeout(ClaudeService.create(hello), "3 seconds"),
      outcomes: ["Aborted"]
    },
    {
      name: "an interrupted wait",
      answer: () => apiError(429, "rate_limit_error", { headers: { "retry-after": "20" } }),
      call: Effect.timeout(streaming, "3 seconds"),
      outcomes: ["Failed"]
    },
    { name: "a whole stream", answer: () => sse(pieces), call: streaming, outcomes: ["Completed"] },
    {
      name: "a stream begun again",
      answer: (n) => n === 1 ? sse(pieces.slice(0, 3), reset) : sse(pieces),
      call: streaming,
      outcomes: ["Failed", "Completed"]
    },
    {
      name: "a stream that broke",
      answer: () => sse(pieces.slice(0, 12), reset),
      call: streaming,
      outcomes: ["Failed"]
    },
    {
      name: "a reader that stopped",
      answer: () => sse(pieces),
      call: Stream.runDrain(Stream.take(ClaudeService.stream(hello), 4)),
      outcomes: ["Aborted"]
    },
    {
      name: "a reader that failed",
      answer: () => sse(pieces),
      call: Stream.runForEach(ClaudeService.stream(hello), () => Effect.fail("no")),
      outcomes: ["Aborted"]
    },
    {
      name: "a stream interrupted before its content",
      answer: () => sse(pieces.slice(0, 3), hang),
      call: Effect.timeout(streaming, "3 seconds"),
      outcomes: ["Aborted"]
    },
    {
      name: "a stream interrupted after its content",
      answer: () => sse(pieces.slice(0, 12), hang),
      call: Effect.timeout(streaming, "3 seconds"),
      outcomes: ["Aborted"]
    }
  ]
  for (const { answer, call, name, outcomes } of endings) {
    it.effect(`settles each attempt once after ${name}`, () =>
      Effect.gen(function*() {
        const policy = recording()
        yield* driven(call.pipe(policy.service(fetchOf(answer).fetch)))
        assert.deepStrictEqual(policy.outcomes, outcomes)
        assert.strictEqual(policy.open.size, 0)
      }))
  }
})

describe("the other calls", () => {
  it.effect("count tokens and list models with retries", () =>
    Effect.gen(function*() {
      const { max_tokens: _, ...params } = hello
      const counting = fetchOf((n) => n === 1 ? apiError(529, "overloaded_error") : json({ input_tokens: 3 }))
      const counted = yield* driven(Effect.provide(ClaudeService.countTokens(params), over(counting.fetch)))
      assert.deepStrictEqual(counted, Exit.succeed({ input_tokens: 3 }))
      const listing = fetchOf((n) =>
        n === 1 ? apiError(500, "api_error") : json({ data: [{ id: "a" }], has_more: false, last_id: "a" })
      )
      const listed = yield* driven(Effect.provide(ClaudeService.models, over(listing.fetch)))
      assert.isTrue(Exit.isSuccess(listed) && listed.value[0]?.id === "a")
    }))
})

describe("layers", () => {
  const environment = (env: Record<string, string>) =>
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))

  it.effect("take keys and options from the environment", () =>
    Effect.gen(function*() {
      const { refusedUrl } = yield* SimulatorServer.SimulatorServer
      const error = yield* Effect.flip(ClaudeService.create(hello)).pipe(
        Effect.provide(ClaudeService.layerConfig),
        environment({ ANTHROPIC_API_KEY: "sk-ant-1", ANTHROPIC_BASE_URL: refusedUrl, CLAUDE_RETRIES: "0" })
      )
      assert.deepInclude(error, { _tag: "ConnectionError", reason: "refused", billed: "no", attempts: 1 })
    }).pipe(Effect.provide(SimulatorServer.layer().pipe(Layer.provide(Simulator.layer())))))

  it.effect.each(
    [
      [{}, "ANTHROPIC_API_KEY"],
      [{ ANTHROPIC_API_KEY: "k", CLAUDE_RETRIES: "-1" }, "CLAUDE_RETRIES"],
      [{ ANTHROPIC_API_KEY: "k", CLAUDE_TIMEOUT_IDLE: "a while" }, "CLAUDE_TIMEOUT_IDLE"],
      [{ ANTHROPIC_API_KEY: "k", ANTHROPIC_BASE_URL: "nowhere" }, "base URL"]
    ] as const
  )("say what is wrong with %j", ([env, name]) =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(
        Effect.provide(ClaudeService.ClaudeService, ClaudeService.layerConfig).pipe(environment(env))
      )
      const error = failure(exit)
      assert.instanceOf(error, Config.ConfigError)
      assert.include(error.message, name)
    }))

  it.effect("use their own parts inside a region that has a service already", () =>
    Effect.gen(function*() {
      const outer = fetchOf(() => json(message))
      const inner = fetchOf(() => json(message))
      const inside = Effect.provide(ClaudeService.create(hello), over(inner.fetch))
      yield* Effect.provide(Effect.andThen(ClaudeService.create(hello), inside), over(outer.fetch))
      assert.deepStrictEqual([outer.state.requests, inner.state.requests], [1, 1])
    }))

  it("do not compile when a part is left out", () => {
    const program = ClaudeService.create(hello)
    const partly = program.pipe(Effect.provide(
      ClaudeService.layerNoDeps.pipe(Layer.provide([
        ClaudeApi.layer(),
        RetryPolicy.layer(),
        RateLimiter.layer(),
        PriceBook.layer(),
        Budget.layerOff,
        CostLedger.layerOff,
        CostOptimizer.layerOff,
        Fallback.layerOff,
        Hedge.layerOff,
        InputSanitizer.layerOff,
        Monitor.layerOff
      ]))
    ))
    expectTypeOf<Effect.Services<typeof partly>>().toEqualTypeOf<KeyPool.KeyPool | CircuitBreaker.CircuitBreaker>()
    expectTypeOf<Effect.Services<typeof program>>().toEqualTypeOf<ClaudeService.ClaudeService>()
    const pool = Layer.provide(keys, ClaudeApi.layer())
    const wholly = Effect.provide(partly, [pool, CircuitBreaker.layerOff])
    expectTypeOf<Effect.Services<typeof wholly>>().toEqualTypeOf<never>()
  })

  it("narrow the failures by tag", () => {
    const handled = ClaudeService.create(hello).pipe(
      Effect.catchTags({
        RateLimitError: (error) => Effect.succeed(error.limit),
        AuthError: (error) => Effect.succeed(error.kind)
      })
    )
    expectTypeOf<Effect.Error<typeof handled>>().toEqualTypeOf<
      Exclude<ClaudeError.CallError, ClaudeError.RateLimitError | ClaudeError.AuthError>
    >()
    expectTypeOf<Stream.Error<ReturnType<typeof ClaudeService.stream>>>().toEqualTypeOf<ClaudeError.StreamError>()
  })
})
