/** Answers for a `fetch` of one's own, and a program driven through virtual time in front of it. */
import { type Config, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import type { ClaudeService } from "effect-claude/ClaudeService"
import * as Service from "effect-claude/ClaudeService"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"

/** A pool of one key. */
export const keysOf = (secret: string) =>
  KeyPool.layer().pipe(
    Layer.provide(KeyStore.layerKeys([{ label: "test", group: "org", secret: Redacted.make(secret) }])),
    Layer.orDie
  )

export const keys = keysOf("sk-ant-test")

/** The default service over a `fetch`, or over its own transport. */
export const over = (
  fetch: typeof globalThis.fetch | undefined,
  { api, ...options }: ClaudeConfig.Options = {}
): Layer.Layer<ClaudeService, Config.ConfigError> => Service.layer({ ...options, api: { ...api, fetch }, keys })

export const hello = {
  model: "claude-opus-4-6",
  max_tokens: 64,
  messages: [{ role: "user" as const, content: "Say hello." }]
}

export const message = {
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-opus-4-6",
  content: [{ type: "text", text: "Hello.", citations: null }],
  container: null,
  diagnostics: null,
  stop_reason: "end_turn",
  stop_sequence: null,
  stop_details: null,
  usage: { input_tokens: 9, output_tokens: 4 }
}

export const json = (body: unknown, status = 200, headers: Record<string, string> = {}): Response =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", "request-id": "req_1", ...headers }
  })

export const apiError = (
  status: number,
  type: string,
  options: { readonly message?: string; readonly code?: string; readonly headers?: Record<string, string> } = {}
): Response =>
  json(
    {
      type: "error",
      error: {
        type,
        message: options.message ?? "no",
        ...(options.code === undefined ? {} : { details: { error_code: options.code } })
      },
      request_id: "req_1"
    },
    status,
    options.headers
  )

/** Bytes as a stream of events; `end` is called after the last piece, where the stream would close. */
export const sse = (
  pieces: ReadonlyArray<Uint8Array>,
  end: (controller: ReadableStreamDefaultController<Uint8Array>) => void = (controller) => controller.close(),
  headers: Record<string, string> = {}
): Response => {
  let next = 0
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      const piece = pieces[next++]
      if (piece === undefined) end(controller)
      else controller.enqueue(piece)
    }
  }, { highWaterMark: 0 })
  return new Response(body, { headers: { "content-type": "text/event-stream", "request-id": "req_1", ...headers } })
}

export const answer = readFileSync(new URL("../fixtures/answer.sse", import.meta.url))

/** A `fetch` that gives what `answer` says for the nth request, from 1. */
export const fetchOf = (answer: (n: number, init: RequestInit) => Response | Promise<Response>) => {
  const state = { requests: 0 }
  const fetch = (_url: unknown, init: RequestInit = {}) => Promise.resolve(answer(++state.requests, init))
  // Only what the SDK calls is there: the overloads of `fetch` are not.
  return { state, fetch: fetch as typeof globalThis.fetch }
}

/** Lets promises that wait for nothing run. */
export const settle = Effect.promise(async () => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
})

/** Runs an effect while virtual time goes on, a second at a time, and says how it ended. */
export const driven = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  seconds = 600
): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    for (let second = 0; second <= seconds; second++) {
      yield* settle
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      yield* TestClock.adjust("1 second")
    }
    yield* Fiber.interrupt(fiber)
    return Exit.die(new Error(`still running after ${seconds} virtual seconds`))
  })
