import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Redacted, Stream } from "effect"
import type * as ClaudeApi from "effect-claude/ClaudeApi"
import { AuthError } from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as MessageStream from "effect-claude/MessageStream"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import * as SimulatorServer from "effect-claude/testing/SimulatorServer"
import { TestClock } from "effect/testing"
import { driven } from "./utils/http.ts"

/** The program under test: asks twice, and explains itself when it is not let in. */
const capitals = Effect.gen(function*() {
  const ask = (country: string) => ({
    model: "claude-sonnet-5-5",
    max_tokens: 100,
    messages: [{ role: "user" as const, content: `What is the capital of ${country}?` }]
  })
  const first = yield* ClaudeService.text(ask("France"))
  const second = yield* Stream.mkString(MessageStream.text(ClaudeService.stream(ask("Italy"))))
  return [first, second]
}).pipe(Effect.catchTag("AuthError", (error) => Effect.succeed([error.kind])))

const known: Readonly<Record<string, string>> = { France: "Paris", Italy: "Rome" }

const answerOf = (request: { readonly messages: ReadonlyArray<{ readonly content: unknown }> }): string =>
  Object.entries(known).find(([country]) => String(request.messages[0]?.content).includes(country))?.[1] ?? "?"

const options: Simulator.Options = {
  answer: answerOf,
  latency: { firstToken: "20 millis" },
  // Each question is refused once before it is answered.
  faults: [
    { fault: Simulator.Fault.Status({ status: 529 }), when: { times: 1, request: (request) => !request.stream } },
    { fault: Simulator.Fault.Status({ status: 500 }), when: { times: 1, request: (request) => request.stream } }
  ]
}

const over = (api: ClaudeApi.Options, key = Simulator.apiKey) =>
  ClaudeService.layer({ api, keys: Redacted.make(key), retry: { base: 10, throttledBase: 10 } })

const scripted = ClaudeTest.layer(ClaudeTest.forever(answerOf))

const simulated = (key?: string) =>
  Layer.unwrap(Effect.map(Simulator.Simulator, ({ fetch }) => over({ fetch }, key))).pipe(
    Layer.provideMerge(Simulator.layer(options))
  )

const served = (key?: string) =>
  Layer.unwrap(Effect.map(SimulatorServer.SimulatorServer, ({ url }) => over({ baseUrl: url }, key))).pipe(
    Layer.provide(SimulatorServer.layer()),
    Layer.provideMerge(Simulator.layer(options))
  )

describe("one program, three Claudes", () => {
  it.effect("scripted", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* capitals, ["Paris", "Rome"])
    }).pipe(Effect.provide(scripted)))

  it.effect("simulated, in virtual time", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* driven(capitals), Exit.succeed(["Paris", "Rome"]))
      const { byStatus } = yield* (yield* Simulator.Simulator).requests
      assert.deepStrictEqual(byStatus, { 200: 2, 500: 1, 529: 1 })
    }).pipe(Effect.provide(simulated())))

  it.effect("over HTTP on loopback", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* capitals, ["Paris", "Rome"])
      const { byStatus } = yield* (yield* Simulator.Simulator).requests
      assert.deepStrictEqual(byStatus, { 200: 2, 500: 1, 529: 1 })
    }).pipe(Effect.provide(served()), TestClock.withLive))

  it.effect("and the same failure from each", () =>
    Effect.gen(function*() {
      const refusing = ClaudeTest.layer(new AuthError({ kind: "authentication" }))
      assert.deepStrictEqual(yield* Effect.provide(capitals, refusing), ["authentication"])
      assert.deepStrictEqual(
        yield* Effect.provide(driven(capitals), simulated("sk-ant-wrong")),
        Exit.succeed(["authentication"])
      )
      assert.deepStrictEqual(
        yield* TestClock.withLive(Effect.provide(capitals, served("sk-ant-wrong"))),
        ["authentication"]
      )
    }))
})
