/** Bodies, events, errors and headers of the API as nobody means them: an answer or a typed error, in bounded time and memory. */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Exit, Layer, Redacted, Schema, Stream } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as MessageStream from "effect-claude/MessageStream"
import * as RateLimiter from "effect-claude/RateLimiter"
import { answer, hello, message, sse } from "./utils/http.ts"
import * as Mutate from "./utils/mutate.ts"

const secret = "sk-ant-api03-planted-0123456789"

const encode = (text: string) => new TextEncoder().encode(text)

const errorBodies = [
  {
    type: "error",
    error: { type: "rate_limit_error", message: "no", details: { error_code: "ramp_limit_exceeded" } },
    request_id: "req_1"
  },
  [{ error: { code: 429, message: "no", status: "RESOURCE_EXHAUSTED" } }],
  { message: "no", __type: "com.amazon#ThrottlingException" },
  { detail: [{ loc: ["body", "messages", 0], msg: "no", type: "missing" }] },
  { error: `the key ${secret} is wrong` }
].map((body) => JSON.stringify(body))

/** The events of the answer, as JSON. */
const list = answer.toString("utf8").split("\n\n").flatMap((part) => {
  const data = /^data: (.*)$/m.exec(part)?.[1]
  return data === undefined ? [] : [JSON.parse(data) as unknown]
})

/** A service whose `fetch` gives what `next` holds, and what it must hold to whatever comes. */
const service = Effect.gen(function*() {
  const next: { response: () => Response } = { response: () => new Response() }
  const fetch = (() => Promise.resolve(next.response())) as unknown as typeof globalThis.fetch // all that the SDK calls
  const context = yield* Layer.build(ClaudeService.layerWithParts({
    api: { fetch, maxBytes: 1_000_000, timeouts: { idle: "10 seconds" } },
    keys: Layer.provide(
      KeyPool.layerOff,
      KeyStore.layerKeys([{ label: "a", group: "org", secret: Redacted.make(secret) }])
    ),
    retry: { retries: 0 },
    breaker: CircuitBreaker.layerOff,
    limiter: RateLimiter.layerOff,
    monitor: { log: false, content: "spans" }
  }))
  const claude = Context.get(context, ClaudeService.ClaudeService)
  const ledger = Context.get(context, CostLedger.CostLedger)
  const errors = Schema.toCodecJson(ClaudeError.StreamError)

  /** An answer, or an error that says in bounded words what happened and survives JSON; never a defect. */
  const settled = <A>(call: Effect.Effect<A, ClaudeError.StreamError>): Effect.Effect<A | undefined> =>
    Effect.map(Effect.exit(call), (exit) => {
      if (Exit.isSuccess(exit)) return exit.value
      const failure = exit.cause.reasons.find(Cause.isFailReason)
      if (failure === undefined) throw new Error(Cause.pretty(exit.cause))
      const { error } = failure
      assert.isAtMost(error.message.length, 5_000)
      assert.notInclude(error.message + JSON.stringify(Schema.encodeSync(errors)(error)), secret)
      const wait = error.retryAfter
      assert.isTrue(wait === undefined || (Duration.toMillis(wait) > 0 && Duration.toMillis(wait) < 4e10))
      return undefined
    })

  let calls = 0
  const answered = (response: () => Response): Effect.Effect<void> =>
    Effect.gen(function*() {
      next.response = response
      const asked: Effect.Effect<Message, ClaudeError.StreamError> = ++calls % 2 === 0
        ? claude.create(hello)
        : MessageStream.message(claude.stream(hello))
      const message = yield* settled(asked)
      if (message !== undefined) yield* Effect.ignore(MessageStream.completeText(message))
    })
  const rows = Effect.andThen(ledger.flush, Stream.runCollect(Stream.orDie(ledger.rows({ from: 0, to: Infinity }))))
  return { answered, rows }
})

/** Each surface: what is good of it, how that is mutated, and the response that it becomes. */
const surfaces: Readonly<Record<string, Surface<never>>> = {
  "bytes of a stream": surface({
    inputs: [
      answer,
      encode(JSON.stringify(message)),
      encode(`: hi\r\n\r\n${answer.toString().replaceAll("\n", "\r\n")}`)
    ],
    mutate: Mutate.bytes,
    response: (body) => sse([body])
  }),
  "events of a stream": surface<ReadonlyArray<unknown>>({
    inputs: [list],
    mutate: (chance, input) => Mutate.json(chance, input) as ReadonlyArray<unknown>, // or whatever it has become
    response: (events) =>
      sse([encode(Object.values(events ?? []).map((event) => `data: ${JSON.stringify(event)}\n\n`).join(""))])
  }),
  "the message of a plain answer": surface<unknown>({
    inputs: [message],
    mutate: Mutate.json,
    response: (body) => new Response(JSON.stringify(body), { headers: { "content-type": "application/json" } })
  }),
  "bodies of errors": surface<readonly [status: number, body: string]>({
    inputs: [400, 401, 403, 404, 413, 429, 500, 529, 200].flatMap((status) =>
      errorBodies.map((body) => [status, body] as const)
    ),
    mutate: (chance, [status, body]) => [status, Mutate.jsonText(chance, body)],
    response: ([status, body]) => new Response(body, { status, headers: { "content-type": "application/json" } })
  }),
  "headers": surface<readonly [status: number, headers: unknown]>({
    inputs: [200, 400, 429, 529].map((status) => [status, {
      "content-type": "application/json",
      "request-id": "req_1",
      "date": "Mon, 23 Nov 2026 12:00:00 GMT",
      "retry-after": "Mon, 23 Nov 2026 12:00:30 GMT, 45",
      "retry-after-ms": "1500",
      "x-should-retry": "true",
      "x-amzn-errortype": "ThrottlingException",
      "anthropic-ratelimit-requests-limit": "50",
      "anthropic-ratelimit-requests-remaining": "49",
      "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:01Z"
    }]),
    mutate: (chance, [status, headers]) => [status, Mutate.json(chance, headers)],
    response: ([status, headers]) => new Response(JSON.stringify(message), { status, headers: possible(headers) })
  })
}

interface Surface<A> {
  readonly inputs: ReadonlyArray<A>
  readonly mutate: Mutate.Mutator<A>
  readonly response: (input: A) => Response
}

/** They differ in what they mutate, and are run alike. */
function surface<A>(surface: Surface<A>): Surface<never> {
  return surface as unknown as Surface<never>
}

/** Those headers that a server can send. */
function possible(headers: unknown): Headers {
  const sent = new Headers()
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (!/^[\w-]+$/.test(name) || typeof value === "object" || /[^\t\x20-\x7e\x80-\xff]/.test(String(value))) continue
    sent.append(name, String(value))
  }
  return sent
}

describe("what the API never sends", () => {
  for (const [name, { inputs, mutate, response }] of Object.entries(surfaces)) {
    it.effect(`is dealt with: ${name}`, () =>
      Effect.gen(function*() {
        const { answered, rows } = yield* service
        yield* Mutate.each(inputs, mutate, (input) => answered(() => response(input)))
        for (const { nanoUsd, usage } of yield* rows) {
          assert.isTrue(nanoUsd === null || (Number.isSafeInteger(nanoUsd) && nanoUsd >= 0))
          assert.isTrue(Object.values(usage).every((value) => typeof value !== "number" || Number.isSafeInteger(value)))
        }
      }).pipe(Effect.scoped), 3_600_000)
  }
})
