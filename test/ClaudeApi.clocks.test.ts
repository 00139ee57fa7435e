import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber, Layer, Redacted, Stream } from "effect"
import * as CallContext from "effect-claude/CallContext"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as CostLedger from "effect-claude/CostLedger"
import * as Monitor from "effect-claude/Monitor"
import { TestClock } from "effect/testing"
import { answer, fetchOf, hello, json, keys, message, over, settle } from "./utils/http.ts"

const hour = 3_600_000

/** A clock over the one of tests whose system time can be set, and which can stand for a process that did not run. */
const shiftable = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const shift = { system: 0, both: 0 }
  const currentTimeMillisUnsafe = () => clock.currentTimeMillisUnsafe() + shift.system + shift.both
  const currentTimeNanosUnsafe = () => BigInt(currentTimeMillisUnsafe()) * 1_000_000n
  const monotonicTimeNanosUnsafe = () => clock.monotonicTimeNanosUnsafe() + BigInt(shift.both) * 1_000_000n
  const own: Clock.Clock = {
    currentTimeMillisUnsafe,
    currentTimeMillis: Effect.sync(currentTimeMillisUnsafe),
    currentTimeNanosUnsafe,
    currentTimeNanos: Effect.sync(currentTimeNanosUnsafe),
    monotonicTimeNanosUnsafe,
    monotonicTimeNanos: Effect.sync(monotonicTimeNanosUnsafe),
    sleep: (duration) => clock.sleep(duration)
  }
  return {
    /** Sets the system's time. */
    set: (millis: number) => Effect.sync(() => void (shift.system += millis)),
    /** Time passes while nothing runs. */
    suspend: (millis: number) => Effect.sync(() => void (shift.both += millis)),
    layer: Layer.succeed(Clock.Clock, own)
  }
})

const limits = { headers: "3 seconds", firstContent: "10 seconds", idle: "1 second", call: "5 seconds" } as const

const service = (fetch: typeof globalThis.fetch, timeouts: object = limits) =>
  over(fetch, { api: { timeouts }, retry: { retries: 0 } })

const bytes = (text: string) => new TextEncoder().encode(text)
const events = answer.toString().split("\n\n").filter((part) => part !== "").map((part) => bytes(`${part}\n\n`))

/** An answer whose bytes come when they are sent. */
const slow = (contentType: string) => {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) })
  return {
    fetch: fetchOf(() => new Response(body, { headers: { "content-type": contentType } })).fetch,
    send: (piece: Uint8Array) => Effect.sync(() => controller?.enqueue(piece)),
    end: Effect.sync(() => controller?.close())
  }
}

const tagOf = (exit: Exit.Exit<unknown, unknown> | undefined): string | undefined => {
  if (exit === undefined) return "running"
  if (Exit.isSuccess(exit)) return "success"
  const error = Cause.squash(exit.cause) as { readonly _tag?: string; readonly cause?: { readonly limit?: string } }
  return error._tag
}

const pass = (seconds: number) =>
  Effect.gen(function*() {
    for (let i = 0; i < seconds * 4; i++) {
      yield* settle
      yield* TestClock.adjust("250 millis")
    }
    yield* settle
  })

describe.each([["back", -hour], ["forward", hour]] as const)("the system's time set %s by an hour", (_, shift) => {
  it.effect("keeps the time limits of a stream that stalls", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const { fetch, send } = slow("text/event-stream")
      const fiber = yield* Stream.runDrain(ClaudeService.stream(hello)).pipe(
        Effect.provide(service(fetch)),
        Effect.provide(clock.layer),
        Effect.forkChild
      )
      yield* settle
      for (const piece of events.slice(0, 4)) yield* send(piece)
      yield* pass(0.5)
      yield* clock.set(shift)
      yield* pass(0.25)
      assert.strictEqual(tagOf(fiber.pollUnsafe()), "running")
      yield* pass(2)
      assert.strictEqual(tagOf(fiber.pollUnsafe()), "StreamInterruptedError")
    }))

  it.effect("keeps the limit of a whole call", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const { fetch, send } = slow("application/json")
      const fiber = yield* ClaudeService.create(hello).pipe(
        Effect.provide(service(fetch)),
        Effect.provide(clock.layer),
        Effect.forkChild
      )
      yield* pass(0.5)
      yield* clock.set(shift)
      for (let i = 0; i < 8; i++) {
        yield* send(bytes(" "))
        assert.strictEqual(tagOf(fiber.pollUnsafe()), "running")
        yield* pass(0.5)
      }
      yield* pass(1.5)
      assert.strictEqual(tagOf(fiber.pollUnsafe()), "ConnectionError")
    }))

  it.effect("does not change what hidden output is charged", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const { fetch, send } = slow("text/event-stream")
      const request = { ...hello, model: "claude-opus-5-5", max_tokens: 8_000 }
      const fiber = yield* Effect.gen(function*() {
        yield* Effect.exit(Stream.runDrain(ClaudeService.stream(request)))
        return yield* Effect.flatMap(CostLedger.CostLedger, (ledger) => ledger.report({ from: 0, to: "2100-01-01" }))
      }).pipe(
        Effect.provide(ClaudeService.layerWithParts({ api: { fetch, timeouts: limits }, keys, retry: { retries: 0 } })),
        Effect.provide(clock.layer),
        Effect.forkChild
      )
      yield* settle
      for (const piece of events.slice(0, 2)) yield* send(piece)
      yield* pass(0.5)
      yield* clock.set(shift)
      yield* pass(2)
      const { total } = yield* Fiber.join(fiber)
      // A second of thinking, at the fastest pace.
      assert.isAtLeast(total.outputTokens, 50)
      assert.isAtMost(total.outputTokens, 300)
    }))

  it.effect("lets healthy calls and streams go on, with a deadline and without", () =>
    Effect.gen(function*() {
      for (const deadline of ["30 seconds", Infinity] as const) {
        const clock = yield* shiftable
        const plain = slow("application/json")
        const streamed = slow("text/event-stream")
        const run = <A, E>(call: Effect.Effect<A, E, ClaudeService.ClaudeService>, fetch: typeof globalThis.fetch) =>
          call.pipe(
            CallContext.withDeadline(deadline),
            Effect.provide(service(fetch)),
            Effect.provide(clock.layer),
            Effect.forkChild
          )
        const call = yield* run(ClaudeService.create(hello), plain.fetch)
        const stream = yield* run(Stream.runDrain(ClaudeService.stream(hello)), streamed.fetch)
        yield* settle
        for (const [i, piece] of events.entries()) {
          if (i === 3) yield* clock.set(shift)
          yield* streamed.send(piece)
          yield* plain.send(bytes(" "))
          if (i < 10) yield* pass(0.25)
        }
        yield* streamed.end
        yield* plain.send(bytes(JSON.stringify(message)))
        yield* plain.end
        yield* pass(0.5)
        assert.strictEqual(tagOf(call.pollUnsafe()), "success")
        assert.strictEqual(tagOf(stream.pollUnsafe()), "success")
      }
    }))

  it.effect("keeps a deadline through retries", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const { fetch, state } = fetchOf((n) => n < 3 ? json({}, 500) : json(message))
      const never = fetchOf(() => json({}, 500))
      const run = (fetch: typeof globalThis.fetch) =>
        ClaudeService.create(hello).pipe(
          CallContext.withDeadline("20 seconds"),
          Effect.provide(over(fetch, { retry: { retries: 100, budget: false }, breaker: { mode: "disabled" } })),
          Effect.provide(clock.layer),
          Effect.forkChild
        )
      const fiber = yield* run(fetch)
      const hopeless = yield* run(never.fetch)
      yield* settle
      yield* clock.set(shift)
      yield* pass(19)
      assert.strictEqual(tagOf(fiber.pollUnsafe()), "success")
      assert.strictEqual(state.requests, 3)
      yield* pass(2)
      assert.strictEqual(tagOf(hopeless.pollUnsafe()), "DeadlineExceededError")
    }))

  it.effect("gives rows and records the time that passed, and opens no circuit", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      yield* clock.set(10 * hour)
      const plain = slow("application/json")
      const streamed = slow("text/event-stream")
      for (const { fetch, send, end } of [plain, streamed]) {
        const layer = ClaudeService.layerWithParts({
          keys: Redacted.make("sk-ant-test"),
          api: { fetch },
          ledger: CostLedger.layer(),
          breaker: { slowCallDuration: "1 minute", slowCallRate: 0.5, minimumCalls: 1 }
        })
        const isStream = fetch === streamed.fetch
        const told = Effect.gen(function*() {
          const ledger = yield* CostLedger.CostLedger
          const monitor = yield* Monitor.Monitor
          const records = yield* Effect.forkChild(
            monitor.events.pipe(Stream.filter(({ _tag }) => _tag === "CallEnded"), Stream.take(1), Stream.runCollect)
          )
          yield* Effect.yieldNow
          yield* isStream ? Stream.runDrain(ClaudeService.stream(hello)) : ClaudeService.create(hello)
          const rows = yield* Stream.runCollect(ledger.rows({ from: -Infinity, to: Infinity }))
          const breaker = yield* CircuitBreaker.CircuitBreaker
          const circuits = yield* Effect.forEach(breaker.groups, breaker.state)
          return { rows, records: yield* Fiber.join(records), circuits }
        })
        const fiber = yield* told.pipe(Effect.provide(layer), Effect.provide(clock.layer), Effect.forkChild)
        yield* settle
        yield* pass(1)
        yield* clock.set(shift)
        yield* pass(1)
        for (const piece of isStream ? events : [bytes(JSON.stringify(message))]) yield* send(piece)
        yield* end
        yield* pass(0.5)
        const { circuits, records, rows } = yield* Fiber.join(fiber)
        assert.deepStrictEqual(rows.map(({ latencyMillis }) => latencyMillis), [2_000])
        const [{ record }] = records as unknown as [Extract<Monitor.Event, { readonly _tag: "CallEnded" }>]
        assert.strictEqual(record.latencyMillis, 2_000)
        if (isStream) assert.strictEqual(record.firstTokenMillis, 2_000)
        assert.isTrue(circuits.every(({ phase, slow }) => phase === "closed" && slow === 0), JSON.stringify(circuits))
      }
    }))
})

describe("a process that did not run for 30 seconds", () => {
  it.effect("loses no call and no stream that still lives", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const plain = slow("application/json")
      const streamed = slow("text/event-stream")
      let respond: ((response: Response) => void) | undefined
      const late = fetchOf(() => new Promise<Response>((resolve) => void (respond = resolve)))
      const run = <A, E>(call: Effect.Effect<A, E, ClaudeService.ClaudeService>, fetch: typeof globalThis.fetch) =>
        call.pipe(Effect.provide(service(fetch)), Effect.provide(clock.layer), Effect.forkChild)
      const fibers = [
        yield* run(ClaudeService.create(hello), plain.fetch),
        yield* run(Stream.runDrain(ClaudeService.stream(hello)), streamed.fetch),
        yield* run(ClaudeService.create(hello), late.fetch)
      ]
      yield* settle
      for (const piece of events.slice(0, 4)) yield* streamed.send(piece)
      yield* pass(0.5)
      yield* clock.suspend(30_000)
      yield* pass(0.75)
      for (const fiber of fibers) assert.strictEqual(tagOf(fiber.pollUnsafe()), "running")
      for (const piece of events.slice(4)) yield* streamed.send(piece)
      yield* streamed.end
      yield* plain.send(bytes(JSON.stringify(message)))
      yield* plain.end
      respond?.(json(message))
      yield* pass(0.5)
      for (const fiber of fibers) assert.strictEqual(tagOf(fiber.pollUnsafe()), "success")
    }))

  it.effect("gives no more time to a call that began after that", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const { fetch } = fetchOf((n) => n === 1 ? json(message) : new Promise<Response>(() => {}))
      const calls = Effect.andThen(ClaudeService.create(hello), clock.suspend(30_000)).pipe(
        Effect.andThen(ClaudeService.create(hello))
      )
      const fiber = yield* calls.pipe(Effect.provide(service(fetch)), Effect.provide(clock.layer), Effect.forkChild)
      yield* settle
      yield* pass(3.25)
      assert.strictEqual(tagOf(fiber.pollUnsafe()), "ConnectionError")
    }))

  it.effect("still gives up what is dead", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const { fetch, send } = slow("text/event-stream")
      const fiber = yield* Stream.runDrain(ClaudeService.stream(hello)).pipe(
        Effect.provide(service(fetch)),
        Effect.provide(clock.layer),
        Effect.forkChild
      )
      yield* settle
      for (const piece of events.slice(0, 4)) yield* send(piece)
      yield* pass(0.5)
      yield* clock.suspend(30_000)
      yield* pass(3)
      assert.strictEqual(tagOf(fiber.pollUnsafe()), "StreamInterruptedError")
    }))

  it.effect("uses the answer that arrived before it woke after the deadline", () =>
    Effect.gen(function*() {
      const clock = yield* shiftable
      const plain = slow("application/json")
      const fiber = yield* ClaudeService.create(hello).pipe(
        CallContext.withDeadline("20 seconds"),
        Effect.provide(service(plain.fetch)),
        Effect.provide(clock.layer),
        Effect.forkChild
      )
      yield* pass(0.5)
      yield* clock.suspend(30_000)
      yield* TestClock.adjust("500 millis")
      yield* plain.send(bytes(JSON.stringify(message)))
      yield* plain.end
      yield* settle
      yield* pass(0.5)
      assert.strictEqual(tagOf(yield* Effect.exit(Fiber.join(fiber))), "success")
    }))
})
