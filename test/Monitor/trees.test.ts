import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Logger, Redacted, Stream } from "effect"
import { ClaudeService } from "effect-claude"
import * as Otlp from "effect-claude/Monitor/Otlp"
import * as Simulator from "effect-claude/testing/Simulator"
import * as OtlpReceiver from "../utils/otlpReceiver.ts"

const request = {
  model: "claude-haiku-5-5",
  max_tokens: 32,
  messages: [{ role: "user" as const, content: "Say hello." }]
}

const key = (label: string) => ({ key: `sk-ant-${label}`, label, organization: label, workspace: label })

/** Runs calls against a simulator, and gives the spans that reached the receiver: each call with its attempts. */
const traced = (
  service: Layer.Layer<ClaudeService.ClaudeService, unknown>,
  calls: Effect.Effect<unknown, unknown, ClaudeService.ClaudeService>,
  protocol: "http/protobuf" | "http/json" = "http/protobuf"
) =>
  Effect.gen(function*() {
    const receiver = yield* OtlpReceiver.make
    yield* Effect.ignore(calls).pipe(
      Effect.withSpan("request"),
      Effect.provide(Layer.provideMerge(
        service,
        Otlp.layer({ endpoint: receiver.url, protocol, serviceName: "trees" })
      )),
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord({}))),
      Effect.provide(Logger.layer([]))
    )
    const outer = receiver.spans.find(({ name }) => name === "request")
    const call = receiver.spans.find(({ parentSpanId }) => parentSpanId === outer?.spanId)
    assert(call !== undefined, "a call below the span of the caller")
    return { ...receiver, call, attempts: receiver.spans.filter(({ parentSpanId }) => parentSpanId === call.spanId) }
  })

const valueOf = ({ attributes }: Pick<OtlpReceiver.Span, "attributes">, name: string) => {
  const value = attributes.find(({ key }) => key === name)?.value
  return value === undefined ? undefined : Object.values(value)[0]
}

const texts = (span: OtlpReceiver.Span, ...names: ReadonlyArray<string>) =>
  Object.fromEntries(names.map((name) => {
    const value = valueOf(span, name)
    return [name, typeof value === "object" ? JSON.stringify(value) : value === undefined ? undefined : String(value)]
  }))

const eventsOf = ({ events }: OtlpReceiver.Span) => events.map(({ name }) => name)
const codeOf = ({ status }: OtlpReceiver.Span) => String(status.code).replace("STATUS_CODE_", "").replace("2", "ERROR")

describe("the spans of a call at a receiver of OTLP", () => {
  for (const protocol of ["http/protobuf", "http/json"] as const) {
    it.live(`show a call with two retries, as ${protocol}`, () =>
      Effect.gen(function*() {
        const { attempts, call, spans } = yield* traced(
          Simulator.layerClaude(
            { faults: [Simulator.overload({ times: 2 })] },
            { retry: { throttledBase: "10 millis" } }
          ),
          ClaudeService.create(request),
          protocol
        )
        assert.strictEqual(call.name, "chat claude-haiku-5-5")
        assert.include(["SPAN_KIND_CLIENT", "3"], String(call.kind))
        assert.strictEqual(spans.length, 5)
        assert.strictEqual(attempts.length, 3)
        assert.deepStrictEqual(attempts.map(codeOf).map((code) => code === "ERROR"), [true, true, false])
        assert.deepStrictEqual(attempts.map((span) => texts(span, "claude.attempt")["claude.attempt"]), ["1", "2", "3"])
        assert.strictEqual(eventsOf(call).filter((name) => name === "claude.retry").length, 2)
        assert.deepStrictEqual(
          texts(call, "gen_ai.provider.name", "gen_ai.operation.name", "gen_ai.request.model", "gen_ai.response.model"),
          {
            "gen_ai.provider.name": "anthropic",
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "claude-haiku-5-5",
            "gen_ai.response.model": "claude-haiku-5-5"
          }
        )
        assert.isAbove(Number(texts(call, "gen_ai.usage.output_tokens")["gen_ai.usage.output_tokens"]), 0)
      }).pipe(Effect.scoped))
  }

  it.live("show a stream that was cut, with what it had used", () =>
    Effect.gen(function*() {
      const { attempts, call } = yield* traced(
        Simulator.layerClaude({ faults: [{ fault: Simulator.Fault.Truncate({ after: { events: 4 } }) }] }),
        Effect.flatMap(ClaudeService.ClaudeService, (claude) => Stream.runDrain(claude.stream(request)))
      )
      assert.strictEqual(attempts.length, 1)
      assert.strictEqual(codeOf(call), "ERROR")
      assert.deepStrictEqual(texts(call, "error.type"), { "error.type": "StreamInterruptedError" })
      assert.isAbove(Number(texts(call, "gen_ai.usage.input_tokens")["gen_ai.usage.input_tokens"]), 0)
    }).pipe(Effect.scoped))

  it.live("show a budget that refused, before anything was sent", () =>
    Effect.gen(function*() {
      const { attempts, call } = yield* traced(
        Simulator.layerClaude({}, { budget: { budgets: [{ name: "tiny", limit: 0.000_001 }] } }),
        ClaudeService.create(request)
      )
      assert.strictEqual(codeOf(call), "ERROR")
      assert.deepStrictEqual(texts(call, "error.type"), { "error.type": "BudgetExceededError" })
      assert.isAtMost(attempts.length, 1)
      for (const attempt of attempts) assert.deepStrictEqual(texts(attempt, "error.type"), texts(call, "error.type"))
    }).pipe(Effect.scoped))

  it.live("show a move to another key", () =>
    Effect.gen(function*() {
      const keys = [{ ...key("dead"), revoked: true }, key("good")]
      const { attempts, call } = yield* traced(
        Simulator.layerClaude({ keys }, {
          keys: [
            { label: "dead", group: "dead", secret: Redacted.make("sk-ant-dead"), weight: 100 },
            { label: "good", group: "good", secret: Redacted.make("sk-ant-good"), weight: 1 }
          ]
        }),
        ClaudeService.create(request)
      )
      assert.deepStrictEqual(attempts.map((span) => texts(span, "claude.key")["claude.key"]), ["dead", "good"])
      assert.include(eventsOf(call), "claude.move")
      assert.deepStrictEqual(texts(call, "claude.key"), { "claude.key": "good" })
      assert.notInclude(JSON.stringify([call, attempts]), "sk-ant")
    }).pipe(Effect.scoped))
})
