/**
 * What a million calls leave behind: the heap after garbage collection, after 1,000,000 calls by what it is after 10,000, under all policies over a port that
 * answers at once. Calls differ in text, tenant, user and type. What is kept of calls, and has a bound, is full after the first 10,000, which
 * take a little more than 10 seconds: a ledger of 5,000 rows, the sixty parts of windows of 10 seconds for each of 100 tenants, and the last 64 answers of
 * each of 100 kinds of calls. With the defaults, 10,000 rows and windows of a minute, these take 1.4 MiB more only later, and no more after that.
 *
 * - `heap_growth`: to be at most 1.02.
 */
import type { Message } from "@anthropic-ai/sdk/resources/messages"
import { type Duration, Effect, Layer, Redacted, Stream } from "effect"
import * as Attempt from "../src/Attempt.ts"
import * as Budget from "../src/Budget.ts"
import * as CallContext from "../src/CallContext.ts"
import { ClaudeApi } from "../src/ClaudeApi.ts"
import * as ClaudeService from "../src/ClaudeService.ts"
import * as CostLedger from "../src/CostLedger.ts"
import * as CostOptimizer from "../src/CostOptimizer.ts"
import * as Monitor from "../src/Monitor.ts"
import * as PriceBook from "../src/PriceBook.ts"
import * as Usage from "../src/Usage.ts"
import type { Run } from "./run.ts"
import { median } from "./utils/sideBySide.ts"

const first = 10_000
const last = Number(process.argv[3] ?? 1_000_000)
const model = "claude-sonnet-5-5"

const message: Message = {
  id: "msg_1",
  type: "message",
  role: "assistant",
  model,
  content: [{ type: "text", text: "Hello.", citations: null }],
  container: null,
  diagnostics: null,
  stop_reason: "end_turn",
  stop_sequence: null,
  stop_details: null,
  usage: {
    cache_creation: null,
    cache_creation_input_tokens: null,
    cache_read_input_tokens: null,
    inference_geo: null,
    input_tokens: 20,
    output_tokens: 10,
    output_tokens_details: null,
    server_tool_use: null,
    service_tier: null,
    speed: null
  }
}

/** Nothing is remembered of a call. */
const api = Layer.succeed(ClaudeApi, {
  baseUrl: "http://127.0.0.1",
  send: (attempt) =>
    Effect.sync(() => {
      attempt.outcome = Attempt.Outcome.Completed({
        usage: Usage.make({ inputTokens: 20, outputTokens: 10 }),
        limits: undefined,
        model,
        requestId: `req_${attempt.callId}`,
        stopReason: "end_turn"
      })
      return message
    }),
  stream: () => Stream.die("not asked for"),
  countTokens: () => Effect.die("not asked for"),
  models: () => Effect.die("not asked for"),
  model: () => Effect.die("not asked for")
})

const layer = ClaudeService.layerWithParts({
  api,
  keys: [Redacted.make("sk-ant-one"), Redacted.make("sk-ant-two")],
  limiter: {},
  ledger: Layer.provide(CostLedger.layerNoDeps(), [CostLedger.layerStoreMemory({ maxRows: 5_000 }), PriceBook.layer()]),
  optimizer: { rules: [CostOptimizer.cacheBreakpoints()] },
  budget: {
    budgets: [{ name: "all", limit: 1e6 }, {
      name: "tenants",
      per: "tenant",
      limit: 1e6,
      window: { rolling: "10 seconds" }
    }]
  }
})

/** Drops what V8 may drop at any time: left alone it keeps the texts of modules, such as 3.6 MiB of Node's own loader, until some later collection. */
const collect = (): void => {
  globalThis.gc?.({ type: "major", flavor: "last-resort", execution: "sync" })
}

/** The median of several takings, in bytes. */
const settled = async (): Promise<number> => {
  const taken: Array<number> = []
  for (let i = 0; i < 15; i++) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, 50))
    taken.push(process.memoryUsage().heapUsed)
  }
  return median(taken)
}

export const run: Run = (report) =>
  Effect.gen(function*() {
    const claude = yield* ClaudeService.ClaudeService
    yield* Monitor.Monitor
    yield* Budget.Budget
    let made = 0
    const call = Effect.suspend(() => {
      const n = made++
      return claude.create({
        model,
        max_tokens: 20,
        messages: [{ role: "user", content: `What about ${n}?` }]
      }).pipe(CallContext.annotate({
        tenant: `tenant ${n % 100}`,
        user: `user ${n % 5_000}`,
        requestType: `type ${n % 100}`
      }))
    })
    const lane = (count: number, atOnce: number, pause: Duration.Input) =>
      Effect.gen(function*() {
        while (made < count) {
          for (let i = 0; i < atOnce && made < count; i++) yield* call
          // Timers and other work have their turn.
          yield* Effect.sleep(pause)
        }
      })
    const upTo = (count: number, atOnce: number, pause: Duration.Input) =>
      Effect.all(Array.from({ length: 16 }, () => lane(count, atOnce, pause)), { concurrency: 16, discard: true })
    yield* upTo(first, 10, "180 millis")
    const before = yield* Effect.promise(settled)
    yield* upTo(last, 100, 0)
    const after = yield* Effect.promise(settled)
    const what = `${last} calls by ${first}, all policies`
    report({
      metric: "heap",
      case: `${first} calls, all policies`,
      value: before / 2 ** 20,
      unit: "MiB",
      peer: "effect-claude",
      n: 1
    })
    report({ metric: "heap_growth", case: what, value: after / before, unit: "ratio", peer: "effect-claude", n: 1 })
  }).pipe(Effect.provide(layer), Effect.runPromise)
