import { describe } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as CircuitBreaker from "effect-claude/CircuitBreaker"
import { suite } from "./suites/CircuitBreakerStore.ts"

describe("CircuitBreaker.layerStoreMemory", () => {
  suite(Effect.map(
    Layer.build(Layer.fresh(CircuitBreaker.layerStoreMemory)),
    (context) => Effect.succeed(Context.get(context, CircuitBreaker.Store))
  ))
})
