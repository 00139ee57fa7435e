/**
 * What streamed text and a plain call cost through `ClaudeLanguageModel` over `ClaudeService` with its default policies, against the bare SDK with its
 * defaults: processor time of this process for each event of the API and each call, at a server that answers at once.
 */
import { Effect, Layer, ManagedRuntime, Redacted, Stream } from "effect"
import { LanguageModel } from "effect/ai"
import * as ClaudeLanguageModel from "../src/ClaudeLanguageModel.ts"
import * as ClaudeService from "../src/ClaudeService.ts"
import type { Run } from "./run.ts"
import { events, start } from "./utils/server.ts"
import { alternate, compare, sdk, workers } from "./utils/sideBySide.ts"

const model = "claude-sonnet-5-5"

const question = "What is the difference between a policy and a mechanism?"

const request = { model, max_tokens: 16_384, messages: [{ role: "user" as const, content: question }] }

const rounds = 21

export const run: Run = async (report) => {
  const server = await start()
  const client = sdk(server.url)
  const claude = ClaudeService.layer({ api: { baseUrl: server.url }, keys: Redacted.make("sk-ant-bench") })
  const runtime = ManagedRuntime.make(
    Layer.provide(ClaudeLanguageModel.layer({ model, maxTokens: request.max_tokens }), claude)
  )
  try {
    for (const [concurrency, streams, calls] of [[1, 16, 200], [16, 32, 480]] as const) {
      const row = { case: `c=${concurrency}` }
      const read = Effect.suspend(() => {
        let pieces = 0
        const see = Stream.runForEach(LanguageModel.streamText({ prompt: question }), (part) =>
          Effect.sync(() => {
            if (part.type === "text-delta") pieces++
          }))
        return Effect.andThen(
          see,
          Effect.sync(() => {
            if (pieces !== events - 5) throw new Error(`${pieces} pieces of text came from a stream`)
          })
        )
      })
      const streamed = await alternate(
        rounds,
        () => runtime.runPromise(Effect.as(Effect.replicateEffect(read, streams, { concurrency, discard: true }), [])),
        async () => {
          await workers(streams, concurrency, async () => {
            let pieces = 0
            for await (const event of await client.messages.create({ ...request, stream: true })) {
              if (event.type === "content_block_delta") pieces++
            }
            if (pieces !== events - 5) throw new Error(`${pieces} pieces of text came from a stream`)
          })
          return []
        }
      )
      compare(
        report,
        streamed,
        { ...row, n: rounds * streams * events },
        { figure: "cpu_per_event_us", unit: "us", ratio: "cpu_per_event_ratio" },
        ({ cpuMicros }) => cpuMicros / streams / events
      )
      const call = Effect.asVoid(LanguageModel.generateText({ prompt: question }))
      const called = await alternate(
        rounds,
        () => runtime.runPromise(Effect.as(Effect.replicateEffect(call, calls, { concurrency, discard: true }), [])),
        async () => {
          await workers(calls, concurrency, async () => {
            await client.messages.create(request)
          })
          return []
        }
      )
      compare(
        report,
        called,
        { ...row, n: rounds * calls },
        { figure: "cpu_per_call_us", unit: "us", ratio: "cpu_per_call_ratio" },
        ({ cpuMicros }) => cpuMicros / calls
      )
    }
  } finally {
    await runtime.dispose()
    server.stop()
  }
}
