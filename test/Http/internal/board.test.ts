/** What the status page is told, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as Health from "effect-claude/Health"
import * as Simulator from "effect-claude/testing/Simulator"
import { TestClock } from "effect/testing"
import * as Board from "../../../src/Http/internal/board.ts"
import { driven, hello, settle } from "../../utils/http.ts"

const layer = <P extends Simulator.Parts = {}>(options: Simulator.Options, parts?: P & ClaudeService.Checked<P>) =>
  Layer.provideMerge(Health.layer(), Simulator.layerClaude<P>(options, parts))

const call = Effect.tap(driven(ClaudeService.create(hello)), () => settle)

/** What a new reader is told. */
const firstOf = ({ updates }: Effect.Success<typeof Board.make>) =>
  Effect.map(Stream.runHead(updates), Option.getOrThrow)

const tick = Effect.andThen(TestClock.adjust("1 second"), settle)

describe("the board", () => {
  it.effect("keeps fifty calls, fifty that are worth a look, and ten minutes", () =>
    Effect.gen(function*() {
      const board = yield* Board.make
      const { inject } = yield* Simulator.Simulator
      yield* inject(Simulator.Fault.Status({ status: 400 }), { times: 60 })
      for (let n = 0; n < 60; n++) yield* call
      yield* tick
      for (let n = 0; n < 120; n++) yield* call
      for (let n = 0; n < 700; n++) yield* tick
      const { calls, points } = yield* firstOf(board)
      assert.strictEqual(points.length, 600)
      assert.deepStrictEqual(
        [calls.length, calls.filter(({ notable }) => notable).length, calls.filter(({ notable }) => !notable).length],
        [100, 50, 50]
      )
    }).pipe(Effect.provide(layer({}, { retry: { retries: 0 } }))))

  it.effect("counts every call once, by whose fault it failed", () =>
    Effect.gen(function*() {
      const board = yield* Board.make
      const { inject } = yield* Simulator.Simulator
      yield* inject(Simulator.Fault.Status({ status: 500 }), { times: 2 })
      for (let n = 0; n < 3; n++) yield* call
      yield* tick
      yield* driven(Effect.ignore(ClaudeService.create({ ...hello, model: "no-such-model" })))
      yield* tick
      const { points } = yield* firstOf(board)
      const sum = (name: "caller" | "own" | "policy" | "provider" | "success") =>
        points.reduce((sum, point) => sum + point[name], 0)
      assert.deepStrictEqual(
        [sum("success"), sum("provider"), sum("caller"), sum("policy"), sum("own")],
        [1, 2, 1, 0, 0]
      )
      const [first] = points
      assert.isAbove(first!.input, 0)
      assert.isAbove(first!.nanoUsd, 0)
      assert.isNotNull(first!.latency)
    }).pipe(Effect.provide(layer({}, { retry: { retries: 0 } }))))

  it.effect("tells what the waits and attempts of a call were for", () =>
    Effect.gen(function*() {
      const board = yield* Board.make
      const { inject } = yield* Simulator.Simulator
      yield* inject(Simulator.Fault.Status({ status: 529 }), { times: 1 })
      yield* TestClock.adjust("5 seconds")
      yield* driven(CallContext.annotate(ClaudeService.create(hello), { tenant: "acme" }))
      yield* settle
      const { calls: [shown] } = yield* firstOf(board)
      assert.deepStrictEqual(shown!.steps.map(({ _tag }) => _tag), [
        "AttemptStarted",
        "AttemptEnded",
        "Retrying",
        "Waited",
        "AttemptStarted",
        "AttemptEnded"
      ])
      const [started, failed, retrying, waited] = shown!.steps
      assert.strictEqual(started?.at, 0)
      assert.isTrue(failed?._tag === "AttemptEnded" && failed.error === "ServerError" && failed.keyLabel === "default")
      assert.isTrue(
        retrying?._tag === "Retrying" && waited?._tag === "Waited" && waited.at - retrying.at === waited.millis
      )
      assert.isTrue(shown!.notable)
      assert.strictEqual(shown!.record.tenant, "acme")
    }).pipe(Effect.provide(layer({}))))

  it.effect("tells how circuits changed", () =>
    Effect.gen(function*() {
      const board = yield* Board.make
      const { inject } = yield* Simulator.Simulator
      yield* inject(Simulator.Fault.Status({ status: 500 }), { times: 3 })
      for (let n = 0; n < 3; n++) yield* call
      yield* TestClock.adjust("10 seconds")
      yield* call
      const { circuits, health } = yield* firstOf(board)
      assert.deepStrictEqual(circuits.map(({ to }) => to), ["open", "halfOpen", "closed"])
      assert.strictEqual(health.circuits[0]?.phase, "closed")
    }).pipe(Effect.provide(
      layer({}, {
        retry: { retries: 0 },
        breaker: { consecutiveFailures: 3, openDuration: "10 seconds", halfOpenCalls: 1, jitter: 0 }
      })
    )))
})
