/** Answers that were paid for and come in another shape than they should: each is used, and not bought again. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Schema, Stream } from "effect"
import type * as ClaudeConfig from "effect-claude/ClaudeConfig"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as MessageStream from "effect-claude/MessageStream"
import { driven, fetchOf, hello, json, keys, message, sse } from "./utils/http.ts"

const encode = (text: string) => new TextEncoder().encode(text)

type Data = { readonly type: string; readonly [field: string]: unknown }

const named = (event: Data) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
const unnamed = (event: Data) => `data: ${JSON.stringify(event)}\n\n`

const started = (fields: object = {}): Data => ({
  type: "message_start",
  message: { ...message, content: [], stop_reason: null, usage: { input_tokens: 9, output_tokens: 1 }, ...fields }
})
const block = (index: number, content_block: object): Data => ({ type: "content_block_start", index, content_block })
const delta = (index: number, delta: object): Data => ({ type: "content_block_delta", index, delta })
const stop = (index: number): Data => ({ type: "content_block_stop", index })
const ended = (fields: object = {}): Data => ({
  type: "message_delta",
  delta: { stop_reason: "end_turn", stop_sequence: null },
  usage: { output_tokens: 4 },
  ...fields
})
const over: Data = { type: "message_stop" }
const said = (text: string) => delta(0, { type: "text_delta", text })
const text = { type: "text", text: "", citations: null }
const use = { type: "tool_use", id: "toolu_1", name: "f", input: {} }
const failed: Data = { type: "error", error: { type: "overloaded_error", message: "Overloaded" } }

const answered = [started(), block(0, text), said("Hel"), said("lo."), stop(0), ended(), over]

const bodyOf = (events: ReadonlyArray<Data>, write = named) => events.map(write).join("")

const streamed = (body: string | Uint8Array, headers: Record<string, string> = {}) => () =>
  sse([typeof body === "string" ? encode(body) : body], undefined, headers)

/** What a call comes to, how many requests it takes and what the ledger says of them. */
const calling = <A, E>(
  answer: (n: number) => Response,
  call: Effect.Effect<A, E, ClaudeService.ClaudeService>,
  options: ClaudeConfig.Options = {}
) =>
  Effect.gen(function*() {
    const { fetch, state } = fetchOf(answer)
    const { exit, rows } = yield* Effect.gen(function*() {
      const exit = yield* driven(call, 3_600)
      const ledger = yield* CostLedger.CostLedger
      yield* ledger.flush
      const rows = yield* Stream.runCollect(Stream.orDie(ledger.rows({ from: 0, to: Infinity })))
      return { exit, rows }
    }).pipe(
      Effect.provide(ClaudeService.layerWithParts({ ...options, api: { ...options.api, fetch }, keys })),
      Effect.orDie
    )
    return { exit, requests: state.requests, rows }
  })

const plain = ClaudeService.create(hello)
const stream = MessageStream.message(ClaudeService.stream(hello))

const hasText = (exit: Exit.Exit<unknown, unknown>, expected = "Hello.") =>
  assert.strictEqual(Exit.isSuccess(exit) ? MessageStream.textOf(exit.value as never) : String(exit), expected)

const errorOf = <E>(exit: Exit.Exit<unknown, E>): E => {
  const failure = Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail") : undefined
  return failure?._tag === "Fail" ? failure.error : assert.fail(String(exit))
}

describe("usage that is missing", () => {
  const missing = [undefined, null, "none", {}, { output_tokens: null }, { input_tokens: 9 }, { input_tokens: "9" }]
  for (const usage of missing) {
    const name = JSON.stringify(usage) ?? "undefined"
    it.effect(`from a plain answer (${name}) is estimated`, () =>
      Effect.gen(function*() {
        const { exit, requests, rows } = yield* calling(() => json({ ...message, usage }), plain)
        hasText(exit)
        assert.strictEqual(requests, 1)
        assert.deepInclude(rows[0], { outcome: "completed", confidence: "estimated", billed: "yes" })
        assert.isAbove(rows[0]!.usage.inputTokens, 0)
        assert.isAbove(rows[0]!.usage.outputTokens, 0)
      }))

    it.effect(`from the start of a stream (${name}) is estimated, with the output that is reported`, () =>
      Effect.gen(function*() {
        const body = bodyOf([started({ usage }), ...answered.slice(1)])
        const { exit, requests, rows } = yield* calling(streamed(body), stream)
        hasText(exit)
        assert.strictEqual(requests, 1)
        const isKnown = JSON.stringify(usage) === "{\"input_tokens\":9}"
        assert.deepInclude(rows[0], { outcome: "completed", confidence: isKnown ? "exact" : "estimated" })
        assert.isAbove(rows[0]!.usage.inputTokens, 0)
        assert.strictEqual(rows[0]!.usage.outputTokens, 4)
      }))

    it.effect(`from the end of a stream (${name}) is counted`, () =>
      Effect.gen(function*() {
        const body = bodyOf(answered.map((event) => event.type === "message_delta" ? ended({ usage }) : event))
        const { exit, requests, rows } = yield* calling(streamed(body), stream)
        hasText(exit)
        assert.strictEqual(requests, 1)
        assert.deepInclude(rows[0], { outcome: "completed", confidence: "estimated" })
        assert.strictEqual(rows[0]!.usage.inputTokens, 9)
        assert.isAbove(rows[0]!.usage.outputTokens, 1)
      }))
  }

  const impossible: ReadonlyArray<object> = [
    [],
    { input_tokens: -1, output_tokens: -2 },
    { input_tokens: 9.5, output_tokens: 4.5 },
    { input_tokens: 0, output_tokens: 0 },
    { usage: { input_tokens: 9 } },
    { prompt_tokens: 9, completion_tokens: 4 }
  ]
  it.effect("since it cannot be true is counted from the answer", () =>
    Effect.gen(function*() {
      for (const usage of impossible) {
        const body = bodyOf([started({ usage }), ...answered.slice(1, 5), ended({ usage }), over])
        for (const [answer, call] of [[() => json({ ...message, usage }), plain], [streamed(body), stream]] as const) {
          const { exit, rows } = yield* calling<unknown, unknown>(answer, call)
          hasText(exit)
          assert.deepInclude(rows[0], { outcome: "completed", confidence: "estimated" })
          assert.isAbove(rows[0]!.usage.inputTokens, 0)
          assert.strictEqual(rows[0]!.usage.outputTokens, 2, JSON.stringify(usage))
        }
      }
    }))

  it.effect("of no output is none where there is no content", () =>
    Effect.gen(function*() {
      const usage = { input_tokens: 9, output_tokens: 0 }
      const { rows } = yield* calling(() => json({ ...message, content: [], usage }), plain)
      assert.deepInclude(rows[0], { confidence: "exact" })
      const body = bodyOf([started(), ended({ usage: { output_tokens: 0 } }), over])
      assert.deepInclude((yield* calling(streamed(body), stream)).rows[0], { confidence: "exact" })
    }))

  it.effect("of a report that is whole is none", () =>
    Effect.gen(function*() {
      for (const [answer, call] of [[() => json(message), plain], [streamed(bodyOf(answered)), stream]] as const) {
        const { rows } = yield* calling<unknown, unknown>(answer, call)
        assert.deepInclude(rows[0], { confidence: "exact" })
      }
    }))
})

describe("inferences that the totals leave out", () => {
  const compaction = { type: "compaction", input_tokens: 1_000, output_tokens: 10 }
  const advisor = { type: "advisor_message", model: "claude-haiku-4-5", input_tokens: 50, output_tokens: 5 }
  const answering = { type: "message", input_tokens: 9, output_tokens: 4 }
  const reportedIn = (start: object, end: object) =>
    Effect.map(
      calling(
        streamed(bodyOf([started({ usage: start }), ...answered.slice(1, 5), ended({ usage: end }), over])),
        stream
      ),
      ({ rows }) => rows[0]!
    )
  const totals = { input_tokens: 9, output_tokens: 4 }

  it.effect("count wherever in a stream they are reported, once", () =>
    Effect.gen(function*() {
      const iterations = [compaction, advisor, answering]
      const expected = (yield* calling(() => json({ ...message, usage: { ...totals, iterations } }), plain)).rows[0]!
      assert.deepInclude(expected, {
        confidence: "exact",
        nanoUsd: 1_009 * 5_000 + 14 * 25_000 + 50 * 1_000 + 5 * 5_000
      })
      const rows = [
        yield* reportedIn({ ...totals, output_tokens: 1 }, { ...totals, iterations }),
        yield* reportedIn({ ...totals, output_tokens: 1, iterations: [compaction, advisor] }, totals),
        yield* reportedIn({ ...totals, output_tokens: 1, iterations }, { output_tokens: 4 }),
        yield* reportedIn({ ...totals, output_tokens: 1, iterations }, { output_tokens: 4, iterations: null }),
        yield* reportedIn({ ...totals, output_tokens: 1, iterations }, { output_tokens: 4, iterations: [] }),
        yield* reportedIn({ ...totals, iterations: [null, answering] }, { ...totals, iterations })
      ]
      for (const { confidence, nanoUsd } of rows) {
        assert.deepStrictEqual({ confidence, nanoUsd }, { confidence: "exact", nanoUsd: expected.nanoUsd })
      }
    }))

  it.effect("by models whose names are none have no price, and are named nowhere", () =>
    Effect.gen(function*() {
      for (const model of ["sk-ant-test", "x".repeat(5_000), "a name\nof two lines"]) {
        const usage = { ...totals, iterations: [{ ...advisor, model }, answering] }
        for (
          const [answer, call] of [
            [() => json({ ...message, usage }), ClaudeService.createWithReport(hello)],
            [streamed(bodyOf([...answered.slice(0, 5), ended({ usage }), over])), stream]
          ] as const
        ) {
          const { exit, rows } = yield* calling<unknown, unknown>(answer, call)
          const report = Exit.isSuccess(exit) ? { ...exit.value as object, message: undefined, usage: undefined } : exit
          assert.notInclude(JSON.stringify([rows, report]), model)
          assert.strictEqual(rows[0]!.nanoUsd === null, model === "sk-ant-test")
          assert.strictEqual(rows[0]!.confidence, model === "sk-ant-test" ? "exact" : "estimated")
        }
      }
    }))
})

describe("events in another spelling", () => {
  const spellings: Record<string, string> = {
    "without names": bodyOf(answered, unnamed),
    "without names, and [DONE] at the end": `${bodyOf(answered.slice(0, -1), unnamed)}data: [DONE]\n\n${unnamed(over)}`,
    "named by something else": bodyOf(answered, (event) => `event: message\n${unnamed(event)}`),
    "with a type only in their names": bodyOf(
      answered,
      ({ type, ...data }) => `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`
    ),
    "with a last event that lacks its blank line": bodyOf(answered).trimEnd(),
    "with a last event that lacks one of its line ends": bodyOf(answered).slice(0, -1),
    "with a name that a bare field takes back": bodyOf(
      answered,
      (event) => `event: ping\nevent\n${unnamed(event)}`
    ),
    "after pings of other makes": `event: ping\ndata: still here\n\nevent: heartbeat\ndata: ok\n\n${bodyOf(answered)}`,
    "with a start that is repeated": bodyOf([...answered.slice(0, 3), started(), ...answered.slice(3)]),
    "between what keeps a connection alive": bodyOf(
      answered,
      (event) => `data: {}\n\ndata: null\n\ndata: 7\n\ndata: keep-alive\n\ndata: []\n\n${named(event)}`
    ),
    "with a last event that has a name alone": `${bodyOf(answered.slice(0, -1))}event: message_stop\n\n`,
    "with a last event without anything in it": `${bodyOf(answered.slice(0, -1))}event: message_stop\ndata: null\n\n`,
    "with deltas that are null": bodyOf([
      started(),
      block(0, null as never),
      block(0, text),
      delta(0, null as never),
      said(null as never),
      delta(0, { type: "text_delta" }),
      said("Hello."),
      stop(0),
      ended(),
      over
    ]),
    "with a second end that says nothing": bodyOf([
      ...answered.slice(0, 6),
      { type: "message_delta", delta: null, usage: null },
      { type: "message_delta", delta: { stop_reason: null, stop_sequence: null } },
      over
    ]),
    "with a first end that says little": bodyOf([
      ...answered.slice(0, 5),
      { type: "message_delta", usage: { output_tokens: 2 } },
      ended(),
      over
    ]),
    "without indexes": bodyOf(answered.map((event) => ({ ...event, index: undefined }))),
    "with indexes that are null": bodyOf(answered.map((event) => "index" in event ? { ...event, index: null } : event)),
    "with indexes that are texts": bodyOf(answered.map((event) => "index" in event ? { ...event, index: "0" } : event)),
    "with all of it at its start": bodyOf([started({ content: [{ ...text, text: "Hello." }] }), ended(), over]),
    "whose block has no start": bodyOf([started(), ...answered.slice(2)]),
    "and then a byte that is no text": ""
  }
  for (const [name, body] of Object.entries(spellings)) {
    it.effect(`${name} are an answer`, () =>
      Effect.gen(function*() {
        const bytes = body === "" ? Uint8Array.of(...encode(bodyOf(answered)), 0xff) : body
        const { exit, requests, rows } = yield* calling(streamed(bytes), stream)
        hasText(exit)
        assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { stop_reason: "end_turn" })
        const { exit: pieces } = yield* calling(
          streamed(bytes),
          Stream.mkString(MessageStream.text(ClaudeService.stream(hello)))
        )
        assert.strictEqual(Exit.isSuccess(pieces) ? pieces.value : pieces, "Hello.")
        assert.strictEqual(requests, 1)
        assert.deepInclude(rows[0], { outcome: "completed", confidence: "exact", model: "claude-opus-4-6" })
      }))
  }

  const errors: Record<string, string> = {
    "without a name": unnamed(failed),
    "without a type": `data: ${JSON.stringify({ error: failed["error"] })}\n\n`,
    "with another name": `event: message\n${unnamed(failed)}`,
    "without its envelope": unnamed({ type: "overloaded_error", message: "Overloaded" }),
    "without a blank line": named(failed).trimEnd()
  }
  for (const [name, body] of Object.entries(errors)) {
    it.effect(`an error ${name} is the error that it is`, () =>
      Effect.gen(function*() {
        const { exit } = yield* calling(streamed(body), Effect.flip(stream))
        assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "ServerError", overloaded: true })
        const { exit: later } = yield* calling(streamed(bodyOf(answered.slice(0, 4)) + body), Effect.flip(stream))
        const interrupted = Exit.isSuccess(later) ? later.value : later
        assert.deepInclude(interrupted, { _tag: "StreamInterruptedError" })
        assert.deepInclude((interrupted as ClaudeError.StreamInterruptedError).cause, { overloaded: true })
      }))
  }

  it.effect("an error without data is an error", () =>
    Effect.gen(function*() {
      const { exit } = yield* calling(streamed("event: error\n\n"), Effect.flip(stream))
      assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "ServerError" })
      const body = `${bodyOf(answered.slice(0, 4))}event: error\n\n${bodyOf(answered.slice(4))}`
      const { exit: later } = yield* calling(streamed(body), stream)
      assert.deepInclude(errorOf(later), { _tag: "StreamInterruptedError" })
    }))
})

describe("an answer that said why it stopped", () => {
  const said = bodyOf(answered.slice(0, -1))
  const endings: Record<string, (controller: ReadableStreamDefaultController<Uint8Array>) => void> = {
    "at its end": (controller) => controller.close(),
    "where the connection breaks": (controller) => controller.error(new Error("reset")),
    "where nothing more comes": () => {}
  }
  for (const [name, end] of Object.entries(endings)) {
    it.effect(`is whole without its last event, ${name}`, () =>
      Effect.gen(function*() {
        for (const rest of ["", "data: [DONE]\n\n", "event: message_sto", named(over).slice(0, -4)]) {
          const answer = () => sse([encode(said + rest)], end)
          const api = { timeouts: { idle: "3 seconds" } } as const
          const { exit, requests, rows } = yield* calling(answer, Stream.runCollect(ClaudeService.stream(hello)), {
            api
          })
          assert.deepStrictEqual(Exit.isSuccess(exit) ? exit.value : exit, answered as never)
          assert.strictEqual(requests, 1)
          assert.deepInclude(rows[0], { outcome: "completed", confidence: "exact", stopReason: "end_turn" })
          hasText((yield* calling(answer, plain, { api })).exit)
        }
      }))
  }

  it.effect("is an error with an error behind it, and before it said so", () =>
    Effect.gen(function*() {
      const bodies = [
        said + named(failed),
        `${said}event: error`,
        bodyOf(answered.slice(0, 5)),
        bodyOf([...answered.slice(0, 5), ended({ delta: { stop_reason: null } })]),
        said + named(started({ id: "msg_2" }))
      ]
      for (const body of bodies) {
        const { exit } = yield* calling(streamed(body), stream)
        const error = errorOf(exit)
        assert.deepInclude(error, { _tag: "StreamInterruptedError" }, body.slice(-200))
        assert.strictEqual(
          (error as ClaudeError.StreamInterruptedError).billed,
          body.startsWith(said) ? "yes" : "unknown"
        )
      }
      const { exit } = yield* calling(streamed(bodyOf(answered.slice(0, 5))), plain)
      assert.deepInclude(errorOf(exit), { _tag: "ConnectionError", reason: "truncated" })
    }))
})

describe("bytes that are no text", () => {
  it.effect("end a stream after the events before them", () =>
    Effect.gen(function*() {
      const good = bodyOf([...answered.slice(0, 3), said("Zürich 🌦 …")])
      for (const size of [1, 2, 3, 5, 1_000_000]) {
        const bytes = Uint8Array.of(...encode(good), ...encode(named(said("lost"))).fill(0xff, 80))
        const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
          bytes.subarray(i * size, (i + 1) * size))
        const { exit, requests } = yield* calling(() =>
          sse(pieces), stream)
        const error = errorOf(exit)
        assert.deepInclude(error, { _tag: "StreamInterruptedError" })
        assert.strictEqual(MessageStream.textOf((error as ClaudeError.StreamInterruptedError).partial), "HelZürich 🌦 …")
        assert.strictEqual(requests, 1)
      }
    }))

  it.effect("after a plain answer do not matter, nor does anything else", () =>
    Effect.gen(function*() {
      for (const rest of [[0xff], [...encode("\n\n{}")], [...encode("</html>")], [0, 0]]) {
        const bytes = Uint8Array.of(...encode(JSON.stringify({ ...message, stop_sequence: "}\\\"{" })), ...rest)
        const { exit, requests } = yield* calling(
          () => sse([bytes], undefined, { "content-type": "application/json" }),
          plain
        )
        hasText(exit)
        assert.strictEqual(requests, 1)
      }
    }))
})

describe("an answer of another kind than was asked for", () => {
  it.effect("as events is a plain answer", () =>
    Effect.gen(function*() {
      for (const type of ["text/event-stream", "application/json", "text/plain", "application/octet-stream"]) {
        for (const write of [named, unnamed]) {
          const { exit, requests, rows } = yield* calling(
            streamed(bodyOf(answered, write), { "content-type": type }),
            plain
          )
          hasText(exit)
          assert.strictEqual(requests, 1)
          assert.deepInclude(rows[0], { outcome: "completed", confidence: "exact" })
        }
      }
    }))

  it.effect("with null in its content is what is left of it", () =>
    Effect.gen(function*() {
      hasText((yield* calling(() => json({ ...message, content: [null, ...message.content, null] }), plain)).exit)
      for (const call of [plain, stream]) {
        const { exit, rows } = yield* calling(() => json({ ...message, content: null }), call)
        assert.deepStrictEqual(Exit.isSuccess(exit) ? exit.value.content : exit, [])
        assert.deepInclude(rows[0], { outcome: "completed", confidence: "exact" })
      }
    }))

  it.effect("with an error that says nothing is an answer", () =>
    Effect.gen(function*() {
      for (const error of [null, false, "", {}, 0]) {
        for (const call of [plain, stream]) {
          const { exit, requests } = yield* calling(() => json({ ...message, error }), call)
          hasText(exit)
          assert.strictEqual(requests, 1)
        }
      }
      const { exit } = yield* calling(() => json({ ...message, error: { type: "overloaded_error" } }), plain)
      assert.deepInclude(errorOf(exit), { _tag: "ServerError", overloaded: true })
    }))

  it.effect("as an error event is that error of a plain call", () =>
    Effect.gen(function*() {
      const body = { type: "error", error: { type: "invalid_request_error", message: "no" } }
      const { exit, requests } = yield* calling(streamed(named(body)), Effect.flip(plain))
      assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, { _tag: "BadRequestError", detail: "no" })
      assert.strictEqual(requests, 1)
    }))

  const whole = {
    ...message,
    stop_reason: "tool_use",
    content: [
      { type: "thinking", thinking: "Well", signature: "s" },
      { type: "text", text: "Hello.", citations: [{ type: "char_location", cited_text: "x" }] },
      { type: "redacted_thinking", data: "abc" },
      { ...use, input: { a: 1 } },
      { type: "web_search_tool_result", tool_use_id: "t", content: [] }
    ]
  }

  it.effect("as JSON is a stream", () =>
    Effect.gen(function*() {
      for (const type of ["application/json", "text/event-stream", "application/octet-stream", ""]) {
        for (const size of [7, 1_000_000]) {
          const bytes = encode(`\n ${JSON.stringify(whole)}`)
          const pieces = Array.from(
            { length: Math.ceil(bytes.length / size) },
            (_, i) => bytes.subarray(i * size, (i + 1) * size)
          )
          const { exit, requests, rows } = yield* calling(
            () => sse(pieces, undefined, { "content-type": type }),
            stream
          )
          if (Exit.isFailure(exit)) return assert.fail(String(exit))
          assert.deepInclude(exit.value, whole as never)
          assert.strictEqual(requests, 1)
          assert.deepInclude(rows[0], { outcome: "completed", confidence: "exact", stopReason: "tool_use" })
        }
      }
      const { exit } = yield* calling(
        () => json(whole),
        Stream.mkString(MessageStream.text(ClaudeService.stream(hello)))
      )
      assert.strictEqual(Exit.isSuccess(exit) ? exit.value : exit, "Hello.")
    }))

  it.effect("as JSON is the error of a stream, once", () =>
    Effect.gen(function*() {
      const error = { type: "error", error: { type: "invalid_request_error", message: "no" } }
      for (const body of [error, [error], { error: "no" }]) {
        const { exit, requests } = yield* calling(() => json(body), stream)
        assert.deepInclude(errorOf(exit), { detail: "no" })
        // An error that does not say what it is may pass.
        assert.strictEqual(requests, JSON.stringify(body).includes("invalid") ? 1 : 4)
      }
    }))

  it.effect("as a stream of bytes is a stream", () =>
    Effect.gen(function*() {
      for (const type of ["application/octet-stream", "text/plain", "binary/octet-stream", "text/html", ""]) {
        const { exit, requests } = yield* calling(streamed(bodyOf(answered), { "content-type": type }), stream)
        hasText(exit)
        assert.strictEqual(requests, 1)
      }
    }))

  it.effect("is none where it is neither", () =>
    Effect.gen(function*() {
      for (const body of ["Welcome", "{\"hello\":\"world\"}", "[]"]) {
        const { exit, requests } = yield* calling(streamed(body, { "content-type": "text/plain" }), stream)
        assert.deepInclude(errorOf(exit), { _tag: "ConnectionError", reason: "malformed" })
        assert.strictEqual(requests, 1)
      }
    }))
})

describe("pings", () => {
  /** Pings for twelve minutes, then the answer. */
  const waiting = (end: (controller: ReadableStreamDefaultController<Uint8Array>) => void) =>
    Effect.map(Effect.context<never>(), (context) => () => {
      let sent = 0
      const ping = encode("event: ping\ndata: {\"type\":\"ping\"}\n\n")
      return new Response(
        new ReadableStream<Uint8Array>({
          pull: async (controller) => {
            if (sent++ === 0) return controller.enqueue(encode(named(started())))
            await Effect.runPromiseWith(context)(Effect.sleep("15 seconds"))
            if (sent < 49) return controller.enqueue(ping)
            controller.enqueue(encode(bodyOf(answered.slice(1))))
            end(controller)
          }
        }, { highWaterMark: 0 }),
        { headers: { "content-type": "text/event-stream" } }
      )
    })

  it.effect("are life: content is not owed while they come", () =>
    Effect.gen(function*() {
      const answer = yield* waiting((controller) => controller.close())
      const { exit, requests } = yield* calling(answer, stream)
      hasText(exit)
      assert.strictEqual(requests, 1)
      assert.isAbove(yield* Clock.currentTimeMillis, 700_000)
    }))

  it.effect("are shown to readers who ask for them", () =>
    Effect.gen(function*() {
      const answer = yield* waiting((controller) => controller.close())
      for (const pings of [true, false]) {
        const { exit } = yield* calling(answer, Stream.runCollect(ClaudeService.stream(hello)), { api: { pings } })
        const types = Exit.isSuccess(exit) ? exit.value.map(({ type }) => type as string) : []
        assert.strictEqual(types.filter((type) => type === "ping").length, pings ? 47 : 0)
        assert.strictEqual(types.at(-1), "message_stop")
      }
    }))
})

describe("fields of another type", () => {
  for (const wrong of [7, true, {}, ["a"], ""]) {
    it.effect(`such as ${JSON.stringify(wrong)} lose neither the answer nor its row`, () =>
      Effect.gen(function*() {
        const fields = { model: wrong, stop_reason: wrong, id: wrong, stop_details: wrong }
        const start = started({ model: wrong, id: wrong })
        const end = ended({ delta: { stop_reason: wrong, stop_sequence: wrong, stop_details: wrong } })
        const body = bodyOf([start, ...answered.slice(1, 5), end, over])
        for (
          const [answer, call] of [[() => json({ ...message, ...fields }), plain], [streamed(body), stream]] as const
        ) {
          const { exit, requests, rows } = yield* calling<unknown, unknown>(answer, call)
          hasText(exit)
          assert.strictEqual(requests, 1)
          assert.strictEqual(rows.length, 1)
          assert.deepInclude(rows[0], { outcome: "completed", confidence: "exact" })
        }
        const { exit } = yield* calling(
          () => json({ ...message, ...fields }),
          Effect.flip(ClaudeService.ClaudeService.use((claude) => claude.text(hello))) as never
        )
        assert.deepInclude(Exit.isSuccess(exit) ? exit.value : exit, {
          _tag: "IncompleteAnswerError",
          reason: "unknown"
        })
      }))
  }
})

describe("two answers that a proxy spliced", () => {
  const second = [started({ id: "msg_2" }), ...answered.slice(1)]
  it.effect("are an error, never one answer", () =>
    Effect.gen(function*() {
      const first = [started(), block(0, text), said("One"), stop(0), block(1, use)]
      for (let length = 1; length <= first.length; length++) {
        const { exit, requests } = yield* calling(streamed(bodyOf([...first.slice(0, length), ...second])), stream)
        const error = errorOf(exit)
        assert.strictEqual(requests, 1)
        if (error._tag !== "StreamInterruptedError") {
          assert.deepInclude(error, { _tag: "ConnectionError", reason: "malformed" })
        } else {
          assert.deepInclude(error.cause, { _tag: "ConnectionError", reason: "malformed" })
          assert.notInclude(JSON.stringify(error.partial), "tool_use")
        }
        assert.include(error.message, "another answer began")
      }
    }))

  it.effect("are an error where neither has a name", () =>
    Effect.gen(function*() {
      const nameless = started({ id: null })
      const body = bodyOf([nameless, block(0, text), said("One"), nameless, ...answered.slice(1)])
      assert.include(String(errorOf((yield* calling(streamed(body), stream)).exit).message), "another answer began")
      hasText((yield* calling(streamed(bodyOf([nameless, nameless, ...answered.slice(1)])), stream)).exit)
    }))

  it("are the second for who adds their events up", () => {
    const accumulator = MessageStream.accumulate()
    const first = [
      started(),
      block(0, use),
      delta(0, { type: "input_json_delta", partial_json: "{}" }),
      stop(0),
      block(1, use)
    ]
    for (const event of [...first, ...second]) accumulator.add(event as never)
    assert.deepInclude(accumulator.message(), { id: "msg_2" })
    assert.deepStrictEqual(accumulator.message()?.content.map(({ type }) => type), ["text"])
  })

  it.effect("cross a wire as an error, whatever numbers came", () =>
    Effect.gen(function*() {
      const body = bodyOf([started(), ...answered.slice(1, 4)]).replace("\"input_tokens\":9", "\"input_tokens\":9e999")
      const { exit } = yield* calling(streamed(body), stream)
      const encode = Schema.encodeUnknownExit(Schema.toCodecJson(ClaudeError.StreamError))
      assert.isTrue(Exit.isSuccess(encode(errorOf(exit))))
    }))

  it.effect("without a start are no answer", () =>
    Effect.gen(function*() {
      const { exit, requests } = yield* calling(streamed(bodyOf(answered.slice(1))), stream)
      assert.deepInclude(errorOf(exit), { _tag: "ConnectionError", reason: "malformed" })
      assert.strictEqual(requests, 1)
    }))
})

describe("blocks that grow in their own ways", () => {
  const adding = (events: ReadonlyArray<Data>) =>
    MessageStream.message(Stream.fromIterable([started(), ...events, ended(), over] as never)).pipe(
      Effect.map(({ content }) => content as ReadonlyArray<unknown>)
    )

  const grown: Record<string, readonly [events: ReadonlyArray<Data>, content: ReadonlyArray<object>]> = {
    "text in its start": [
      [block(0, { ...text, text: "Hel" }), said("lo."), stop(0)],
      [{ ...text, text: "Hello." }]
    ],
    "text in its start alone": [[block(0, { ...text, text: "Hello." }), stop(0)], [{ ...text, text: "Hello." }]],
    "input in its start": [[block(0, { ...use, input: { a: 1 } }), stop(0)], [{ ...use, input: { a: 1 } }]],
    ...Object.fromEntries(
      ["tool_use", "server_tool_use", "mcp_tool_use", "tool_use_to_come", "of_tomorrow"].map((type) => [
        `input of ${type}`,
        [
          [
            block(0, { ...use, type }),
            delta(0, { type: "input_json_delta", partial_json: "{\"a\":" }),
            delta(0, { type: "input_json_delta", partial_json: "[1]}" }),
            stop(0)
          ],
          [{ ...use, type, input: { a: [1] } }]
        ] as const
      ])
    ),
    "a compaction": [
      [
        block(0, { type: "compaction", content: null }),
        delta(0, { type: "compaction_delta", content: "In short", encrypted_content: "e" }),
        stop(0)
      ],
      [{ type: "compaction", content: "In short", encrypted_content: "e" }]
    ],
    "a compaction that failed": [
      [block(0, { type: "compaction", content: null }), delta(0, { type: "compaction_delta", content: null }), stop(0)],
      [{ type: "compaction", content: null }]
    ],
    "thinking in its start": [
      [
        block(0, { type: "thinking", thinking: "We", signature: "" }),
        delta(0, { type: "thinking_delta", thinking: "ll" }),
        delta(0, { type: "signature_delta", signature: "s" }),
        stop(0)
      ],
      [{ type: "thinking", thinking: "Well", signature: "s" }]
    ],
    "a block of tomorrow": [
      [
        block(0, { type: "poem", lines: ["a"], mood: null }),
        delta(0, { type: "poem_delta", lines: ["b"], verse: "x", mood: "sad" }),
        delta(0, { type: "poem_delta", verse: "y", metre: 5 }),
        stop(0)
      ],
      [{ type: "poem", lines: ["a", "b"], mood: "sad", verse: "xy", metre: 5 }]
    ],
    "blocks that all have one index": [
      [block(0, { ...text, text: "a" }), stop(0), block(0, { ...text, text: "b" }), said("c"), stop(0)],
      [{ ...text, text: "a" }, { ...text, text: "bc" }]
    ],
    "citations": [
      [
        block(0, text),
        delta(0, { type: "citations_delta", citation: { n: 1 } }),
        delta(0, { type: "citations_delta", citation: { n: 2 } }),
        stop(0)
      ],
      [{ ...text, citations: [{ n: 1 }, { n: 2 }] }]
    ]
  }
  for (const [name, [events, content]] of Object.entries(grown)) {
    it.effect(`are whole: ${name}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* adding(events), content)
        const { exit, requests } = yield* calling(streamed(bodyOf([started(), ...events, ended(), over])), stream)
        assert.deepStrictEqual(Exit.isSuccess(exit) ? exit.value.content as unknown : exit, content)
        assert.strictEqual(requests, 1)
      }))
  }

  it.effect("give all of their text", () =>
    Effect.gen(function*() {
      const events = [block(0, { ...text, text: "Hel" }), said("lo."), stop(0)]
      assert.deepStrictEqual(yield* Stream.runCollect(MessageStream.text(Stream.fromIterable(events as never))), [
        "Hel",
        "lo."
      ])
    }))

  it.effect("are retried transparently only while they show nothing", () =>
    Effect.gen(function*() {
      const empty = [
        block(0, text),
        block(0, use),
        block(0, { ...use, type: "mcp_tool_use" }),
        block(0, { type: "compaction", content: null })
      ]
      for (const start of empty) {
        const { exit, requests } = yield* calling(
          (n) => sse([encode(n === 1 ? bodyOf([started(), start]) : bodyOf(answered))]),
          stream
        )
        hasText(exit)
        assert.strictEqual(requests, 2)
      }
      for (const start of [block(0, { ...text, text: "Hel" }), block(0, { ...use, input: { a: 1 } })]) {
        const { exit, requests } = yield* calling(streamed(bodyOf([started(), start])), stream)
        assert.deepInclude(errorOf(exit), { _tag: "StreamInterruptedError" })
        assert.strictEqual(requests, 1)
      }
    }))

  it.effect("name the model that goes on where another one gave up", () =>
    Effect.gen(function*() {
      const fallback = { type: "fallback", from: { model: "claude-opus-4-6" }, to: { model: "claude-sonnet-4-6" } }
      const { exit, rows } = yield* calling(
        streamed(
          bodyOf([
            started(),
            block(0, fallback),
            stop(0),
            block(1, { ...text, text: "Hello." }),
            stop(1),
            ended(),
            over
          ])
        ),
        stream
      )
      hasText(exit)
      assert.deepInclude(Exit.isSuccess(exit) ? exit.value : {}, { model: "claude-sonnet-4-6" })
      assert.deepInclude(rows[0], { model: "claude-sonnet-4-6" })
    }))
})
