/** Measures our side and the bare SDK in one process, in slices that alternate, so that what else the machine does falls on both. */
import Anthropic from "@anthropic-ai/sdk"
import { Effect, ManagedRuntime, Redacted, Scope } from "effect"
import * as Transport from "../../src/ClaudeApi/internal/transport.ts"
import * as ClaudeService from "../../src/ClaudeService.ts"
import type * as RateLimiter from "../../src/RateLimiter.ts"
import type { Row } from "../run.ts"

const apiKey = "sk-ant-bench"

/** The SDK as it comes. */
export const sdk = (baseURL: string): Anthropic => new Anthropic({ apiKey, baseURL })

/** The SDK over the transport of `ClaudeApi`, which keeps its connections until this process ends. */
export const sdkOnOurTransport = async (baseURL: string): Promise<Anthropic> => {
  const send = await Effect.runPromise(Effect.provideService(Transport.make(), Scope.Scope, Scope.makeUnsafe()))
  const fetch = async (url: unknown, { body, headers, method = "GET" }: RequestInit = {}): Promise<Response> => {
    const wire = { url: String(url), method, headers: Object.fromEntries(headers as Headers), body: String(body) } // the SDK's own
    const response = await send(wire, { isOver: false, whenOver: undefined })
    const json = async (): Promise<unknown> => JSON.parse(await Transport.textOf(response.body!.getReader()))
    return Object.assign(response, { json })
  }
  return new Anthropic({ apiKey, baseURL, fetch })
}

/** `ClaudeService` with its default policies. */
export const service = (baseUrl: string, limiter?: RateLimiter.Options) =>
  ManagedRuntime.make(
    ClaudeService.layer({ api: { baseUrl }, keys: Redacted.make(apiKey), ...(limiter && { limiter }) })
  )

/** Runs all of a slice, and gives what it noted of each of its parts: microseconds until the first event of a stream, say. */
export type Slice = () => Promise<ReadonlyArray<number>>

interface Measured {
  /** Wall and processor time of the slice. */
  readonly micros: number
  readonly cpuMicros: number
  readonly noted: ReadonlyArray<number>
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** What 99 of 100 do not exceed. */
export const p99 = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.ceil(values.length * 0.99) - 1]!

/** The lower quartile: what else the machine does can only add to a measurement. */
export const undisturbed = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 4)]!

const measure = async (slice: Slice): Promise<Measured> => {
  const cpu = process.cpuUsage()
  const began = performance.now()
  const noted = await slice()
  const micros = (performance.now() - began) * 1_000
  const used = process.cpuUsage(cpu)
  return { micros, cpuMicros: used.user + used.system, noted }
}

/**
 * Pairs of slices, ours first in one and second in the next, so that each follows itself as often as the other. No collection of garbage
 * is forced in between: a full one also drops compiled code, and then the slices measure how fast that comes back.
 */
export const alternate = async (
  rounds: number,
  ours: Slice,
  theirs: Slice
): Promise<ReadonlyArray<{ readonly ours: Measured; readonly theirs: Measured }>> => {
  for (let round = 0; round < 5; round++) {
    await ours()
    await theirs()
  }
  const pairs = []
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const measured = await measure(ours)
      pairs.push({ ours: measured, theirs: await measure(theirs) })
    } else {
      const measured = await measure(theirs)
      pairs.push({ ours: await measure(ours), theirs: measured })
    }
  }
  return pairs
}

export const sdkName = "@anthropic-ai/sdk"

export const onOurTransport = "@anthropic-ai/sdk on our transport"

/** Reports both figures and the median of what ours is to theirs in each pair. */
export const compare = (
  report: (row: Row) => void,
  pairs: ReadonlyArray<{ readonly ours: Measured; readonly theirs: Measured }>,
  row: Pick<Row, "case" | "n">,
  metrics: { readonly figure: string; readonly unit: string; readonly ratio: string },
  figureOf: (measured: Measured) => number,
  peer: string = sdkName
): void => {
  const ours = pairs.map((pair) => figureOf(pair.ours))
  const theirs = pairs.map((pair) => figureOf(pair.theirs))
  const figure = { ...row, metric: metrics.figure, unit: metrics.unit }
  report({ ...figure, value: median(ours), peer: "effect-claude" })
  report({ ...figure, value: median(theirs), peer })
  report({
    ...row,
    metric: metrics.ratio,
    value: median(ours.map((value, index) => value / theirs[index]!)),
    unit: "ratio",
    peer
  })
}

/** Works on `count` items, `concurrency` at a time, the way a program without Effect does it. */
export const workers = async (count: number, concurrency: number, work: () => Promise<void>): Promise<void> => {
  let left = count
  await Promise.all(Array.from({ length: concurrency }, async () => {
    while (left-- > 0) await work()
  }))
}
