/**
 * What a plain call costs through `ClaudeService` with its default policies, against the bare SDK with its defaults: calls a second and
 * processor time of this process, at a server that answers at once, and the 99th percentile of what a call takes; and its processor time against the SDK over the
 * transport of `ClaudeApi`, which leaves policies and port. The ratios are medians of pairs of slices measured one after the other.
 */
import type Anthropic from "@anthropic-ai/sdk"
import { Effect } from "effect"
import * as ClaudeService from "../src/ClaudeService.ts"
import type { Run } from "./run.ts"
import { start } from "./utils/server.ts"
import {
  alternate,
  compare,
  onOurTransport,
  p99,
  sdk,
  sdkOnOurTransport,
  service,
  workers
} from "./utils/sideBySide.ts"

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  system: "You are a helpful assistant who answers in one paragraph.",
  messages: [{ role: "user" as const, content: "What is the difference between a policy and a mechanism?" }]
}

const rounds = 31

export const run: Run = async (report) => {
  const server = await start()
  const client = sdk(server.url)
  const onTransport = await sdkOnOurTransport(server.url)
  const runtime = service(server.url)
  try {
    for (const [concurrency, count] of [[1, 400], [16, 640], [64, 640]] as const) {
      let micros: Array<number> = []
      /** What every call of a slice took, in microseconds. */
      const noted = (): ReadonlyArray<number> => {
        const all = micros
        micros = []
        return all
      }
      const timed = Effect.suspend(() => {
        const began = performance.now()
        return Effect.map(ClaudeService.create(request), () => void micros.push((performance.now() - began) * 1_000))
      })
      const calls = Effect.map(Effect.replicateEffect(timed, count, { concurrency, discard: true }), noted)
      const ours = () => runtime.runPromise(calls)
      const by = ({ messages }: Anthropic) => async () => {
        await workers(count, concurrency, async () => {
          const began = performance.now()
          await messages.create(request)
          micros.push((performance.now() - began) * 1_000)
        })
        return noted()
      }
      const row = { case: `c=${concurrency}`, n: rounds * count }
      const cpu = { figure: "cpu_per_call_us", unit: "us", ratio: "cpu_per_call_ratio" }
      const pairs = await alternate(rounds, ours, by(client))
      compare(
        report,
        pairs,
        row,
        { figure: "calls_per_second", unit: "1/s", ratio: "throughput_ratio" },
        ({ micros }) => count / micros * 1e6
      )
      compare(report, pairs, row, cpu, ({ cpuMicros }) => cpuMicros / count)
      compare(report, pairs, row, { figure: "p99_us", unit: "us", ratio: "p99_ratio" }, ({ noted }) => p99(noted))
      const withoutTransport = await alternate(rounds, ours, by(onTransport))
      compare(report, withoutTransport, row, cpu, ({ cpuMicros }) => cpuMicros / count, onOurTransport)
      if (concurrency > 1) continue
      const before = await server.connections()
      await ours()
      const value = await server.connections() - before
      report({ ...row, metric: "connections_opened", value, unit: "connections", peer: "effect-claude", n: count })
    }
  } finally {
    await runtime.dispose()
    server.stop()
  }
}
