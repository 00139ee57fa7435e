import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, Duration, Effect, Exit, Fiber, Layer, Metric, Random, Redacted, Schema, Stream } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import { type ApiError, AuthError, NoUsableKeyError, RateLimitError, ServerError } from "effect-claude/ClaudeError"
import * as KeyPool from "effect-claude/KeyPool"
import * as KeyStore from "effect-claude/KeyStore"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import { TestClock } from "effect/testing"
import { completed, failed } from "./utils/attempts.ts"
import { between } from "./utils/between.ts"
import { settle } from "./utils/http.ts"

const key = (label: string, more: Partial<Attempt.Key> = {}): Attempt.Key => ({
  label,
  group: "g",
  secret: Redacted.make(`sk-ant-${label}`),
  ...more
})

const using = (keys: ReadonlyArray<Attempt.Key>, options: KeyPool.Options = {}) =>
  Effect.provide(
    KeyPool.layer(options).pipe(
      Layer.provide(KeyStore.layerKeys(keys)),
      Layer.provideMerge(ClaudeTest.layerApi())
    )
  )

/** An attempt with its key, and how it is settled. */
const begin = Effect.fnUntraced(function*(options: ClaudeTest.AttemptOptions = {}) {
  const pool = yield* KeyPool.KeyPool
  const attempt = ClaudeTest.attempt({ key: null, ...options })
  const settle = yield* Effect.uninterruptible(pool.admit(attempt))
  return {
    attempt,
    label: attempt.key?.label ?? "",
    end: (outcome: Attempt.Outcome, sentAt = 0) =>
      Effect.suspend(() => {
        attempt.sentAt = sentAt
        attempt.outcome = outcome
        return settle
      })
  }
})

const once = (outcome: Attempt.Outcome = completed, options: ClaudeTest.AttemptOptions = {}) =>
  Effect.flatMap(begin(options), ({ end, label }) => Effect.as(end(outcome), label))

const fail = (error: ApiError) => failed(error)

const refused = fail(new AuthError({ kind: "authentication" }))

const throttled = (seconds: number) =>
  fail(new RateLimitError({ limit: "requests", retryAfter: Duration.seconds(seconds) }))

const times = (count: number) => Effect.replicateEffect(once(), count)

const states = Effect.map(
  Effect.flatMap(KeyPool.KeyPool, ({ snapshot }) => snapshot),
  (keys) => keys.map(({ label, state }) => `${label} ${state}`)
)

describe("keys", () => {
  it.effect("of one are given to all", () =>
    Effect.map(times(2), (labels) => assert.deepStrictEqual(labels, ["a", "a"])).pipe(using([key("a")])))

  it.effect("of one group take turns", () =>
    Effect.map(times(4), (labels) => assert.deepStrictEqual(labels, ["a", "b", "c", "a"])).pipe(
      using(["a", "b", "c"].map((label) => key(label)))
    ))

  it.effect("refuse where there are none", () =>
    Effect.map(Effect.flip(times(1)), (error) => {
      assert.deepStrictEqual(error, new NoUsableKeyError({ reasons: {}, attempts: 0 }))
      assert.strictEqual(error.kind, "none")
    }).pipe(using([])))

  for (
    const [what, keys, message] of [
      ["without any weight", [key("a", { weight: 0 }), key("b", { weight: 0 })], /the weight of every key is 0/],
      ["with a negative weight", [key("a", { weight: -1 }), key("b")], /the weight of "a" must be a number from 0/],
      ["with the same label", [key("a"), key("a")], /two keys have the label "a"/]
    ] as const
  ) {
    it.effect(`${what} are a configuration error that does not repeat them`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(times(1).pipe(using(keys)))
        assert.instanceOf(error, Config.ConfigError)
        assert.match(error.message, message)
        assert.notMatch(error.message, /sk-ant/)
      }))
  }
})

describe("a strategy", () => {
  const shares = (strategy: KeyPool.StrategyName, weights: ReadonlyArray<number>, picks: number) =>
    Effect.gen(function*() {
      const counts = weights.map(() => 0)
      for (let i = 0; i < picks; i++) {
        const label = yield* once()
        counts[Number(label)] = (counts[Number(label)] ?? 0) + 1
      }
      return counts.map((count) => count / picks)
    }).pipe(using(weights.map((weight, i) => key(`${i}`, { weight })), { strategy }))

  const wanted = (weights: ReadonlyArray<number>) => {
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    return weights.map((weight) => weight / total)
  }

  it.effect.prop(
    "by weight keeps 10,000 picks within one point of the weights",
    { weights: Schema.Array(between(0, 200)).check(Schema.isMinLength(1), Schema.isMaxLength(8)) },
    ({ weights }) =>
      Effect.gen(function*() {
        if (weights.every((weight) => weight === 0)) return
        const given = weights.map((weight) => weight / 200)
        const got = yield* shares("weighted", given, 10_000)
        wanted(given).forEach((share, i) => assert.closeTo(got[i] ?? 0, share, 0.001))
      }),
    { arbitrary: { runs: 10 } }
  )

  it.effect("by weight is exact for half a percent and for none", () =>
    Effect.map(
      shares("weighted", [0.995, 0.005, 0], 10_000),
      (got) => assert.deepStrictEqual(got, [0.995, 0.005, 0])
    ))

  it.effect("at random keeps to the weights, roughly", () =>
    Effect.map(shares("random", [0.7, 0.25, 0.05, 0], 10_000), (got) => {
      wanted([0.7, 0.25, 0.05, 0]).forEach((share, i) => assert.closeTo(got[i] ?? 0, share, 0.02))
      assert.strictEqual(got[3], 0)
    }).pipe(Random.withSeed("keys")))

  it.effect("of turns gives each the same, whatever its weight, and none to a weight of 0", () =>
    Effect.map(shares("roundRobin", [3, 1, 0], 10), (got) => assert.deepStrictEqual(got, [0.5, 0.5, 0])))

  it.effect("by load counts what is in flight for the weight of a key", () =>
    Effect.gen(function*() {
      const open = yield* Effect.replicateEffect(begin(), 8)
      const ofA = open.filter(({ label }) => label === "a")
      assert.strictEqual(ofA.length, 6)
      for (const { end } of ofA) yield* end(completed)
      assert.deepStrictEqual(yield* times(3), ["a", "a", "a"])
    }).pipe(using([key("a", { weight: 3 }), key("b")], { strategy: "leastLoaded" })))
})

describe("evidence", () => {
  const two = [key("a", { group: "org-a" }), key("b", { group: "org-b" })]
  const turns = { strategy: "roundRobin" } as const

  it.effect("of a rejection concerns the key, of a limit its group, of an outage neither", () =>
    Effect.gen(function*() {
      yield* once(fail(new ServerError({ overloaded: true, status: 529 })))
      yield* once(fail(new ServerError({ overloaded: false, status: 500 })))
      assert.deepStrictEqual(yield* states, ["a usable", "a2 usable", "b usable"])
      const first = yield* once(throttled(5))
      const cooling = first.startsWith("a")
        ? ["a cooling", "a2 cooling", "b usable"]
        : ["a usable", "a2 usable", "b cooling"]
      assert.deepStrictEqual(yield* states, cooling)
      yield* TestClock.adjust("5 seconds")
      const second = yield* once(refused)
      assert.deepStrictEqual((yield* states).filter((state) => !state.endsWith("usable")), [`${second} quarantined`])
    }).pipe(using([...two, key("a2", { group: "org-a" })].sort((x, y) => x.label < y.label ? -1 : 1), turns)))

  it.effect("of a single rejection suffices to prefer other keys, and is no longer held against a key that has answered since", () =>
    Effect.gen(function*() {
      const open = yield* Effect.replicateEffect(begin(), 4)
      const [first, , third] = open
      yield* TestClock.adjust("1 second")
      yield* first!.end(refused, 500)
      // It was sent before, and proves nothing.
      yield* third!.end(completed, 400)
      assert.deepStrictEqual(yield* times(3), ["b", "b", "b"])
      yield* settle
      assert.deepStrictEqual(yield* states, ["a usable", "b usable"])
    }).pipe(using(two, turns)))

  it.effect("of a rejection that the API itself calls temporary concerns no key", () =>
    Effect.gen(function*() {
      yield* once(fail(new AuthError({ kind: "authentication", shouldRetry: true })))
      assert.deepStrictEqual(yield* states, ["a usable", "b usable"])
    }).pipe(using(two, turns)))

  it.effect("of two hints keeps the later, whichever comes last", () =>
    Effect.gen(function*() {
      const open = yield* Effect.replicateEffect(begin(), 6)
      const ofA = open.filter(({ label }) => label === "a")
      for (const [i, seconds] of [10, 40, 20].entries()) yield* ofA[i]?.end(throttled(seconds)) ?? Effect.void
      const left = Effect.map(
        Effect.flatMap(KeyPool.KeyPool, ({ snapshot }) => snapshot),
        (keys) => Duration.toSeconds(keys[0]?.retryAfter ?? 0)
      )
      assert.strictEqual(yield* left, 40)
      yield* TestClock.adjust("39 seconds")
      assert.deepStrictEqual(yield* times(2), ["b", "b"])
      yield* TestClock.adjust("1 second")
      assert.sameMembers(yield* times(2), ["a", "b"])
    }).pipe(using(two, turns)))

  it.effect("of a limit concerns nobody in a pool of one group, since there is nowhere to go", () =>
    Effect.gen(function*() {
      yield* once(throttled(30))
      assert.deepStrictEqual(yield* states, ["a usable", "b usable"])
      assert.sameMembers(yield* times(2), ["a", "b"])
    }).pipe(using([key("a"), key("b")])))

  it.effect("about one customer of the organization concerns no key", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      const { attempt, end } = yield* begin()
      const error = new AuthError({
        kind: "billing",
        errorCode: "linked_organization_spend_limit_reached",
        status: 402
      })
      yield* end(fail(error))
      assert.isFalse(yield* pool.mayMove(attempt, error))
      assert.deepStrictEqual(yield* states, ["a usable", "b usable"])
    }).pipe(using(two, turns)))

  it.effect("that comes from a key that was replaced concerns not the new one", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      const error = new AuthError({ kind: "authentication" })
      const { attempt, end } = yield* begin()
      yield* pool.add(key("a", { secret: Redacted.make("sk-ant-next") }))
      yield* end(fail(error))
      assert.deepStrictEqual(yield* states, ["a usable"])
      // The call goes on with the new key of the same label.
      assert.isTrue(yield* pool.mayMove(attempt, error))
      const next = yield* begin()
      assert.strictEqual(Redacted.value(next.attempt.key?.secret ?? Redacted.make("")), "sk-ant-next")
    }).pipe(using([key("a")])))

  it.effect("is old news once a check has succeeded", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 second")
      const open = yield* Effect.replicateEffect(begin(), 3)
      yield* open[0]?.end(refused, 500) ?? Effect.void
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(yield* states, ["a usable"])
      yield* open[1]?.end(refused, 600) ?? Effect.void
      assert.deepStrictEqual(yield* states, ["a usable"])
      yield* open[2]?.end(refused, 5_000) ?? Effect.void
      assert.deepStrictEqual(yield* states, ["a quarantined"])
    }).pipe(using([key("a")])))
})

describe("a pool that runs", () => {
  it.effect("drains a key: it gets no new attempts, and is drained once the last has ended", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      const { end, label } = yield* begin()
      const draining = yield* Effect.forkChild(pool.drain(label))
      yield* settle
      assert.isUndefined(draining.pollUnsafe())
      assert.deepStrictEqual(yield* times(3), ["b", "b", "b"])
      yield* end(completed)
      assert.isTrue(yield* Fiber.join(draining))
      assert.deepStrictEqual(yield* states, ["a drained", "b usable"])
      assert.isTrue(yield* pool.remove("a"))
      assert.deepStrictEqual(yield* states, ["b usable"])
      yield* pool.add(key("a"))
      assert.sameMembers(yield* times(2), ["a", "b"])
      assert.deepStrictEqual(
        yield* Effect.all([pool.drain("x"), pool.remove("x"), pool.setWeight("x", 1), pool.recheck("x")]),
        [false, false, false, false]
      )
    }).pipe(using([key("a"), key("b")])))

  it.effect("gives a key its share from the next attempt on, down to none", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      yield* pool.setWeight("a", 0)
      assert.deepStrictEqual(yield* times(2), ["b", "b"])
      yield* pool.setWeight("b", 0)
      const error = yield* Effect.flip(times(1))
      assert.deepStrictEqual(error.reasons, { a: "its weight is 0", b: "its weight is 0" })
      assert.strictEqual(error.kind, "keys")
      const exit = yield* Effect.exit(pool.setWeight("a", NaN))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    }).pipe(using([key("a"), key("b")])))

  it.effect("wakes those who wait as soon as another key comes", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      yield* once(throttled(30))
      yield* once(throttled(30))
      const waiting = yield* Effect.forkChild(times(1))
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      yield* pool.add(key("c", { group: "org-c" }))
      assert.deepStrictEqual(yield* Fiber.join(waiting), ["c"])
    }).pipe(using([key("a", { group: "org-a" }), key("b", { group: "org-b" })])))

  it.effect("keeps at most so many waiting", () =>
    Effect.gen(function*() {
      yield* once(throttled(30))
      yield* once(throttled(30))
      const waiting = yield* Effect.forkChild(times(1))
      yield* settle
      assert.strictEqual((yield* Effect.flip(times(1))).kind, "limits")
      yield* Fiber.interrupt(waiting)
      const next = yield* Effect.forkChild(times(1))
      yield* TestClock.adjust("30 seconds")
      assert.lengthOf(yield* Fiber.join(next), 1)
    }).pipe(using([key("a", { group: "org-a" }), key("b", { group: "org-b" })], { maxQueue: 1 })))

  it.effect("tells what happens to keys, and shows their state as a metric", () =>
    Effect.gen(function*() {
      const pool = yield* KeyPool.KeyPool
      const seen: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(pool.changes, ({ at, from, label, to }) =>
          Effect.sync(() => {
            seen.push(`${at} ${label}: ${from} to ${to}`)
          }))
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      const first = yield* once(throttled(5))
      yield* settle
      yield* pool.add(key("m-c", { group: "org-c" }))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      yield* settle
      yield* pool.remove("m-c")
      yield* settle
      assert.deepStrictEqual(seen, [
        `1000 ${first}: usable to cooling`,
        "1000 m-c: undefined to usable",
        `6000 ${first}: cooling to usable`,
        "6000 m-c: usable to removed"
      ])
      const shown = yield* Metric.snapshot
      const gauges = shown.filter(({ attributes, id }) =>
        id === "anthropic_key_state" && attributes?.["key"]?.startsWith("m-")
      )
      assert.deepStrictEqual(
        gauges.map(({ attributes, state }) => [attributes?.["key"], "value" in state ? state.value : undefined]),
        [["m-a", 0], ["m-b", 0], ["m-c", 3]]
      )
    }).pipe(using([key("m-a", { group: "org-a" }), key("m-b", { group: "org-b" })])))
})

describe("layerOff", () => {
  it.effect("gives keys in turns whatever becomes of attempts", () =>
    Effect.gen(function*() {
      const labels = [yield* once(refused), yield* once(refused), yield* once(refused)]
      assert.deepStrictEqual(labels, ["a", "b", "a"])
    }).pipe(Effect.provide(KeyPool.layerOff.pipe(Layer.provide(KeyStore.layerKeys([key("a"), key("b")]))))))
})
