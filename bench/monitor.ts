/**
 * What metrics, spans and the request log add to a call, without an exporter, as a share of the processor time of a call by the bare SDK:
 * `ClaudeService` with a monitor against one without, both over a scripted port, so that little else is in the figure. `default` is the monitor as it
 * is by default; `all` logs every call as JSON that goes nowhere. For streams: what they add to one event of 2,000, over a `fetch` that answers from
 * memory what a server answered once.
 */
import { Effect, Layer, Logger, ManagedRuntime, Stream } from "effect"
import * as ClaudeService from "../src/ClaudeService.ts"
import * as Monitor from "../src/Monitor.ts"
import * as ClaudeTest from "../src/testing/ClaudeTest.ts"
import type { Run } from "./run.ts"
import { events, start } from "./utils/server.ts"
import { alternate, median, sdk, type Slice, workers } from "./utils/sideBySide.ts"

const rounds = 31
const calls = 1_000
const sdkCalls = 300
const streams = 10
const chunk = 1_024

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 4_096,
  system: "You are a helpful assistant who answers in one paragraph.",
  messages: [{ role: "user" as const, content: "What is the difference between a policy and a mechanism?" }]
}

const streamOf = (chunks: ReadonlyArray<Uint8Array>) => {
  let next = 0
  return new ReadableStream<Uint8Array>({
    pull: (controller) => {
      const bytes = chunks[next++]
      if (bytes === undefined) controller.close()
      else controller.enqueue(bytes)
    }
  })
}

/** Answers what the server answers, without the server. */
const replay = async (url: string): Promise<typeof fetch> => {
  const record = async (stream: boolean) => {
    const response = await fetch(`${url}/v1/messages`, { method: "POST", body: JSON.stringify({ ...request, stream }) })
    return { headers: response.headers, bytes: new Uint8Array(await response.arrayBuffer()) }
  }
  const whole = await record(false)
  const streamed = await record(true)
  const chunks = Array.from(
    { length: Math.ceil(streamed.bytes.length / chunk) },
    (_, index) => streamed.bytes.subarray(index * chunk, (index + 1) * chunk)
  )
  return async (_, init) =>
    String(init?.body).includes(`"stream":true`)
      ? new Response(streamOf(chunks), { headers: streamed.headers })
      : new Response(whole.bytes, { headers: whole.headers })
}

const nowhere = Logger.layer([Logger.map(Logger.formatJson, () => {})])

type Watched = Monitor.Options | typeof Monitor.layerOff

const scripted = (monitor: Watched) =>
  ManagedRuntime.make(
    ClaudeService.layer({
      api: ClaudeTest.layerApi(ClaudeTest.forever("A policy says what, a mechanism says how.")),
      keys: [ClaudeTest.key],
      monitor
    }).pipe(Layer.provideMerge(nowhere))
  )

const service = (fetch: typeof globalThis.fetch, monitor: Watched) =>
  ManagedRuntime.make(
    ClaudeService.layer({ api: { fetch }, keys: [ClaudeTest.key], monitor }).pipe(Layer.provideMerge(nowhere))
  )

type Runtime = ReturnType<typeof service>

const called = (runtime: Runtime): Slice => () =>
  runtime.runPromise(
    Effect.as(Effect.replicateEffect(Effect.asVoid(ClaudeService.create(request)), calls, { discard: true }), [0])
  )

const streamed = (runtime: Runtime): Slice => () =>
  runtime.runPromise(
    Effect.as(Effect.replicateEffect(Stream.runDrain(ClaudeService.stream(request)), streams, { discard: true }), [0])
  )

export const run: Run = async (report) => {
  const server = await start()
  const client = sdk(server.url)
  const fetch = await replay(server.url)
  const without = scripted(Monitor.layerOff)
  const byDefault = scripted({})
  const all = scripted({ log: { sample: 1 } })
  const streamWithout = service(fetch, Monitor.layerOff)
  const streamByDefault = service(fetch, {})
  try {
    const plain = await alternate(15, async () => [0], async () => {
      await workers(sdkCalls, 16, async () => {
        await client.messages.create(request)
      })
      return [0]
    })
    const sdkMicros = median(plain.map(({ theirs }) => theirs.cpuMicros / sdkCalls))
    report({
      metric: "cpu_us",
      case: "call",
      value: sdkMicros,
      unit: "us",
      peer: "@anthropic-ai/sdk",
      n: 15 * sdkCalls
    })
    for (const [name, watched] of [["default", byDefault], ["all", all]] as const) {
      const slices = await alternate(rounds, called(watched), called(without))
      const added = median(slices.map(({ ours, theirs }) => (ours.cpuMicros - theirs.cpuMicros) / calls))
      const row = { case: `call, ${name}`, n: rounds * calls }
      report({ ...row, metric: "added_cpu_us", value: added, unit: "us", peer: "without a monitor" })
      report({ ...row, metric: "added_cpu_share", value: added / sdkMicros, unit: "ratio", peer: "@anthropic-ai/sdk" })
    }
    const pairs = await alternate(rounds, streamed(streamByDefault), streamed(streamWithout))
    const count = streams * events
    const added = median(pairs.map(({ ours, theirs }) => (ours.cpuMicros - theirs.cpuMicros) / count))
    report({
      metric: "added_cpu_us",
      case: "event of a stream",
      value: added,
      unit: "us",
      peer: "without a monitor",
      n: rounds * count
    })
  } finally {
    for (const runtime of [without, byDefault, all, streamWithout, streamByDefault]) await runtime.dispose()
    server.stop()
  }
}
