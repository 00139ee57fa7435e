import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Redis } from "effect/persistence"
import type * as Attempt from "../../../src/Attempt.ts"
import * as Buckets from "../../../src/RateLimiter/internal/Buckets.ts"
import type { Limits } from "../../../src/RateLimiter/internal/Limits.ts"
import * as Script from "../../../src/RateLimiter/internal/script.ts"
import { between } from "../../utils/between.ts"
import * as TestRedis from "../../utils/redis.ts"

/** The script with its clock in our hands. */
const script = Redis.script(
  (key: string, message: Script.Message, now: number) => [key, Script.encode(message), now],
  { numberOfKeys: 1, lua: Script.lua("tonumber(ARGV[2])") }
).withReturnType<string>()

/** A server for all tests of this file, that keeps nothing. */
const layer = Layer.unwrap(
  Effect.map(TestRedis.server({ durable: false }), TestRedis.connection)
)

const quiet: Omit<Script.Message, "id" | "call"> = {
  acked: 0,
  gone: [],
  held: Buckets.zero,
  born: 0,
  burst: 60_000,
  first: 1,
  reports: [],
  limits: undefined,
  ask: undefined,
  known: undefined,
  bye: false
}

const amounts = (requests: number, inputTokens = 0, outputTokens = 0): Buckets.Amounts => ({
  requests,
  inputTokens,
  outputTokens,
  tokens: inputTokens + outputTokens
})

const limit = (most: number) => Schema.Union([Schema.Undefined, between(1, most)])

const Seen = Schema.Union([
  Schema.Undefined,
  Schema.Struct({ limit: between(0, 4_000), remaining: between(0, 4_000), resetIn: between(-1, 60_000) }),
  Schema.Struct({
    limit: Schema.Literal(2_000),
    remaining: Schema.Literals([0, 1_000, 2_000]),
    resetIn: between(0, 60_000)
  })
])

const Step = Schema.Union([
  Schema.Struct({
    do: Schema.Literal("reserve"),
    requests: Schema.Union([between(0, 3), between(0, 300)]),
    input: between(0, 900),
    output: between(0, 900),
    held: between(0, 2_000),
    within: Schema.Literals([0, 0, 500, 20_000, 60_000, 1e15])
  }),
  Schema.Struct({
    do: Schema.Literal("report"),
    which: between(0, 40),
    input: between(-900, 900),
    output: between(0, 900),
    release: Schema.Boolean,
    observed: Schema.Union([
      Schema.Undefined,
      Schema.Struct({ requests: Seen, inputTokens: Seen, outputTokens: Seen, tokens: Seen })
    ]),
    pause: Schema.Union([
      Schema.Undefined,
      Schema.Undefined,
      Schema.Struct({
        reason: Schema.Literals(["throttle", "acceleration", "spend"]),
        millis: between(0, 3_000)
      })
    ])
  }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 2_000), micros: between(0, 999) }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 90_000), micros: between(0, 999) }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(-5_000, 900_000), micros: between(0, 999) }),
  Schema.Struct({
    do: Schema.Literal("limits"),
    requests: limit(2_000),
    input: limit(4_000),
    output: limit(4_000),
    tokens: limit(4_000)
  })
])

/** Equal, save for what two libraries of mathematics may differ in a power. */
const same = (actual: number, expected: number, what: string) =>
  assert.isTrue(
    actual === expected || Math.abs(actual - expected) <= 1e-9 * Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, and not ${expected}`
  )

describe.skipIf(!TestRedis.isInstalled)("the script of the buckets", () => {
  it.layer(layer, { excludeTestServices: true })((it) => {
    let keys = 0
    const seen = new Set<string>()

    it.effect.prop(
      "does step by step what the buckets in memory do",
      { burst: between(1, 120), steps: Schema.Array(Step) },
      ({ burst, steps }) =>
        Effect.gen(function*() {
          const run = (yield* Redis.Redis).eval(script)
          const key = `same-${++keys}`
          let now = 1.79e12
          let limits: Limits = { requestsPerMinute: 1_200, inputTokensPerMinute: 2_000, outputTokensPerMinute: 2_000 }
          const burstMillis = burst * 1_000
          const state = Buckets.make(burstMillis, now)
          let calls = 0
          let reports = 0
          let held = Buckets.zero
          const granted: Array<{ ticket: Buckets.Ticket; hold: Buckets.Amounts }> = []
          const step = (message: Partial<Script.Message>) =>
            Effect.map(
              run(
                key,
                { ...quiet, id: "me", call: ++calls, acked: calls - 1, held, burst: burstMillis, ...message },
                now
              ),
              (text) => Script.decode(text)!
            )
          const { born } = yield* step({})

          const check = (reply: Script.Reply) => {
            for (const dimension of Buckets.dimensions) {
              const mine = reply.buckets[dimension]
              const other = state.buckets[dimension]
              assert.strictEqual(mine === undefined, other === undefined, dimension)
              if (mine === undefined || other === undefined) continue
              same(mine.perMinute, other.perMinute, `${dimension} per minute`)
              same(mine.capacity, other.capacity, `${dimension} capacity`)
              same(mine.level, other.level, `${dimension} level`)
              assert.strictEqual(mine.heard, other.heard, `${dimension} heard`)
              same(reply.held[dimension], state.held[dimension], `${dimension} held`)
            }
            same(reply.pausedMillis, Math.max(0, state.pausedUntil - now), "pause")
            assert.strictEqual(reply.closed, state.closed)
            assert.strictEqual(reply.ramp === undefined, state.ramp === undefined, "ramp")
            if (reply.ramp !== undefined && state.ramp !== undefined) {
              seen.add("ramp")
              same(reply.ramp.from + now, state.ramp.from, "ramp from")
              same(reply.ramp.perMinute, state.ramp.perMinute, "ramp per minute")
              same(reply.ramp.level, state.ramp.level, "ramp level")
              assert.strictEqual(reply.ramp.doublingMillis, state.ramp.doublingMillis)
              same(reply.ramp.until, state.ramp.until, "ramp until")
            }
            if (state.closed) seen.add("closed")
          }

          for (const one of steps) {
            switch (one.do) {
              case "wait":
                now += one.millis + one.micros / 1_000
                break
              case "limits":
                limits = {
                  requestsPerMinute: one.requests,
                  inputTokensPerMinute: one.input,
                  outputTokensPerMinute: one.output,
                  tokensPerMinute: one.tokens
                }
                break
              case "reserve": {
                const charge = amounts(one.requests, one.input / 4, one.output)
                const hold = amounts(0, 0, one.held)
                const expected = Buckets.reserve(state, { limits, charge, hold, withinMillis: one.within }, now)
                const reply = yield* step({
                  limits: JSON.parse(JSON.stringify({
                    requests: limits.requestsPerMinute,
                    inputTokens: limits.inputTokensPerMinute,
                    outputTokens: limits.outputTokensPerMinute,
                    tokens: limits.tokensPerMinute
                  })),
                  ask: { charge, hold, within: one.within }
                })
                const { slot } = reply
                same(slot.waitMillis, expected.waitMillis, "wait")
                assert.strictEqual(slot.closed, expected.closed)
                assert.strictEqual(slot.ticket === undefined, expected.ticket === undefined)
                seen.add(slot.waitMillis === Infinity ? "too large" : slot.ticket === undefined ? "refused" : "granted")
                if (slot.ticket !== undefined && expected.ticket !== undefined) {
                  assert.strictEqual(slot.ticket.sequence - born, expected.ticket.sequence)
                  assert.deepStrictEqual(slot.ticket.charged, expected.ticket.charged)
                  granted.push({ ticket: expected.ticket, hold })
                  held = amounts(0, 0, held.outputTokens + one.held)
                }
                check(reply)
                break
              }
              case "report": {
                const self = granted[one.which % Math.max(1, granted.length)]
                if (self === undefined) break
                const charge = amounts(0, one.input, one.output)
                const release = one.release ? self.hold : Buckets.zero
                self.hold = one.release ? Buckets.zero : self.hold
                held = amounts(0, 0, held.outputTokens - release.outputTokens)
                const family = (seen: typeof Seen.Type): Attempt.Limit | undefined =>
                  seen && {
                    limit: seen.limit,
                    remaining: seen.remaining,
                    resetAt: seen.resetIn < 0 ? undefined : now + seen.resetIn
                  }
                const observed = one.observed && {
                  now,
                  limits: {
                    requests: family(one.observed.requests),
                    inputTokens: family(one.observed.inputTokens),
                    outputTokens: family(one.observed.outputTokens),
                    tokens: family(one.observed.tokens)
                  }
                }
                Buckets.report(state, { ticket: self.ticket, charge, release, observed, pause: one.pause }, now)
                const ticket = { ...self.ticket, sequence: self.ticket.sequence + born }
                check(
                  yield* step({ first: ++reports, reports: [{ charge, ticket, observed, pause: one.pause }] })
                )
                if (observed !== undefined) seen.add("observed")
                break
              }
            }
          }
        }),
      { arbitrary: { runs: 1_500, size: 80 }, timeout: 120_000 }
    )

    it.effect("came by all there is", () =>
      Effect.sync(() => {
        assert.deepStrictEqual([...seen].sort(), ["closed", "granted", "observed", "ramp", "refused", "too large"])
      }))

    /** What one process says after the other, each as its next call. */
    const talk = Effect.gen(function*() {
      const run = (yield* Redis.Redis).eval(script)
      const key = `talk-${++keys}`
      const calls = new Map<string, number>()
      return (id: string, message: Partial<Script.Message>, now = 1.79e12) =>
        Effect.suspend(() => {
          const call = (calls.get(id) ?? 0) + 1
          calls.set(id, call)
          return Effect.map(run(key, { ...quiet, id, call, acked: call - 1, ...message }, now), Script.decode)
        })
    })

    const limits = { inputTokens: 1_000 }
    const asked = (input: number, held: number) => ({
      limits,
      ask: { charge: amounts(1, input), hold: { ...Buckets.zero, inputTokens: held }, within: 0 }
    })
    const told = (input: number) => ({
      charge: amounts(0, input),
      ticket: { sequence: 1, charged: Buckets.zero },
      observed: undefined,
      pause: undefined
    })

    it.effect("takes in each report once, and a call that comes out of turn not at all", () =>
      Effect.gen(function*() {
        const say = yield* talk
        yield* say("a", { limits, reports: [told(1), told(2)] })
        const twice = yield* say("a", { reports: [told(1), told(2), told(4)] })
        assert.strictEqual(twice?.buckets.inputTokens?.level, 993)
        assert.strictEqual((yield* Effect.exit(say("a", { call: 1, first: 4, reports: [told(8)] })))._tag, "Failure")
        assert.strictEqual((yield* say("b", { reports: [told(16)] }))?.buckets.inputTokens?.level, 977)
      }))

    it.effect("takes back what was granted in a call whose answer was lost", () =>
      Effect.gen(function*() {
        const say = yield* talk
        yield* say("a", asked(100, 50))
        yield* say("a", { ...asked(10, 5), acked: 0 })
        const both = yield* say("b", {})
        assert.strictEqual(both?.held.inputTokens, 55)
        const after = yield* say("a", { gone: [1], held: { ...Buckets.zero, inputTokens: 5 } })
        assert.strictEqual(after?.held.inputTokens, 5)
        assert.strictEqual(after?.buckets.inputTokens?.level, 990)
        assert.strictEqual((yield* say("a", { gone: [1] }))?.buckets.inputTokens?.level, 990)
      }))

    it.effect("counts the processes, and frees what one that was not heard of for five minutes held", () =>
      Effect.gen(function*() {
        const say = yield* talk
        yield* say("a", asked(0, 300))
        yield* say("c", {})
        assert.deepInclude(yield* say("b", {}), { processes: 3, held: { ...Buckets.zero, inputTokens: 300 } })
        yield* say("c", { bye: true })
        assert.strictEqual((yield* say("b", {}, 1.79e12 + 300_000))?.processes, 2)
        assert.deepInclude(yield* say("b", {}, 1.79e12 + 300_001), { processes: 1, held: Buckets.zero })
      }))

    it.effect("sets keys to expire, later where a pause is long", () =>
      Effect.gen(function*() {
        const redis = yield* Redis.Redis
        const say = yield* talk
        const left = redis.send<number>("PTTL", `talk-${keys}`)
        yield* say("a", {})
        assert.approximately(yield* left, 3_600_000, 60_000)
        yield* say("a", { reports: [{ ...told(0), pause: { reason: "spend", millis: 7_200_000 } }] })
        assert.approximately(yield* left, 10_800_000, 60_000)
      }))
  })
})
