import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Redis } from "effect/persistence"
import type * as Attempt from "../../../src/Attempt.ts"
import { type Amounts, dimensions, zero } from "../../../src/RateLimiter/internal/Amounts.ts"
import * as Buckets from "../../../src/RateLimiter/internal/Buckets.ts"
import type { Limits } from "../../../src/RateLimiter/internal/Limits.ts"
import * as Script from "../../../src/RateLimiter/internal/script.ts"
import type { State } from "../../../src/RateLimiter/internal/State.ts"
import type { Batch, Reply, Report, Sender, Ticket } from "../../../src/RateLimiter/internal/Store.ts"
import * as wire from "../../../src/RateLimiter/internal/wire.ts"
import { between } from "../../utils/between.ts"
import * as TestRedis from "../../utils/redis.ts"
import { runs } from "../../utils/thorough.ts"

/** The script with its clock in our hands. */
const script = Redis.script(
  (key: string, batch: Batch, now: number) => [key, wire.encode(batch), now],
  { numberOfKeys: 1, lua: Script.lua("tonumber(ARGV[2])") }
).withReturnType<string>()

/** A server for all tests of this file, that keeps nothing. */
const layer = Layer.unwrap(
  Effect.map(TestRedis.server({ durable: false }), TestRedis.connection)
)

const sender: Sender = {
  process: "me",
  call: 1,
  acknowledged: 0,
  answered: 0,
  abandoned: [],
  reserved: zero,
  epoch: 0,
  firstReport: 1,
  known: undefined,
  ends: false
}

const amounts = (requests: number, inputTokens = 0, outputTokens = 0): Amounts => ({
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
    reserve: between(0, 2_000),
    within: Schema.Literals([0, 0, 500, 20_000, 60_000, 1e15]),
    priority: Schema.Union([Schema.Undefined, Schema.Literals(["interactive", "standard", "bulk"])]),
    waits: Schema.Boolean,
    size: Schema.Union([Schema.Undefined, between(0, 900)]),
    flow: Schema.Union([Schema.Undefined, Schema.Literals(["tenant a", "tenant b", "tenant __proto__", ""])]),
    weight: Schema.Union([Schema.Undefined, between(1, 3)])
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
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 300), micros: between(0, 999) }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 2_000), micros: between(0, 999) }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 90_000), micros: between(0, 999) }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(-5_000, 900_000), micros: between(0, 999) }),
  Schema.Struct({
    do: Schema.Literal("process"),
    name: Schema.Literals(["me", "you"]),
    lost: Schema.Boolean,
    known: Schema.Boolean,
    ends: Schema.Boolean
  }),
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

describe.skipIf(!TestRedis.isInstalled)("the script of the limiter", () => {
  it.layer(layer, { excludeTestServices: true })((it) => {
    let keys = 0
    const seen = new Set<string>()

    /** The same batch to both, and the same answer of both. */
    const twins = Effect.gen(function*() {
      const run = (yield* Redis.Redis).eval(script)
      const key = `same-${++keys}`
      let state: State | undefined
      return (batch: Omit<Batch, "key">, now: number) =>
        Effect.map(run(key, { ...batch, key }, now), (text) => {
          const [next, expected] = Buckets.step(state, { ...batch, key }, now)
          const actual = wire.decode(text)
          state = next
          check(actual, expected)
          return expected
        })
    })

    const check = (actual: Reply, expected: Reply) => {
      if (actual._tag === "Rejected" || expected._tag === "Rejected") {
        seen.add("rejected")
        return assert.deepStrictEqual(actual, expected)
      }
      const [mine, other] = [actual.reservation, expected.reservation]
      assert.strictEqual(mine?._tag, other?._tag)
      if (other !== undefined) seen.add(other._tag)
      if (mine?._tag === "Full" && other?._tag === "Full") {
        same(mine.waitMillis, other.waitMillis, "wait")
        assert.strictEqual(mine.closed, other.closed)
      }
      if (mine?._tag === "Granted" && other?._tag === "Granted") {
        same(mine.waitMillis, other.waitMillis, "wait")
        assert.deepStrictEqual(mine.ticket, other.ticket)
      }
      const [view, twin] = [actual.view!, expected.view!]
      for (const dimension of dimensions) {
        const [mine, other] = [view.buckets[dimension], twin.buckets[dimension]]
        assert.strictEqual(mine === undefined, other === undefined, dimension)
        same(view.reserved[dimension], twin.reserved[dimension], `${dimension} reserved`)
        if (mine === undefined || other === undefined) continue
        same(mine.perMinute, other.perMinute, `${dimension} per minute`)
        same(mine.capacity, other.capacity, `${dimension} capacity`)
        same(mine.level, other.level, `${dimension} level`)
        assert.strictEqual(mine.observed, other.observed, `${dimension} observed`)
      }
      assert.strictEqual(view.processes, twin.processes)
      assert.strictEqual(view.epoch, twin.epoch)
      same(view.pausedMillis, twin.pausedMillis, "pause")
      assert.strictEqual(view.closed, twin.closed)
      if (twin.closed) seen.add("closed")
      assert.strictEqual(view.ramp === undefined, twin.ramp === undefined, "ramp")
      if (view.ramp !== undefined && twin.ramp !== undefined) {
        seen.add("ramp")
        same(view.ramp.from, twin.ramp.from, "ramp from")
        same(view.ramp.perMinute, twin.ramp.perMinute, "ramp per minute")
        same(view.ramp.level, twin.ramp.level, "ramp level")
        assert.strictEqual(view.ramp.doublingMillis, twin.ramp.doublingMillis)
        same(view.ramp.until, twin.ramp.until, "ramp until")
      }
    }

    it.effect.prop(
      "answers every batch as step does",
      { burst: between(1, 120), steps: Schema.Array(Step) },
      ({ burst, steps }) =>
        Effect.gen(function*() {
          const both = yield* twins
          let now = 1.79e12
          let limits: Limits = { requestsPerMinute: 1_200, inputTokensPerMinute: 2_000, outputTokensPerMinute: 2_000 }
          const processes = new Map(
            ["me", "you"].map((process) => [process, { ...sender, process, call: 0 as number, reports: 0 }])
          )
          let process = processes.get("me")!
          const granted: Array<{ ticket: Ticket; reserve: Amounts }> = []
          const step = (batch: Partial<Batch>, change: Partial<Sender> = {}) => {
            const { reports, ...mine } = process
            process.call++
            process.reports += batch.reports?.length ?? 0
            return both({
              burstMillis: burst * 1_000,
              read: true,
              ...batch,
              sender: {
                ...mine,
                call: process.call,
                acknowledged: process.call - 1,
                firstReport: reports + 1,
                ...change
              }
            }, now)
          }
          yield* step({})

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
              case "process": {
                process = processes.get(one.name)!
                const bucket = { perMinute: 900, capacity: 800, level: 700, observed: 900 }
                const known = {
                  buckets: { inputTokens: bucket },
                  pausedMillis: 100,
                  closed: one.lost,
                  ramp: one.ends ? { from: 50, perMinute: 30, level: 1, doublingMillis: 1_000, until: 90 } : undefined
                }
                const last = process.call
                yield* step({}, {
                  acknowledged: one.lost ? Math.max(0, last - 2) : last,
                  answered: one.lost ? last + 1 : last,
                  abandoned: one.known ? [last, last - 1] : [],
                  epoch: one.lost ? 1 : 0,
                  known: one.known ? known : undefined,
                  ends: one.ends,
                  ...(one.lost && one.ends ? { call: last } : undefined)
                })
                if (one.ends) process.reports = 0
                break
              }
              case "reserve": {
                const usage = amounts(one.requests, one.input / 4, one.output)
                const { flow, priority, size, waits, weight } = one
                const ask = {
                  usage,
                  reserve: amounts(0, 0, one.reserve),
                  withinMillis: one.within,
                  priority,
                  size,
                  waits,
                  flow,
                  weight
                }
                if (waits) seen.add("waits")
                const reply = yield* step({ limits, ask })
                if (reply._tag !== "Done" || reply.reservation?._tag !== "Granted") break
                granted.push({ ticket: reply.reservation.ticket, reserve: ask.reserve })
                process.reserved = amounts(0, 0, process.reserved.outputTokens + one.reserve)
                break
              }
              case "report": {
                const self = granted[one.which % Math.max(1, granted.length)]
                if (self === undefined) break
                const release = one.release ? self.reserve : zero
                self.reserve = one.release ? zero : self.reserve
                process.reserved = amounts(0, 0, process.reserved.outputTokens - release.outputTokens)
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
                const usage = amounts(0, one.input, one.output)
                const report: Report = { ticket: self.ticket, usage, release: zero, observed, pause: one.pause }
                yield* step({ reports: [report] })
                if (observed !== undefined) seen.add("observed")
                break
              }
            }
          }
        }),
      { arbitrary: { runs: runs(800), size: 80 } }
    )

    it.effect("came by all there is", () =>
      Effect.sync(() => {
        assert.deepStrictEqual([...seen].sort(), [
          "Full",
          "Granted",
          "TooLarge",
          "closed",
          "observed",
          "ramp",
          "rejected",
          "waits"
        ])
      }))

    /** What processes send one after the other, each as its next batch. */
    const talk = Effect.gen(function*() {
      const both = yield* twins
      const calls = new Map<string, number>()
      return (process: string, batch: Partial<Batch>, change: Partial<Sender> = {}, now = 1.79e12) =>
        Effect.suspend(() => {
          const call = (calls.get(process) ?? 0) + 1
          calls.set(process, call)
          const from = { ...sender, process, call, acknowledged: call - 1, ...change }
          return Effect.map(
            both({ burstMillis: 60_000, read: true, ...batch, sender: from }, now),
            (reply) => reply._tag === "Done" ? reply.view! : assert.fail(reply.reason)
          )
        })
    })

    it.effect("counts the processes, and frees what one had reserved that sent nothing for five minutes", () =>
      Effect.gen(function*() {
        const send = yield* talk
        const reserve = { ...zero, inputTokens: 300 }
        const limits = { inputTokensPerMinute: 1_000 }
        yield* send("a", { limits, ask: { usage: amounts(1), reserve, withinMillis: 0 } })
        yield* send("c", {})
        assert.deepInclude(yield* send("b", {}), { processes: 3, reserved: reserve })
        yield* send("c", {}, { ends: true })
        assert.strictEqual((yield* send("b", {}, {}, 1.79e12 + 300_000)).processes, 2)
        assert.deepInclude(yield* send("b", {}, {}, 1.79e12 + 300_001), { processes: 1, reserved: zero })
      }))

    it.effect("sets keys to expire, later where a pause is long", () =>
      Effect.gen(function*() {
        const redis = yield* Redis.Redis
        const send = yield* talk
        const left = redis.send<number>("PTTL", `same-${keys}`)
        yield* send("a", {})
        assert.approximately(yield* left, 3_600_000, 60_000)
        const ticket = { sequence: 1, used: zero }
        const pause = { reason: "spend", millis: 7_200_000 } as const
        yield* send("a", { reports: [{ ticket, usage: zero, release: zero, observed: undefined, pause }] })
        assert.approximately(yield* left, 10_800_000, 60_000)
      }))
  })
})
