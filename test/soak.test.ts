import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Layer, Redacted } from "effect"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as MessageStream from "effect-claude/MessageStream"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { TestClock } from "effect/testing"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { hello } from "./utils/http.ts"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** Bytes in use after everything that can go has gone. */
const heap = Effect.promise(async () => {
  for (let i = 0; i < 5; i++) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return process.memoryUsage().heapUsed
})

const { Fault } = Simulator

const faults = [
  Fault.Status({ status: 400 }),
  Fault.Status({ status: 401 }),
  Fault.Status({ status: 429, headers: { "retry-after-ms": "10" } }),
  Fault.Status({ status: 500 }),
  Fault.Status({ status: 502, body: "<html>Bad gateway</html>", headers: { "content-type": "text/html" } }),
  Fault.Status({ status: 529 }),
  Fault.Refused(),
  Fault.ResetBeforeHeaders(),
  Fault.ResetMidStream({ after: { events: 4 } }),
  Fault.ErrorEvent({ type: "overloaded_error", after: { events: 4 } }),
  Fault.Stall({ after: "nothing" }),
  Fault.Stall({ after: { events: 3 } }),
  Fault.Truncate({ after: { events: 4 } }),
  Fault.Garbage({ after: { events: 2 } }),
  Fault.Drip({ bytes: 50, every: "1 millis" })
]

const round = Effect.gen(function*() {
  const claude = yield* ClaudeService.ClaudeService
  const tags: Record<string, number> = {}
  const count = (tag: string) =>
    Effect.sync(() => {
      tags[tag] = (tags[tag] ?? 0) + 1
    })
  const calls = Arr.makeBy(330, (i) => {
    const request = { ...hello, max_tokens: 40, messages: [{ role: "user" as const, content: `Question ${i}` }] }
    const answer = i % 11 === 10 ? MessageStream.message(claude.stream(request)) : claude.create(request)
    return answer.pipe(
      Effect.flatMap((message) =>
        message.stop_reason !== null && message.usage.output_tokens > 0 ? count("answer") : Effect.die("a cut message")
      ),
      Effect.catch((error) => count(error._tag))
    )
  })
  yield* Effect.all(calls, { concurrency: 64, discard: true })
  return tags
})

/** `npm run bench -- soak` is the long one: processes, stores and clocks too. */
describe("three hundred calls and thirty streams among faults of every kind", () => {
  it.effect("all end as an answer or a typed error, and leave nothing behind", () =>
    Effect.gen(function*() {
      const unhandled: Array<unknown> = []
      const listener = (reason: unknown) => unhandled.push(reason)
      process.on("unhandledRejection", listener)
      yield* Effect.addFinalizer(() => Effect.sync(() => process.off("unhandledRejection", listener)))
      const { url } = yield* SimulatorServer.SimulatorServer
      const layer = ClaudeService.layer({
        api: { baseUrl: url, timeouts: { headers: "2 seconds", idle: "2 seconds" } },
        keys: [{ label: "sim", group: "g", secret: Redacted.make(Simulator.apiKey) }],
        retry: { base: 5, throttledBase: 5, cap: 20 },
        // On a machine that is busy elsewhere time limits pass in a row, and refusals would leave nothing to look at.
        breaker: { mode: "observe" }
      })
      const claude = yield* Layer.build(layer)
      const rounds = Effect.provide(round, claude)
      yield* rounds // caches, pools and compiled code are part of the start
      const before = yield* heap
      const tags = yield* rounds
      const after = yield* heap
      assert.strictEqual(Object.values(tags).reduce((sum, n) => sum + n, 0), 330)
      assert.isAbove(tags["answer"] ?? 0, 300)
      assert.isAtLeast(Object.keys(tags).length, 3)
      assert.deepStrictEqual(unhandled, [])
      const simulator = yield* Simulator.Simulator
      assert.strictEqual((yield* simulator.requests).open, 0)
      assert.isAtMost(after - before, 2_000_000, `${before} bytes before, ${after} after`)
    }).pipe(
      Effect.provide(
        SimulatorServer.layer().pipe(Layer.provideMerge(Simulator.layer({
          billRows: 10,
          faults: faults.map((fault) => ({
            fault,
            // A check of the key that met a 401 as well would quarantine the only one.
            when: { probability: 0.05 / faults.length, request: ({ path }) => path.startsWith("/v1/messages") }
          }))
        })))
      ),
      TestClock.withLive
    ))
})
