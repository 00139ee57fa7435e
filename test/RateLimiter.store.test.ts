import { it } from "@effect/vitest"
import * as RateLimiter from "effect-claude/RateLimiter"
import { TestClock } from "effect/testing"
import { suite } from "./suites/RateLimiterStore.ts"
import * as MapStore from "./utils/rateLimiterMapStore.ts"

const options = { sleep: TestClock.adjust, toleranceMillis: 0, test: it.effect }

suite({ ...options, name: "memory", layer: RateLimiter.layerStoreMemory })

suite({ ...options, name: "a map and step", layer: MapStore.layer() })
