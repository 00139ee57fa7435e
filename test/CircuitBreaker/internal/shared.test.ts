import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger } from "effect"
import type { Batch, Reply } from "effect-claude/CircuitBreaker"
import { TestClock } from "effect/testing"
import { type Circuit, fresh } from "../../../src/CircuitBreaker/internal/circuit.ts"
import { admit, rules as standard, sharedCircuit, view } from "../../utils/circuits.ts"

const rules = {
  ...standard,
  failureRate: Infinity,
  slowCallRate: Infinity,
  minimumCalls: 10,
  openDuration: 10_000,
  maxOpenDuration: 10_000,
  halfOpenDuration: 5_000
}

const times = { storeTimeout: 250, syncInterval: 200, staleAfter: 2_000 }

const closed: Reply = {
  now: 0,
  phase: "closed",
  epoch: 100,
  waitMillis: 0,
  openings: 0,
  openMillis: 0,
  permits: 0,
  granted: 0,
  slot: 0,
  room: 1
}
const open: Reply = {
  ...closed,
  phase: "open",
  epoch: 200,
  waitMillis: 10_000,
  openings: 1,
  openMillis: 10_000
}
const due: Reply = { ...open, waitMillis: 0 }
const granted: Reply = { ...open, phase: "halfOpen", epoch: 300, waitMillis: 5_000, granted: 4 }

/** A store that answers as it is told to, and what it was told. */
const make = Effect.gen(function*() {
  const reports: Array<Batch> = []
  const lines: Array<unknown> = []
  const store = { answer: Effect.succeed(closed) as Effect.Effect<Reply, string>, reports, lines }
  const logger = Logger.layer([Logger.make(({ message }) => void lines.push([message].flat()[0]))])
  const step = (batch: Batch) =>
    Effect.suspend(() => {
      reports.push(batch)
      return store.answer
    })
  const circuit = yield* sharedCircuit({ step }, "key", rules, times).pipe(Effect.provide(logger))
  return { store, circuit }
})

/** What came of an effect that had no time to wait. */
const atOnce = <A>(effect: Effect.Effect<A>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* Effect.yieldNow
    const exit = fiber.pollUnsafe()
    assert.strictEqual(exit?._tag, "Success", "it waits")
    return yield* Fiber.join(fiber)
  })

const tick = TestClock.adjust(0)

const peek = (circuit: Circuit) => Effect.suspend(() => circuit.peek())

describe("a shared circuit", () => {
  it.effect("asks at the first attempt, and then decides at once even when the store hangs", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      assert.deepInclude(yield* admit(circuit), { _tag: "Permit", epoch: 100, round: 0 })
      store.answer = Effect.never
      for (let i = 0; i < 1_000; i++) {
        const admission = yield* atOnce(admit(circuit))
        assert.strictEqual(admission._tag, "Permit")
        if (admission._tag === "Permit") yield* circuit.settle(admission, "success")
        yield* TestClock.adjust(10)
      }
      assert.isBelow(store.reports.length, 12)
    }).pipe(Effect.scoped))

  it.effect("tells failures at once and the rest soon, each once and in order", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      const count = Effect.fnUntraced(function*(result: "success" | "failure") {
        const admission = yield* admit(circuit)
        if (admission._tag === "Permit") yield* circuit.settle(admission, result)
        yield* tick
      })
      yield* count("success")
      yield* count("success")
      assert.strictEqual(store.reports.length, 1)
      yield* count("failure")
      yield* count("success")
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(
        store.reports.map(({ counts }) => counts.map(({ calls, failures }) => [calls, failures])),
        [
          [],
          [[1, 0], [1, 0], [1, 1]],
          [[1, 0]]
        ]
      )
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(store.reports.length, 3)
    }).pipe(Effect.scoped))

  it.effect("tells at once that a row is complete, also where an attempt that came to nothing completes it", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      const permits = []
      for (let i = 0; i < 4; i++) {
        const admission = yield* admit(circuit)
        if (admission._tag === "Permit") permits.push(admission)
      }
      for (const index of [0, 1, 3]) {
        yield* circuit.settle(permits[index]!, "failure")
        yield* tick
      }
      const failure = { index: 3, calls: 0, failures: 1, slow: 0 }
      assert.deepInclude(store.reports.at(-1), { counts: [failure], tripped: false })
      yield* circuit.settle(permits[2]!, undefined)
      yield* tick
      const nothing = { index: 2, calls: -1, failures: 0, slow: 0 }
      assert.deepInclude(store.reports.at(-1), { counts: [nothing], tripped: true })
    }).pipe(Effect.scoped))

  it.effect("waits for a renewal where the mirror is old", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      yield* admit(circuit)
      yield* TestClock.adjust(2_000)
      store.answer = Effect.delay(Effect.succeed(open), 20)
      const caller = yield* Effect.forkChild(admit(circuit))
      yield* TestClock.adjust(20)
      assert.deepInclude(yield* Fiber.join(caller), { _tag: "Refusal", isHalfOpen: false, waitMillis: 10_000 })
    }).pipe(Effect.scoped))

  it.effect("waits no longer than the bound, then not at all, says so once, and comes back by itself", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      store.answer = Effect.never
      const callers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(admit(circuit)))
      yield* TestClock.adjust(249)
      assert.isUndefined(callers[0]!.pollUnsafe())
      yield* TestClock.adjust(1)
      for (const caller of callers) assert.strictEqual((yield* Fiber.join(caller))._tag, "Permit")
      for (let second = 0; second < 20; second++) {
        yield* atOnce(admit(circuit))
        yield* TestClock.adjust("1 second")
      }
      assert.isBelow(store.reports.length, 8)
      assert.strictEqual(store.lines.length, 1)

      store.answer = Effect.succeed(open)
      yield* TestClock.adjust("10 seconds")
      yield* atOnce(admit(circuit))
      yield* tick
      assert.deepInclude(yield* atOnce(admit(circuit)), { _tag: "Refusal", waitMillis: 10_000 })
      assert.strictEqual(store.lines.length, 2)
    }).pipe(Effect.scoped))

  it.effect("comes back also when the clock is set back", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      yield* TestClock.setTime(7_200_000)
      store.answer = Effect.fail("gone")
      yield* admit(circuit)
      store.answer = Effect.succeed(closed)
      yield* TestClock.setTime(3_600_000)
      yield* admit(circuit)
      yield* TestClock.adjust("1 second")
      yield* admit(circuit)
      yield* tick
      assert.strictEqual(store.lines.length, 2)
    }).pipe(Effect.scoped))

  it.effect("opens by itself without the store, tries by itself, and brings that along when it is back", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      yield* admit(circuit)
      store.answer = Effect.fail("gone")
      for (let i = 0; i < 3; i++) {
        const admission = yield* atOnce(admit(circuit))
        if (admission._tag === "Permit") yield* circuit.settle(admission, "failure")
        yield* tick
      }
      assert.deepInclude(yield* view(circuit), { phase: "open", waitMillis: 10_000 })
      yield* TestClock.adjust("4 seconds")
      store.answer = Effect.succeed(open)
      yield* peek(circuit)
      yield* tick
      assert.deepInclude(store.reports.at(-1)?.proposal, {
        when: "ifWorse",
        isOpen: true,
        waitMillis: 6_000,
        openings: 1
      })
      store.answer = Effect.fail("gone")
      yield* TestClock.adjust("10 seconds")
      const trial = yield* admit(circuit)
      assert.strictEqual(trial._tag, "Permit")
      if (trial._tag === "Permit") yield* circuit.settle(trial, "success")
      assert.strictEqual((yield* view(circuit)).phase, "closed")
    }).pipe(Effect.scoped))

  it.effect("asks for one trial at a time", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      store.answer = Effect.succeed(due)
      yield* peek(circuit)
      yield* tick
      const before = store.reports.length
      store.answer = Effect.delay(Effect.succeed(granted), 20)
      const callers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(admit(circuit)))
      yield* TestClock.adjust(20)
      const admissions = yield* Effect.forEach(callers, (caller) => Fiber.join(caller))
      assert.deepStrictEqual(admissions.map(({ _tag }) => _tag), ["Permit", "Refusal", "Refusal"])
      assert.strictEqual(store.reports.length, before + 1)
    }).pipe(Effect.scoped))

  it.effect("gives back the permit of a caller that left, whether it came before or after", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      store.answer = Effect.succeed(due)
      yield* peek(circuit)
      yield* tick
      for (const release of ["after", "before"] as const) {
        const answer = yield* Deferred.make<Reply>()
        store.answer = Deferred.await(answer)
        const caller = yield* Effect.forkChild(Effect.uninterruptible(admit(circuit)), { startImmediately: true })
        yield* tick
        const leaving = Fiber.interrupt(caller)
        const answering = Deferred.succeed(answer, granted)
        if (release === "after") yield* Effect.andThen(leaving, answering)
        else yield* Effect.andThen(answering, leaving)
        yield* tick
        if (release === "after" || caller.pollUnsafe()?._tag === "Failure") {
          assert.deepInclude(store.reports.at(-1), { epoch: 300, trials: [{ round: 4, result: undefined }] })
        }
        store.answer = Effect.succeed({ ...due, epoch: 400 })
        yield* TestClock.adjust("10 seconds")
        yield* peek(circuit)
        yield* tick
      }
    }).pipe(Effect.scoped))

  it.effect("hands a state from outside to the store as soon as it answers", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* make
      yield* admit(circuit)
      store.answer = Effect.fail("gone")
      yield* circuit.restore({ ...fresh, openUntil: 5_000, openings: 3 })
      yield* TestClock.adjust("2 seconds")
      store.answer = Effect.succeed(open)
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(store.reports.at(-1)?.proposal, { when: "always", openings: 3 })
      const { length } = store.reports
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(store.reports.length, length)
    }).pipe(Effect.scoped))

  it.effect("does not keep callers waiting when its layer is gone", () =>
    Effect.gen(function*() {
      const { circuit, store } = yield* Effect.scoped(make)
      store.answer = Effect.never
      assert.strictEqual((yield* admit(circuit))._tag, "Permit")
    }))
})
