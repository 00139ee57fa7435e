import Anthropic, { APIConnectionError, APIError } from "@anthropic-ai/sdk"
import type { MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as SimulatorServer from "../../src/testing/SimulatorServer.ts"

const { Fault } = Simulator

const ask: MessageCreateParamsNonStreaming = {
  model: "claude-opus-5-5",
  max_tokens: 1_000,
  messages: [{ role: "user", content: "How many stones are in the river?" }]
}

const client = Effect.map(
  SimulatorServer.SimulatorServer,
  ({ url }) => new Anthropic({ apiKey: Simulator.apiKey, baseURL: url, maxRetries: 0, logLevel: "off" })
)

/** What the SDK rejects with is its own error, or the one of fetch with a cause; both are looked at by field. */
interface Failed {
  readonly message: string
  readonly status?: number
  readonly cause?: { readonly code?: string; readonly cause?: { readonly code?: string } }
}

const plain = Effect.flatMap(
  client,
  ({ messages }) =>
    Effect.tryPromise({ try: (signal) => messages.create(ask, { signal }), catch: (error) => error as Failed })
)

const stream = Effect.flatMap(client, ({ messages }) =>
  Effect.promise(async () => {
    const types: Array<string> = []
    try {
      for await (const event of await messages.create({ ...ask, stream: true })) types.push(event.type)
      return { types, error: undefined }
    } catch (error) {
      return { types, error }
    }
  }))

/** Lets sockets and their events come through until a value of the effect holds. */
const settle = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>, holds: (value: A) => boolean) {
  while (!holds(yield* effect)) {
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
  }
})

const requests = Simulator.Simulator.use((simulator) => simulator.requests)
const bill = Simulator.Simulator.use((simulator) => simulator.bill)
const inject = (fault: Simulator.Fault) => Simulator.Simulator.use((simulator) => simulator.inject(fault))
const using = (options?: Simulator.Options) =>
  Effect.provide(SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer(options))))

describe("SimulatorServer", () => {
  it.effect("answers over HTTP what the simulator answers as a fetch", () =>
    Effect.gen(function*() {
      const { fetch } = yield* Simulator.Simulator
      const { url } = yield* SimulatorServer.SimulatorServer
      const init = (stream: boolean) => ({
        method: "POST",
        headers: { authorization: `Bearer ${Simulator.apiKey}`, "anthropic-version": "2026-10-21" },
        body: JSON.stringify({ ...ask, stream })
      })
      for (const stream of [false, true]) {
        const ours = yield* Effect.promise(() => fetch(`${url}/v1/messages`, init(stream)))
        const theirs = yield* Effect.promise(() => globalThis.fetch(`${url}/v1/messages`, init(stream)))
        const known = (text: string) => text.replaceAll(/sim0*\w+/g, "sim")
        assert.strictEqual(
          known(yield* Effect.promise(() => theirs.text())),
          known(yield* Effect.promise(() => ours.text()))
        )
        const remaining = "anthropic-ratelimit-requests-remaining"
        for (const [name, value] of ours.headers) {
          assert.strictEqual(
            known(theirs.headers.get(name)!),
            name === remaining ? String(Number(value) - 1) : known(value)
          )
        }
      }
      assert.strictEqual((yield* bill).totals.requests, 4)
    }).pipe(using({ limits: { requestsPerMinute: 10_000 } })))

  it.effect("serves many calls and streams at once", () =>
    Effect.gen(function*() {
      const all = yield* Effect.all([
        Effect.all(Array.from({ length: 100 }, () => plain), { concurrency: "unbounded" }),
        Effect.all(Array.from({ length: 20 }, () => stream), { concurrency: "unbounded" })
      ], { concurrency: "unbounded" })
      assert.isTrue(all[0].every((message) => message.stop_reason === "end_turn"))
      assert.isTrue(all[1].every(({ types }) => types.at(-1) === "message_stop"))
      assert.deepInclude(yield* requests, { total: 120, open: 0 })
    }).pipe(using()))

  it.effect("answers while a test has replaced the timers of the process", () =>
    Effect.gen(function*() {
      const { url } = yield* SimulatorServer.SimulatorServer
      vi.useFakeTimers()
      const status = yield* Effect.promise(() =>
        new Promise((resolve, reject) => {
          Http.get(`${url}/v1/models`, (answer) => resolve(answer.resume().statusCode)).on("error", reject)
        })
      ).pipe(Effect.ensuring(Effect.sync(() => vi.useRealTimers())))
      assert.strictEqual(status, 401)
    }).pipe(using()))

  it.effect("answers 413 to a body that says or proves to be too long, and stays usable", () =>
    Effect.gen(function*() {
      const { url } = yield* SimulatorServer.SimulatorServer
      const post = (body: RequestInit & { readonly duplex?: "half" }) =>
        Effect.promise(() =>
          fetch(`${url}/v1/messages`, { method: "POST", headers: { "x-api-key": Simulator.apiKey }, ...body })
        )
      const long = "x".repeat(300_000)
      assert.strictEqual((yield* post({ body: long })).status, 413)
      const chunked = new Blob([long]).stream()
      assert.strictEqual((yield* post({ body: chunked, duplex: "half" })).status, 413)
      assert.strictEqual((yield* plain).stop_reason, "end_turn")
    }).pipe(using({ bodyLimit: 100_000 })))

  describe("faults", () => {
    const broken = [
      ["closes the connection before any byte", Fault.Refused(), "UND_ERR_SOCKET"],
      ["resets the connection before the headers", Fault.ResetBeforeHeaders(), "ECONNRESET"]
    ] as const
    for (const [name, fault, code] of broken) {
      it.effect(name, () =>
        Effect.gen(function*() {
          yield* inject(fault)
          const error = yield* Effect.flip(plain)
          assert.instanceOf(error, APIConnectionError)
          assert.strictEqual(error.cause?.cause?.code, code)
          assert.deepInclude(yield* requests, { open: 0, unanswered: 1 })
          assert.strictEqual((yield* plain).stop_reason, "end_turn")
        }).pipe(using()))
    }

    it.effect("has an address that refuses connections", () =>
      Effect.gen(function*() {
        const { refusedUrl } = yield* SimulatorServer.SimulatorServer
        const code = yield* Effect.promise(() => fetch(refusedUrl).catch((error) => error.cause.code))
        assert.strictEqual(code, "ECONNREFUSED")
        // Another server that asks for any port is not given this one.
        assert.isBelow(Number(new URL(refusedUrl).port), 1024)
      }).pipe(using()))

    it.effect("resets amid a stream after the events before it have arrived", () =>
      Effect.gen(function*() {
        yield* inject(Fault.ResetMidStream({ after: { events: 5 } }))
        const { error, types } = yield* stream
        assert.deepStrictEqual(types, [
          "message_start",
          "content_block_start",
          "content_block_delta",
          "content_block_delta"
        ])
        assert.isTrue(error instanceof TypeError && error.message === "terminated")
        yield* inject(Fault.ResetMidStream({ after: { bytes: 50 } }))
        assert.strictEqual((yield* Effect.flip(plain)).message, "terminated")
        assert.deepStrictEqual((yield* bill).rows.map((row) => row.outcome), ["failed", "failed"])
      }).pipe(using()))

    it.effect("ends a stream with an error event, cleanly without message_stop, or in garbage", () =>
      Effect.gen(function*() {
        yield* inject(Fault.ErrorEvent({ type: "api_error", after: { events: 4 } }))
        const event = yield* stream
        assert.isTrue(event.error instanceof APIError && event.error.type === "api_error")
        yield* inject(Fault.Truncate({ after: { events: 4 } }))
        const truncated = yield* stream
        assert.deepStrictEqual(truncated, {
          types: ["message_start", "content_block_start", "content_block_delta"],
          error: undefined
        })
        yield* inject(Fault.Garbage({ after: { events: 4 } }))
        assert.instanceOf((yield* stream).error, SyntaxError)
        yield* inject(Fault.Status({ status: 502, body: "<html>" }))
        assert.strictEqual((yield* Effect.flip(plain)).status, 502)
      }).pipe(using()))

    it.live("drips a body, and answers after its latency", () =>
      Effect.gen(function*() {
        yield* inject(Fault.Drip({ bytes: 400, every: "1 millis" }))
        assert.strictEqual((yield* stream).types.at(-1), "message_stop")
        assert.strictEqual((yield* plain).stop_reason, "end_turn")
      }).pipe(using({ latency: { firstToken: "2 millis", perToken: { median: "100 micros", sigma: 1 } } })))

    for (const after of ["nothing", { events: 3 }] as const) {
      it.effect(`stalls ${after === "nothing" ? "before the headers" : "amid a stream"} and sees the reader go`, () =>
        Effect.gen(function*() {
          const { url } = yield* SimulatorServer.SimulatorServer
          yield* inject(Fault.Stall({ after }))
          const controller = new AbortController()
          let arrived = ""
          const seen = yield* Effect.forkChild(
            Effect.promise(async () => {
              const response = await fetch(`${url}/v1/messages`, {
                method: "POST",
                headers: { "x-api-key": Simulator.apiKey, "anthropic-version": "2026-10-21" },
                body: JSON.stringify({ ...ask, stream: true }),
                signal: controller.signal
              })
              const decoder = new TextDecoder()
              await response.body!.pipeTo(
                new WritableStream({
                  write: (chunk) => {
                    arrived += decoder.decode(chunk)
                  }
                })
              )
            }).pipe(Effect.exit)
          )
          const last = after === "nothing" ? "" : "event: ping"
          yield* settle(requests, (_) => _.open === 1 && arrived.includes(last))
          yield* TestClock.adjust("1 day")
          assert.isUndefined(seen.pollUnsafe())
          controller.abort()
          yield* settle(requests, (_) => _.open === 0)
          assert.deepInclude(yield* requests, { aborted: 1 })
          assert.deepStrictEqual(
            (yield* bill).rows.map((row) => row.outcome),
            after === "nothing" ? [] : ["aborted"]
          )
        }).pipe(using()))
    }
  })

  it.effect("sends a stream that is longer than every buffer, to its end", () =>
    Effect.gen(function*() {
      const { types } = yield* stream
      assert.strictEqual(types.length, 18_755)
      assert.strictEqual(types.at(-1), "message_stop")
    }).pipe(using({ answer: () => ({ content: "a long answer, ".repeat(20_000), outputTokens: 1_000 }) })))

  it.effect("lets a slow reader slow a long stream, and bills what was produced until it went", () =>
    Effect.gen(function*() {
      const { url } = yield* SimulatorServer.SimulatorServer
      const body = JSON.stringify({ ...ask, max_tokens: 100_000, stream: true })
      const socket = yield* Effect.acquireRelease(
        Effect.sync(() => Net.connect(Number(new URL(url).port), "127.0.0.1")),
        (socket) => Effect.sync(() => socket.destroy())
      )
      const first = Effect.callback<void>((resume) => {
        socket.once("data", () => {
          socket.pause()
          resume(Effect.void)
        })
      })
      socket.write(
        `POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: ${Simulator.apiKey}\r\n` +
          `anthropic-version: 2026-10-21\r\ncontent-length: ${body.length}\r\n\r\n${body}`
      )
      yield* first
      yield* Effect.repeat(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5))), { times: 20 })
      assert.deepInclude(yield* requests, { open: 1 })
      socket.destroy()
      yield* settle(requests, (_) => _.open === 0)
      const [row] = (yield* bill).rows
      assert.strictEqual(row?.outcome, "aborted")
      assert.isTrue(row !== undefined && row.usage.output > 0 && row.usage.output < 90_000)
    }).pipe(
      Effect.scoped,
      using({ answer: () => ({ content: "a long answer ".repeat(200_000), outputTokens: 100_000 }) })
    ))

  it.effect("closes every socket and stops every answer when its scope closes", () =>
    Effect.gen(function*() {
      const { inject, requests } = yield* Simulator.Simulator
      const scope = yield* Scope.make()
      const { url } = yield* Scope.provide(SimulatorServer.make(), scope)
      yield* inject(Fault.Stall({ after: "nothing" }))
      const open = yield* Effect.forkChild(
        Effect.promise(() => fetch(url).then(() => "answered", (error) => error.cause.code))
      )
      yield* settle(requests, (_) => _.open === 1)
      yield* Scope.close(scope, Exit.void)
      yield* settle(requests, (_) => _.open === 0)
      assert.include(["ECONNRESET", "UND_ERR_SOCKET"], yield* Fiber.join(open))
      const after = yield* Effect.promise(() => fetch(url).then(() => "answered", (error) => error.cause.code))
      assert.strictEqual(after, "ECONNREFUSED")
    }).pipe(Effect.provide(Simulator.layer())))

  it.effect.prop(
    "never shows message_stop in a stream truncated at any byte",
    { bytes: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5_000 })) },
    ({ bytes }) =>
      Effect.gen(function*() {
        yield* inject(Fault.Truncate({ after: { bytes } }))
        assert.notInclude((yield* stream).types, "message_stop")
      }).pipe(using()),
    { arbitrary: { runs: 30 } }
  )
})
