import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import * as CircuitBreakerRedis from "effect-claude/CircuitBreaker/Redis"
import {
  count,
  eventually,
  pair,
  permitSoon,
  phaseIs,
  type Process,
  rules,
  suite
} from "../suites/CircuitBreakerStore.ts"
import * as TestRedis from "../utils/redis.ts"

/** One more process, with a connection of its own. */
const processOn = (server: TestRedis.Server): Process =>
  Layer.build(
    Layer.fresh(CircuitBreakerRedis.layer({ syncEvery: "20 millis" })).pipe(
      Layer.provide(TestRedis.connection(server))
    )
  ).pipe(
    Effect.map(Context.get(CircuitBreaker.Store)),
    // A connection closes when what it was asked is answered.
    Effect.tap(Effect.addFinalizer(() => server.revive))
  )

const long = { ...rules, openMillis: 600_000, maxOpenMillis: 600_000 }

/** What was logged of the store. */
const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => {
    const line = String(message)
    if (line.startsWith("CircuitBreaker:")) lines.push(line)
  })
  return { lines, layer: Logger.layer([logger]) }
}

const gone = "CircuitBreaker: its store does not answer. Until it does, each process judges for itself."
const back = "CircuitBreaker: its store answers again."

/** Waits until both hold the same circuit again: what one is given, the other hears of. */
const rejoined = Effect.fnUntraced(function*(here: CircuitBreaker.Circuit, there: CircuitBreaker.Circuit) {
  const { openings } = yield* here.view
  yield* there.restore({ ...(yield* there.save), openUntil: 1e15, openings: openings + 7 })
  yield* eventually(here.view, (view) => view.openings === openings + 7)
})

describe.skipIf(!TestRedis.isInstalled)("CircuitBreaker/Redis", () => {
  suite(Effect.map(TestRedis.server({ durable: false }), processOn))

  it.live("stays open over a crash of the server, and what opened meanwhile is open for all", () => {
    const log = logged()
    return Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: true })
      const [here, there] = yield* pair(processOn(server), long)
      const [opened, unknown] = yield* pair(processOn(server), long)
      yield* count(unknown, 0)
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      yield* count(opened, 0, 1)
      yield* Effect.sleep(100)

      yield* server.kill
      assert.strictEqual((yield* here.admit)._tag, "Refusal")
      yield* Effect.sleep(400)
      yield* count(opened, 1, 1)
      yield* phaseIs(opened, "open")
      assert.strictEqual((yield* there.admit)._tag, "Refusal")
      yield* count(unknown, 0, 0)

      yield* server.start
      yield* Effect.forkScoped(Effect.forever(Effect.delay(opened.peek, 20)))
      yield* phaseIs(unknown, "open")
      yield* rejoined(here, there)
      assert.deepStrictEqual([...new Set(log.lines)].sort(), [back, gone])
    }).pipe(Effect.scoped, Effect.provide(log.layer))
  }, 30_000)

  it.live("goes on alone while the server hangs, and waits for it no longer than once", () => {
    const log = logged()
    return Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const [here, there] = yield* pair(processOn(server), rules)
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      const [unknown] = yield* pair(processOn(server), rules)
      const [first] = yield* pair(processOn(server), rules)
      yield* Effect.sleep(rules.openMillis)

      yield* server.pause
      yield* count(first, 0)
      const trials = [yield* permitSoon(here), yield* permitSoon(there)]
      assert.strictEqual((yield* here.admit)._tag, "Refusal")
      here.settle(trials[0]!, 0)
      assert.strictEqual((yield* here.view).phase, "closed")
      yield* count(here, 0, 0, 1, 0)
      yield* count(unknown, 0)
      yield* count(first, 0)

      yield* server.resume
      yield* rejoined(here, there)
    }).pipe(Effect.scoped, Effect.provide(log.layer))
  }, 30_000)

  it.live("stays open when the server loses its data", () =>
    Effect.gen(function*() {
      const server = yield* TestRedis.server({ durable: false })
      const [here, there] = yield* pair(processOn(server), long)
      yield* count(here, 1, 1, 1)
      yield* phaseIs(there, "open")
      yield* server.kill
      yield* server.start
      yield* rejoined(here, there)
      assert.strictEqual((yield* here.view).phase, "open")
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))), 30_000)

  it.live.each(["OK", null, 7, [], [9, 9, 9, 9, 9, 9, 9]].map((answer) => ({ answer })))(
    "judges for itself when all that Redis says is $answer",
    ({ answer }) =>
      Effect.gen(function*() {
        const context = yield* Layer.build(CircuitBreakerRedis.layer()).pipe(Effect.provide(TestRedis.saying(answer)))
        const circuit = yield* Context.get(context, CircuitBreaker.Store).circuit("key", long, () => {})
        yield* count(circuit, 0, 1, 1, 1)
        assert.strictEqual((yield* circuit.view).phase, "open")
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )
})
