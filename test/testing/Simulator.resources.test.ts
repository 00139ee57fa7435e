import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as Reconciliation from "../../src/Reconciliation.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import * as Asking from "../utils/asking.ts"
import { between } from "../utils/between.ts"

const { ask, send } = Asking

const using = (options?: Simulator.Options) => Effect.provide(Simulator.layer(options))
const get = (path: string, headers = {}) => send(undefined, { path, headers })
const post = (path: string, body: unknown = {}) => send(body, { path })
const remove = (path: string) => send(undefined, { path, method: "DELETE" })
const code = ({ json, status }: Asking.Answered) => [status, json.error?.details?.error_code]

const keys = [
  { key: Simulator.apiKey, label: "a", organization: "org", workspace: "one" },
  { key: "sk-other", label: "b", organization: "org", workspace: "two" }
]
const stranger = { "x-api-key": "sk-other" }

describe("Simulator batches", () => {
  const batches = "/v1/messages/batches"
  const item = (custom_id: string, params: object = {}) => ({ custom_id, params: { ...ask, ...params } })
  const create = (...requests: ReadonlyArray<object>) => Effect.map(post(batches, { requests }), ({ json }) => json)
  const resultsOf = (id: string) =>
    Effect.map(
      get(`${batches}/${id}/results`),
      ({ text }) =>
        text.trimEnd().split("\n").map((line) => JSON.parse(line)).map((
          { custom_id, result }
        ) => [custom_id, result.type])
    )

  it.effect("run at half the price, and say what became of each request", () =>
    Effect.gen(function*() {
      const batch = yield* create(
        item("good"),
        item("bad", { max_tokens: -1 }),
        item("stream", { stream: true }),
        item("thread", { thread: { type: "create" } })
      )
      assert.deepInclude(batch, { processing_status: "in_progress", ended_at: null, results_url: null })
      assert.strictEqual(batch.request_counts.processing, 4)
      const { json } = yield* get(`${batches}/${batch.id}`)
      assert.deepInclude(json, {
        processing_status: "ended",
        results_url: `https://api.test${batches}/${batch.id}/results`,
        request_counts: { processing: 0, succeeded: 1, errored: 3, canceled: 0, expired: 0 }
      })
      assert.deepStrictEqual(yield* resultsOf(batch.id), [
        ["good", "succeeded"],
        ["bad", "errored"],
        ["stream", "errored"],
        ["thread", "errored"]
      ])
      yield* Asking.answer({})
      const { rows: [cheap, dear] } = yield* Simulator.Simulator.use(({ bill }) => bill)
      assert.deepStrictEqual([cheap?.tier, dear?.tier], ["batch", "standard"])
      assert.deepStrictEqual(cheap?.usage, dear?.usage)
      assert.strictEqual(cheap!.nanoUsd! * 2, dear!.nanoUsd)
    }).pipe(using()))

  it.effect("take their time, and can be canceled within it", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* create(item("a")), yield* create(item("a"))]
      assert.strictEqual((yield* get(`${batches}/${one.id}`)).json.processing_status, "in_progress")
      assert.strictEqual((yield* get(`${batches}/${one.id}/results`)).status, 404)
      assert.strictEqual((yield* remove(`${batches}/${one.id}`)).status, 400)
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual((yield* post(`${batches}/${two.id}/cancel`)).json.processing_status, "canceling")
      const canceled = (yield* get(`${batches}/${two.id}`)).json
      assert.deepStrictEqual([canceled.processing_status, canceled.request_counts.canceled], ["ended", 1])
      assert.deepStrictEqual(yield* resultsOf(two.id), [["a", "canceled"]])
      yield* TestClock.adjust("50 minutes")
      const ended = (yield* get(`${batches}/${one.id}`)).json
      assert.deepStrictEqual([ended.processing_status, ended.ended_at], ["ended", "1970-01-01T01:00:00.000Z"])
      assert.strictEqual((yield* post(`${batches}/${one.id}/cancel`)).status, 400)
      assert.strictEqual((yield* remove(`${batches}/${one.id}`)).json.type, "message_batch_deleted")
      assert.strictEqual((yield* get(`${batches}/${one.id}`)).status, 404)
    }).pipe(using({ batchTime: "1 hour" })))

  it.effect("expire after a day", () =>
    Effect.gen(function*() {
      const { id } = yield* create(item("a"), item("b"))
      yield* TestClock.adjust("24 hours")
      assert.deepInclude((yield* get(`${batches}/${id}`)).json.request_counts, { expired: 2, succeeded: 0 })
      assert.deepStrictEqual((yield* Simulator.Simulator.use(({ bill }) => bill)).rows, [])
    }).pipe(using({ batchTime: "2 days" })))

  it.effect("are refused as a whole for a list that is none, and belong to a workspace", () =>
    Effect.gen(function*() {
      const lists = [undefined, [], [item("a"), item("a")], [item("a b")], [{ custom_id: "a" }], [{
        ...item("a"),
        x: 1
      }]]
      for (const requests of lists) assert.strictEqual((yield* post(batches, { requests })).status, 400)
      const { id } = yield* create(item("a"))
      assert.strictEqual((yield* get(`${batches}/${id}`, stranger)).status, 404)
      assert.deepStrictEqual((yield* get(batches, stranger)).json.data, [])
      assert.strictEqual((yield* get(batches)).json.data.length, 1)
    }).pipe(using({ keys })))
})

describe("Simulator files", () => {
  const form = (
    name: string,
    content: BlobPart,
    fields: Readonly<Record<string, string>> = {},
    type = "text/plain"
  ) => {
    const data = new FormData()
    for (const [field, value] of Object.entries(fields)) data.set(field, value)
    data.set("file", new Blob([content], { type }), name)
    return data
  }
  const upload = (...options: Parameters<typeof form>) =>
    Effect.map(post("/v1/files", form(...options)), ({ json }) => json)
  const read = (file_id: string, type = "document") =>
    send({ ...ask, messages: [{ role: "user", content: [{ type, source: { type: "file", file_id } }] }] })

  it.effect("are uploaded, described, used and deleted", () =>
    Effect.gen(function*() {
      const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i % 256)
      const file = yield* upload("Übersicht 1.pdf", bytes, {}, "application/pdf")
      assert.deepInclude(file, {
        type: "file",
        filename: "Übersicht 1.pdf",
        mime_type: "application/pdf",
        size_bytes: bytes.length,
        created_at: "1970-01-01T00:00:00.000Z",
        downloadable: false
      })
      assert.deepStrictEqual((yield* get(`/v1/files/${file.id}`)).json, file)
      assert.deepStrictEqual(code(yield* get(`/v1/files/${file.id}/content`)), [400, "file_not_downloadable"])
      assert.strictEqual((yield* read(file.id)).status, 200)
      assert.strictEqual((yield* remove(`/v1/files/${file.id}`)).json.type, "file_deleted")
      assert.deepStrictEqual((yield* get("/v1/files")).json.data, [])
    }).pipe(using()))

  it.effect("that nobody has uploaded, that were deleted, or that are of another workspace are refused wherever they stand", () =>
    Effect.gen(function*() {
      const { id } = yield* upload("a.txt", "x")
      const result = (file_id: string) => {
        const image = { type: "image", source: { type: "file", file_id } }
        const use = { type: "tool_use", id: "t1", name: "look", input: {} }
        const content = [{ type: "tool_result", tool_use_id: "t1", content: [image] }]
        return { messages: [Asking.question, { role: "assistant", content: [use] }, { role: "user", content }] }
      }
      assert.strictEqual((yield* send({ ...ask, ...result(id) })).status, 200)
      const missing = yield* read("file_unknown")
      assert.deepStrictEqual([missing.status, missing.json.error.type], [404, "not_found_error"])
      assert.include(missing.json.error.message, "file_unknown")
      assert.strictEqual((yield* send({ ...ask, ...result("file_unknown") })).status, 404)
      const container = {
        messages: [{ role: "user", content: [{ type: "container_upload", file_id: "file_unknown" }] }]
      }
      assert.strictEqual((yield* send({ ...ask, ...container })).status, 404)
      assert.strictEqual((yield* get(`/v1/files/${id}`, stranger)).status, 404)
    }).pipe(using({ keys })))

  it.effect("expire when they say", () =>
    Effect.gen(function*() {
      const file = yield* upload("a.txt", "x", { expires_in_seconds: "3600" })
      assert.strictEqual(file.expires_at, "1970-01-01T01:00:00.000Z")
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual((yield* read(file.id)).status, 200)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(code(yield* read(file.id)), [404, "file_expired"])
      assert.deepStrictEqual((yield* get("/v1/files")).json.data, [])
    }).pipe(using()))

  it.effect("need a form with a file of a proper name", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* post("/v1/files", {})).status, 400)
      assert.strictEqual((yield* post("/v1/files", new FormData())).status, 400)
      const noFile = new FormData()
      noFile.set("file", "a text")
      assert.strictEqual((yield* post("/v1/files", noFile)).status, 400)
      assert.strictEqual((yield* post("/v1/files", form("a|b.txt", "x"))).status, 400)
      assert.strictEqual((yield* post("/v1/files", form("a.txt", "x", { expires_in_seconds: "-1" }))).status, 400)
    }).pipe(using()))

  it.effect.prop(
    "come through with every byte, whatever their boundary",
    { bytes: Schema.Array(between(0, 255)) },
    ({ bytes }) =>
      Effect.gen(function*() {
        const content = Uint8Array.from([...bytes, 13, 10, 45, 45, ...bytes])
        assert.strictEqual((yield* upload("a.bin", content)).size_bytes, content.length)
      }).pipe(using())
  )

  it.effect("are listed in pages, the newest first, and by id", () =>
    Effect.gen(function*() {
      const ids: Array<string> = []
      for (const name of ["a", "b", "c"]) ids.unshift((yield* upload(name, "x")).id)
      const first = (yield* get("/v1/files?limit=2")).json
      assert.deepStrictEqual([first.data.map(({ id }: { id: string }) => id), first.has_more], [ids.slice(0, 2), true])
      const second = (yield* get(`/v1/files?limit=2&page=${first.next_page}`)).json
      assert.deepStrictEqual([second.data[0].id, second.data.length, second.next_page], [ids[2], 1, null])
      assert.strictEqual((yield* get(`/v1/files?ids[]=${ids[1]}&ids[]=file_unknown`)).json.data[0].id, ids[1])
    }).pipe(using()))
})

describe("Simulator models", () => {
  it.effect("have a lifecycle by the clock, and say what they can do", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-26"))
      const model = (id: string) => Effect.map(get(`/v1/models/${id}`), ({ json }) => json)
      const lifecycle = (id: string) => Effect.map(model(id), ({ lifecycle }) => lifecycle)
      assert.deepStrictEqual(
        [
          yield* lifecycle("claude-opus-5-5"),
          yield* lifecycle("claude-sonnet-4-5"),
          yield* lifecycle("claude-opus-4-1-20250805")
        ],
        ["active", "deprecated", "retired"]
      )
      const old = yield* model("claude-sonnet-4-5")
      assert.deepStrictEqual([old.deprecated_at, old.retires_at], ["2026-09-30T00:00:00Z", "2026-11-30T00:00:00Z"])
      yield* TestClock.setTime(Date.parse("2026-11-30"))
      assert.strictEqual(yield* lifecycle("claude-sonnet-4-5"), "retired")
      const { capabilities } = yield* model("claude-opus-5-5")
      assert.deepStrictEqual(capabilities.thinking.types, {
        adaptive: { supported: true },
        between_tools: { supported: false },
        disabled: { supported: false },
        enabled: { supported: false }
      })
      assert.isTrue(capabilities.effort.max.supported && capabilities.structured_outputs.supported)
      assert.isFalse((yield* model("claude-haiku-4-5")).capabilities.effort.supported)
    }).pipe(using()))

  it.effect("refuse exactly the thinking that their capabilities do not name", () =>
    Effect.gen(function*() {
      const { data } = (yield* get("/v1/models?limit=1000")).json
      const kinds = { disabled: {}, enabled: { budget_tokens: 1_024 } }
      for (const { capabilities, id } of data) {
        for (const [type, fields] of Object.entries(kinds)) {
          const thinking = { type, ...fields }
          const { status } = yield* send({ ...ask, model: id, max_tokens: 2_000, thinking })
          assert.strictEqual(status === 200, capabilities.thinking.types[type].supported, `${id} ${type}`)
        }
      }
    }).pipe(using()))
})

describe("Simulator reports", () => {
  const admin = { "x-api-key": Simulator.adminKey }
  const usage = "/v1/organizations/usage_report/messages?starting_at=2026-11-20T00:00:00Z"
  const cost = "/v1/organizations/cost_report?starting_at=2026-11-20T00:00:00Z"

  it.effect("tell usage and cost as the bill has them, by day and by model", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-20T10:00:00Z"))
      yield* Asking.answer({})
      yield* Asking.answer({ model: "claude-sonnet-5-5" })
      yield* TestClock.adjust("1 day")
      yield* Asking.answer({})
      yield* TestClock.adjust("1 hour")
      const { rows, totals } = yield* Simulator.Simulator.use(({ bill }) => bill)
      const report = (yield* get(`${usage}&group_by[]=model`, admin)).json
      const ours = yield* Reconciliation.fromUsageReport(report)
      assert.deepStrictEqual(ours.map(({ day, model }) => [day, model]), [
        ["2026-11-20", "claude-opus-5-5"],
        ["2026-11-20", "claude-sonnet-5-5"],
        ["2026-11-21", "claude-opus-5-5"]
      ])
      assert.deepStrictEqual(ours.map(({ inputTokens }) => inputTokens), rows.map(({ usage }) => usage.input))
      const money = (yield* get(`${cost}&group_by[]=description`, admin)).json
      const cents = money.data.flatMap(({ results }: { results: ReadonlyArray<{ amount: string }> }) => results)
        .reduce((sum: number, { amount }: { amount: string }) => sum + Number(amount), 0)
      assert.approximately(cents * 1e7, totals.nanoUsd, 1e-3)
      assert.match(money.data[0].results[0].amount, /^\d+\.\d{7}$/)
    }).pipe(using()))

  it.effect("come in pages, of minutes, hours or days", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-20T10:00:00Z"))
      yield* Asking.answer({})
      yield* TestClock.adjust("4 hours")
      const page = (yield* get(`${usage}&bucket_width=1h&limit=11`, admin)).json
      assert.deepStrictEqual([page.data.length, page.has_more], [11, true])
      assert.strictEqual(page.data[10].results.length, 1)
      const next = (yield* get(`${usage}&bucket_width=1h&limit=11&page=${page.next_page}`, admin)).json
      assert.deepStrictEqual([next.data.length, next.has_more, next.next_page], [3, false, null])
    }).pipe(using()))

  it.effect("take a key of the Admin API, which is good for nothing else", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* get(usage)).status, 403)
      const asked = yield* send(ask, { headers: admin })
      assert.deepStrictEqual([asked.status, asked.headers.get("anthropic-workspace-id")], [403, null])
      for (const wrong of ["&bucket_width=1y", "&limit=0", "&group_by[]=mood", "&ending_at=x"]) {
        assert.strictEqual((yield* get(`${usage}${wrong}`, admin)).status, 400)
      }
      assert.strictEqual((yield* get("/v1/organizations/usage_report/messages", admin)).status, 400)
    }).pipe(using()))
})
