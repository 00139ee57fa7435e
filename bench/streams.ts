/**
 * What a streamed answer of 2,000 events costs through `ClaudeService` with its default policies, against the bare SDK with its
 * defaults, at a server that writes 1 KiB at a time and as fast as it is read: events a second, processor time of this process, and the
 * time until the first event reaches the reader; and the memory of open streams that send nothing. Both readers look at each event alone (`Stream.runForEach`, `for await`).
 */
import { Effect, Stream } from "effect"
import * as ClaudeService from "../src/ClaudeService.ts"
import type { Run } from "./run.ts"
import { openStreams } from "./utils/openStreams.ts"
import { events, start } from "./utils/server.ts"
import { alternate, compare, median, sdk, sdkName, service, workers } from "./utils/sideBySide.ts"

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 16_384,
  system: "You are a helpful assistant who answers at length.",
  messages: [{ role: "user" as const, content: "What is the difference between a policy and a mechanism?" }]
}

const rounds = 25

/** Streams that are open at once while their memory is measured. */
const openCount = 1_000

/** What a reader does: it counts events, and notes when the first one came. */
class Reader {
  readonly firstMicros: Array<number> = []
  private count = 0

  begin() {
    const began = performance.now()
    let first = true
    return () => {
      this.count++
      if (!first) return
      first = false
      this.firstMicros.push((performance.now() - began) * 1_000)
    }
  }

  /** Throws unless every event of every stream came. */
  end(streams: number): ReadonlyArray<number> {
    if (this.count !== streams * events) throw new Error(`${this.count} events came from ${streams} streams`)
    return this.firstMicros
  }
}

export const run: Run = async (report) => {
  const server = await start()
  const client = sdk(server.url)
  const runtime = service(server.url)
  try {
    for (const [concurrency, count] of [[1, 32], [16, 64]] as const) {
      const ours = async () => {
        const reader = new Reader()
        const read = Effect.suspend(() => {
          const see = reader.begin()
          return Stream.runForEach(ClaudeService.stream(request), () => Effect.sync(see))
        })
        await runtime.runPromise(Effect.replicateEffect(read, count, { concurrency, discard: true }))
        return reader.end(count)
      }
      const theirs = async () => {
        const reader = new Reader()
        await workers(count, concurrency, async () => {
          const see = reader.begin()
          for await (const _ of await client.messages.create({ ...request, stream: true })) see()
        })
        return reader.end(count)
      }
      const pairs = await alternate(rounds, ours, theirs)
      const row = { case: `c=${concurrency}`, n: rounds * count * events }
      compare(
        report,
        pairs,
        row,
        { figure: "events_per_second", unit: "1/s", ratio: "throughput_ratio" },
        ({ micros }) => count * events / micros * 1e6
      )
      compare(
        report,
        pairs,
        row,
        { figure: "cpu_per_event_us", unit: "us", ratio: "cpu_per_event_ratio" },
        ({ cpuMicros }) => cpuMicros / count / events
      )
      compare(
        report,
        pairs,
        { ...row, n: rounds * count },
        { figure: "time_to_first_event_us", unit: "us", ratio: "time_to_first_event_ratio" },
        ({ noted }) => median(noted)
      )
      if (concurrency > 1) continue
      const before = await server.connections()
      await ours()
      const value = await server.connections() - before
      report({ ...row, metric: "connections_opened", value, unit: "connections", peer: "effect-claude", n: count })
    }
    const pairs = []
    for (let round = 0; round < 3; round++) {
      const [ours, theirs] = [
        await openStreams("ours", `${server.url}/open`, openCount),
        await openStreams("theirs", `${server.url}/open`, openCount)
      ]
      pairs.push({ ours, theirs, ratio: ours / theirs })
    }
    const row = { case: `${openCount} open`, n: pairs.length }
    const mebibytes = { ...row, metric: "memory_mib", unit: "MiB" }
    report({ ...mebibytes, value: median(pairs.map(({ ours }) => ours)) / 2 ** 20, peer: "effect-claude" })
    report({ ...mebibytes, value: median(pairs.map(({ theirs }) => theirs)) / 2 ** 20, peer: sdkName })
    report({
      ...row,
      metric: "memory_ratio",
      value: median(pairs.map(({ ratio }) => ratio)),
      unit: "ratio",
      peer: sdkName
    })
  } finally {
    await runtime.dispose()
    server.stop()
  }
}
