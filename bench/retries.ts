/**
 * What retries lose and send: ten minutes of ten calls a second, in virtual time, several seeds.
 *
 * `lost` are calls of 100 that failed in the end, `requests` are requests for each call. More of one buys less of the other, so what counts is the
 * frontier: `dominated` is 1 where a peer is no worse on either figure and better on one, by more than 1 % and, of calls, more than one in 10,000.
 *
 * - `errors=5%` to `60%`: so many attempts fail at once with 529.
 * - `blip`, `outage`: for three seconds, for a minute, all do.
 *
 * Peers: the vendor SDK as it comes (two retries, no budget), the standard strategy of the AWS SDK (three attempts and a quota of 500, of which a retry
 * takes 5), and a throttle as gRPC specifies it (A6; five attempts, none while fewer than half of 10 tokens are left, of which a failure takes one and a
 * success brings 0.1).
 */
import Anthropic from "@anthropic-ai/sdk"
import { StandardRetryStrategy } from "@smithy/util-retry"
import { Effect, ManagedRuntime } from "effect"
import { ServerError } from "../src/ClaudeError.ts"
import * as RetryPolicy from "../src/RetryPolicy.ts"
import { inVirtualTime } from "./limits/virtualTime.ts"
import type { Run } from "./run.ts"

const minutes = 10
const everyMillis = 100
const calls = minutes * 60_000 / everyMillis
const seeds = [1, 2, 3, 4, 5]

/** Sends one attempt: whether it was answered. */
type Send = () => Promise<boolean>

interface Side {
  readonly name: string
  /** Makes a call: whether it was answered in the end. */
  readonly call: (send: Send) => Promise<boolean>
}

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const effectClaude = (): Side => {
  const runtime = ManagedRuntime.make(RetryPolicy.layer())
  const overloaded = new ServerError({ overloaded: true })
  return {
    name: "effect-claude",
    call: (send) =>
      runtime.runPromise(
        Effect.flatMap(RetryPolicy.RetryPolicy, ({ retry }) =>
          Effect.match(
            retry(() => Effect.flatMap(Effect.promise(send), (ok) => ok ? Effect.void : Effect.fail(overloaded))),
            { onSuccess: () => true, onFailure: () => false }
          ))
      )
  }
}

const sdk = (): Side => {
  const body = { id: "msg_1", type: "message", role: "assistant", content: [], usage: {} }
  const failure = { type: "error", error: { type: "overloaded_error", message: "Overloaded" } }
  const headers = { "content-type": "application/json" }
  return {
    name: "@anthropic-ai/sdk",
    call: async (send) => {
      const client = new Anthropic({
        apiKey: "sk-ant-bench",
        fetch: async () =>
          (await send())
            ? new Response(JSON.stringify(body), { headers })
            : new Response(JSON.stringify(failure), { status: 529, headers })
      })
      return client.messages.create({ model: "claude-sonnet-5-5", max_tokens: 1, messages: [] }).then(
        () => true,
        () => false
      )
    }
  }
}

const aws = (): Side => {
  const strategy = new StandardRetryStrategy(3)
  return {
    name: "AWS standard",
    call: async (send) => {
      let token = await strategy.acquireInitialRetryToken("claude")
      while (!(await send())) {
        try {
          token = await strategy.refreshRetryTokenForRetry(token, { errorType: "TRANSIENT" })
        } catch {
          return false
        }
        await sleep(token.getRetryDelay())
      }
      strategy.recordSuccess(token)
      return true
    }
  }
}

const grpc = (): Side => {
  const [max, ratio, attempts] = [10, 0.1, 5]
  let tokens = max
  return {
    name: "gRPC throttle",
    call: async (send) => {
      for (let attempt = 1;; attempt++) {
        if (await send()) {
          tokens = Math.min(max, tokens + ratio)
          return true
        }
        tokens = Math.max(0, tokens - 1)
        if (attempt === attempts || tokens <= max / 2) return false
        await sleep(Math.random() * Math.min(30_000, 500 * 2 ** (attempt - 1)))
      }
    }
  }
}

interface Weather {
  readonly name: string
  readonly fails: (millis: number, lot: number) => boolean
}

const weathers: ReadonlyArray<Weather> = [
  ...[5, 15, 30, 60].map((percent) => ({
    name: `errors=${percent}%`,
    fails: (_: number, lot: number) => lot < percent / 100
  })),
  { name: "blip", fails: (millis) => millis >= 120_000 && millis < 123_000 },
  { name: "outage", fails: (millis) => millis >= 120_000 && millis < 180_000 }
]

/** Numbers by lot, the same for all sides. */
const lots = (seed: number) => {
  let state = seed
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
}

const measured = (make: () => Side, { fails }: Weather, seed: number) =>
  inVirtualTime(1.8e12, async () => {
    const side = make()
    const lot = lots(seed)
    const began = Date.now()
    let [lost, requests] = [0, 0]
    const send = async () => {
      requests++
      return !fails(Date.now() - began, lot())
    }
    const under: Array<Promise<void>> = []
    for (let i = 0; i < calls; i++) {
      under.push(side.call(send).then((ok) => void (ok || lost++)))
      await sleep(everyMillis)
    }
    await Promise.all(under)
    return { lost, requests }
  })

export const run: Run = async (report) => {
  for (const weather of weathers) {
    const figures: Array<{ readonly name: string; readonly lost: number; readonly requests: number }> = []
    for (const make of [effectClaude, sdk, aws, grpc]) {
      const all: Array<{ readonly lost: number; readonly requests: number }> = []
      for (const seed of seeds) all.push(await measured(make, weather, seed))
      const mean = (of: (one: { lost: number; requests: number }) => number) =>
        all.reduce((sum, one) => sum + of(one), 0) / (calls * all.length)
      figures.push({ name: make().name, lost: mean(({ lost }) => lost) * 100, requests: mean((one) => one.requests) })
    }
    const common = { case: weather.name, n: calls * seeds.length }
    for (const { lost, name, requests } of figures) {
      report({ ...common, metric: "lost", value: lost, unit: "/100 calls", peer: name })
      report({ ...common, metric: "requests", value: requests, unit: "/call", peer: name })
    }
    const [ours, ...peers] = figures
    type Figures = { readonly lost: number; readonly requests: number }
    const losesLess = (a: Figures, b: Figures) => a.lost < b.lost * 0.99 - 0.01
    const sendsLess = (a: Figures, b: Figures) => a.requests < b.requests * 0.99
    const dominates = (peer: Figures) =>
      !losesLess(ours!, peer) && !sendsLess(ours!, peer) && (losesLess(peer, ours!) || sendsLess(peer, ours!))
    report({ ...common, metric: "dominated", value: peers.some(dominates) ? 1 : 0, unit: "bool", peer: "all" })
  }
}
