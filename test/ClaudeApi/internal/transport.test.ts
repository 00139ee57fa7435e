import { assert, describe, it, vi } from "@effect/vitest"
import { Cause, Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as Transport from "../../../src/ClaudeApi/internal/transport.ts"

/** A server that answers as told, and counts the connections it was given. */
const serving = (answer: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<
      { readonly url: string; readonly connections: { opened: number; open: number }; readonly close: () => void }
    >(
      (resume) => {
        const connections = { opened: 0, open: 0 }
        const http = createServer(answer)
        http.on("connection", (socket) => {
          connections.opened++
          connections.open++
          socket.on("close", () => connections.open--)
        })
        http.listen(0, "127.0.0.1", () => {
          const { port } = http.address() as AddressInfo // a TCP server has one
          const close = () => {
            http.close()
            http.closeAllConnections()
          }
          resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, connections, close }))
        })
      }
    ),
    ({ close }) => Effect.sync(close)
  )

/** The transport of Node. */
const pool = Transport.make()

/** The transport where the runtime says so of itself. */
const make = (globals: { readonly process: unknown; readonly navigator: unknown }) =>
  Effect.acquireRelease(
    Effect.sync(() => Object.entries(globals).forEach(([name, value]) => vi.stubGlobal(name, value))),
    () => Effect.sync(vi.unstubAllGlobals)
  ).pipe(Effect.andThen(Transport.make()), Effect.scoped, Effect.exit)

const textOf = (response: Response) => Transport.textOf(response.body!.getReader())

const text = (response: Response) => Effect.promise(() => textOf(response))

/** Whoever waits for an answer. */
class Waiting implements Transport.Waiting {
  isOver = false
  whenOver: (() => void) | undefined

  end(): this {
    this.isOver = true
    this.whenOver?.()
    return this
  }
}

const post = (send: Transport.Transport, url: string, waiting = new Waiting()) =>
  Effect.tryPromise({
    try: () => send({ url: `${url}/v1/messages?x=1`, method: "POST", headers: { "x-a": "b" }, body: "{}" }, waiting),
    catch: (error) => error as { readonly code?: string; readonly name: string } // what undici rejects with
  })

describe("transport", () => {
  it.effect("sends what it is given and reuses its connection", () =>
    Effect.gen(function*() {
      const server = yield* serving((request, response) => {
        response.writeHead(200, { "Request-Id": "r", "set-cookie": ["a", "b"] })
        response.end(`${request.method} ${request.url} ${request.headers["x-a"]} ${request.headers["content-length"]}`)
      })
      const fetch = yield* pool
      for (let i = 0; i < 5; i++) {
        const response = yield* post(fetch, server.url)
        assert.isTrue(response.ok)
        assert.strictEqual(response.headers.get("REQUEST-ID"), "r")
        assert.strictEqual(response.headers.get("none"), null)
        assert.strictEqual(yield* text(response), "POST /v1/messages?x=1 b 2")
      }
      assert.isAtMost(server.connections.opened, 2) // the next request may come a moment before the last is over
    }).pipe(TestClock.withLive))

  it.effect("says what broke", () =>
    Effect.gen(function*() {
      const server = yield* serving((request, response) => {
        if (request.headers["x-a"] === "b") request.socket.resetAndDestroy()
        else response.end()
      })
      const fetch = yield* pool
      assert.include(["ECONNRESET", "UND_ERR_SOCKET"], (yield* Effect.flip(post(fetch, server.url))).code)
      server.close()
      assert.strictEqual((yield* Effect.flip(post(fetch, server.url))).code, "ECONNREFUSED")
    }).pipe(TestClock.withLive))

  it.effect("fails a body that ends early", () =>
    Effect.gen(function*() {
      const server = yield* serving((request, response) => {
        response.writeHead(200, { "content-length": "100" })
        response.write("half")
        setTimeout(() => request.socket.destroy(), 20)
      })
      const fetch = yield* pool
      const response = yield* post(fetch, server.url)
      const exit = yield* Effect.exit(Effect.tryPromise(() => textOf(response)))
      assert.isTrue(Exit.isFailure(exit))
    }).pipe(TestClock.withLive))

  it.effect("ends a request that nobody waits for, before and after its head", () =>
    Effect.gen(function*() {
      const server = yield* serving((request, response) => {
        if (request.headers["x-a"] !== "b") return
        response.writeHead(200)
        response.write("…")
      })
      const fetch = yield* pool
      assert.strictEqual((yield* Effect.flip(post(fetch, server.url, new Waiting().end()))).name, "AbortError")
      assert.strictEqual(server.connections.opened, 0)
      const waiting = new Waiting()
      const response = yield* post(fetch, server.url, waiting)
      waiting.end()
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.tryPromise(() => textOf(response)))))
      while (server.connections.open > 0) yield* Effect.sleep(5)
    }).pipe(TestClock.withLive))

  it.effect("closes its connections with its scope", () =>
    Effect.gen(function*() {
      const server = yield* serving((_, response) => response.end("ok"))
      const scope = yield* Scope.make()
      const fetch = yield* Scope.provide(pool, scope)
      assert.strictEqual(yield* text(yield* post(fetch, server.url)), "ok")
      assert.strictEqual(server.connections.open, 1)
      yield* Scope.close(scope, Exit.void)
      while (server.connections.open > 0) yield* Effect.sleep(5)
    }).pipe(TestClock.withLive))

  it.effect("says in one line that Node is too old", () =>
    Effect.gen(function*() {
      for (const [node, navigator] of [["20.20.2", undefined], ["22.18.9", { userAgent: "Node.js/22" }]] as const) {
        const exit = yield* make({ process: { versions: { node } }, navigator })
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        const line = `effect-claude needs Node 22.19 or newer; this is v${node}.`
        assert.deepInclude(error, { message: line, stack: line })
      }
      const exit = yield* make({ process: { versions: { node: "22.19.0" } }, navigator: { userAgent: "Node.js/22" } })
      assert.isTrue(Exit.isSuccess(exit) && exit.value !== Transport.ofGlobal)
    }))

  it.effect("is the global fetch in other runtimes, also in those that imitate Node", () =>
    Effect.gen(function*() {
      const process = { versions: { node: "20.0.0" } }
      for (const userAgent of ["Cloudflare-Workers", "Bun/1.3", "Deno/2.5"]) {
        assert.deepStrictEqual(yield* make({ process, navigator: { userAgent } }), Exit.succeed(Transport.ofGlobal))
      }
      assert.deepStrictEqual(
        yield* make({ process: undefined, navigator: undefined }),
        Exit.succeed(Transport.ofGlobal)
      )
    }))
})
