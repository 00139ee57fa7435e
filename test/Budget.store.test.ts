import { it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as Budget from "effect-claude/Budget"
import { TestClock } from "effect/testing"
import { suite } from "./suites/BudgetStore.ts"

suite({
  name: "memory",
  processes: Effect.map(Layer.build(Budget.layerStoreMemory()), (context) => {
    const store = Context.get(context, Budget.Store)
    return { here: store, there: store }
  }),
  sleep: TestClock.adjust,
  test: it.effect
})
