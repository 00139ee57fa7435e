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
        const minutes = 20
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
    "keeps them quick behind a bulk call of a full bucket, which gets its turn (%i)",
    (seed) =>
      Effect.gen(function*() {
        const minutes = 20
        const next = chance(seed)
        const interactive = poisson(next, 50, minutes, { input: 1_000, context: { priority: "interactive" } })
        const bulk = [1, 300_000, 600_000].map((at) => ({
          at,
          input: perMinute,
          context: { priority: "bulk" } as const
        }))
        const sent = yield* run(layer, [...interactive, ...bulk], minutes)
        assert.isAtMost(quantile(waits(sent.filter(of("interactive")), minutes), 0.99), 8_000)
        assert.isAtMost(waits(sent.filter(of("bulk")), minutes).at(-1)!, 5 * 60_000)
        assert.isAtLeast(lowest(sent, perMinute), -1)
      })
  )
})
