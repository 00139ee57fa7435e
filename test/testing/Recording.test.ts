import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Recording from "../../src/testing/Recording.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as Asking from "../utils/asking.ts"

const { ask } = Asking

const secret = "sk-ant-api03-planted-secret-0123456789"
const hello = { type: "message", role: "assistant", content: [{ type: "text", text: "Yesterday." }] }
const events = [
  `event: message_start\ndata: {"type":"message_start"}\n\n`,
  `event: message_stop\ndata: {"type":"message_stop"}\n\n`
]

const har = JSON.stringify({
  log: {
    entries: [
      { request: { method: "GET", url: "https://claude.example/index.html" }, response: { status: 200, headers: [] } },
      {
        request: {
          method: "POST",
          url: `https://api.anthropic.com/v1/messages?beta=true&key=${secret}`,
          headers: [{ name: "Authorization", value: `Bearer ${secret}` }],
          postData: { mimeType: "application/json", text: JSON.stringify(ask) }
        },
        response: {
          status: 200,
          headers: [
            { name: "Content-Type", value: "application/json" },
            { name: "Set-Cookie", value: "session=planted-cookie" },
            { name: "Request-Id", value: "req_real" },
            { name: "anthropic-ratelimit-requests-remaining", value: "7" }
          ],
          content: { text: btoa(JSON.stringify({ ...hello, key: secret })), encoding: "base64" }
        }
      },
      {
        request: {
          method: "POST",
          url: "https://api.anthropic.com/v1/messages",
          postData: { text: JSON.stringify({ ...ask, stream: true }) }
        },
        response: {
          status: 200,
          headers: [{ name: "content-type", value: "text/event-stream" }],
          content: { text: events.join("") }
        }
      }
    ]
  }
})

const line = (status: number, body: unknown, request: object = {}) =>
  JSON.stringify({ request: { path: "/v1/messages", body: ask, ...request }, response: { status, body } })

const replaying =
  (text: string, options?: Simulator.Options) => <A, E>(effect: Effect.Effect<A, E, Simulator.Simulator>) =>
    Effect.flatMap(
      Recording.parse(text),
      (recording) => Effect.provide(effect, Simulator.layer({ ...options, recording }))
    )

describe("Recording", () => {
  it.effect("of a HAR is answered again, and other requests as usual", () =>
    Effect.gen(function*() {
      const again = yield* Asking.send(ask)
      assert.strictEqual(again.json.content[0].text, "Yesterday.")
      assert.deepStrictEqual(
        ["request-id", "anthropic-ratelimit-requests-remaining"].map((name) => again.headers.get(name)),
        ["req_real", "7"]
      )
      assert.strictEqual((yield* Asking.send({ ...ask, stream: true })).text, events.join(""))
      assert.match((yield* Asking.send({ ...ask, max_tokens: 999 })).text, /You asked/)
      const unknown = yield* Asking.send(ask, { headers: { "x-api-key": "sk-unknown" } })
      assert.strictEqual(unknown.status, 401)
    }).pipe(replaying(har)))

  it.effect("is answered again also where the simulator has nothing of its own", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Asking.send(undefined, { path: "/v1/skills" })).text, "[]")
      assert.strictEqual((yield* Asking.send({}, { path: "/v1/skills" })).status, 404)
      assert.strictEqual((yield* Asking.send(undefined, { path: "/v1/agents" })).status, 404)
    }).pipe(replaying(line(200, [], { method: "GET", path: "/v1/skills", body: undefined }))))

  it.effect("leaves out what no header can carry", () =>
    Effect.gen(function*() {
      const entry = {
        request: { path: "/v1/messages", body: ask },
        response: { status: 200, headers: { "request-id": "req\ufeff", "retry-after": "1\n2" }, body: hello }
      }
      const [exchange] = yield* Recording.parse(JSON.stringify(entry))
      assert.deepStrictEqual(exchange?.headers, { "content-type": "application/json" })
    }))

  it.effect.each([204, 205, 304])("of an answer with %i has no body", (status) => {
    const headers = { "content-type": "text/event-stream" }
    const entry = { request: { path: "/v1/messages", body: ask }, response: { status, headers, body: events.join("") } }
    return Effect.map(Asking.send(ask), (again) => assert.deepStrictEqual([again.status, again.text], [status, ""]))
      .pipe(
        replaying(JSON.stringify(entry))
      )
  })

  it.effect("is found by the values of a request, whatever the order of its fields", () =>
    Effect.gen(function*() {
      const reversed = Object.fromEntries(Object.entries(ask).reverse())
      assert.strictEqual((yield* Asking.send(reversed)).json.content[0].text, "Yesterday.")
    }).pipe(replaying(har)))

  it.effect("gives several answers to equal requests in their order, then the last again and again", () =>
    Effect.gen(function*() {
      const statuses = yield* Effect.forEach([1, 2, 3, 4], () => Effect.map(Asking.send(ask), ({ status }) => status))
      assert.deepStrictEqual(statuses, [529, 200, 429, 429])
    }).pipe(replaying([line(529, { type: "error" }), line(200, hello), "", line(429, { type: "error" })].join("\n"))))

  it.effect("can be struck by faults within a stream", () =>
    Effect.gen(function*() {
      yield* Simulator.Simulator.use(({ inject }) => inject(Simulator.Fault.Truncate({ after: { events: 1 } })))
      assert.strictEqual((yield* Asking.send({ ...ask, stream: true })).text, events[0])
    }).pipe(replaying(har)))

  it.effect("keeps no secret, and is the same after it was written and read", () =>
    Effect.gen(function*() {
      const exchanges = yield* Recording.parse(har)
      const lines = Recording.toJsonLines(exchanges)
      for (const planted of [secret, "planted", "Bearer"]) assert.notInclude(lines, planted)
      assert.deepStrictEqual(yield* Recording.parse(lines), exchanges)
      assert.lengthOf(exchanges, 2)
    }))

  it.effect("is read with a byte order mark, as a list, and as one entry over several lines", () =>
    Effect.gen(function*() {
      const one = JSON.parse(line(200, hello)) as unknown
      const exchanges = yield* Recording.parse(line(200, hello))
      for (const text of [`\ufeff${line(200, hello)}`, JSON.stringify([one]), JSON.stringify(one, undefined, 2)]) {
        assert.deepStrictEqual(yield* Recording.parse(text), exchanges)
      }
      assert.lengthOf(yield* Recording.parse(`\ufeff${har}`), 2)
    }))

  it.effect("leaves out requests that got no answer, as browsers save them", () =>
    Effect.gen(function*() {
      const exchanges = yield* Recording.parse([line(0, undefined), line(200, hello)].join("\n"))
      assert.deepStrictEqual(exchanges.map(({ status }) => status), [200])
    }))

  it.effect("keeps no key that is escaped or stands in the path", () =>
    Effect.gen(function*() {
      const escaped = JSON.stringify({ ...ask, system: secret }).replaceAll("-", "\\u002d")
      const lines = Recording.toJsonLines(
        yield* Recording.parse([
          line(200, hello, { body: escaped }),
          line(200, hello, { path: `/v1/organizations/api_keys/${secret}` })
        ].join("\n"))
      )
      assert.notInclude(lines, "planted")
      assert.include(lines, "sk-ant-removed")
    }))

  const wrong: ReadonlyArray<readonly [name: string, text: string, says: RegExp]> = [
    ["nothing", "", /no request to the API/],
    ["a line that is no JSON", `${line(200, hello)}\n{oops`, /entry 2: no request and response/],
    ["a HAR without entries of the API", `{"log":{"entries":[]}}`, /no request to the API/],
    ["an answer without a status", line(99, hello), /entry 1: no status/],
    [
      "an answer in an encoding that is not known",
      JSON.stringify({
        request: { url: "https://api.test/v1/models" },
        response: { status: 200, content: { text: "AA", encoding: "base32" } }
      }),
      /entry 1: a body in an unknown encoding/
    ],
    [
      "an answer whose body was left out",
      JSON.stringify({
        request: { url: "https://api.test/v1/models" },
        response: { status: 200, content: { size: 9 } }
      }),
      /entry 1: the body of the answer was not saved/
    ],
    ["a request without a path", line(200, hello, { path: 7 }), /entry 1: no path or URL/],
    [
      "a body that cannot be decoded",
      JSON.stringify({
        request: { path: "/v1/models" },
        response: { status: 200, content: { text: "%%%", encoding: "base64" } }
      }),
      /entry 1: a body that cannot be decoded/
    ]
  ]
  for (const [name, text, says] of wrong) {
    it.effect(`says what is wrong with ${name}`, () =>
      Effect.map(Effect.flip(Recording.parse(text)), (error) => {
        assert.strictEqual(error._tag, "RecordingError")
        assert.match(error.message, says)
      }))
  }
})
