import * as Undici from "@effect/platform-node/Undici"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Random, Redacted, Schedule, Stream } from "effect"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { TestClock } from "effect/testing"
import { hello } from "./utils/http.ts"

const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length
const sockets = () => process.getActiveResourcesInfo().filter((name) => name.startsWith("TCP")).length

/** Waits, in real time and within a bound, until something holds. */
const eventually = (what: string, holds: Effect.Effect<boolean>) =>
  TestClock.withLive(
    Effect.flatMap(holds, (yes) => yes ? Effect.void : Effect.fail(what)).pipe(
      Effect.retry(Schedule.max([Schedule.spaced("5 millis"), Schedule.recurs(1000)]))
    )
  )

describe.each(["our transport", "another fetch"])("interruption over %s", (kind) => {
  it.effect(
    "at any of 200 instants leaves no socket, no timer and no fiber, and the server sees the abort",
    () =>
      Effect.gen(function*() {
        const timersBefore = timers()
        const socketsBefore = sockets()
        yield* Effect.gen(function*() {
          const simulator = yield* Simulator.Simulator
          const { url } = yield* SimulatorServer.SimulatorServer
          const agent = new Undici.Agent({ keepAliveTimeout: 1, keepAliveMaxTimeout: 1 })
          // The two implementations of `fetch` differ in types only.
          const fetch = ((input: string, init: object) =>
            Undici.fetch(input, { ...init, dispatcher: agent })) as unknown as typeof globalThis.fetch
          const layer = ClaudeService.layer({
            api: { baseUrl: url, ...(kind === "another fetch" ? { fetch } : undefined) },
            keys: Redacted.make(Simulator.apiKey),
            retry: { base: 20, throttledBase: 20, retries: 10, budget: false },
            // What is interrupted counts as nothing, so that failures alone are left to count.
            breaker: { mode: "observe" }
          })
          const claude = Context.get(yield* Layer.build(layer), ClaudeService.ClaudeService)
          let interrupted = 0
          for (let i = 0; i < 200; i++) {
            const instant = yield* Random.nextBetween(0, 60)
            const call: Effect.Effect<unknown, unknown> = i % 2 === 0
              ? claude.create({ ...hello, max_tokens: 20 })
              : Stream.runDrain(claude.stream({ ...hello, max_tokens: 20 }))
            const fiber = yield* Effect.forkChild(TestClock.withLive(call))
            yield* TestClock.withLive(Effect.sleep(instant))
            yield* Fiber.interrupt(fiber)
            const exit = yield* Fiber.await(fiber)
            if (Exit.isFailure(exit) && Exit.hasInterrupts(exit)) {
              interrupted++
            }
          }
          assert.isAbove(interrupted, 20)
          const seen = yield* eventually(
            "an open request",
            Effect.map(simulator.requests, (requests) =>
              requests.open === 0)
          ).pipe(
            Effect.andThen(simulator.requests)
          )
          assert.isAbove(seen.aborted, 5)
          yield* Effect.promise(() => agent.close())
        }).pipe(
          Effect.scoped,
          Effect.provide(
            SimulatorServer.layer().pipe(
              Layer.provideMerge(Simulator.layer({
                latency: { firstToken: { median: 10, sigma: 1 }, perToken: { median: 1, sigma: 1 } },
                faults: [{ fault: Simulator.Fault.Status({ status: 529 }), when: { probability: 0.2 } }]
              }))
            )
          ),
          Random.withSeed("interruption")
        )
        yield* eventually("a socket", Effect.sync(() => sockets() <= socketsBefore))
        yield* eventually("a timer", Effect.sync(() => timers() <= timersBefore))
      })
  )
})
