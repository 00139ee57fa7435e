/** A thousand seeded requests, valid and not: the SDK and the service, each against a simulator of its own, must see and pay the same. */
import Anthropic from "@anthropic-ai/sdk"
import { APIError } from "@anthropic-ai/sdk/core/error"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import * as ClaudeError from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import type { Request } from "effect-claude/Request"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import { Chance } from "./utils/mutate.ts"

const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

const models = [
  "claude-sonnet-5-5",
  "claude-haiku-5-5",
  "claude-opus-5-5",
  "claude-sonnet-4-6",
  "claude-haiku-4-5",
  "claude-fable-5-2",
  "claude-none",
  ""
]

const texts = ["Why is the sky blue?", "Zürich — 🌦", "", "word ".repeat(400), "{\"a\":[1]}", "\u0000\u2028"]

const tool = {
  name: "weather",
  input_schema: {
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer" } },
    required: ["city"]
  }
}

const block = (chance: Chance): unknown =>
  chance.one<unknown>([
    { type: "text", text: chance.one(texts) },
    {
      type: "text",
      text: chance.one(texts),
      cache_control: { type: "ephemeral", ttl: chance.one(["5m", "1h", "2h"]) }
    },
    { type: "image", source: { type: "base64", media_type: "image/png", data: png } },
    { type: "document", source: { type: "text", media_type: "text/plain", data: "A page." } },
    { type: "tool_use", id: "toolu_1", name: "weather", input: {} },
    { type: "tool_result", tool_use_id: "toolu_1", content: chance.one(["rain", [{ type: "text", text: "sun" }]]) },
    null
  ])

const turn = (chance: Chance): unknown => ({
  role: chance.one(["user", "user", "assistant", "system", "nobody"]),
  content: chance.one<unknown>([chance.one(texts), [block(chance)], [block(chance), block(chance)], 7])
})

const histories: ReadonlyArray<(chance: Chance) => ReadonlyArray<unknown>> = [
  (chance) => [{ role: "user", content: chance.one(texts) }],
  (chance) => [{ role: "user", content: [block(chance)] }],
  (chance) => [
    { role: "user", content: "And tomorrow?" },
    { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Zürich" } }] },
    {
      role: "user",
      content: [chance.next() < 0.8 ? { type: "tool_result", tool_use_id: "toolu_1", content: "rain" } : block(chance)]
    }
  ],
  (chance) => Array.from({ length: chance.below(5) }, () => turn(chance))
]

/** Fields that are sent half of the time, and wrong some of that. */
const fields: Readonly<Record<string, ReadonlyArray<unknown>>> = {
  max_tokens: [1, 64, 64, 64, 64, 4_096, 0, -1, 1e9, "64"],
  system: ["Be brief.", [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }], 7],
  tools: [[tool], [tool], [], [tool, tool], "none"],
  tool_choice: [{ type: "auto" }, { type: "any" }, { type: "tool", name: "weather" }, { type: "tool", name: "none" }],
  stop_sequences: [["END"], [], [7]],
  metadata: [{ user_id: "u" }, { user_id: null }],
  thinking: [{ type: "enabled", budget_tokens: 1_024 }, { type: "adaptive" }, { type: "disabled" }, { type: "none" }],
  output_config: [{ effort: "low" }, { format: { type: "json_schema", schema: tool.input_schema } }],
  service_tier: ["auto", "standard_only"],
  speed: ["fast", "standard"],
  inference_geo: ["us", "global"],
  temperature: [0.5],
  cache_control: [{ type: "ephemeral" }, { type: "ephemeral", ttl: "1h" }],
  of_tomorrow: [true]
}

const rare = new Set([
  "temperature",
  "of_tomorrow",
  "speed",
  "inference_geo",
  "cache_control",
  "thinking",
  "metadata",
  "stop_sequences"
])

const requestOf = (chance: Chance): Request => {
  const request: Record<string, unknown> = {
    model: chance.one([...models.slice(0, 6), ...models]),
    max_tokens: 64,
    messages: chance.one(histories)(chance)
  }
  for (const [name, values] of Object.entries(fields)) {
    if (chance.next() < (rare.has(name) ? 0.06 : 0.25)) request[name] = chance.one(values)
  }
  return request as unknown as Request // or none
}

/** Failures that leave keys and limits alone. */
const faults = [409, 413, 422, 500, 503, 504, 529].map((status) => ({
  fault: Simulator.Fault.Status({ status }),
  when: { probability: 0.01 }
}))

/** Same seed, same answers, same prices, and a bill for each side. */
const simulator = Effect.map(
  Effect.suspend(() => Layer.build(Layer.fresh(Simulator.layer({ seed: "differential", billRows: 10_000, faults })))),
  Context.get(Simulator.Simulator)
)

type End = { readonly ok: unknown } | { readonly error: Readonly<Record<string, unknown>> }

const tags: Readonly<Record<number, string>> = {
  401: "AuthError",
  402: "AuthError",
  403: "AuthError",
  429: "RateLimitError"
}

/** What an error of the SDK should be here. */
const ofSdk = (error: unknown): End => {
  if (!(error instanceof APIError) || error.status === undefined) throw error
  const { errorCode, requestID, status, type } = error
  const tag = tags[status] ?? (status >= 500 ? "ServerError" : "BadRequestError")
  return {
    error: { _tag: tag, status, errorType: type ?? undefined, errorCode: errorCode ?? undefined, requestId: requestID }
  }
}

const ofService = (error: unknown): End => {
  if (!ClaudeError.isApiError(error)) throw error
  const { _tag, errorCode, errorType, requestId, status } = error
  return { error: { _tag, status, errorType, errorCode, requestId } }
}

const asked = (promise: () => PromiseLike<unknown>): Effect.Effect<End> =>
  Effect.promise(() => Promise.resolve().then(promise).then((ok): End => ({ ok }), ofSdk))

type Kind = "create" | "stream" | "countTokens"

const bySdk = (client: Anthropic, kind: Kind, request: Request): Effect.Effect<End> => {
  const params = request as Anthropic.MessageCreateParamsNonStreaming // as above
  if (kind === "create") return asked(() => client.messages.create(params))
  if (kind === "stream") {
    return asked(async () => {
      const events: Array<unknown> = []
      for await (const event of await client.messages.create({ ...params, stream: true })) events.push(event)
      return events
    })
  }
  const { max_tokens: _, ...counted } = params
  return asked(() => client.messages.countTokens(counted))
}

const byService = (kind: Kind, request: Request): Effect.Effect<End, never, ClaudeService.ClaudeService> => {
  const call: Effect.Effect<unknown, ClaudeError.StreamError, ClaudeService.ClaudeService> = kind === "create"
    ? ClaudeService.create(request)
    : kind === "stream"
    ? Stream.runCollect(ClaudeService.stream(request))
    : Effect.suspend(() => {
      const { max_tokens: _, ...counted } = request
      return ClaudeService.countTokens(counted)
    })
  return Effect.match(call, { onSuccess: (ok): End => ({ ok }), onFailure: ofService })
}

/** Requests that the service answers with a bad request itself, unsent: their histories lack a tool use or a result. */
const isUnsent = (end: End): boolean =>
  "error" in end && end.error["_tag"] === "BadRequestError" && end.error["status"] === undefined

describe("the SDK and the service", () => {
  it.effect("give and pay the same for a thousand requests", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-20T12:00:00Z"))
      const seed = Number(process.env["MUTATE_SEED"] ?? Math.floor(Math.random() * 2 ** 32))
      const chance = new Chance(seed)
      const [theirs, ours] = [yield* simulator, yield* simulator]
      const client = new Anthropic({
        apiKey: Simulator.apiKey,
        fetch: theirs.fetch,
        maxRetries: 0,
        timeout: 3_600_000,
        logLevel: "off"
      })
      const layer = ClaudeService.layerWithParts({
        api: { fetch: ours.fetch },
        keys: Redacted.make(Simulator.apiKey),
        retry: { retries: 0 },
        breaker: { mode: "disabled" },
        monitor: { log: false }
      })
      const context = yield* Layer.build(layer)
      const seen = { ok: 0, error: 0, unsent: 0 }
      for (let n = 0; n < 1_000; n++) {
        const kind = chance.one<Kind>(["create", "create", "stream", "stream", "countTokens"])
        const request = requestOf(chance)
        const what = `MUTATE_SEED=${seed}, request ${n}: ${kind} ${JSON.stringify(request).slice(0, 1_000)}`
        const before = (yield* ours.requests).total
        const mine = yield* byService(kind, request).pipe(
          Effect.provide(context),
          Effect.catchDefect((defect) => Effect.die(new Error(what, { cause: defect })))
        )
        if (isUnsent(mine)) {
          seen.unsent++
          assert.strictEqual((yield* ours.requests).total, before, what)
          continue
        }
        const expected = yield* bySdk(client, kind, request)
        if (JSON.stringify(mine) !== JSON.stringify(expected)) assert.deepStrictEqual(mine, expected, what)
        seen["ok" in expected ? "ok" : "error"]++
      }
      assert.isAbove(seen.ok, 100)
      assert.isAbove(seen.error, 100)
      assert.isBelow(seen.unsent, 300)

      const ledger = Context.get(context, CostLedger.CostLedger)
      yield* ledger.flush
      const rows = yield* Stream.runCollect(ledger.rows({ from: 0, to: Infinity }))
      const [bill, expected] = [yield* ours.bill, yield* theirs.bill]
      assert.deepStrictEqual(bill.rows, expected.rows)
      const costs = new Map(rows.map(({ confidence, nanoUsd, requestId }) => [requestId, { confidence, nanoUsd }]))
      const paid = expected.rows.filter(({ nanoUsd }) => nanoUsd !== 0)
      for (const { nanoUsd, requestId } of paid) {
        assert.deepStrictEqual(costs.get(requestId), { confidence: "exact", nanoUsd: nanoUsd ?? null }, requestId)
      }
      assert.isAbove(paid.length, 100)
      const sum = (amounts: ReadonlyArray<number | null | undefined>) =>
        amounts.reduce<number>((sum, nanoUsd) => sum + (nanoUsd ?? 0), 0)
      assert.strictEqual(sum(rows.map(({ nanoUsd }) => nanoUsd)), sum(expected.rows.map(({ nanoUsd }) => nanoUsd)))
    }).pipe(Effect.scoped))
})
