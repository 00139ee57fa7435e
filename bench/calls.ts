/**
 * What a plain call costs through `ClaudeService` with its default policies, against the bare SDK with its defaults: calls a second and
 * processor time of this process, at a server that answers at once. The ratios are medians of pairs of slices measured one after the other.
 */
import { Effect } from "effect"
import * as ClaudeService from "../src/ClaudeService.ts"
import type { Run } from "./run.ts"
import { start } from "./utils/server.ts"
import { alternate, compare, sdk, service, workers } from "./utils/sideBySide.ts"

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
  const runtime = service(server.url)
  try {
    for (const [concurrency, count] of [[1, 400], [16, 640], [64, 640]] as const) {
      const calls = Effect.asVoid(ClaudeService.create(request)).pipe(
        Effect.replicateEffect(count, { concurrency, discard: true }),
        Effect.as([])
      )
      const ours = () => runtime.runPromise(calls)
      const theirs = async () => {
        await workers(count, concurrency, async () => {
          await client.messages.create(request)
        })
        return []
      }
      const pairs = await alternate(rounds, ours, theirs)
      const row = { case: `c=${concurrency}`, n: rounds * count }
      compare(
        report,
        pairs,
        row,
        { figure: "calls_per_second", unit: "1/s", ratio: "throughput_ratio" },
        ({ micros }) => count / micros * 1e6
      )
      compare(
        report,
        pairs,
        row,
        { figure: "cpu_per_call_us", unit: "us", ratio: "cpu_per_call_ratio" },
        ({ cpuMicros }) => cpuMicros / count
      )
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
