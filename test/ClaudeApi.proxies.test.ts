import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Redacted, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as MessageStream from "effect-claude/MessageStream"
import { TestClock } from "effect/testing"
import { createServer, type Server } from "node:http"
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2"
import type { AddressInfo } from "node:net"
import * as tls from "node:tls"
import * as Certificate from "./utils/certificate.ts"
import { connectProxy } from "./utils/connectProxy.ts"
import { folder } from "./utils/folders.ts"
import { answer, hello, message, over } from "./utils/http.ts"
import { nowhere, showing } from "./utils/leaks.ts"

const secret = "sk-ant-test"
const password = "pl4nted-Passw0rd-of-a-proxy"

type Request = Pick<Http2ServerRequest, "httpVersion" | "headers" | "on">

/** An API on loopback, over TLS or not, that has HTTP/2 and writes down what it was asked. */
const serving = (secure: { readonly key: string; readonly cert: string } | undefined) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<readonly [{ readonly url: string; readonly seen: Array<Request> }, () => void]>((resume) => {
        const seen: Array<Request> = []
        const sockets = new Set<{ readonly destroy: () => void }>()
        const answering = (request: Request, response: Pick<Http2ServerResponse, "writeHead" | "end" | "write">) => {
          let body = ""
          request.on("data", (piece: Buffer) => {
            body += piece.toString()
          })
          request.on("end", () => {
            seen.push(request)
            const { max_tokens, stream } = JSON.parse(body) as { stream?: boolean; max_tokens: number }
            if (max_tokens === 529) {
              response.writeHead(529, { "content-type": "application/json", "request-id": "req_529" })
              response.end(
                JSON.stringify({ type: "error", error: { type: "overloaded_error", message: "Overloaded" } })
              )
            } else if (stream === true) {
              response.writeHead(200, { "content-type": "text/event-stream", "request-id": "req_1" })
              if (max_tokens === 1) response.write(answer.subarray(0, 900))
              else response.end(answer)
            } else {
              response.writeHead(200, { "content-type": "application/json", "request-id": "req_1" })
              response.end(JSON.stringify(message))
            }
          })
        }
        const server = secure === undefined
          ? createServer(answering as unknown as Parameters<typeof createServer>[1]) // the two have what is used here in common
          : createSecureServer({ ...secure, allowHTTP1: true }, answering)
        server.on("connection", (socket: { readonly destroy: () => void }) => sockets.add(socket))
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as AddressInfo // a TCP server has one
          const url = `${secure === undefined ? "http" : "https"}://127.0.0.1:${port}`
          resume(Effect.succeed([{ url, seen }, () => {
            server.close()
            sockets.forEach((socket) => socket.destroy())
          }]))
        })
      }),
      ([, close]) => Effect.sync(close)
    ),
    ([server]) => server
  )

/** An API over TLS whose certificate this process trusts. */
const secured = Effect.gen(function*() {
  const certificate = Certificate.make(yield* folder)
  const before = tls.getCACertificates("default")
  tls.setDefaultCACertificates([...before, certificate.cert])
  yield* Effect.addFinalizer(() => Effect.sync(() => tls.setDefaultCACertificates(before)))
  return yield* serving(certificate)
})

const names = [
  "NODE_USE_ENV_PROXY",
  "NODE_OPTIONS",
  ...["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"].flatMap((name) => [name, name.toLowerCase()])
]

/** The environment with these variables and without other proxies. */
const environment = (variables: Record<string, string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = names.map((name) => [name, process.env[name]] as const)
      for (const name of names) delete process.env[name]
      Object.assign(process.env, variables)
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const [name, value] of before) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
      })
  )

const service = (url: string, api: ClaudeApi.Options = {}) =>
  over(undefined, { api: { ...api, baseUrl: url }, retry: { retries: 0 } })

/** A call and a stream, one after the other. */
const both = (url: string, api?: ClaudeApi.Options) =>
  Effect.all([ClaudeService.create(hello), MessageStream.message(ClaudeService.stream(hello))]).pipe(
    Effect.provide(service(url, api))
  )

/** A proxy that answers each request itself, with a text made of the credentials that it was shown. */
const refusing = (status: number, said: (authorization: string) => string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Server>((resume) => {
        const server = createServer((request, response) => {
          response.writeHead(status, { "content-type": "application/json" })
          response.end(JSON.stringify({ error: { message: said(String(request.headers["proxy-authorization"])) } }))
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}` // a TCP server has one
  )

describe.skipIf(!Certificate.isInstalled)("a proxy", () => {
  it.effect("of the environment is used where Node is told so, or the option says so, and sees a tunnel alone", () =>
    Effect.gen(function*() {
      const api = yield* secured
      const proxy = yield* connectProxy()
      const { host } = new URL(api.url)
      const cases: ReadonlyArray<readonly [Record<string, string>, ClaudeApi.Options, boolean]> = [
        [{ HTTPS_PROXY: proxy.url.href, NODE_USE_ENV_PROXY: "1" }, {}, true],
        [{ https_proxy: proxy.url.href, NODE_OPTIONS: "--use-env-proxy" }, {}, true],
        [{ HTTPS_PROXY: proxy.url.href }, { proxy: true }, true],
        [{ HTTP_PROXY: proxy.url.href }, { proxy: true }, true],
        [{}, { proxy: proxy.url.href }, true],
        [{}, { proxy: Redacted.make(proxy.url.href) }, true],
        [{ HTTPS_PROXY: proxy.url.href }, {}, false],
        [{ HTTPS_PROXY: proxy.url.href, NODE_USE_ENV_PROXY: "0" }, {}, false],
        [{ HTTPS_PROXY: proxy.url.href, NODE_USE_ENV_PROXY: "1" }, { proxy: false }, false],
        [{ HTTPS_PROXY: proxy.url.href, NO_PROXY: "127.0.0.1", NODE_USE_ENV_PROXY: "1" }, {}, false],
        [{ HTTPS_PROXY: proxy.url.href, no_proxy: "example.com, 127.0.0.1" }, { proxy: true }, false],
        [{ HTTPS_PROXY: proxy.url.href, NO_PROXY: "*" }, { proxy: true }, false],
        [{}, { proxy: true }, false]
      ]
      for (const [variables, options, isUsed] of cases) {
        const [plain, streamed] = yield* Effect.scoped(Effect.andThen(environment(variables), both(api.url, options)))
        assert.strictEqual(plain.id, "msg_1")
        assert.strictEqual(streamed.stop_reason, "tool_use")
        const heads = proxy.heads.splice(0)
        assert.strictEqual(heads.length > 0, isUsed, JSON.stringify([variables, options]))
        for (const head of heads) assert.deepInclude(head, { method: "CONNECT", target: host })
      }
      for (const request of api.seen) assert.strictEqual(request.headers.authorization, `Bearer ${secret}`)
      nowhere([proxy.bytes(), JSON.stringify(proxy.heads)], secret, hello.messages[0]!.content)
    }).pipe(TestClock.withLive))

  it.effect("forwards where the API has no TLS, and is shown the password that the URL has", () =>
    Effect.gen(function*() {
      const api = yield* serving(undefined)
      const proxy = yield* connectProxy()
      const url = Object.assign(new URL(proxy.url.href), { username: "gateway", password })
      yield* both(api.url, { proxy: url.href })
      assert.isAtLeast(proxy.heads.length, 2)
      for (const { headers, target } of proxy.heads) {
        assert.strictEqual(target, `${api.url}/v1/messages`)
        assert.strictEqual(
          headers["proxy-authorization"],
          `Basic ${Buffer.from(`gateway:${password}`).toString("base64")}`
        )
      }
      for (const request of api.seen) assert.strictEqual(request.headers.authorization, `Bearer ${secret}`)
    }).pipe(TestClock.withLive))

  it.effect.each([403, 407, 502])(
    "that answers %i is a typed error of what was not sent",
    (status) =>
      Effect.gen(function*() {
        const api = yield* secured
        const proxy = yield* connectProxy(status)
        const url = Object.assign(new URL(proxy.url.href), { username: "gateway", password })
        for (const call of [ClaudeService.create(hello), Stream.runDrain(ClaudeService.stream(hello))]) {
          const { exit, lines } = yield* showing(Effect.provide(call, service(api.url, { proxy: url.href })))
          const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit
          assert.deepInclude(error, { _tag: "ConnectionError", reason: "refused", billed: "no" })
          assert.include(String(error), `the proxy answered ${status}`)
          nowhere(lines, password, Buffer.from(`gateway:${password}`).toString("base64"))
        }
        assert.strictEqual(api.seen.length, 0)
      }).pipe(TestClock.withLive)
  )

  it.effect("that repeats what it was shown leaves none of it in errors", () =>
    Effect.gen(function*() {
      const repeating = yield* refusing(502, (authorization) => {
        const decoded = Buffer.from(authorization.slice("Basic ".length), "base64").toString()
        return `no: ${authorization}, ${decoded}, ${encodeURIComponent(decoded)}`
      })
      const url = Object.assign(new URL(repeating), { username: "gateway", password })
      const variables = { HTTP_PROXY: url.href, NODE_USE_ENV_PROXY: "1" }
      for (const options of [{ proxy: url.href }, { proxy: Redacted.make(url.href) }, {}]) {
        const call = Effect.provide(ClaudeService.create(hello), service("http://api.example.com", options))
        const { exit, lines } = yield* showing(Effect.scoped(Effect.andThen(environment(variables), call)))
        assert.isTrue(Exit.isFailure(exit))
        assert.include(lines.join("\n"), "no: ")
        nowhere(lines, password, Buffer.from(`gateway:${password}`).toString("base64"))
      }
    }).pipe(TestClock.withLive))

  it.effect("that wants another password is a typed error of what was not sent", () =>
    Effect.gen(function*() {
      const url = yield* refusing(407, () => "")
      for (const call of [ClaudeService.create(hello), Stream.runDrain(ClaudeService.stream(hello))]) {
        const error = yield* Effect.flip(Effect.provide(call, service("http://api.example.com", { proxy: url })))
        assert.deepInclude(error, { _tag: "ConnectionError", reason: "refused", billed: "no" })
        assert.include(error.message, "the proxy answered 407")
      }
    }).pipe(TestClock.withLive))

  it.effect("that is not there is a typed error of what was not sent", () =>
    Effect.gen(function*() {
      const call = Effect.provide(
        ClaudeService.create(hello),
        service("https://api.example.com", { proxy: "http://127.0.0.1:1" })
      )
      const error = yield* Effect.flip(call)
      assert.deepInclude(error, { _tag: "ConnectionError", reason: "refused", billed: "no" })
    }).pipe(TestClock.withLive))

  it.effect("whose URL is none is a configuration error that names where it stands, and no password", () =>
    Effect.gen(function*() {
      const wrong = `ftp://gateway:${password}@127.0.0.1`
      const cases: ReadonlyArray<readonly [Record<string, string>, ClaudeApi.Options, string]> = [
        [{}, { proxy: wrong }, "proxy"],
        [{}, { proxy: "" }, "proxy"],
        [{}, { proxy: `http://gateway:${password}%@127.0.0.1:1` }, "proxy"],
        [{ HTTP_PROXY: `http://${password}%E0%A4@127.0.0.1:1` }, { proxy: true }, "HTTP_PROXY"],
        [{}, { proxy: Redacted.make(`gateway:${password}`) }, "proxy"],
        [{ HTTPS_PROXY: wrong }, { proxy: true }, "HTTPS_PROXY"],
        [{ http_proxy: `//${password}`, NODE_USE_ENV_PROXY: "1" }, {}, "http_proxy"]
      ]
      for (const [variables, options, name] of cases) {
        const build = Effect.scoped(Effect.andThen(environment(variables), Layer.build(ClaudeApi.layer(options))))
        const { exit, lines } = yield* showing(build)
        assert.include(lines.join("\n"), `${name}: expected`)
        assert.isTrue(Exit.isFailure(exit))
        nowhere(lines, password)
      }
    }))
})

describe.skipIf(!Certificate.isInstalled)("HTTP/2", () => {
  it.effect("is used where it is asked for, through a proxy and without", () =>
    Effect.gen(function*() {
      const api = yield* secured
      const proxy = yield* connectProxy()
      for (const through of [false, proxy.url.href]) {
        for (const http2 of [undefined, false, true]) {
          const [plain, streamed] = yield* both(api.url, { http2, proxy: through })
          assert.strictEqual(plain.id, "msg_1")
          assert.strictEqual(streamed.stop_reason, "tool_use")
          const versions = api.seen.splice(0).map(({ httpVersion }) => httpVersion)
          assert.deepStrictEqual(versions, http2 === true ? ["2.0", "2.0"] : ["1.1", "1.1"])
        }
      }
    }).pipe(TestClock.withLive))

  it.effect("has the same errors, time limits and interruptions", () =>
    Effect.gen(function*() {
      const api = yield* secured
      const layer = service(api.url, { http2: true, timeouts: { idle: "100 millis" } })
      yield* Effect.gen(function*() {
        const overloaded = yield* Effect.flip(ClaudeService.create({ ...hello, max_tokens: 529 }))
        assert.deepInclude(overloaded, { _tag: "ServerError", overloaded: true, status: 529, requestId: "req_529" })
        const stalled = yield* Effect.flip(Stream.runDrain(ClaudeService.stream({ ...hello, max_tokens: 1 })))
        assert.strictEqual(stalled._tag, "StreamInterruptedError")
        const late = ClaudeService.stream({ ...hello, max_tokens: 1 }).pipe(
          CallContext.withDeadlineStream("50 millis"),
          Stream.runDrain
        )
        assert.strictEqual((yield* Effect.flip(late))._tag, "StreamInterruptedError")
        yield* Stream.runDrain(Stream.take(ClaudeService.stream({ ...hello, max_tokens: 1 }), 1))
        const many = yield* Effect.forEach(
          Array.from({ length: 40 }),
          () => ClaudeService.create(hello),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(many.length, 40)
      }).pipe(Effect.provide(layer))
    }).pipe(TestClock.withLive))
})
