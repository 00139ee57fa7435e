/**
 * What the parts of a call cost on their own: nothing here waits for a network.
 *
 * - `policies_us`: CPU of a call through `ClaudeService` over a port that answers at once, with every policy of the default layer and a budget; with
 *   each of them turned off; and with all of them off (`none`), which leaves the service around them. `share_us` is what a policy adds: the median of
 *   the differences of slices that were measured one after the other.
 * - `port_us`: CPU of `ClaudeApi.send` and of the SDK over one `fetch` that answers from memory; `added_us` is the difference.
 * - `growth_ratio`: a call after 1,000,000 calls to one after 10,000 (`npm run bench -- overhead CALLS` for another number).
 */
import Anthropic from "@anthropic-ai/sdk"
import { Effect, Layer, ManagedRuntime } from "effect"
import * as Attempt from "../src/Attempt.ts"
import * as Budget from "../src/Budget.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as ClaudeApi from "../src/ClaudeApi.ts"
import * as ClaudeService from "../src/ClaudeService.ts"
import * as CostLedger from "../src/CostLedger.ts"
import * as KeyPool from "../src/KeyPool.ts"
import * as KeyStore from "../src/KeyStore.ts"
import * as Monitor from "../src/Monitor.ts"
import * as RateLimiter from "../src/RateLimiter.ts"
import * as RetryPolicy from "../src/RetryPolicy.ts"
import * as ClaudeTest from "../src/testing/ClaudeTest.ts"
import * as Usage from "../src/Usage.ts"
import type { Run } from "./run.ts"
import { alternate, median, type Slice, workers } from "./utils/sideBySide.ts"

const rounds = 41
const count = 2_000

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  system: "You are a helpful assistant who answers in one paragraph.",
  messages: [{ role: "user" as const, content: "What is the difference between a policy and a mechanism?" }]
}

const message: Anthropic.Message = {
  id: "msg_01Q8uVvX7y3cKd5hJb2nWzRt",
  type: "message",
  role: "assistant",
  model: request.model,
  content: [{ type: "text", text: "A policy says what may happen, a mechanism how. ".repeat(20), citations: null }],
  stop_reason: "end_turn",
  stop_sequence: null,
  stop_details: null,
  container: null,
  diagnostics: null,
  usage: {
    input_tokens: 412,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 2_048,
    cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
    output_tokens: 350,
    output_tokens_details: null,
    server_tool_use: null,
    service_tier: "standard",
    inference_geo: "global",
    speed: null
  }
}

const usage = Usage.fromReported(message.usage)

/** A port that answers at once. */
const atOnce = Layer.succeed(
  ClaudeApi.ClaudeApi,
  ClaudeApi.ClaudeApi.of({
    ...ClaudeApi.make(),
    send: (attempt) =>
      Effect.sync(() => {
        attempt.sentAt = Date.now()
        attempt.outcome = Attempt.Outcome.Completed({
          usage,
          limits: undefined,
          model: request.model,
          requestId: "req_011CSHoEeqs5C35K2UUqR7Fy",
          stopReason: "end_turn"
        })
        return message
      })
  })
)

const all = {
  api: atOnce,
  keys: [ClaudeTest.key],
  limiter: { limits: { requestsPerMinute: 1e12, inputTokensPerMinute: 1e15, outputTokensPerMinute: 1e15 } },
  budget: { budgets: [{ name: "all", limit: 1e6, window: { calendar: "month" } }] }
} satisfies ClaudeService.Parts

const store = KeyStore.layerKeys([ClaudeTest.key])

/** What takes the place of each policy. */
const off = {
  keys: Layer.provide(KeyPool.layerOff, store),
  retry: RetryPolicy.layerOff,
  limiter: RateLimiter.layerOff,
  breaker: CircuitBreaker.layerOff,
  budget: Budget.layerOff,
  ledger: CostLedger.layerOff,
  monitor: Monitor.layerOff
}

type Runtime = ManagedRuntime.ManagedRuntime<ClaudeService.ClaudeService, unknown>

const make = (without: Partial<typeof off>): Runtime => ManagedRuntime.make(ClaudeService.layer({ ...all, ...without }))

const call = Effect.asVoid(ClaudeService.create(request))

const called = (runtime: Runtime, calls = count): Slice => () =>
  runtime.runPromise(Effect.as(Effect.replicateEffect(call, calls, { discard: true }), [0]))

const micros = (cpuMicros: number): number => cpuMicros / count

/** Figures of both sides of pairs, and what ours takes more. */
const compared = async (ours: Slice, theirs: Slice) => {
  const pairs = await alternate(rounds, ours, theirs)
  return {
    ours: median(pairs.map((pair) => micros(pair.ours.cpuMicros))),
    theirs: median(pairs.map((pair) => micros(pair.theirs.cpuMicros))),
    added: median(pairs.map((pair) => micros(pair.ours.cpuMicros - pair.theirs.cpuMicros))),
    ratio: median(pairs.map((pair) => pair.ours.cpuMicros / pair.theirs.cpuMicros))
  }
}

const n = rounds * count

const policies: Run = async (report) => {
  const full = make({})
  const bare = make(off)
  const whole = await compared(called(full), called(bare))
  const row = { metric: "policies_us", unit: "us", peer: "effect-claude", n }
  report({ ...row, case: "all", value: whole.ours })
  report({ ...row, case: "none", value: whole.theirs })
  for (const [name, layer] of Object.entries(off)) {
    const without = make({ [name]: layer })
    const { added, theirs } = await compared(called(full), called(without))
    report({ ...row, case: `all but ${name}`, value: theirs })
    report({ ...row, metric: "share_us", case: name, value: added })
    await without.dispose()
  }
  report({ ...row, metric: "share_us", case: "all", value: whole.added })
  await Promise.all([full.dispose(), bare.dispose()])
}

const port: Run = async (report) => {
  const bytes = JSON.stringify(message)
  const headers = { "content-type": "application/json", "request-id": "req_011CSHoEeqs5C35K2UUqR7Fy" }
  const fetch = async () => new Response(bytes, { headers })
  const api = ClaudeApi.make({ fetch })
  const client = new Anthropic({ apiKey: "sk-ant-bench", fetch, maxRetries: 0 })
  const attempt = ClaudeTest.attempt({ request })
  const send = Effect.suspend(() => api.send({ ...attempt, outcome: Attempt.Outcome.NotSent() }))
  const { added, ours, theirs } = await compared(
    () => Effect.runPromise(Effect.as(Effect.replicateEffect(send, count, { discard: true }), [0])),
    async () => {
      await workers(count, 1, async () => {
        await client.messages.create(request)
      })
      return [0]
    }
  )
  const row = { case: "memory", unit: "us", n }
  report({ ...row, metric: "port_us", value: ours, peer: "effect-claude" })
  report({ ...row, metric: "port_us", value: theirs, peer: "@anthropic-ai/sdk" })
  report({ ...row, metric: "added_us", value: added, peer: "@anthropic-ai/sdk" })
}

const growth: Run = async (report) => {
  const calls = Number(process.argv[3] ?? 1_000_000)
  const old = make({})
  const young = make({})
  for (let made = 0; made < calls; made += 10_000) await called(old, 10_000)()
  await called(young, 10_000)()
  const { ratio } = await compared(called(old), called(young))
  report({ metric: "growth_ratio", case: `${calls} calls`, value: ratio, unit: "ratio", peer: "after 10,000 calls", n })
  await Promise.all([old.dispose(), young.dispose()])
}

export const run: Run = async (report) => {
  await policies(report)
  await port(report)
  await growth(report)
}
