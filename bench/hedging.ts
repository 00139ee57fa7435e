/**
 * What a second attempt for late streams saves and costs, in virtual time over the simulator, several seeds.
 *
 * The first content of a stream comes after about 0.7 seconds (lognormal, sigma 0.5); three streams of two hundred stall for 20 seconds more. Calls with second
 * attempts and calls without meet the same delays.
 *
 * - `first_content_p50`, `first_content_p99`: from the start of the call, by the time without second attempts.
 * - `extra_dollars`: what the simulator billed beyond what it billed without them, as a part of that; `second_attempts` are those of 100 calls.
 * - `agreement`: the sum of the ledger, by the bill.
 *
 * `prompt` is the part of the cost of a call that its prompt is: what a second attempt costs, more or less. With `thinks`, the model may think before it
 * shows anything: what an attempt that was ended had produced by then is estimated, carefully, so that fewer are made.
 */
import { Effect, Layer, ManagedRuntime, Redacted, Stream } from "effect"
import * as ClaudeService from "../src/ClaudeService.ts"
import * as CostLedger from "../src/CostLedger.ts"
import * as MessageStream from "../src/MessageStream.ts"
import type { Request } from "../src/Request.ts"
import * as Simulator from "../src/testing/Simulator.ts"
import { inVirtualTime } from "./limits/virtualTime.ts"
import type { Run } from "./run.ts"

const calls = 3_000
const everyMillis = 250
const seeds = [1, 2, 3]
const medianMillis = 700
const sigma = 0.5
const stallPart = 0.015
const stallMillis = 20_000

const outputTokens = 300

interface Case {
  readonly name: string
  /** Of a prompt. */
  readonly characters: number
  readonly asked: Pick<Request, "model" | "thinking">
}

const plain = { model: "claude-haiku-5-5", thinking: { type: "disabled" } } as const

const cases: ReadonlyArray<Case> = [
  { name: "prompt=25%", characters: 1_540, asked: plain },
  { name: "prompt=75%", characters: 13_850, asked: plain },
  { name: "prompt=25%, thinks", characters: 1_540, asked: { model: "claude-sonnet-5-5" } }
]

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

/** Numbers by lot, the same for both sides as far as they make the same requests. */
const lots = (seed: number) => {
  let state = seed * 7_919
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
}

/** Delays the content of a stream, behind the start of its message. */
const late = (fetch: typeof globalThis.fetch, lot: () => number): typeof globalThis.fetch => async (input, init) => {
  const normal = Math.sqrt(-2 * Math.log(lot())) * Math.cos(2 * Math.PI * lot())
  const millis = medianMillis * Math.exp(sigma * normal) + (lot() < stallPart ? stallMillis : 0)
  const response = await fetch(input, init)
  const reader = response.body?.getReader()
  if (reader === undefined) return response
  let pieces = 0
  const body = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      if (++pieces === 2) await sleep(millis)
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader.cancel(reason)
  }, { highWaterMark: 0 })
  return new Response(body, { status: response.status, headers: response.headers })
}

const measured = (hedge: {} | undefined, { asked, characters }: Case, seed: number) =>
  inVirtualTime(1.8e12, async () => {
    const lot = lots(seed)
    const service = Layer.unwrap(Effect.map(Simulator.Simulator, ({ fetch }) =>
      ClaudeService.layerWithParts({
        api: { fetch: late(fetch, lot) },
        keys: Redacted.make(Simulator.apiKey),
        limiter: { limits: { requestsPerMinute: 1_000_000 } },
        ledger: { keepRows: 100_000 },
        ...(hedge === undefined ? undefined : { hedge })
      })))
    const runtime = ManagedRuntime.make(Layer.provideMerge(
      service,
      Simulator.layer({
        answer: () => ({ content: "Yes. ".repeat(20), outputTokens }),
        latency: { perToken: "10 millis" },
        billRows: 100_000
      })
    ))
    const firsts: Array<number> = []
    const call = async (n: number) => {
      const began = Date.now()
      let isFirst = true
      const content = `${n} `.padEnd(characters, "word ")
      await runtime.runPromise(
        Stream.runForEach(
          ClaudeService.stream({ ...asked, max_tokens: 1_024, messages: [{ role: "user", content }] }),
          (event) =>
            Effect.sync(() => {
              if (!isFirst || !MessageStream.isContent(event)) return
              isFirst = false
              firsts.push(Date.now() - began)
            })
        )
      )
    }
    const under: Array<Promise<void>> = []
    for (let n = 0; n < calls; n++) {
      under.push(call(n))
      await sleep(everyMillis)
    }
    await Promise.all(under)
    const { billed, recorded } = await runtime.runPromise(Effect.gen(function*() {
      const { totals } = yield* (yield* Simulator.Simulator).bill
      const { total } = yield* (yield* CostLedger.CostLedger).report()
      return { billed: totals, recorded: total.nanoUsd }
    }))
    await runtime.dispose()
    return { firsts, requests: billed.requests, billed: billed.nanoUsd, recorded }
  })

const quantile = (values: ReadonlyArray<number>, part: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(part * values.length)]!

export const run: Run = async (report) => {
  for (const one of cases) {
    const sides = { with: [], without: [] } as Record<string, Array<Awaited<ReturnType<typeof measured>>>>
    for (const seed of seeds) {
      sides["without"]!.push(await measured(undefined, one, seed))
      sides["with"]!.push(await measured({}, one, seed))
    }
    const sum = (side: string, of: (one: Awaited<ReturnType<typeof measured>>) => number) =>
      sides[side]!.reduce((all, one) => all + of(one), 0)
    const firsts = (side: string) => sides[side]!.flatMap((one) => one.firsts)
    const common = { case: one.name, peer: "without", n: calls * seeds.length }
    for (const [metric, part] of [["first_content_p50", 0.5], ["first_content_p99", 0.99]] as const) {
      const value = quantile(firsts("with"), part) / quantile(firsts("without"), part)
      report({ ...common, metric, value, unit: "ratio" })
    }
    const dollars = sum("with", ({ billed }) => billed) / sum("without", ({ billed }) => billed) - 1
    report({ ...common, metric: "extra_dollars", value: dollars, unit: "ratio" })
    const second = 100 * (sum("with", ({ requests }) => requests) / (calls * seeds.length) - 1)
    report({ ...common, metric: "second_attempts", value: second, unit: "/100 calls" })
    const agreement = sum("with", ({ recorded }) => recorded) / sum("with", ({ billed }) => billed)
    report({ ...common, metric: "agreement", value: agreement, unit: "ratio", peer: "bill" })
  }
}
