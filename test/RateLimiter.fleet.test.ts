/** Several processes that share their limits over one store. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as RateLimiter from "effect-claude/RateLimiter"
import { type Call, chance, lowest, poisson, quantile, seeds, traffic, waits } from "./utils/limiterTraffic.ts"
import * as MapStore from "./utils/rateLimiterMapStore.ts"

const perMinute = 100_000

/** Lets each call come to the process that it names. */
const run = (
  minutes: number,
  calls: ReadonlyArray<Call>,
  processes: number,
  processOf: (call: Call, index: number) => number
) =>
  Effect.gen(function*() {
    const store = yield* Layer.build(MapStore.layer(Effect.yieldNow))
    const limiters = yield* Effect.forEach(Array.from({ length: processes }), () =>
      Effect.map(
        Layer.build(
          Layer.fresh(RateLimiter.layerNoDeps({ limits: { inputTokensPerMinute: perMinute } })).pipe(
            Layer.provide(Layer.succeedContext(store))
          )
        ),
        Context.get(RateLimiter.RateLimiter)
      ))
    const places = new Map(calls.map((call, index) => [call, processOf(call, index) % processes]))
    return yield* traffic(calls, minutes, (call) => limiters[places.get(call)!]!)
  }).pipe(Effect.scoped)

const tenant = (index: number) => ({ context: { tenant: `t${index}` } })

/** The first of five tenants has most of the demand, which is one and a half times the limit. */
const crowd = (minutes: number, seed: number, part: number) => {
  const next = chance(seed)
  return Array.from(
    { length: 5 },
    (_, index) =>
      poisson(next, 150 * (index === 0 ? part : (1 - part) / 4), minutes, () => ({
        input: 500 + Math.floor(next() * 1_000),
        ...tenant(index)
      }))
  ).flat()
}

const indexOf = (call: Call) => Number(call.context?.tenant?.slice(1))

const places = [
  { where: "spread over the processes", minutes: 5, least: 0.99, processOf: (_: Call, index: number) => index },
  { where: "each in a process of its own", minutes: 5, least: 0.99, processOf: indexOf },
  // A process asks for one of its calls at a time, so the others do not see how many wait in it.
  {
    where: "the large one in all, the others in one",
    minutes: 8,
    least: 0.75,
    processOf: (call: Call, index: number) => indexOf(call) === 0 ? index : 1
  }
]

describe("RateLimiter, over several processes", () => {
  for (const { least, minutes, processOf, where } of places) {
    for (const part of [0.68, 0.95]) {
      it.effect.each(seeds)(
        `gives tenants with little demand all of it beside one with ${part} of it, ${where} (%i)`,
        (seed) =>
          Effect.gen(function*() {
            const sent = yield* run(minutes, crowd(minutes, seed, part), 4, processOf)
            for (let index = 1; index < 5; index++) {
              const mine = sent.filter((call) => indexOf(call) === index && call.at < (minutes - 0.1) * 60_000)
              const got = mine.filter(({ sentAt }) => sentAt !== undefined).length
              assert.isAtLeast(got / mine.length, least)
              if (least === 0.99) assert.isAtMost(quantile(waits(mine, minutes), 0.5), 3_000)
            }
            assert.isAtLeast(lowest(sent, perMinute), -1)
            const total = sent.reduce((sum, { input, sentAt }) => sum + (sentAt === undefined ? 0 : input), 0)
            assert.isAtLeast(total, 0.985 * perMinute * (minutes + 1))
          })
      )
    }
  }

  it.effect("shares among tenants, not among processes", () =>
    Effect.gen(function*() {
      const minutes = 8
      const next = chance(1)
      const calls = [0, 1, 2].flatMap((index) => poisson(next, 100, minutes, { input: 1_000, ...tenant(index) }))
      // One tenant has a process for itself.
      const sent = yield* run(minutes, calls, 2, (call) => Math.min(1, indexOf(call)))
      const used = [0, 1, 2].map((index) =>
        sent.filter((call) => indexOf(call) === index && (call.sentAt ?? 0) > 60_000).length
      )
      for (const one of used) assert.approximately(one / (used[0]! + used[1]! + used[2]!), 1 / 3, 0.04)
    }))
})
