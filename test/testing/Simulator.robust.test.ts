import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as ClaudeTest from "../../src/testing/ClaudeTest.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as SimulatorServer from "../../src/testing/SimulatorServer.ts"
import { settle } from "../utils/http.ts"

const ask = { model: "claude-opus-5-5", max_tokens: 1000, messages: [{ role: "user", content: "How many stones?" }] }

const post = (fetch: typeof globalThis.fetch, body: object = {}, url = "http://sim") =>
  Effect.promise((signal) =>
    fetch(`${url}/v1/messages`, {
      method: "POST",
      headers: { "x-api-key": Simulator.apiKey, "anthropic-version": "2026-10-21", "content-type": "application/json" },
      body: JSON.stringify({ ...ask, ...body }),
      signal
    })
  )

const read = (response: Response) => Effect.promise(() => response.text())

const over = (options: Simulator.Options) => Effect.provide(Simulator.layer(options))

describe("an answerer that gives what cannot be sent", () => {
  const answer = () => ({ content: [{ type: "tool_use" as const, name: "now", input: undefined }] })
  const cyclic: Record<string, unknown> = {}
  cyclic["self"] = cyclic
  const broken = () => ({ content: [{ type: "tool_use" as const, name: "now", input: cyclic }] })

  it.effect("means no input where it gives none", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      assert.include(yield* read(yield* post(fetch, { stream: true })), "\"partial_json\":\"{}\"")
    }).pipe(over({ answer })))

  it.effect("fails its own request and no other", () =>
    Effect.gen(function*() {
      const { requests } = yield* Simulator.Simulator
      const { url } = yield* SimulatorServer.SimulatorServer
      for (const stream of [true, false]) assert.strictEqual((yield* post(fetch, { stream }, url)).status, 500)
      assert.deepInclude(yield* requests, { total: 2, open: 0 })
    }).pipe(
      Effect.provide(SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer({ answer: broken })))),
      TestClock.withLive
    ))

  it.effect("cuts a stream short in which it stands", () =>
    Effect.gen(function*() {
      const { bill, fetch, requests } = yield* Simulator.Simulator
      const response = yield* post(fetch, { stream: true })
      assert.strictEqual(yield* Effect.promise(() => response.text().catch((error) => error.message)), "terminated")
      assert.strictEqual((yield* requests).open, 0)
      assert.deepStrictEqual((yield* bill).rows.map((row) => row.outcome), ["failed"])
    }).pipe(over({
      // details that the type does not allow, as a caller without types could give them
      answer: () => ({ content: "No.", stopReason: "refusal", stopDetails: cyclic as never })
    })))

  it("is the same in a script", () => {
    assert.deepInclude(ClaudeTest.toolUse("now", undefined), { pieces: ["{}"] })
  })
})

describe("a fault that no server can show", () => {
  it.effect("is refused where it is written", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const fault = Simulator.Fault.Status({ status: 1000 })
      assert.include(String(yield* Effect.exit(simulator.inject(fault))), "200 to 599")
      assert.include(String(yield* Effect.exit(simulator.script([fault]))), "200 to 599")
    }).pipe(over({})))

  it.effect("ends its own connection and no other when it cannot be sent", () =>
    Effect.gen(function*() {
      const { inject, requests } = yield* Simulator.Simulator
      const { url } = yield* SimulatorServer.SimulatorServer
      yield* inject(Simulator.Fault.Status({ status: 500, headers: { "not a name": "x" } }))
      const failed = yield* Effect.exit(post(fetch, {}, url))
      assert.isTrue(Exit.isFailure(failed))
      assert.strictEqual((yield* post(fetch, {}, url)).status, 200)
      assert.strictEqual((yield* requests).open, 0)
    }).pipe(
      Effect.provide(SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer()))),
      TestClock.withLive
    ))
})

describe("the scope of a server", () => {
  it.effect("has everything settled and billed when it is closed", () =>
    Effect.gen(function*() {
      const simulator = yield* Simulator.Simulator
      const scope = yield* Scope.make()
      const { url } = yield* Scope.provide(SimulatorServer.make(), scope)
      const calls = yield* Effect.forkChild(
        Effect.exit(Effect.replicateEffect(post(fetch, {}, url), 20, { concurrency: "unbounded" }))
      )
      while ((yield* simulator.requests).open < 20) yield* Effect.sleep(5)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* simulator.requests).open, 0)
      assert.strictEqual((yield* simulator.bill).rows.length, 20)
      yield* Fiber.join(calls)
    }).pipe(over({ latency: { firstToken: "1 minute" } }), TestClock.withLive))
})

describe("a stream that takes its time", () => {
  it.effect(
    "waits for a reader that does not read",
    () =>
      Effect.gen(function*() {
        const simulator = yield* Simulator.Simulator
        const { url } = yield* SimulatorServer.SimulatorServer
        const response = yield* post(fetch, { stream: true, max_tokens: 100_000 }, url)
        yield* Effect.sleep("1500 millis")
        assert.strictEqual((yield* simulator.requests).open, 1)
        yield* Effect.promise(() => response.body!.cancel())
      }).pipe(
        Effect.provide(
          SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer({
            answer: () => ({ content: [{ type: "text", text: "x".repeat(8_000_000) }], outputTokens: 1000 }),
            latency: { perToken: "1 millis" }
          })))
        ),
        TestClock.withLive
      )
  )
})

describe("retry-after", () => {
  const retryAfter = (response: Response) => Number(response.headers.get("retry-after"))

  it.effect("is enough for what others are still producing", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const after = (millis: number) =>
        Effect.replicateEffect(Effect.andThen(settle, TestClock.adjust("100 millis")), Math.ceil(millis / 100))
      const producing = yield* Effect.forkChild(Effect.flatMap(post(fetch, { stream: true }), read))
      yield* after(2000)
      const refused = yield* post(fetch)
      assert.strictEqual(refused.status, 429)
      yield* after(retryAfter(refused) * 1000)
      const again = yield* Effect.forkChild(post(fetch, { max_tokens: 1 }))
      yield* after(1000)
      assert.strictEqual((yield* Fiber.join(again)).status, 200)
      yield* Fiber.interrupt(producing)
    }).pipe(over({
      answer: () => ({ content: [{ type: "text", text: "x ".repeat(1000) }], outputTokens: 500 }),
      latency: { perToken: "20 millis" },
      limits: { outputTokensPerMinute: 600, burstMinutes: 1 / 60 }
    })))

  it.effect("is enough for the ramp too", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      yield* post(fetch)
      const refused = yield* post(fetch)
      assert.strictEqual(refused.status, 429)
      yield* TestClock.adjust(retryAfter(refused) * 1000)
      assert.strictEqual((yield* post(fetch)).status, 200)
    }).pipe(over({
      limits: { requestsPerMinute: 60, burstMinutes: 1 / 60 },
      ramp: { requestsPerMinute: 1, growth: 2 }
    })))

  it.effect("is not promised by a limit of zero", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const refused = yield* post(fetch)
      assert.strictEqual(refused.status, 429)
      assert.isNull(refused.headers.get("retry-after"))
    }).pipe(over({ limits: { requestsPerMinute: 0 } })))
})

describe("the prompt cache", () => {
  const system = (ttl: "5m" | "1h") => [
    { type: "text", text: "stone ".repeat(4000), cache_control: { type: "ephemeral", ttl } }
  ]

  it.effect("takes a short-lived top-level breakpoint behind a long-lived one", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const response = yield* post(fetch, { system: system("1h"), cache_control: { type: "ephemeral", ttl: "5m" } })
      assert.strictEqual(response.status, 200)
    }).pipe(over({})))

  it.effect("keeps an hour that was paid for, whoever writes last", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      for (const ttl of ["1h", "5m"] as const) {
        const call = yield* Effect.forkChild(post(fetch, { system: system(ttl) }))
        yield* settle
        if (ttl === "1h") continue
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(call)
      }
      yield* TestClock.adjust("30 minutes")
      const later = yield* Effect.forkChild(Effect.flatMap(post(fetch, { system: system("1h") }), read))
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.isAbove(JSON.parse(yield* Fiber.join(later)).usage.cache_read_input_tokens, 0)
    }).pipe(over({ latency: { firstToken: "10 seconds" } })))
})

describe("latency below a millisecond a token", () => {
  it.effect("adds up to the whole over the answer", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const call = yield* Effect.forkChild(post(fetch))
      yield* settle
      yield* TestClock.adjust("99 millis")
      assert.isUndefined(call.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(call)).status, 200)
    }).pipe(over({
      answer: () => ({ content: "x ".repeat(2000), outputTokens: 1000 }),
      latency: { perToken: "100 micros" }
    })))
})
