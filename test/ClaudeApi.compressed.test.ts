/** Compressed answers over real connections, though nobody asked for them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as MessageStream from "effect-claude/MessageStream"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createGzip,
  deflateSync,
  gzipSync,
  zstdCompressSync
} from "node:zlib"
import { answer, hello, message, over } from "./utils/http.ts"

const serving = (respond: (response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly count: { requests: number }; readonly close: () => void }>(
      (resume) => {
        const count = { requests: 0 }
        const server = createServer((request, response) => {
          count.requests++
          request.resume().on("end", () => respond(response))
        })
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as AddressInfo // a TCP server has one
          const close = () => {
            server.close()
            server.closeAllConnections()
          }
          resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, count, close }))
        })
      }
    ),
    ({ close }) => Effect.sync(close)
  )

/** What a call over the default transport comes to, and how many requests it took. */
const calling = <A, E>(
  respond: (response: ServerResponse) => void,
  call: Effect.Effect<A, E, ClaudeService.ClaudeService>,
  options: ClaudeConfig.Options["api"] = {}
) =>
  Effect.gen(function*() {
    const { count, url } = yield* serving(respond)
    const layer = over(undefined, { api: { ...options, baseUrl: url }, retry: { retries: 0 } })
    const exit = yield* Effect.exit(Effect.provide(call, layer))
    return { exit, requests: count.requests }
  }).pipe(Effect.scoped)

const encodings: Record<string, (body: Uint8Array) => Uint8Array> = {
  "gzip": (body) => gzipSync(body),
  "GZIP": (body) => gzipSync(body),
  "x-gzip": (body) => gzipSync(body),
  "br": (body) => brotliCompressSync(body),
  "deflate": (body) => deflateSync(body),
  "zstd": (body) => zstdCompressSync(body),
  "br, gzip": (body) => gzipSync(brotliCompressSync(body)),
  "identity": (body) => body,
  "identity, gzip": (body) => gzipSync(body)
}

const json = Buffer.from(JSON.stringify(message))
const error = Buffer.from(
  JSON.stringify({ type: "error", error: { type: "invalid_request_error", message: "too many lamps" } })
)

const plain = ClaudeService.create(hello)
const stream = MessageStream.message(ClaudeService.stream(hello))

describe("a compressed answer", () => {
  for (const [encoding, compress] of Object.entries(encodings)) {
    it.live(`is read in ${encoding}: plain, streamed and as an error`, () =>
      Effect.gen(function*() {
        const sends = (status: number, type: string, body: Uint8Array) => (response: ServerResponse) =>
          response.writeHead(status, { "content-type": type, "content-encoding": encoding }).end(compress(body))
        const whole = yield* calling(sends(200, "application/json", json), plain)
        assert.deepStrictEqual(whole, { exit: Exit.succeed(message), requests: 1 } as never)
        const streamed = yield* calling(sends(200, "text/event-stream", answer), stream)
        assert.strictEqual(Exit.isSuccess(streamed.exit) ? streamed.exit.value.stop_reason : streamed.exit, "tool_use")
        assert.strictEqual(streamed.requests, 1)
        const failed = yield* calling(sends(400, "application/json", error), Effect.flip(plain))
        assert.deepInclude(Exit.isSuccess(failed.exit) ? failed.exit.value : failed.exit, {
          _tag: "BadRequestError",
          detail: "too many lamps"
        })
      }))
  }

  const flushing = {
    gzip: () => createGzip({ flush: constants.Z_SYNC_FLUSH }),
    br: () => createBrotliCompress({ flush: constants.BROTLI_OPERATION_FLUSH })
  }
  for (const [encoding, compressor] of Object.entries(flushing)) {
    it.live(`arrives in ${encoding} as it is sent, and is whole without the end of its encoding`, () =>
      Effect.gen(function*() {
        let go = () => {}
        const seen: Array<string> = []
        const { exit, requests } = yield* calling(
          (response) => {
            response.writeHead(200, { "content-type": "text/event-stream", "content-encoding": encoding })
            const compress = compressor()
            compress.on("data", (bytes) => response.write(bytes))
            const half = Math.floor(answer.length / 2)
            compress.write(answer.subarray(0, half))
            go = () => compress.write(answer.subarray(half))
          },
          Stream.runForEach(ClaudeService.stream(hello), (event) =>
            Effect.sync(() => {
              if (seen.length === 0) go()
              seen.push(event.type)
            }))
        )
        assert.isTrue(Exit.isSuccess(exit), String(exit))
        assert.strictEqual(seen.at(-1), "message_stop")
        assert.strictEqual(requests, 1)
      }))
  }

  it.live("is held to maxBytes after it was decompressed, and its sender waits for the reader", () =>
    Effect.gen(function*() {
      const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024, 0x20))
      for (const type of ["application/json", "text/event-stream"]) {
        for (const call of [plain, stream]) {
          const { exit, requests } = yield* calling<unknown, unknown>(
            (response) => response.writeHead(200, { "content-type": type, "content-encoding": "gzip" }).end(bomb),
            Effect.flip(call as Effect.Effect<unknown, unknown, ClaudeService.ClaudeService>),
            { maxBytes: 1024 * 1024 }
          )
          assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "ConnectionError", reason: "malformed" })
          assert.strictEqual(requests, 1)
        }
      }
      const { exit } = yield* calling(
        (response) =>
          response.writeHead(400, { "content-type": "application/json", "content-encoding": "gzip" }).end(bomb),
        Effect.flip(plain)
      )
      assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "BadRequestError" })
    }))

  it.live("that is large is whole", () =>
    Effect.gen(function*() {
      const large = { ...message, content: [{ type: "text", text: "word ".repeat(1_000_000), citations: null }] }
      const { exit } = yield* calling(
        (response) =>
          response.writeHead(200, { "content-type": "application/json", "content-encoding": "br" })
            .end(
              brotliCompressSync(Buffer.from(JSON.stringify(large)), {
                params: { [constants.BROTLI_PARAM_QUALITY]: 1 }
              })
            ),
        plain
      )
      assert.strictEqual(Exit.isSuccess(exit) ? MessageStream.textOf(exit.value).length : exit, 5_000_000)
    }))

  it.live("that is cut or none is an error", () =>
    Effect.gen(function*() {
      const bodies = [gzipSync(json).subarray(0, 40), Buffer.from("no gzip at all, though it says so")]
      for (const body of bodies) {
        const { exit } = yield* calling(
          (response) =>
            response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(body),
          Effect.flip(plain)
        )
        assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "ConnectionError", reason: "truncated" })
      }
    }))
})
