import { it } from "@effect/vitest"
import { Clock, Context, Effect, Layer } from "effect"
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

/** As a user writes one: nothing but a `Map` of texts and `step`, with the rows that a batch names. */
const ownStore = (rows: Map<string, string>): Budget.Store["Service"] => ({
  step: (batch) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const keys = new Set(Budget.keysOf(batch))
      const state = new Map<string, Budget.Row>()
      for (const [key, text] of rows) {
        const row: Budget.Row = JSON.parse(text)
        if (keys.has(key) || ("budget" in row && batch.read?.includes(row.budget))) state.set(key, row)
      }
      const [changed, reply] = Budget.step(state, JSON.parse(JSON.stringify(batch)), now)
      changed.forEach((row, key) => rows.set(key, JSON.stringify(row)))
      return JSON.parse(JSON.stringify(reply))
    })
})

suite({
  name: "a Map and step",
  processes: Effect.sync(() => {
    const rows = new Map<string, string>()
    return { here: ownStore(rows), there: ownStore(rows) }
  }),
  sleep: TestClock.adjust,
  test: it.effect
})
