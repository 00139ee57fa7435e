import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as RateLimiter from "effect-claude/RateLimiter"
import { type Call, chance, lowest, poisson, quantile, seeds, traffic, waits } from "./utils/limiterTraffic.ts"
import * as MapStore from "./utils/rateLimiterMapStore.ts"

const perMinute = 100_000

const limits = { inputTokensPerMinute: perMinute }

const stores = [
  { name: "memory", layer: RateLimiter.layerStoreMemory },
  { name: "a store across a network", layer: MapStore.layer(Effect.yieldNow) }
]

const run = (layer: Layer.Layer<RateLimiter.Store>, calls: ReadonlyArray<Call>, minutes: number) =>
  Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    return yield* traffic(calls, minutes, () => limiter)
  }).pipe(Effect.provide(RateLimiter.layerNoDeps({ limits }).pipe(Layer.provide(Layer.fresh(layer)))))

const of = (priority: "interactive" | "standard" | "bulk") => (call: Call) => call.context?.priority === priority

describe.each(stores)("RateLimiter, shares of the classes, over $name", ({ layer }) => {
  it.effect.each(seeds)(
    "keeps interactive calls quick beside bulk prompts of a quarter minute's limit (%i)",
    (seed) =>
      Effect.gen(function*() {
        const minutes = 12
        const next = chance(seed)
        const interactive = poisson(next, 50, minutes, { input: 1_000, context: { priority: "interactive" } })
        // More than there is room for.
        const bulk = poisson(next, 4, minutes, { input: 25_000, context: { priority: "bulk" } })
        const sent = yield* run(layer, [...interactive, ...bulk], minutes)
        const waited = waits(sent.filter(of("interactive")), minutes)
        assert.isAtMost(quantile(waited, 0.99), 4_000)
        assert.isAtLeast(lowest(sent, perMinute), -1)
        const bulkSent = sent.filter(of("bulk")).filter(({ sentAt }) => sentAt !== undefined)
        // What interactive calls leave.
        assert.isAtLeast(bulkSent.length * 25_000, 0.85 * (minutes * 50_000))
      })
  )

  it.effect.each(seeds)(
    "keeps them quick behind bulk calls of a full bucket, which get their turns (%i)",
    (seed) =>
      Effect.gen(function*() {
        const minutes = 10
        const next = chance(seed)
        const interactive = poisson(next, 50, minutes, { input: 1_000, context: { priority: "interactive" } })
        const bulk = [1, 2, 3].map((at) => ({ at, input: perMinute, context: { priority: "bulk" } as const }))
        const sent = yield* run(layer, [...interactive, ...bulk], minutes)
        assert.isAtMost(quantile(waits(sent.filter(of("interactive")), minutes), 0.99), 8_000)
        // Half of the refill is left for them: two minutes each.
        assert.isAtMost(waits(sent.filter(of("bulk")), minutes).at(-1)!, 6 * 60_000)
        assert.isAtLeast(lowest(sent, perMinute), -1)
      })
  )

  const priorities = ["interactive", "standard", "bulk"] as const

  const guaranteed = { interactive: 0.75, standard: 0.2, bulk: 0.05 }

  /** More of each class than there is room for, in requests of these sizes. */
  const overload = (seed: number, minutes: number, sizes: ReadonlyArray<number>) => {
    const next = chance(seed)
    return priorities.flatMap((priority, index) => {
      const input = sizes[index] ?? 0
      return input === 0 ? [] : poisson(next, 120_000 / input, minutes, { input, context: { priority } })
    })
  }

  it.effect.each([
    { sizes: [1_000, 1_000, 1_000] },
    { sizes: [1_000, 5_000, 25_000] },
    { sizes: [1_000, 1_000, 100_000] },
    { sizes: [25_000, 1_000, 1_000] },
    { sizes: [50_000, 50_000, 50_000] }
  ])("gives each class its share while all wait, in requests of $sizes tokens", ({ sizes }) =>
    Effect.gen(function*() {
      const minutes = Math.max(...sizes) > 25_000 ? 25 : 12
      const sent = yield* run(layer, overload(1, minutes, sizes), minutes)
      const got = (calls: typeof sent) =>
        calls.reduce((sum, one) => sum + (one.sentAt === undefined ? 0 : one.input), 0)
      assert.isAtLeast(got(sent), 0.97 * perMinute * (minutes + 1) - Math.max(...sizes))
      for (const priority of priorities) {
        // The bucket was full at first, for whoever came.
        const share = guaranteed[priority] * perMinute * minutes
        assert.isAtLeast(got(sent.filter(of(priority))), 0.9 * share - Math.max(...sizes), priority)
      }
    }))

  it.effect.each(seeds)(
    "lets a large bulk call go after what it takes divided by the share of its class (%i)",
    (seed) =>
      Effect.gen(function*() {
        const minutes = 23
        const others = overload(seed, minutes, [1_000 + seed * 500, 2_000, 0])
        const large = { at: 60_000, input: perMinute, context: { priority: "bulk" } as const }
        const sent = yield* run(layer, [...others, large], minutes)
        // A minute's refill at a twentieth.
        assert.isAtMost(waits(sent.filter(of("bulk")), minutes)[0]!, 21 * 60_000)
        assert.isAtLeast(lowest(sent, perMinute), -1)
      })
  )

  it.effect("keeps nobody of another class waiting for more than its own size", () =>
    Effect.gen(function*() {
      // Bulk alone saves up for a full bucket when somebody comes who did not ask for long.
      const calls: ReadonlyArray<Call> = [
        ...[1, 2].map((at) => ({ at, input: perMinute, context: { priority: "bulk" } as const })),
        { at: 40_000, input: 2_000, context: { priority: "standard" } },
        { at: 55_000, input: 2_000, context: { priority: "interactive" } }
      ]
      const sent = yield* run(layer, calls, 3)
      for (const one of sent.slice(2)) assert.isAtMost(one.sentAt! - one.at, 1_200)
    }))
})
