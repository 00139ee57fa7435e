import { assert, describe, it } from "@effect/vitest"
import {
  ConfigProvider,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Redacted,
  References,
  Scheduler,
  Stream,
  Tracer
} from "effect"
import { Attempt, CallContext, ClaudeError, ClaudeService, CostOptimizer, Model, Monitor } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { showing } from "./utils/leaks.ts"
import { attributesOf, driven, eventsOf, forever, logging, metrics, over, tracing, watching } from "./utils/monitors.ts"

const { hello } = ClaudeTest
const model = hello.model

const failed = new ClaudeError.ServerError({ overloaded: false, status: 500, shouldRetry: false })
const overloaded = new ClaudeError.ServerError({ overloaded: true, status: 529, requestId: "req_1" })

/** Of some tokens each. */
const pieces = ["One is a number, and so is two. ", "Three is one as well, ", "and four is one too."]

const environment = (variables: Record<string, string>) =>
  Layer.succeed(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables))

describe("spans", () => {
  it.effect("say of a call what the conventions ask for, what it cost, and which key it used", () =>
    Effect.gen(function*() {
      const request = { ...hello, temperature: 0.5, top_k: 3, top_p: 0.9, stop_sequences: ["END"] }
      const { spans } = yield* tracing(CallContext.annotate(ClaudeService.create(request), { requestType: "greeting" }))
      const [call, attempt] = spans
      assert.deepStrictEqual([call?.name, call?.kind, attempt?.name], [`chat ${model}`, "client", "claude.attempt"])
      const {
        "gen_ai.response.id": id,
        "claude.call_id": callId,
        "claude.cost_usd": cost,
        "claude.request_id": requestId,
        ...rest
      } = attributesOf(call)
      assert.match(String(id), /^msg_/)
      assert.match(String(callId), /^call-/)
      assert.match(String(requestId), /^req_/)
      assert.isAbove(cost as number, 0)
      assert.deepStrictEqual(rest, {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.response.model": model,
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.usage.input_tokens": 6,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "server.address": "claude.test",
        "server.port": 80,
        "claude.status": "success",
        "claude.attempts": 1,
        "claude.retries": 0,
        "claude.key": "test",
        "claude.request_type": "greeting",
        "claude.priority": "standard"
      })
      assert.deepInclude(attributesOf(attempt), {
        "claude.call_id": callId,
        "claude.attempt": 1,
        "claude.outcome": "completed",
        "claude.key": "test",
        "claude.key_group": "test",
        "claude.cost_usd": cost,
        "claude.request_id": requestId,
        "gen_ai.response.model": model
      })
    }).pipe(Effect.provide(over(["Hello!"]))))

  it.effect("count all input, cached or not, and name cache writes as the version of the conventions does", () => {
    const usage = {
      input_tokens: 10,
      output_tokens: 9,
      cache_read_input_tokens: 1_000,
      cache_creation_input_tokens: 200,
      output_tokens_details: { thinking_tokens: 4 }
    }
    return Effect.gen(function*() {
      const { spans } = yield* tracing(ClaudeService.create(hello))
      assert.deepInclude(attributesOf(spans[0]), {
        "gen_ai.usage.input_tokens": 1_210,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 1_000,
        "gen_ai.usage.cache_write.input_tokens": 200,
        "gen_ai.usage.reasoning.output_tokens": 4
      })
    }).pipe(Effect.provide(over([{ content: ["Hm."], usage }], { monitor: { conventions: "latest" } })))
  })

  it.effect("have a child for each attempt, and an event for each retry and its wait", () =>
    Effect.gen(function*() {
      const { exit, spans } = yield* tracing(driven(ClaudeService.create(hello)))
      assert.isTrue(Exit.isSuccess(exit))
      const [call, first, second, third] = spans
      assert.strictEqual(spans.length, 4)
      for (const attempt of [first, second, third]) {
        assert.strictEqual(attempt?.parent._tag === "Some" ? attempt.parent.value.spanId : "", call?.spanId)
      }
      assert.deepInclude(attributesOf(first), {
        "claude.outcome": "failed",
        "error.type": "ServerError",
        "http.response.status_code": 529,
        "claude.request_id": "req_1"
      })
      assert.deepInclude(attributesOf(call), { "claude.attempts": 3, "claude.retries": 2, "claude.status": "success" })
      const events = eventsOf(call)
      assert.deepStrictEqual(events.map(({ name }) => name), ["claude.retry", "claude.retry"])
      assert.deepInclude(events[0]!, { "error.type": "ServerError", "claude.wait.for": "retry" })
      assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
      assert.strictEqual(first?.status._tag === "Ended" && Exit.isFailure(first.status.exit), true)
    }).pipe(Effect.provide(over([overloaded, overloaded, "At last."]))))

  it.effect("say that a call has given up, and with which error", () =>
    Effect.gen(function*() {
      const { spans } = yield* tracing(driven(CallContext.annotate(ClaudeService.create(hello), { retries: 0 })))
      assert.deepStrictEqual(eventsOf(spans[0]), [
        { name: "claude.give_up", "error.type": "ServerError", "claude.reason": "retries" }
      ])
      assert.deepInclude(attributesOf(spans[0]), {
        "error.type": "ServerError",
        "claude.status": "error",
        "claude.fault": "provider"
      })
    }).pipe(Effect.provide(over([overloaded]))))

  it.effect("tell of moves to another key and of transitions of circuits", () =>
    Effect.gen(function*() {
      const { exit, spans } = yield* tracing(driven(ClaudeService.create(hello)))
      assert.isTrue(Exit.isSuccess(exit))
      const [call, first, second] = spans
      assert.deepInclude(eventsOf(call)[0]!, { name: "claude.move", "error.type": "AuthError" })
      assert.notStrictEqual(attributesOf(first)["claude.key"], attributesOf(second)["claude.key"])
      const broken = yield* tracing(Effect.exit(ClaudeService.create(hello)))
      assert.deepInclude(eventsOf(broken.spans[0]), {
        name: "claude.circuit",
        "claude.group": Model.lookup(model).group,
        "claude.circuit.from": "closed",
        "claude.circuit.to": "open"
      })
    }).pipe(Effect.provide(over(
      [new ClaudeError.AuthError({ kind: "authentication", status: 401 }), "Hello!", failed],
      {
        keys: ["a", "b"].map((label) => ({ label, group: label, secret: Redacted.make(`sk-ant-${label}`) })),
        breaker: { consecutiveFailures: 1 }
      }
    ))))

  it.effect("tell of waits for limits", () =>
    Effect.gen(function*() {
      const { spans } = yield* tracing(Effect.andThen(
        ClaudeService.create(hello),
        driven(ClaudeService.create(hello))
      ))
      assert.deepStrictEqual(eventsOf(spans.at(-1)), [
        { name: "claude.wait", "claude.wait.for": "limits", "claude.wait.seconds": 60 }
      ])
    }).pipe(Effect.provide(over([forever("Paced.")], { limiter: { limits: { requestsPerMinute: 1 } } }))))

  it.effect("say what the optimizer changed", () =>
    Effect.gen(function*() {
      const { spans } = yield* tracing(ClaudeService.create(hello))
      assert.deepInclude(attributesOf(spans[0]), {
        "gen_ai.request.model": "claude-haiku-5-5",
        "claude.asked_model": model,
        "claude.optimizer.rules": ["cheaperModel"]
      })
    }).pipe(Effect.provide(over(["Cheap."], {
      optimizer: { rules: [CostOptimizer.cheaperModel({ to: "claude-haiku-5-5", when: () => true })] }
    }))))

  it.effect("are whole for streams that end, are cut, or are given up", () =>
    Effect.gen(function*() {
      const whole = yield* tracing(driven(Stream.runDrain(ClaudeService.stream(hello))))
      assert.deepInclude(attributesOf(whole.spans[0]), {
        "gen_ai.request.stream": true,
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.response.time_to_first_chunk": 1,
        "claude.status": "success"
      })
      const cut = yield* tracing(driven(Stream.runDrain(ClaudeService.stream(hello))))
      const attributes = attributesOf(cut.spans[0])
      assert.deepInclude(attributes, {
        "gen_ai.response.finish_reasons": ["error"],
        "claude.status": "error",
        "error.type": "StreamInterruptedError",
        "claude.fault": "provider"
      })
      assert.match(String(attributes["gen_ai.response.id"]), /^msg_/)
      assert.isAbove(attributes["gen_ai.usage.output_tokens"] as number, 0)
      assert.isAbove(attributes["claude.cost_usd"] as number, 0)
      assert.strictEqual(attributesOf(cut.spans[1])["claude.outcome"], "failed")
      const given = yield* tracing(driven(Stream.runDrain(Stream.take(ClaudeService.stream(hello), 4))))
      assert.deepInclude(attributesOf(given.spans[0]), {
        "gen_ai.response.finish_reasons": ["error"],
        "claude.status": "cancelled"
      })
      assert.isAbove(attributesOf(given.spans[0])["gen_ai.usage.output_tokens"] as number, 0)
      for (const { spans } of [whole, cut, given]) {
        assert.strictEqual(spans.length, 2)
        assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
      }
    }).pipe(Effect.provide(over([
      { content: [ClaudeTest.text(...pieces)], every: "1 second" },
      {
        content: [ClaudeTest.text(...pieces)],
        error: new ClaudeError.ConnectionError({ reason: "reset", billed: "unknown" })
      },
      { content: [ClaudeTest.text(...pieces)] }
    ]))))

  it.effect("are described only where the trace is sampled", () =>
    Effect.gen(function*() {
      const parent = (sampled: boolean) =>
        Tracer.externalSpan({ spanId: "00f067aa0ba902b7", traceId: "4bf92f3577b34da6a3ce929d0e0e4736", sampled })
      const call = driven(ClaudeService.create(hello))
      const { spans } = yield* tracing(Effect.withParentSpan(call, parent(false)))
      assert.deepStrictEqual(spans.map((span) => [span.name, span.sampled, eventsOf(span)]), [
        [`chat ${model}`, false, []],
        ["claude.attempt", false, []],
        ["claude.attempt", false, []]
      ])
      assert.doesNotHaveAnyKeys(attributesOf(spans[0]), ["claude.status", "gen_ai.input.messages"])
      const sampled = yield* tracing(Effect.withParentSpan(driven(ClaudeService.create(hello)), parent(true)))
      assert.containsAllKeys(attributesOf(sampled.spans[0]), ["claude.status", "gen_ai.input.messages"])
    }).pipe(Effect.provide(over([overloaded, "Hello!", "Hello!"], { monitor: { content: "spans" } }))))

  it.effect("are not made where nobody could see them", () => {
    const seen: Array<string | undefined> = []
    const look: Attempt.Policy = {
      admit: () =>
        Effect.map(Effect.option(Effect.currentSpan), (span) => {
          seen.push(Option.getOrUndefined(span)?.name)
          return Attempt.nothing
        })
    }
    return Effect.gen(function*() {
      yield* ClaudeService.create(hello)
      yield* Effect.withSpan(ClaudeService.create(hello), "mine")
      assert.deepStrictEqual(seen, [undefined, "mine"])
    }).pipe(Effect.provide(over(["Hello!", "Hello!"], { policies: [look] })))
  })
})

describe("content", () => {
  const secret = "the secret of 1234"
  const request = { ...hello, system: "Be brief.", messages: [{ role: "user" as const, content: `Keep ${secret}.` }] }
  const shown = { "gen_ai.input.messages": "", "gen_ai.output.messages": "", "gen_ai.system_instructions": "" }

  it.effect("is nowhere unless somebody asks for it", () =>
    Effect.gen(function*() {
      const { lines } = yield* logging(Effect.flatMap(tracing(ClaudeService.create(request)), ({ spans }) =>
        Effect.sync(() => {
          const attributes = attributesOf(spans[0])
          for (const name of Object.keys(shown)) assert.notProperty(attributes, name)
          assert.notInclude(JSON.stringify(attributes), secret)
        })))
      assert.notInclude(JSON.stringify(lines), secret)
    }).pipe(Effect.provide(over(["I will."], { monitor: { log: { sample: 1 } } }))))

  for (
    const [variable, onSpan, inLog] of [["SPAN_ONLY", true, false], ["EVENT_ONLY", false, true], [
      "SPAN_AND_EVENT",
      true,
      true
    ]] as const
  ) {
    it.effect(`is where the official variable says: ${variable}`, () =>
      Effect.gen(function*() {
        const { exit, lines } = yield* logging(tracing(ClaudeService.create(request)))
        const attributes = Exit.isSuccess(exit) ? attributesOf(exit.value.spans[0]) : {}
        assert.strictEqual("gen_ai.input.messages" in attributes, onSpan)
        assert.strictEqual(lines.some(({ json }) => json.includes(secret)), inLog)
        if (!onSpan) return
        assert.deepStrictEqual(JSON.parse(String(attributes["gen_ai.input.messages"])), [
          { role: "user", parts: [{ type: "text", content: `Keep ${secret}.` }] }
        ])
        assert.deepStrictEqual(JSON.parse(String(attributes["gen_ai.system_instructions"])), [
          { type: "text", content: "Be brief." }
        ])
        assert.deepStrictEqual(JSON.parse(String(attributes["gen_ai.output.messages"])), [
          { role: "assistant", parts: [{ type: "text", content: "I will." }], finish_reason: "end_turn" }
        ])
      }).pipe(
        Effect.provide(over(["I will."])),
        Effect.provide(environment({ OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: variable }))
      ))
  }

  it.effect("is redacted first and bounded then, the newest turns first", () =>
    Effect.gen(function*() {
      const messages = [
        { role: "user" as const, content: "x".repeat(500) },
        { role: "assistant" as const, content: "y".repeat(500) },
        { role: "user" as const, content: `Keep ${secret}.` }
      ]
      const { spans } = yield* tracing(ClaudeService.create({ ...hello, messages }))
      const text = String(attributesOf(spans[0])["gen_ai.input.messages"])
      assert.notInclude(text, "1234")
      assert.include(text, "Keep the secret of ****.")
      assert.include(text, "yyy")
      assert.notInclude(text, "xxx")
    }).pipe(Effect.provide(over(["I will."], {
      monitor: { content: "spans", redact: (text) => text.replaceAll(/\d/g, "*"), maxContentLength: 100 }
    }))))

  it.effect("is not shown where redacting it fails", () =>
    Effect.gen(function*() {
      const { exit, spans } = yield* tracing(ClaudeService.create(request))
      assert.isTrue(Exit.isSuccess(exit))
      assert.notInclude(JSON.stringify(attributesOf(spans[0])), secret)
    }).pipe(Effect.provide(over(["I will."], {
      monitor: {
        content: "spans",
        redact: () => {
          throw new Error("no")
        }
      }
    }))))

  it.effect("of a stream is what arrived of it", () =>
    Effect.gen(function*() {
      const { spans } = yield* tracing(driven(Stream.runDrain(ClaudeService.stream(hello))))
      assert.deepStrictEqual(JSON.parse(String(attributesOf(spans[0])["gen_ai.output.messages"])), [
        { role: "assistant", parts: [{ type: "text", content: "One and" }], finish_reason: "error" }
      ])
    }).pipe(Effect.provide(over(
      [{
        content: [ClaudeTest.text("One", " and")],
        error: new ClaudeError.ConnectionError({ reason: "reset", billed: "unknown" })
      }],
      { monitor: { content: "spans" } }
    ))))
})

describe("the request log", () => {
  const everything = { monitor: { log: { sample: 1 } } }

  it.effect("has one record for each call, as JSON with every field", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-26T10:00:00Z"))
      const { lines } = yield* logging(
        ClaudeService.create(hello).pipe(CallContext.annotate({
          user: "ada",
          tenant: "analytical",
          requestType: "greeting",
          priority: "interactive",
          tags: { page: "home" }
        }))
      )
      assert.deepStrictEqual(lines.map(({ level }) => level), ["Info"])
      const { call_id, cost_usd, request_id, ...fields } = JSON.parse(lines[0]!.json).message
      assert.match(call_id, /^call-/)
      assert.match(request_id, /^req_/)
      assert.isAbove(cost_usd, 0)
      assert.deepStrictEqual(fields, {
        event: "claude.call",
        time: "2026-11-26T10:00:00.000Z",
        operation: "chat",
        stream: false,
        model,
        model_served: model,
        status: "success",
        stop_reason: "end_turn",
        input_tokens: 6,
        output_tokens: 2,
        cache_read_tokens: 0,
        cache_write_5m_tokens: 0,
        cache_write_1h_tokens: 0,
        thinking_tokens: 0,
        latency_ms: 0,
        overhead_ms: 0,
        waits: [],
        attempts: 1,
        retries: 0,
        moves: 0,
        fallbacks: [],
        hedges: 0,
        key: "test",
        user: "ada",
        tenant: "analytical",
        request_type: "greeting",
        priority: "interactive",
        rules: [],
        metadata: { page: "home" }
      })
    }).pipe(Effect.provide(over(["Hello!"], everything))))

  it.effect("has failures at error level, and calls that needed retries once at warning level", () =>
    Effect.gen(function*() {
      const { lines } = yield* logging(
        Effect.andThen(driven(ClaudeService.create(hello)), Effect.exit(ClaudeService.create(hello)))
      )
      assert.deepStrictEqual(
        lines.map((
          { level, message: { attempts, error, retries, status } }
        ) => [level, status, error, attempts, retries]),
        [
          ["Warn", "success", undefined, 3, 2],
          ["Error", "error", "ServerError", 1, 0]
        ]
      )
      assert.deepInclude(lines[1]!.message, { fault: "provider", http_status: 500 })
      assert.deepStrictEqual((lines[0]!.message["waits"] as ReadonlyArray<{ for: string }>).map((wait) => wait.for), [
        "retry",
        "retry"
      ])
      assert.match(String(lines[1]!.message["error_message"]), /500/)
    }).pipe(Effect.provide(over([overloaded, overloaded, "Hello!", failed]))))

  it.effect("has a part of the calls without trouble, and every one with trouble", () =>
    Effect.gen(function*() {
      const calls = Array.from({ length: 400 }, (_, i) => i)
      const { lines } = yield* logging(
        Effect.forEach(calls, () => Effect.exit(ClaudeService.create(hello)), { discard: true })
      )
      const infos = lines.filter(({ level }) => level === "Info").length
      assert.isAbove(infos, 20)
      assert.isBelow(infos, 90)
      assert.strictEqual(lines.filter(({ level }) => level === "Error").length, 200)
    }).pipe(Effect.provide(over(
      Array.from({ length: 400 }, (_, i) => i % 2 === 0 ? "Hello!" : failed),
      { monitor: { log: { sample: 0.25 } }, breaker: { mode: "disabled" } }
    ))))

  it.effect("tells of an opening once, however many calls it refuses", () =>
    Effect.gen(function*() {
      const { lines } = yield* logging(
        Effect.replicateEffect(
          Effect.exit(CallContext.annotate(ClaudeService.create(hello), { retries: 0 })),
          5,
          { discard: true }
        ).pipe(Effect.provide(over([forever("")].map(() => ClaudeTest.forever(failed)), {
          breaker: { consecutiveFailures: 1, openDuration: "1 minute" }
        })))
      )
      const openings = lines.filter(({ message }) => message["event"] === "claude.circuit")
      assert.deepStrictEqual(openings.map(({ level, message: { from, to } }) => [level, from, to]), [[
        "Warn",
        "closed",
        "open"
      ]])
      assert.strictEqual(lines.filter(({ message }) => message["error"] === "CircuitOpenError").length, 4)
    }))

  it.effect("is off where it is turned off", () =>
    Effect.gen(function*() {
      const call = Effect.exit(ClaudeService.create(hello))
      const { lines } = yield* logging(Effect.provide(call, over([failed], { monitor: { log: false } })))
      assert.isFalse(lines.some(({ message }) => message["event"] === "claude.call"))
    }))

  it.effect("changes nothing about a call where its logger fails", () =>
    Effect.gen(function*() {
      const logger = Logger.make(() => {
        throw new Error("The disk is full.")
      })
      const error = yield* Effect.flip(ClaudeService.create(hello)).pipe(Effect.provide(Logger.layer([logger])))
      assert.strictEqual(error._tag, "ServerError")
    }).pipe(Effect.provide(over([failed]))))
})

describe("events", () => {
  it.effect("tell everything that happens to a call, in order, without a gap", () =>
    Effect.gen(function*() {
      const { events } = yield* watching(driven(CallContext.annotate(ClaudeService.create(hello), { user: "ada" })))
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), [
        "CallStarted",
        "AttemptStarted",
        "AttemptEnded",
        "Retrying",
        "Waited",
        "AttemptStarted",
        "AttemptEnded",
        "CallEnded"
      ])
      assert.deepStrictEqual(
        events.map(({ sequence }) => sequence),
        [...events.keys()].map((i) => events[0]!.sequence + i)
      )
      const last = events.at(-1)!
      assert.isTrue(last._tag === "CallEnded")
      if (last._tag !== "CallEnded") return
      assert.deepInclude(last.record, { status: "success", attempts: 2, retries: 1, user: "ada", keyLabel: "test" })
    }).pipe(Effect.provide(over([overloaded, "At last."]))))

  it.effect("tell what circuits, budgets and the sanitizer do", () =>
    Effect.gen(function*() {
      const { events } = yield* watching(
        Effect.replicateEffect(Effect.exit(ClaudeService.create({ ...hello, max_tokens: 50_000 })), 2)
      )
      assert.isTrue(
        events.some((event) => event._tag === "BudgetEvent" && event.event === "Exceeded" && event.budget === "all")
      )
      const opened = yield* watching(Effect.exit(ClaudeService.create(hello)))
      assert.isTrue(opened.events.some((event) => event._tag === "CircuitChanged" && event.to === "open"))
    }).pipe(Effect.provide(over([failed], {
      budget: { budgets: [{ name: "all", limit: 0.1 }] },
      breaker: { consecutiveFailures: 1 }
    }))))

  it.effect("are bounded: a slow subscriber loses the oldest and sees the gap", () =>
    Effect.gen(function*() {
      const slow = yield* Effect.forkChild(
        Monitor.events.pipe(
          Stream.filter(({ _tag }) => _tag === "CallEnded"),
          Stream.mapEffect((event) => Effect.as(Effect.sleep("1 second"), event.sequence), { bufferSize: 1 } as never),
          Stream.take(3),
          Stream.runCollect
        ),
        { startImmediately: true }
      )
      yield* Effect.replicateEffect(ClaudeService.create(hello), 1_000, { discard: true })
      yield* TestClock.adjust("1 minute")
      const [first, second] = yield* Fiber.join(slow)
      assert.isAbove(second! - first!, 1_000)
    }).pipe(Effect.provide(over([forever("Again.")]))))
})

describe("the snapshot", () => {
  it.effect("is of all calls, the last minute and the last hour", () =>
    Effect.gen(function*() {
      const call = ClaudeService.create(hello)
      yield* call
      yield* TestClock.adjust("30 minutes")
      yield* call
      yield* TestClock.adjust("50 seconds")
      yield* call
      const counts = Effect.map(
        Monitor.snapshot,
        ({ lastHour, lastMinute, sinceStart }) => [sinceStart.total, lastHour.total, lastMinute.total]
      )
      assert.deepStrictEqual(yield* counts, [3, 3, 2])
      yield* TestClock.adjust("40 minutes")
      assert.deepStrictEqual(yield* counts, [3, 2, 0])
    }).pipe(Effect.provide(over([forever("Hello!")]))))

  it.effect("has quantiles that are right to 2.5 %", () =>
    Effect.gen(function*() {
      for (let i = 1; i <= 100; i++) {
        const fiber = yield* Effect.forkChild(ClaudeService.create(hello))
        yield* TestClock.adjust(i * 100)
        yield* Fiber.join(fiber)
      }
      const { latency } = (yield* Monitor.snapshot).sinceStart
      for (
        const [value, exact] of [[latency.p50, 5_000], [latency.p95, 9_500], [latency.p99, 9_900], [
          latency.average,
          5_050
        ]] as const
      ) {
        assert.approximately(value! / exact, 1, 0.025)
      }
    }).pipe(Effect.provide(over(Array.from({ length: 100 }, (_, i) => ({ content: ["Hi"], every: (i + 1) * 100 }))))))
})

describe("nothing is lost", () => {
  it.effect("at whatever step a call is interrupted", () =>
    Effect.gen(function*() {
      const { events } = yield* watching(
        Effect.gen(function*() {
          const interrupted = Effect.fnUntraced(function*(steps: number, ops: number, stream: boolean) {
            const call: Effect.Effect<unknown, unknown, ClaudeService.ClaudeService> = stream
              ? Stream.runDrain(ClaudeService.stream(hello))
              : ClaudeService.create(hello)
            // A chance to be interrupted after so many operations.
            const fiber = yield* Effect.forkChild(Effect.provideService(call, Scheduler.MaxOpsBeforeYield, ops))
            for (let step = 0; step < steps; step++) yield* Effect.yieldNow
            yield* Fiber.interrupt(fiber)
          })
          for (const ops of [2, 3, 4, 5]) {
            for (let steps = 0; steps < 30; steps++) yield* interrupted(steps, ops, steps % 2 === 0)
          }
          for (let i = 0; i < 40; i++) yield* interrupted(i * 8, 3, i % 2 === 0)
        }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
      )
      const started = events.flatMap((event) => event._tag === "CallStarted" ? [event.callId] : [])
      const ended = events.flatMap((event) => event._tag === "CallEnded" ? [event.record.callId] : [])
      assert.isAbove(started.length, 30)
      assert.deepStrictEqual(ended, started)
      const attempts = (tag: string) => events.filter(({ _tag }) => _tag === tag).length
      assert.strictEqual(attempts("AttemptEnded"), attempts("AttemptStarted"))
      const { active, sinceStart } = yield* Monitor.snapshot
      assert.deepStrictEqual([active, sinceStart.total], [0, started.length])
      assert.strictEqual((yield* metrics)["anthropic_active_requests{}"], 0)
    }).pipe(Effect.provide(over([forever("One and two.")]))))

  it.effect("of a wait that is interrupted", () =>
    Effect.gen(function*() {
      const { events } = yield* watching(Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(ClaudeService.create(hello), { startImmediately: true })
        yield* TestClock.adjust("300 millis")
        yield* Fiber.interrupt(fiber)
      }))
      const last = events.at(-1)
      assert.deepStrictEqual(last?._tag === "CallEnded" && last.record.waits, [{ for: "retry", millis: 300 }])
      assert.strictEqual(last?._tag === "CallEnded" && last.record.status, "cancelled")
    }).pipe(Effect.provide(over([overloaded]))))

  it.effect("and a key is nowhere", () =>
    Effect.gen(function*() {
      const key = "sk-ant-api03-planted-key"
      const { lines } = yield* showing(
        Effect.gen(function*() {
          const { events } = yield* watching(driven(Effect.andThen(
            ClaudeService.create(hello),
            Effect.exit(ClaudeService.create(hello))
          )))
          return { events, snapshot: yield* Monitor.snapshot, metrics: yield* metrics }
        }).pipe(Effect.provide(over([overloaded, "Hello!", failed], {
          keys: [{ label: "planted", group: "g", secret: Redacted.make(key) }],
          monitor: { log: { sample: 1 }, content: "all" }
        })))
      )
      const all = lines.join("\n")
      assert.include(all, "planted")
      assert.notInclude(all, key)
    }))
})
