/**
 * What 64 callers get of a service after an outage of a minute: each makes a call, which takes about a second, pauses for as long, and makes the next,
 * whatever became of the last one. The API lets in a ninth more than that, and refuses the rest with 429.
 */
import Anthropic from "@anthropic-ai/sdk"
import * as Cockatiel from "cockatiel"
import { Effect, Layer, Logger, ManagedRuntime, Redacted } from "effect"
import * as ClaudeService from "../../src/ClaudeService.ts"
import { inVirtualTime } from "../limits/virtualTime.ts"

const callers = 64
/** What the API lets in, and for how many seconds at once. */
const perSecond = callers / 2 / 0.9
const outage = { from: 60_000, to: 120_000 }
const seconds = 170
const burstSeconds = 5

export interface Side {
  readonly name: string
  readonly make: (fetch: typeof globalThis.fetch) => {
    readonly call: () => Promise<unknown>
    readonly close: () => Promise<void>
  }
}

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 10,
  messages: [{ role: "user" as const, content: "Hello." }]
}

const body = {
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-sonnet-5-5",
  content: [{ type: "text", text: "Hello." }],
  stop_reason: "end_turn",
  stop_sequence: null,
  usage: { input_tokens: 9, output_tokens: 3 }
}

const reply = (status: number, body: unknown): Response =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } })

const failure = (status: number, type: string): Response =>
  reply(status, { type: "error", error: { type, message: type } })

const sdk = (fetch: typeof globalThis.fetch) => {
  const client = new Anthropic({ apiKey: "sk-ant-bench", fetch })
  return () => client.messages.create(request)
}

const nothing = async (): Promise<void> => {}

export const sides: ReadonlyArray<Side> = [
  {
    name: "effect-claude",
    make: (fetch) => {
      const runtime = ManagedRuntime.make(
        ClaudeService.layer({
          api: { fetch },
          keys: Redacted.make("sk-ant-bench"),
          limiter: { limits: { requestsPerMinute: perSecond * 60 }, burst: `${burstSeconds} seconds` }
        }).pipe(Layer.provideMerge(Logger.layer([])))
      )
      return {
        call: () => runtime.runPromise(Effect.asVoid(ClaudeService.create(request))),
        close: () => runtime.dispose()
      }
    }
  },
  { name: "@anthropic-ai/sdk", make: (fetch) => ({ call: sdk(fetch), close: nothing }) },
  {
    name: "cockatiel",
    make: (fetch) => {
      const call = sdk(fetch)
      const breaker = Cockatiel.circuitBreaker(Cockatiel.handleAll, {
        halfOpenAfter: 5_000,
        breaker: new Cockatiel.SamplingBreaker({ threshold: 0.5, duration: 10_000 })
      })
      return { call: () => breaker.execute(call), close: nothing }
    }
  }
]

/** `goodput` is from ten seconds after the outage on, of that before it; `amplification` are requests for each call; `wasted` were sent in the outage. */
export const measured = ({ make }: Side, seed: number) =>
  inVirtualTime(0, async () => {
    let state = seed * 7_919 + 17
    const lot = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
    const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))
    let [requests, wasted, calls, tokens, at] = [0, 0, 0, burstSeconds * perSecond, 0]
    const side = make(async () => {
      requests++
      const now = Date.now()
      if (now >= outage.from && now < outage.to) {
        wasted++
        await sleep(100)
        return failure(529, "overloaded_error")
      }
      tokens = Math.min(burstSeconds * perSecond, tokens + (now - at) / 1_000 * perSecond)
      at = now
      if (tokens < 1) return failure(429, "rate_limit_error")
      tokens--
      await sleep(700 + 600 * lot())
      return reply(200, body)
    })
    const answers: Array<number> = []
    const caller = async () => {
      await sleep(2_000 * lot())
      while (Date.now() < seconds * 1_000) {
        calls++
        await side.call().then(() => answers.push(Date.now()), () => {})
        await sleep(1_000 * (0.5 + lot()))
      }
    }
    await Promise.all(Array.from({ length: callers }, caller))
    await side.close()
    const rate = (from: number, to: number) => answers.filter((at) => at >= from && at < to).length / (to - from)
    return {
      goodput: rate(outage.to + 10_000, seconds * 1_000) / rate(20_000, outage.from),
      amplification: requests / calls,
      wasted,
      calls
    }
  })
