import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, type Scope } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as CircuitBreakerRedis from "effect-claude/CircuitBreaker/Redis"
import * as ClaudeApi from "effect-claude/ClaudeApi"
import { ServerError } from "effect-claude/ClaudeError"
import type { Circuit } from "../../src/CircuitBreaker/internal/circuit.ts"
import { suite } from "../suites/CircuitBreakerStore.ts"
import { attempt, failed } from "../utils/attempts.ts"
import { admit, count, permitSoon, phaseIs, rules, sharedCircuit, view } from "../utils/circuits.ts"
import { eventually } from "../utils/eventually.ts"
import * as TestRedis from "../utils/redis.ts"
import * as settling from "../utils/settling.ts"

const times = { storeTimeout: 250, syncInterval: 20, staleAfter: 2_000 }

let keys = 0

/** One circuit as two processes have it, each with a connection of its own. */
const pair = Effect.fnUntraced(function*(
  server: TestRedis.Server,
  rules: CircuitBreaker.Rules,
  storeTimeout = 250
): Effect.fn.Return<readonly [Circuit, Circuit], never, Scope.Scope> {
  const key = `circuit-${keys++}`
  const one = Effect.gen(function*() {
    const layer = Layer.fresh(CircuitBreakerRedis.layerStore()).pipe(Layer.provide(TestRedis.connection(server)))
    const store = Context.get(yield* Layer.build(layer), CircuitBreaker.Store)
    // A connection closes when what it was asked is answered.
    yield* Effect.addFinalizer(() => server.revive)
    return yield* sharedCircuit(store, key, rules, { ...times, storeTimeout })
  })
  return [yield* one, yield* one]
})

const long = { ...rules, openDuration: 600_000, maxOpenDuration: 600_000 }

/** What was logged of the store. */
const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => {
    const line = String([message].flat()[0])
    if (line.startsWith("CircuitBreaker:")) lines.push(line)
  })
  return { lines, layer: Logger.layer([logger]) }
}

const gone = "CircuitBreaker: the store does not answer. Until it does, each process decides by what it sees itself."
const back = "CircuitBreaker: the store answers again."

/** Waits until both hold the same circuit again: what one is given, the other hears of. */
const rejoined = Effect.fnUntraced(function*(here: Circuit, there: Circuit) {
  const { openings } = yield* view(here)
  yield* there.restore({ ...(yield* there.save()), openUntil: 1e15, openings: openings + 7 })
  yield* eventually(view(here), (view) => view.openings === openings + 7)
})

describe.skipIf(!TestRedis.isInstalled)("CircuitBreaker/Redis", () => {
  suite({
    name: "one step at a time",
    layer: Layer.provide(CircuitBreakerRedis.layerStore(), TestRedis.shared()),
    sleep: Effect.sleep,
    test: it.live,
    isConcurrent: true
  })

  describe("circuits of two processes", () => {
    const live = (
      name: string,
      rules: CircuitBreaker.Rules,
      test: (here: Circuit, there: Circuit) => Effect.Effect<void, never, Scope.Scope>
    ) =>
      it.live(name, () =>
        Effect.gen(function*() {
          const [here, there] = yield* pair(yield* TestRedis.server({ durable: false }), rules, 5_000)
          yield* test(here, there)
        }).pipe(Effect.scoped))

    const wide = {
      ...rules,
      minimumCalls: 6,
      consecutiveFailures: Infinity,
      openDuration: 60_000,
      maxOpenDuration: 60_000
    }

    live("count their results together, each once", wide, (here, there) =>
      Effect.gen(function*() {
        yield* count(here, "failure", "success")
        yield* count(there, "success", "success", "failure")
        // It opens at the sixth result: sooner if one was counted twice, never if one was lost.
        yield* Effect.sleep(100)
        yield* phaseIs(here, "closed")
        yield* count(there, "failure")
        yield* phaseIs(here, "open")
        yield* phaseIs(there, "open")
        assert.strictEqual((yield* admit(there))._tag, "Refusal")
        assert.strictEqual((yield* here.peek())?._tag, "Refusal")
      }))

    live(
      "let one half-open call go among all, whose success closes the circuit for all",
      rules,
      (here, there) =>
        Effect.gen(function*() {
          yield* count(here, "failure", "failure", "failure")
          yield* phaseIs(there, "open")
          const first = yield* permitSoon(there)
          assert.isAbove(first.round, 0)
          for (const circuit of [here, there]) {
            // A process may think a little longer that it is open.
            const refusal = yield* eventually(
              admit(circuit),
              (admission) => admission._tag === "Permit" || admission.isHalfOpen
            )
            assert.deepInclude(refusal, { _tag: "Refusal", isHalfOpen: true })
          }
          yield* there.settle(first, "success")
          yield* phaseIs(there, "closed")
          yield* phaseIs(here, "closed")
          yield* count(here, "success")
        })
    )

    live("hand a permit that came back to another process", rules, (here, there) =>
      Effect.gen(function*() {
        yield* count(here, "failure", "failure", "failure")
        yield* phaseIs(there, "open")
        yield* here.settle(yield* permitSoon(here), undefined)
        yield* there.settle(yield* permitSoon(there), "success")
        yield* phaseIs(here, "closed")
      }))

    live(
      "take over a state from outside, for all",
      { ...wide, consecutiveFailures: 3 },
      (here, there) =>
        Effect.gen(function*() {
          yield* count(there, "success")
          const before = yield* there.save()
          yield* count(here, "failure", "failure", "failure")
          yield* phaseIs(there, "open")
          const saved = yield* there.save()
          yield* there.restore(before)
          yield* phaseIs(there, "closed")
          yield* phaseIs(here, "closed")
          yield* here.restore(saved)
          const { openings, waitMillis } = yield* phaseIs(there, "open")
          assert.strictEqual(openings, 1)
          assert.isTrue(waitMillis > 30_000 && waitMillis <= 60_000)
        })
    )
  })

  it.live("are the circuits of breakers by one layer", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const breaker = CircuitBreakerRedis.layer({
        prefix: "test:",
        consecutiveFailures: 1,
        openDuration: "1 minute",
        storeTimeout: "5 seconds"
      })
      const build = Layer.build(
        Layer.provide(Layer.fresh(breaker), [TestRedis.connection(server), ClaudeApi.layer()])
      )
      const here = Context.get(yield* build, CircuitBreaker.CircuitBreaker)
      const there = Context.get(yield* build, CircuitBreaker.CircuitBreaker)
      const made = attempt()
      yield* settling.admit(here, made)
      made.outcome = failed(new ServerError({ overloaded: true }))
      yield* settling.settle(made)
      yield* eventually(there.state(made.facts.group), ({ phase }) => phase === "open")
      assert.strictEqual((yield* Effect.flip(settling.admit(there, attempt())))._tag, "CircuitOpenError")
    }).pipe(Effect.scoped))

  it.live("stays open over a crash of the server, and what opened meanwhile is open for all", () => {
    const log = logged()
    return Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: true })
      const [here, there] = yield* pair(server, long)
      const [opened, unknown] = yield* pair(server, long)
      yield* count(unknown, "success")
      yield* count(here, "failure", "failure", "failure")
      yield* phaseIs(there, "open")
      yield* count(opened, "success", "failure")
      yield* Effect.sleep(100)

      yield* server.kill
      assert.strictEqual((yield* admit(here))._tag, "Refusal")
      yield* Effect.sleep(400)
      yield* count(opened, "failure", "failure")
      yield* phaseIs(opened, "open")
      assert.strictEqual((yield* admit(there))._tag, "Refusal")
      yield* count(unknown, "success", "success")

      yield* server.start
      yield* Effect.forkScoped(Effect.forever(Effect.delay(Effect.suspend(() => opened.peek()), 20)))
      yield* phaseIs(unknown, "open")
      yield* rejoined(here, there)
      assert.deepStrictEqual([...new Set(log.lines)].sort(), [back, gone])
    }).pipe(Effect.scoped, Effect.provide(log.layer))
  })

  it.live("goes on alone while the server hangs, and waits for it no longer than once", () => {
    const log = logged()
    return Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const [here, there] = yield* pair(server, rules)
      yield* count(here, "failure", "failure", "failure")
      yield* phaseIs(there, "open")
      const [unknown] = yield* pair(server, rules)
      const [first] = yield* pair(server, rules)
      yield* Effect.sleep(rules.openDuration)

      yield* server.pause
      yield* count(first, "success")
      const trials = [yield* permitSoon(here), yield* permitSoon(there)]
      assert.strictEqual((yield* admit(here))._tag, "Refusal")
      yield* here.settle(trials[0]!, "success")
      assert.strictEqual((yield* view(here)).phase, "closed")
      yield* count(here, "success", "success", "failure", "success")
      yield* count(unknown, "success")
      yield* count(first, "success")

      yield* server.resume
      yield* rejoined(here, there)
    }).pipe(Effect.scoped, Effect.provide(log.layer))
  })

  it.live("stays open when the server loses its data", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const [here, there] = yield* pair(server, long)
      yield* count(here, "failure", "failure", "failure")
      yield* phaseIs(there, "open")
      yield* server.kill
      yield* server.start
      yield* rejoined(here, there)
      assert.strictEqual((yield* view(here)).phase, "open")
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live.each(["OK", null, 7, [], [9, 9, 9, 9, 9, 9, 9]].map((answer) => ({ answer })))(
    "judges for itself when all that Redis says is $answer",
    ({ answer }) =>
      Effect.gen(function*() {
        const layer = Layer.provide(CircuitBreakerRedis.layerStore(), TestRedis.saying(answer))
        const store = Context.get(yield* Layer.build(layer), CircuitBreaker.Store)
        const circuit = yield* sharedCircuit(store, "key", long, times)
        yield* count(circuit, "success", "failure", "failure", "failure")
        assert.strictEqual((yield* view(circuit)).phase, "open")
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )
})
