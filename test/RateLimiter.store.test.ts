import { it } from "@effect/vitest"
import * as RateLimiter from "effect-claude/RateLimiter"
import { TestClock } from "effect/testing"
import { suite } from "./suites/RateLimiterStore.ts"

suite({
  name: "memory",
  layer: RateLimiter.layerStoreMemory,
  sleep: TestClock.adjust,
  toleranceMillis: 0,
  test: it.effect
})
