import { NodeRedis } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger } from "effect"
import * as RateLimiter from "effect-claude/RateLimiter"
import * as RateLimiterRedis from "effect-claude/RateLimiter/Redis"
import { suite } from "../suites/RateLimiterStore.ts"
import * as TestRedis from "../utils/redis.ts"

describe.skipIf(!TestRedis.isInstalled)("RateLimiter/Redis", () => {
  suite({
    name: "Redis",
    layer: Layer.unwrap(
      Effect.map(TestRedis.server({ durable: false }), (server) =>
        RateLimiterRedis.layer().pipe(Layer.provide(TestRedis.connection(server))))
    ),
    sleep: Effect.sleep,
    toleranceMillis: 30,
    test: it.live
  })
})
