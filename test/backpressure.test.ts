import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import * as ClaudeService from "effect-claude/ClaudeService"
import { TestClock } from "effect/testing"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { hello, message, over } from "./utils/http.ts"

const total = 32_000

/** A server that streams `total` deltas of a kilobyte as fast as the socket takes them, and counts what it took. */
const server = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly written: () => number; readonly close: () => void }>((resume) => {
    const event = (data: { readonly type: string; readonly [field: string]: unknown }) =>
      `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
    const start = event({ type: "message_start", message: { ...message, content: [], stop_reason: null } }) +
      event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } })
    const delta = event(
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "x".repeat(1000) } } as never
    )
    const end = event({ type: "content_block_stop", index: 0 }) +
      event({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: total } }) +
      event({ type: "message_stop" })
    let written = 0
    const http = createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" })
      response.write(start)
      const more = () => {
        while (written < total) {
          written++
          if (!response.write(delta)) return response.once("drain", more)
        }
        return response.end(end)
      }
      more()
    })
    http.listen(0, "127.0.0.1", () => {
      const { port } = http.address() as AddressInfo // a TCP server has one
      resume(Effect.succeed({
        url: `http://127.0.0.1:${port}`,
        written: () => written,
        close: () => {
          http.close()
          http.closeAllConnections()
        }
      }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

describe.each([["our transport", undefined], ["the global fetch", globalThis.fetch]])(
  "a slow reader over %s",
  (_, fetch) => {
    it.effect("slows the socket, and loses nothing", () =>
      Effect.gen(function*() {
        const { url, written } = yield* server
        const paused = yield* Deferred.make<void>()
        const resumed = yield* Deferred.make<void>()
        let deltas = 0
        const reader = yield* Effect.forkChild(
          ClaudeService.stream(hello).pipe(
            Stream.runForEach((event) => {
              if (event.type === "content_block_delta") deltas++
              return deltas === 1 && event.type === "content_block_delta"
                ? Effect.andThen(Deferred.succeed(paused, undefined), Deferred.await(resumed))
                : Effect.void
            }),
            Effect.provide(over(fetch, { api: { baseUrl: url } }))
          )
        )
        yield* Deferred.await(paused)
        // The buffers between fill up, and then the server stands still.
        let before = -1
        while (before !== written()) {
          before = written()
          yield* Effect.sleep("100 millis")
        }
        assert.isBelow(before, total / 2)
        yield* Deferred.succeed(resumed, undefined)
        yield* Fiber.join(reader)
        assert.strictEqual(deltas, total)
      }).pipe(TestClock.withLive))
  }
)
