/**
 * What metrics, spans and the request log add to a call, as a share of the processor time of a call by the bare SDK: `ClaudeService` with a monitor
 * against one without, both over a scripted port, so that little else is in the figure. `default` is the monitor as it is by default; `all` logs every
 * call as JSON that goes nowhere; `exported` sends spans and metrics by OTLP in protobuf to a server that takes them, and is scraped by Prometheus once
 * in 1,000 calls. For streams: what they add to one event of 2,000, over a `fetch` that answers from memory what a server answered once. Figures are
 * lower quartiles of slices that alternate.
 */
import { Effect, Layer, Logger, ManagedRuntime, Stream } from "effect"
import { OtlpExporter } from "effect/observability"
import * as ClaudeService from "../src/ClaudeService.ts"
import * as Monitor from "../src/Monitor.ts"
import * as Otlp from "../src/Monitor/Otlp.ts"
import * as Prometheus from "../src/Monitor/Prometheus.ts"
import * as ClaudeTest from "../src/testing/ClaudeTest.ts"
import type { Run } from "./run.ts"
import { events, start } from "./utils/server.ts"
import { alternate, sdk, type Slice, undisturbed, workers } from "./utils/sideBySide.ts"

const rounds = 51
const calls = 1_000
const sdkCalls = 300
const streamRounds = 101
const streams = 4
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
  ClaudeService.layer({
    api: ClaudeTest.layerApi(ClaudeTest.forever("A policy says what, a mechanism says how.")),
    keys: [ClaudeTest.key],
    monitor
  })

const logging = <A>(layer: Layer.Layer<A>) => ManagedRuntime.make(Layer.provideMerge(layer, nowhere))

const service = (fetch: typeof globalThis.fetch, monitor: Watched) =>
  logging(Layer.orDie(ClaudeService.layer({ api: { fetch }, keys: [ClaudeTest.key], monitor })))

type Runtime = ManagedRuntime.ManagedRuntime<ClaudeService.ClaudeService, unknown>

const work = Effect.replicateEffect(Effect.asVoid(ClaudeService.create(request)), calls, { discard: true })

const called = (runtime: Runtime): Slice => () => runtime.runPromise(Effect.as(work, [0]))

/** The same calls, one scrape, and everything sent. */
const exporting = work.pipe(
  Effect.andThen(Prometheus.format),
  Effect.andThen(Effect.flatMap(OtlpExporter.Flusher, ({ flush }) => flush)),
  Effect.as([0])
)

const streamed = (runtime: Runtime): Slice => () =>
  runtime.runPromise(
    Effect.as(Effect.replicateEffect(Stream.runDrain(ClaudeService.stream(request)), streams, { discard: true }), [0])
  )

/** Microseconds of processor time that ours takes more than theirs. */
const addedBy = async (rounds: number, ours: Slice, theirs: Slice, count: number): Promise<number> => {
  const pairs = await alternate(rounds, ours, theirs)
  const of = (side: "ours" | "theirs") => undisturbed(pairs.map((pair) => pair[side].cpuMicros))
  return (of("ours") - of("theirs")) / count
}

export const run: Run = async (report) => {
  const server = await start()
  const client = sdk(server.url)
  const fetch = await replay(server.url)
  const without = logging(scripted(Monitor.layerOff))
  const byDefault = logging(scripted({}))
  const all = logging(scripted({ log: { sample: 1 } }))
  const exported = ManagedRuntime.make(Layer.provideMerge(scripted({}), Otlp.layer({ endpoint: server.url })))
  const streamWithout = service(fetch, Monitor.layerOff)
  const streamByDefault = service(fetch, {})
  try {
    const plain = await alternate(rounds, async () => [0], async () => {
      await workers(sdkCalls, 16, async () => {
        await client.messages.create(request)
      })
      return [0]
    })
    const sdkMicros = undisturbed(plain.map(({ theirs }) => theirs.cpuMicros / sdkCalls))
    const n = rounds * calls
    report({
      metric: "cpu_us",
      case: "call",
      value: sdkMicros,
      unit: "us",
      peer: "@anthropic-ai/sdk",
      n: rounds * sdkCalls
    })
    for (
      const [name, slice] of [
        ["default", called(byDefault)],
        ["all", called(all)],
        ["exported", () => exported.runPromise(exporting)]
      ] as const
    ) {
      const added = await addedBy(rounds, slice, called(without), calls)
      const row = { case: `call, ${name}`, n }
      report({ ...row, metric: "added_cpu_us", value: added, unit: "us", peer: "without a monitor" })
      report({ ...row, metric: "added_cpu_share", value: added / sdkMicros, unit: "ratio", peer: "@anthropic-ai/sdk" })
    }
    const count = streams * events
    report({
      metric: "added_cpu_us",
      case: "event of a stream",
      value: await addedBy(streamRounds, streamed(streamByDefault), streamed(streamWithout), count),
      unit: "us",
      peer: "without a monitor",
      n: streamRounds * count
    })
  } finally {
    for (const runtime of [without, byDefault, all, exported, streamWithout, streamByDefault]) await runtime.dispose()
    server.stop()
  }
}
