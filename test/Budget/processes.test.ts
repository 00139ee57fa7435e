import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Logger } from "effect"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { attemptOf, layerPrices } from "../utils/budgets.ts"
import * as TestPostgres from "../utils/postgres.ts"
import * as settling from "../utils/settling.ts"

const budgets = (limitNanoUsd: number): ReadonlyArray<Budget.BudgetOptions> => [
  { name: "all", limit: limitNanoUsd / 1e9 },
  { name: "tenants", per: "tenant", limit: 1 }
]

const limit = 1_379

const path = fileURLToPath(new URL("../utils/budgetWorker.ts", import.meta.url))

interface Result {
  readonly admitted: number
  readonly reasons: ReadonlyArray<string>
}

const message = <A>(child: ChildProcess) =>
  Effect.promise(async (): Promise<A> => {
    const ended = once(child, "exit").then(([code]) => Promise.reject(new Error(`the process ended with ${code}`)))
    const [value] = await Promise.race([once(child, "message"), ended])
    return value
  })

/** A process that is ready to call, and ends with the test. */
const worker = (
  schema: string,
  options: { readonly calls: number; readonly lease: string; readonly settles: boolean; readonly limit?: number }
) =>
  Effect.tap(
    Effect.acquireRelease(
      Effect.sync(() =>
        fork(path, [
          JSON.stringify({ ...options, budgets: budgets(options.limit ?? limit), schema, url: TestPostgres.url })
        ], {
          execArgv: [],
          stdio: ["ignore", "ignore", "inherit", "ipc"]
        })
      ),
      (child) => Effect.sync(() => void child.kill("SIGKILL"))
    ),
    message
  )

/** The budget as this process has it. */
const here = (schema: string, lapsed: Budget.Options["lapsed"] = "spent") =>
  Layer.build(
    Budget.layerNoDeps({ budgets: budgets(limit), timeout: "30 seconds", lapsed }).pipe(
      Layer.provide([
        layerPrices,
        BudgetSql.layerStore({ schema }).pipe(Layer.provide(TestPostgres.layer), Layer.orDie)
      ])
    )
  )

const run = (child: ChildProcess) =>
  Effect.andThen(Effect.sync(() => void child.send("go")), Effect.suspend(() => message<Result>(child)))

const stateOf = Effect.flatMap(
  Budget.Budget,
  ({ snapshot }) => Effect.map(snapshot, (states) => states.find(({ budget }) => budget === "all")!)
)

describe.skipIf(!TestPostgres.isThere)("Budget, in several processes on one Postgres", () => {
  it.live(
    "admits exactly what fits of 1,000 calls in four processes, and is over its limit at no instant",
    () =>
      Effect.gen(function*() {
        const schema = yield* TestPostgres.schema
        // All four make the tables at once.
        const workers = yield* Effect.all(
          Array.from({ length: 4 }, () => worker(schema, { calls: 250, lease: "1 minute", settles: false })),
          {
            concurrency: 4
          }
        )
        yield* Effect.gen(function*() {
          let looks = 0
          const watcher = yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
            const { reservedNanoUsd, spentNanoUsd } = yield* stateOf
            assert.isAtMost(spentNanoUsd + reservedNanoUsd, limit)
            looks++
          })))
          const results = yield* Effect.all(workers.map(run), { concurrency: 4 })
          assert.deepStrictEqual(
            results.filter(({ reasons }) => reasons.some((reason) => !reason.includes("has no room"))),
            []
          )
          assert.strictEqual(results.reduce((sum, { admitted }) => sum + admitted, 0), 137)
          assert.isAbove(looks, 0)
          yield* Fiber.interrupt(watcher)
          const watched = yield* Fiber.await(watcher)
          assert.isTrue(Exit.isFailure(watched) && Cause.hasInterruptsOnly(watched.cause), String(watched))
          assert.deepInclude(yield* stateOf, { spentNanoUsd: 0, reservedNanoUsd: 1_370, remainingNanoUsd: 9 })
          // Those that were refused hold nothing elsewhere.
          const states = yield* (yield* Budget.Budget).snapshot
          const tenants = states.filter(({ budget }) => budget === "tenants")
          assert.strictEqual(tenants.reduce((sum, { reservedNanoUsd }) => sum + reservedNanoUsd, 0), 1_370)
        }).pipe(Effect.provide(yield* here(schema)))
      }).pipe(Effect.scoped)
  )

  it.live("counts as spent what a killed process had reserved, until it is credited", () =>
    Effect.gen(function*() {
      const schema = yield* TestPostgres.schema
      const child = yield* worker(schema, { calls: 137, lease: "1 second", settles: false })
      assert.deepStrictEqual(yield* run(child), { admitted: 137, reasons: [] })
      yield* Effect.gen(function*() {
        const budget = yield* Budget.Budget
        child.kill("SIGKILL")
        const lapsed = yield* Effect.repeat(Effect.delay(stateOf, "50 millis"), {
          until: ({ reservedNanoUsd }) => reservedNanoUsd === 0,
          times: 200
        })
        assert.deepInclude(lapsed, { spentNanoUsd: 1_370, lapsedNanoUsd: 1_370, remainingNanoUsd: 9 })
        const attempt = attemptOf({ tenant: "t0" })
        const refused = yield* Effect.flip(settling.admit(budget, attempt))
        assert.deepInclude(refused, { _tag: "BudgetExceededError", spentNanoUsd: 1_370, reservedNanoUsd: 0 })
        yield* budget.credit("all", { amount: 1 })
        yield* Effect.repeat(Effect.delay(stateOf, "20 millis"), {
          until: ({ spentNanoUsd }) => spentNanoUsd === 0,
          times: 200
        })
        yield* settling.admit(budget, attempt)
      }).pipe(Effect.provide(yield* here(schema)))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live(
    "frees what a killed process had reserved, after its time, where that is asked for",
    () =>
      Effect.gen(function*() {
        const schema = yield* TestPostgres.schema
        const child = yield* worker(schema, { calls: 137, lease: "3 seconds", settles: false })
        assert.deepStrictEqual(yield* run(child), { admitted: 137, reasons: [] })
        yield* Effect.gen(function*() {
          const budget = yield* Budget.Budget
          // It renews its leases as long as it lives.
          yield* Effect.sleep("4 seconds")
          assert.deepInclude(yield* stateOf, { reservedNanoUsd: 1_370, lapsedNanoUsd: 0 })
          child.kill("SIGKILL")
          const attempt = attemptOf({ tenant: "t0" })
          const one = Effect.delay(Effect.exit(settling.admit(budget, attempt)), "100 millis")
          assert.isTrue(Exit.isSuccess(yield* Effect.repeat(one, { until: Exit.isSuccess, times: 200 })))
          assert.deepInclude(yield* stateOf, { reservedNanoUsd: 10, lapsedNanoUsd: 1_370, spentNanoUsd: 0 })
          yield* settling.settle(attempt)
          yield* Effect.repeat(Effect.delay(stateOf, "20 millis"), {
            until: ({ reservedNanoUsd }) => reservedNanoUsd === 0,
            times: 200
          })
          const states = yield* (yield* Budget.Budget).snapshot
          assert.deepStrictEqual(states.filter(({ reservedNanoUsd }) => reservedNanoUsd !== 0), [])
        }).pipe(Effect.provide(yield* here(schema, "released")))
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live("keeps all accounts consistent when a process is killed amid its work", () =>
    Effect.gen(function*() {
      const schema = yield* TestPostgres.schema
      const many = { calls: 1_000_000, lease: "2 seconds", settles: true, limit: 1e12 }
      const child = yield* worker(schema, many)
      yield* Effect.gen(function*() {
        const until = (holds: (state: Budget.AccountStatus) => boolean) =>
          Effect.repeat(Effect.delay(stateOf, "20 millis"), { until: holds, times: 500 })
        const start = Effect.sync(() => void child.send("go"))
        yield* start
        yield* until(({ spentNanoUsd }) => spentNanoUsd > 2_000)
        child.kill("SIGKILL")
        const end = yield* until(({ reservedNanoUsd }) => reservedNanoUsd === 0)
        const states = (yield* (yield* Budget.Budget).snapshot).filter(({ budget }) => budget === "tenants")
        assert.strictEqual(states.length, 5)
        const sum = (of: (state: Budget.AccountStatus) => number) => states.reduce((sum, state) => sum + of(state), 0)
        assert.strictEqual(sum(({ spentNanoUsd }) => spentNanoUsd), end.spentNanoUsd)
        assert.strictEqual(sum(({ lapsedNanoUsd }) => lapsedNanoUsd), end.lapsedNanoUsd)
        assert.strictEqual(sum(({ reservedNanoUsd }) => reservedNanoUsd), 0)
        assert.isAbove(end.lapsedNanoUsd, 0)
      }).pipe(Effect.provide(yield* here(schema)))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))
})
