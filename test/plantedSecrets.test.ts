import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Metric, Redacted, Schema, Stream } from "effect"
import * as Budget from "effect-claude/Budget"
import * as CallContext from "effect-claude/CallContext"
import type * as CircuitBreaker from "effect-claude/CircuitBreaker"
import type * as ClaudeApi from "effect-claude/ClaudeApi"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as CostReport from "effect-claude/CostReport"
import * as InputSanitizer from "effect-claude/InputSanitizer"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as MessageStream from "effect-claude/MessageStream"
import * as Monitor from "effect-claude/Monitor"
import * as PriceBook from "effect-claude/PriceBook"
import type * as RateLimiter from "effect-claude/RateLimiter"
import type * as RetryPolicy from "effect-claude/RetryPolicy"
import { TestClock } from "effect/testing"
import { fetchOf, hello, json, message, sse } from "./utils/http.ts"
import { renderings, showing } from "./utils/leaks.ts"

/** A secret for each way on which one gets into a request. */
const planted = {
  key: "sk-ant-api03-Kq7Wm2Zt9Rb4Xv6Np1Hd8Lc3Jf5Gs0Ya",
  keyHeader: "kh_Tu8Ew3Qz6Mn1Bv7Xc4Rj9",
  layerHeader: "lh/Pl5Ok2Ij8Uh4Yg7Tf1Rd6+Es==",
  callHeader: "ch:Zx9 Cv3 Bn7 Mq1 Ws5 Ed8 Rf2",
  environment: "env-Hy6Ju1Ki9Lo3Mp7Nq2Or8",
  prompt: "Zoë Ångström's aardvark weighs 4711 stones"
} as const

const hexOf = (text: string) => Buffer.from(text).toString("hex")
const escaped = (text: string) =>
  Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")

/** How an answer may write them. */
const forms: ReadonlyArray<(text: string) => string> = [
  (text) => text,
  (text) => text.toLowerCase(),
  encodeURIComponent,
  escaped,
  (text) => `${text.slice(0, 14)}...${text.slice(-4)}`,
  (text) => text.replace(/.{9}/gu, "$&\n"),
  (text) => text.normalize("NFD"),
  (text) => Buffer.from(text).toString("base64"),
  hexOf
]

const length = 10

/** Every part of the secrets, of `length` characters, in every form. */
const parts: ReadonlySet<string> = new Set(
  Object.entries(planted).flatMap(([name, secret]) =>
    (name === "prompt" ? forms.slice(0, 4) : forms).flatMap((form) => {
      const text = form(secret).toLowerCase().replace(/\s/g, "")
      return Array.from({ length: Math.max(0, text.length - length + 1) }, (_, i) => text.slice(i, i + length))
    })
  ).filter((part) => !part.startsWith("sk-ant-api"))
)

/** Fails where a part of a secret stands in what was shown, at any byte. */
const nowhere = (name: string, shown: ReadonlyArray<string>): void => {
  for (const line of shown) {
    const text = line.toLowerCase().replace(/\\+n|\s/g, "")
    for (let at = 0; at + length <= text.length; at++) {
      const part = text.slice(at, at + length)
      if (parts.has(part)) {
        assert.fail(
          `${name}: ${part} is shown: ${line.slice(Math.max(0, line.toLowerCase().indexOf(part) - 300)).slice(0, 600)}`
        )
      }
    }
  }
}

const header = (text: string) => text.replace(/[^\x20-\x7e]/g, "").trim()

/** Answers that repeat what they were asked in one form, wherever they can. */
const answers = (said: string, token: string): ReadonlyArray<readonly [name: string, answer: () => Response]> => {
  const error = (status: number) => () =>
    json(
      { type: "error", error: { type: token, message: said, details: { error_code: token } }, request_id: token },
      status,
      { "request-id": header(token), "retry-after": header(said), "x-should-retry": header(said) }
    )
  const text = new TextEncoder()
  const events = (...all: ReadonlyArray<object & { readonly type: string }>) => () =>
    sse(all.map((each) => text.encode(`event: ${each.type}\ndata: ${JSON.stringify(each)}\n\n`)), undefined, {
      "request-id": header(token)
    })
  const usage = { input_tokens: 9, output_tokens: 4, service_tier: token, speed: token, inference_geo: token }
  const start = { type: "message_start", message: { ...message, model: token, content: [], stop_reason: null, usage } }
  return [
    ...[400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 501, 502, 503, 529].map((status) =>
      [`HTTP ${status}`, error(status)] as const
    ),
    ["a text", () => new Response(said, { status: 400 })],
    ["a page", () => new Response(`<html>${said}</html>`, { status: 502, headers: { "content-type": "text/html" } })],
    [
      "a redirect",
      () => new Response("", { status: 307, headers: { location: `https://e.example/${encodeURIComponent(said)}` } })
    ],
    ["no JSON", () => json(said)],
    ["an error in a 200", () => json({ type: "error", error: { type: token, message: said } })],
    [
      "a message",
      () => json({ ...message, model: token, stop_reason: token, usage }, 200, { "request-id": header(token) })
    ],
    ["an error event", events({ type: "error", error: { type: token, message: said } } as never)],
    ["a stream that ends early", events(start)],
    [
      "a stream",
      events(start, { type: "message_delta", delta: { stop_reason: token }, usage } as never, { type: "message_stop" })
    ],
    ["an error that fetch throws", () => {
      throw Object.assign(new TypeError(said, { cause: new Error(said) }), { code: token, name: token })
    }]
  ]
}

/** What a service is made of, besides its keys. */
interface Given {
  readonly api: ClaudeApi.Options
  readonly retry: RetryPolicy.Options
  readonly breaker: CircuitBreaker.Options
  readonly limiter: RateLimiter.Options
  readonly budget: Layer.Layer<Budget.Budget>
  readonly sanitizer: Layer.Layer<InputSanitizer.InputSanitizer>
}

/** A budget with so many dollars. */
const budgetOf = (limit: number): Layer.Layer<Budget.Budget> =>
  Layer.provide(
    Budget.layer({ budgets: [{ name: "all", limit, window: { calendar: "day" } }] }),
    PriceBook.layer()
  )

const given: Given = {
  api: {},
  retry: { retries: 0 },
  breaker: { mode: "disabled" },
  limiter: {},
  budget: Budget.layerOff,
  sanitizer: InputSanitizer.layerOff
}

type Call = Effect.Effect<unknown, unknown, ClaudeService.ClaudeService>

/** All that a service shows of a call: its end, logs, spans, metrics, rows, reports, and errors as they cross a wire. */
const shownBy = (answer: () => Response, call: Call, parts: Partial<Given> = {}) =>
  Effect.gen(function*() {
    const layer = ClaudeService.layerWithParts({
      keys: KeyPool.layer().pipe(
        Layer.provide(KeyStore.layerKeys([{
          label: "a",
          group: "g",
          secret: Redacted.make(planted.key),
          headers: { "x-key": planted.keyHeader }
        }])),
        Layer.orDie
      ),
      ledger: CostLedger.layer(),
      ...given,
      ...parts,
      api: {
        ...parts.api,
        fetch: fetchOf(answer).fetch,
        headers: { "X-Layer": planted.layerHeader }
      }
    })
    const { exit, lines } = yield* showing(
      Effect.gen(function*() {
        const ended = yield* call.pipe(CallContext.annotate({ headers: { "x-call": planted.callHeader } }), Effect.exit)
        const ledger = yield* CostLedger.CostLedger
        yield* ledger.flush
        const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
        const report = yield* ledger.report({ by: "model" })
        const figures = [
          rows,
          report,
          CostReport.toCsv(report),
          CostReport.toTable(report),
          CostReport.toJson(report),
          yield* Monitor.snapshot,
          yield* Metric.snapshot
        ]
        return { ended, figures }
      }).pipe(Effect.provide(layer))
    )
    if (Exit.isFailure(exit)) return yield* Effect.failCause(exit.cause)
    const { ended, figures } = exit.value
    const error = Exit.isFailure(ended) ? Cause.squash(ended.cause) : undefined
    // The answer itself is the caller's, and stands in the exit of the program.
    const logged = error === undefined ? lines.filter((line) => !line.includes("msg_1")) : lines
    const wire = error === undefined
      ? []
      : [yield* Effect.exit(Schema.encodeUnknownEffect(ClaudeError.StreamError)(error))]
    return [
      ...logged,
      ...figures.flatMap(renderings),
      ...(error === undefined ? [] : [...renderings(error), ...renderings(ended)]),
      ...wire.flatMap(renderings)
    ]
  })

/** Headers of the environment, for the test. */
const environment = Effect.acquireRelease(
  Effect.sync(() => {
    const before = process.env["ANTHROPIC_CUSTOM_HEADERS"]
    process.env["ANTHROPIC_CUSTOM_HEADERS"] = `X-Environment: ${planted.environment}`
    return before
  }),
  (before) =>
    Effect.sync(() => {
      if (before === undefined) delete process.env["ANTHROPIC_CUSTOM_HEADERS"]
      else process.env["ANTHROPIC_CUSTOM_HEADERS"] = before
    })
)

describe("secrets that are planted in every source", () => {
  it.effect("are nowhere after any kind of answer, in any form", () =>
    Effect.gen(function*() {
      yield* environment
      const request = { ...hello, messages: [{ role: "user" as const, content: planted.prompt }] }
      const secrets = Object.values(planted)
      // Each answer repeats them in one form, with another one in each run; `PLANTED_ALL=1` tries all of both.
      const first = Math.floor(Math.random() * forms.length)
      const rounds = process.env["PLANTED_ALL"] === "1" ? forms.length : 1
      for (let n = 0; n < rounds * answers("", "").length; n++) {
        const at = (first + n + Math.floor(n / answers("", "").length)) % forms.length
        const form = forms[at]!
        const said = `We do not accept ${secrets.map(form).join(" or ")}, sorry`
        const all = answers(said, form(secrets[(first + n) % 5]!))
        const [name, answer] = all[n % all.length]!
        const call = n % 2 === 0 || name === "a message"
          ? ClaudeService.create(request)
          : MessageStream.message(ClaudeService.stream(request))
        nowhere(`${name}, form ${at}`, yield* shownBy(answer, call))
      }
    }))

  it.effect("are nowhere after time limits, interruptions and refusals of any kind", () =>
    Effect.gen(function*() {
      yield* environment
      const said = `no: ${Object.values(planted).join(" or ")}`
      const stalling = (text: string, type: string) => () =>
        new Response(new ReadableStream({ start: (body) => body.enqueue(new TextEncoder().encode(text)) }), {
          headers: { "content-type": type, "request-id": header(planted.key) }
        })
      const event = (each: { readonly type: string }) => `event: ${each.type}\ndata: ${JSON.stringify(each)}\n\n`
      const started = event({ type: "message_start", message: { ...message, content: [] } } as never) +
        event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } } as never) +
        event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello" } } as never)
      const failing = (status: number) => () =>
        new Response(JSON.stringify({ type: "error", error: { message: said } }), { status })
      const create = ClaudeService.create({ ...hello, messages: [{ role: "user", content: planted.prompt }] })
      const stream = Stream.runDrain(
        ClaudeService.stream({ ...hello, messages: [{ role: "user", content: planted.prompt }] })
      )
      const again = Effect.andThen(Effect.exit(create), create)
      const cases: Readonly<
        Record<string, readonly [tag: string, answer: () => Response, Call, Partial<Given>?]>
      > = {
        "a deadline": [
          "DeadlineExceededError",
          stalling(`{"a":"${said}`, "application/json"),
          CallContext.withDeadline(create, "2 seconds")
        ],
        "a deadline amid a stream": [
          "StreamInterruptedError",
          stalling(started, "text/event-stream"),
          CallContext.withDeadline(stream, "2 seconds")
        ],
        "silence": ["ConnectionError", stalling(`{"a":"${said}`, "application/json"), create, {
          api: { timeouts: { idle: "2 seconds" } }
        }],
        "silence amid a stream": [
          "StreamInterruptedError",
          stalling(started + `data: ${said}`, "text/event-stream"),
          stream
        ],
        "no content": ["ConnectionError", stalling(`: ${said}`, "text/event-stream"), stream, {
          api: { timeouts: { firstContent: "2 seconds" } }
        }],
        "a call that takes too long": ["ConnectionError", stalling(said, "text/plain"), create, {
          api: { timeouts: { call: "2 seconds" } }
        }],
        "an error amid a stream": ["StreamInterruptedError", () =>
          new Response(
            started + event({ type: "error", error: { type: "overloaded_error", message: said } } as never),
            { headers: { "content-type": "text/event-stream" } }
          ), stream],
        "retries that are used up": ["ServerError", failing(529), create, { retry: { retries: 2 } }],
        "a circuit that opened": ["CircuitOpenError", failing(500), again, {
          retry: { retries: 0, circuitWait: 0 },
          breaker: { consecutiveFailures: 1 }
        }],
        "a full queue": ["RateLimitedLocallyError", failing(500), again, {
          limiter: { limits: { requestsPerMinute: 1 }, maxQueue: 0 }
        }],
        "a budget without room": ["BudgetExceededError", failing(500), create, {
          budget: budgetOf(1e-6)
        }],
        "a model without a price": [
          "UnpricedModelError",
          failing(500),
          ClaudeService.create({ ...hello, model: "nobody-knows-it" }),
          { budget: budgetOf(1) }
        ],
        "a key that was refused": ["AuthError", failing(401), again],
        "an input that was refused": ["InputRejectedError", failing(500), create, {
          sanitizer: InputSanitizer.layer({ maxLength: 16 })
        }],
        "a header that no request can carry": [
          "BadRequestError",
          failing(500),
          CallContext.annotate(create, { headers: { "x-wrong": `${planted.callHeader}\n` } })
        ],
        "a history that cannot be": [
          "BadRequestError",
          failing(500),
          ClaudeService.create({
            ...hello,
            messages: [{
              role: "user",
              content: [{ type: "tool_result", tool_use_id: planted.prompt, content: planted.prompt }]
            }]
          })
        ],
        "an interruption": ["Interrupt", stalling(started, "text/event-stream"), Effect.timeout(stream, "2 seconds")]
      }
      for (const [name, [tag, answer, call, parts]] of Object.entries(cases)) {
        const shown = yield* Effect.forkChild(shownBy(answer, call, parts))
        yield* Effect.yieldNow
        yield* TestClock.adjust("2 hours")
        const lines = yield* Fiber.join(shown)
        assert.include(lines.join("\n"), tag, name)
        nowhere(name, lines)
      }
    }))
})
