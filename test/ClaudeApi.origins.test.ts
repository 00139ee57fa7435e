import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeService from "effect-claude/ClaudeService"
import { TestClock } from "effect/testing"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { attempt as attemptOf } from "./utils/attempts.ts"
import { fetchOf, hello, json, message, over } from "./utils/http.ts"

/** A server on loopback, and where it is. */
const serving = (answer: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const http = createServer(answer)
      http.listen(0, "127.0.0.1", () => {
        const { port } = http.address() as AddressInfo // a TCP server has one
        const close = () => {
          http.close()
          http.closeAllConnections()
        }
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const errorOf = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit

describe("a redirect", () => {
  it.effect.each([300, 301, 302, 303, 304, 307, 308])(
    "by %i is a typed error and takes nothing to another origin, whatever fetches",
    (status) =>
      Effect.gen(function*() {
        let elsewhere = 0
        let here = 0
        const other = yield* serving((_, response) => {
          elsewhere++
          response.end(JSON.stringify(message))
        })
        const server = yield* serving((request, response) => {
          here++
          response.writeHead(status, { location: `${other.url}${request.url}` })
          response.end()
        })
        for (const fetch of [undefined, globalThis.fetch]) {
          const service = over(fetch, {
            api: { baseUrl: server.url, headers: { "x-gateway": "a" } },
            retry: { retries: 0 }
          })
          for (const call of [ClaudeService.create(hello), Stream.runDrain(ClaudeService.stream(hello))]) {
            const error = errorOf(yield* Effect.exit(Effect.provide(call, service)))
            assert.deepInclude(error, { _tag: "ConnectionError", reason: "malformed", status, billed: "no" })
          }
        }
        assert.deepStrictEqual([here, elsewhere], [4, 0])
      }).pipe(TestClock.withLive)
  )
})

describe("headers", () => {
  /** What one call sends. */
  const sentOver = (
    options: ClaudeApi.Options,
    region: <A, E, R>(call: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = (call) => call
  ) =>
    Effect.gen(function*() {
      let sent = new Headers()
      const { fetch } = fetchOf((_, { headers }) => {
        sent = new Headers(headers)
        return json(message)
      })
      yield* region(ClaudeService.create(hello)).pipe(Effect.provide(over(fetch, { api: options })))
      return sent
    })

  it.effect("ask for the betas of the layer, of each region and of the call together", () =>
    Effect.gen(function*() {
      const sent = yield* sentOver(
        { headers: { "Anthropic-Beta": "of-all, of-both", "X-A": "layer", "x-b": "layer" } },
        (call) =>
          call.pipe(
            CallContext.annotate({ headers: { "anthropic-beta": "of-call", "x-a": "call" } }),
            CallContext.annotate({ headers: { "ANTHROPIC-BETA": "of-inner,of-both", "X-A": "inner", "x-c": "inner" } }),
            CallContext.annotate({ headers: { "anthropic-beta": "of-outer", "x-c": "outer" } })
          )
      )
      assert.strictEqual(sent.get("anthropic-beta"), "of-all,of-both,of-outer,of-inner,of-call")
      assert.deepStrictEqual(["x-a", "x-b", "x-c"].map((name) => sent.get(name)), ["call", "layer", "inner"])
      const stream = Stream.fromEffect(CallContext.current).pipe(
        CallContext.annotateStream({ headers: { "anthropic-beta": "inner" } }),
        CallContext.annotateStream({ headers: { "Anthropic-Beta": "outer" } }),
        Stream.runHead
      )
      const context = yield* Effect.flatMap(stream, Effect.fromOption)
      assert.deepStrictEqual(context.headers, { "anthropic-beta": "outer,inner" })
    }))

  it.effect("of the environment go to the vendor's base URL alone, and replace nothing there", () =>
    Effect.gen(function*() {
      const before = process.env["ANTHROPIC_CUSTOM_HEADERS"]
      process.env["ANTHROPIC_CUSTOM_HEADERS"] = [
        "X-Gateway-Token: planted-token",
        "x-team: environment",
        "ANTHROPIC-BETA: of-environment",
        "Authorization: Bearer planted-token",
        "Proxy-Authorization: planted-token",
        "no header"
      ].join("\n")
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (before === undefined) delete process.env["ANTHROPIC_CUSTOM_HEADERS"]
          else process.env["ANTHROPIC_CUSTOM_HEADERS"] = before
        })
      )
      const headers = { "X-Team": "layer", "anthropic-beta": "of-layer" }
      for (
        const baseUrl of [
          "https://gateway.example.com",
          "http://127.0.0.1:1",
          "https://api.anthropic.com.example.com",
          "http://api.anthropic.com",
          "https://api.anthropic.com:8443"
        ]
      ) {
        for (const given of [{}, headers]) {
          const sent = yield* sentOver({ baseUrl, headers: given })
          assert.notInclude(JSON.stringify([...sent]), "planted")
          assert.notInclude(JSON.stringify([...sent]), "environment")
          assert.strictEqual(sent.get("x-team"), given === headers ? "layer" : null)
        }
      }
      for (const baseUrl of [undefined, "https://api.anthropic.com/", "https://API.anthropic.com:443/v1"]) {
        const sent = yield* sentOver({ baseUrl, headers })
        assert.strictEqual(sent.get("x-gateway-token"), "planted-token")
        assert.strictEqual(sent.get("x-team"), "layer")
        assert.strictEqual(sent.get("anthropic-beta"), "of-environment,of-layer")
        assert.strictEqual(sent.get("authorization"), "Bearer sk-ant-test")
        assert.strictEqual(sent.get("proxy-authorization"), null)
      }
    }))
})

/** A body of one piece, which is no bytes. */
const pieces = (piece: unknown): ReadableStream =>
  new ReadableStream({
    start: (controller) => {
      controller.enqueue(piece)
      controller.close()
    }
  })

describe("a fetch of one's own", () => {
  it.effect("has no more than a megabyte read of an error", () =>
    Effect.gen(function*() {
      let read = 0
      let cancelled = false
      const body = () =>
        new ReadableStream<Uint8Array>({
          pull: (controller) => {
            read += 65_536
            controller.enqueue(new Uint8Array(65_536).fill(0x20))
          },
          cancel: () => {
            cancelled = true
          }
        })
      const api = ClaudeApi.make({ fetch: fetchOf(() => new Response(body(), { status: 400 })).fetch })
      const error = yield* Effect.flip(api.send(attemptOf(hello)))
      assert.strictEqual(error._tag, "BadRequestError")
      assert.isTrue(cancelled)
      assert.isAtMost(read, 2_000_000)
    }))

  it.effect("that gives a body which is no stream of the web, or throws, ends in a typed error", () =>
    Effect.gen(function*() {
      const answers: ReadonlyArray<() => Response> = [
        () => ({ status: 200, ok: true, headers: new Headers(), body: { on: () => {} } }) as unknown as Response,
        () => ({ status: 400, ok: false, headers: new Headers(), body: { on: () => {} } }) as unknown as Response,
        () => new Response(pieces("{\"type\":\"message\"}")),
        () => new Response(pieces("not found"), { status: 404 }),
        () => new Response(pieces(undefined)),
        () => new Response(pieces({ length: 3 }), { status: 529 }),
        () => ({}) as Response,
        () => undefined as unknown as Response,
        () => {
          const locked = new Response("{}")
          locked.body?.getReader()
          return locked
        },
        () => new Response(new ReadableStream({ start: (body) => body.enqueue("{} as text") })),
        () => {
          throw new Error("no")
        }
      ]
      for (const answer of answers) {
        const fetch = (() => answer()) as unknown as typeof globalThis.fetch
        const later = fetchOf(answer).fetch
        for (const given of [fetch, later]) {
          const api = ClaudeApi.make({ fetch: given })
          const errors = [
            yield* Effect.flip(api.send(attemptOf(hello))),
            yield* Effect.flip(Stream.runDrain(api.stream(attemptOf(hello))))
          ]
          for (const error of errors) assert.include(["ConnectionError", "BadRequestError", "ServerError"], error._tag)
        }
      }
    }))
})
