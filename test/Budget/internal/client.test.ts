import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Fiber, Layer, Logger, Scope } from "effect"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import * as Sqlite from "effect-claude/Sqlite"
import { TestClock } from "effect/testing"
import * as Client from "../../../src/Budget/internal/client.ts"
import type { Batch, Reserve } from "../../../src/Budget/internal/data.ts"

const timeoutMillis = 1_000

/** What a store that fails does with a step: nothing, hang, or all of it and then lose the answer. */
type Trouble = "down" | "hangs" | "loses" | undefined

const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => {
    const line = String(Array.isArray(message) ? message[0] : message)
    if (line.startsWith("Budget:")) lines.push(line)
  })
  return { lines, layer: Logger.layer([logger]) }
}

/** A client of a real database, and the trouble that it has. */
const open = Effect.fnUntraced(function*(maxSettlements = 1_000) {
  const context = yield* Layer.build(
    BudgetSql.layerStore().pipe(Layer.provide(Layer.fresh(Sqlite.layer({ filename: ":memory:" }))))
  )
  const store = Context.get(context, Budget.Store)
  const account = {
    key: Budget.keyOf("all", ""),
    budget: "all",
    account: "",
    window: { _tag: "Total" },
    thresholds: [],
    limitNanoUsd: 1_000
  } as const
  const state = { trouble: undefined as Trouble, batches: [] as Array<Batch> }
  const scope = yield* Scope.fork(yield* Effect.scope)
  const step = (batch: Batch) =>
    Effect.suspend(() => {
      state.batches.push(batch)
      switch (state.trouble) {
        case "down":
          return Effect.fail("down")
        case "hangs":
          return Effect.never
        case "loses":
          return Effect.andThen(store.step(batch), Effect.fail("lost"))
        default:
          return store.step(batch)
      }
    })
  const client = yield* Scope.provide(
    Client.make({ step, owner: "me", timeoutMillis, maxSettlements, report: () => Effect.void }),
    scope
  )
  let leases = 0
  const ask = (nanoUsd: number): Reserve => ({
    lease: { id: `lease-${++leases}`, millis: 1e9 },
    nanoUsd,
    accounts: [account]
  })
  const take = Effect.fnUntraced(function*(nanoUsd: number) {
    const asked = ask(nanoUsd)
    const decision = yield* client.reserve(asked, Infinity)
    if (decision?._tag !== "Reserved") return yield* Effect.die("no room")
    return (spentNanoUsd: number) => client.settle({ ...decision.settlement, spentNanoUsd })
  })
  const sums = Effect.map(store.step({ read: ["all"] }), ({ rows: [row] }) => {
    const { reserved, spent } = row?._tag === "Account" && row.slots[0] || { reserved: 0, spent: 0 }
    return `${spent} spent, ${reserved} reserved`
  })
  return { ask, client, end: Scope.close(scope, Exit.void), state, sums, take }
})

/** Until the work in the background is done. */
const done = Effect.repeat(Effect.yieldNow, { times: 100 })

describe("the client of a store that is not local", () => {
  it.effect("asks in one step for all that came up while the store was busy", () =>
    Effect.gen(function*() {
      const { ask, client, state, sums } = yield* open()
      const decisions = yield* Effect.forEach(Array.from({ length: 300 }), () => client.reserve(ask(10), Infinity), {
        concurrency: "unbounded"
      })
      assert.strictEqual(decisions.filter((decision) => decision?._tag === "Reserved").length, 100)
      assert.deepStrictEqual(state.batches.map(({ reserves }) => reserves?.length), [256, 44])
      assert.strictEqual(yield* sums, "0 spent, 1000 reserved")
    }).pipe(Effect.scoped))

  it.effect("refuses while the store is down, keeps settlements, and says so once", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const { ask, client, state, sums, take } = yield* open()
      const settle = yield* take(100)
      state.trouble = "down"
      assert.isUndefined(yield* client.reserve(ask(1), Infinity))
      yield* settle(40)
      yield* TestClock.adjust("999 millis")
      const tried = state.batches.length
      assert.isUndefined(yield* client.reserve(ask(1), Infinity))
      assert.strictEqual(state.batches.length, tried, "it asks a store of which it knows that it is down")
      yield* TestClock.adjust("1 minute")
      assert.isBelow(state.batches.length, 15)
      state.trouble = undefined
      yield* TestClock.adjust("10 seconds")
      yield* done
      assert.strictEqual(yield* sums, "40 spent, 0 reserved")
      yield* take(1)
      assert.deepStrictEqual(lines, [
        "Budget: the store does not answer. Calls are refused and settlements are queued until it recovers.",
        "Budget: the store answers again."
      ])
    }).pipe(Effect.scoped, Effect.provide(layer))
  })

  it.effect("counts once what was settled when the answer was lost", () =>
    Effect.gen(function*() {
      const { ask, client, state, sums, take } = yield* open()
      const settle = yield* take(100)
      const other = yield* take(100)
      state.trouble = "loses"
      yield* settle(40)
      yield* done
      state.trouble = undefined
      yield* other(50)
      yield* TestClock.adjust("1 second")
      yield* done
      assert.strictEqual(yield* sums, "90 spent, 0 reserved")
      assert.strictEqual((yield* client.reserve(ask(910), Infinity))?._tag, "Reserved")
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.effect("waits for a store that hangs no longer than its bound, and gives back what came too late", () =>
    Effect.gen(function*() {
      const { ask, client, state, sums } = yield* open()
      state.trouble = "hangs"
      const hasty = yield* Effect.forkChild(client.reserve(ask(10), 100), { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.isUndefined(yield* Fiber.join(hasty))
      const began = yield* Clock.currentTimeMillis
      const fiber = yield* Effect.forkChild(client.reserve(ask(10), Infinity), { startImmediately: true })
      yield* TestClock.adjust(timeoutMillis)
      assert.isUndefined(yield* Fiber.join(fiber))
      assert.strictEqual((yield* Clock.currentTimeMillis) - began, timeoutMillis)
      state.trouble = undefined
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* client.reserve(ask(10), Infinity))?._tag, "Reserved")
      assert.strictEqual(yield* sums, "0 spent, 10 reserved")
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.effect("says how many settlements it had to drop", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const { state, sums, take } = yield* open(2)
      const settles = yield* Effect.replicateEffect(take(100), 5)
      state.trouble = "down"
      for (const settle of settles) yield* settle(10)
      yield* done
      state.trouble = undefined
      yield* TestClock.adjust("1 second")
      yield* done
      assert.strictEqual(yield* sums, "20 spent, 300 reserved")
      assert.include(
        lines,
        "Budget: the store answers again. 3 settlements were dropped meanwhile: their cost is not counted."
      )
    }).pipe(Effect.scoped, Effect.provide(layer))
  })

  it.effect("tells the store at the end what is left to tell, and waits no longer than its bound", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const first = yield* open()
      yield* (yield* first.take(100))(40)
      yield* first.end
      assert.strictEqual(yield* first.sums, "40 spent, 0 reserved")

      const second = yield* open()
      const settle = yield* second.take(100)
      second.state.trouble = "hangs"
      yield* settle(40)
      const end = yield* Effect.forkChild(second.end, { startImmediately: true })
      yield* TestClock.adjust(timeoutMillis)
      yield* Fiber.join(end)
      assert.include(lines, "Budget: 1 settlements were dropped at the end: their cost is not counted.")
    }).pipe(Effect.scoped, Effect.provide(layer))
  })
})
