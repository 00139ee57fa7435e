import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Exit, Fiber, Layer, Logger, Metric, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import { BadRequestError, ConnectionError } from "effect-claude/ClaudeError"
import * as PriceBook from "effect-claude/PriceBook"
import * as Usage from "effect-claude/Usage"
import * as Config from "effect/Config"
import { TestClock } from "effect/testing"
import { attemptOf, completed, kinds, layerPrices, sent, type Sketch } from "./utils/budgets.ts"
import * as settling from "./utils/settling.ts"

const nano = (nanoUsd: number) => nanoUsd / 1e9

const all: Budget.BudgetOptions = { name: "all", limit: nano(100) }

const using = (options: Budget.Options | ReadonlyArray<Budget.BudgetOptions>, store = Budget.layerStoreMemory()) =>
  Effect.provide(
    Budget.layerNoDeps("budgets" in options ? options : { budgets: options }).pipe(
      Layer.provide([layerPrices, store])
    )
  )

const admitted = Effect.fnUntraced(function*(sketch: Sketch = {}) {
  const budget = yield* Budget.Budget
  const attempt = attemptOf(sketch)
  yield* settling.admit(budget, attempt)
  return attempt
})

const settled = Effect.fnUntraced(function*(attempt: Attempt.Attempt) {
  yield* settling.settle(attempt)
})

/** A call that used what it reserved, or what is said. */
const call = Effect.fnUntraced(function*(sketch: Sketch = {}, usage?: Partial<Usage.Usage>) {
  const attempt = yield* admitted(sketch)
  completed(attempt, usage)
  yield* settled(attempt)
})

const refused = (sketch: Sketch = {}) => Effect.flip(admitted(sketch))

const stateOf = Effect.fnUntraced(function*(name = "all", account = "") {
  const states = yield* (yield* Budget.Budget).snapshot
  const found = states.find((state) => state.budget === name && state.account === account)
  if (found === undefined) return yield* Effect.die(`no ${name} ${account}`)
  return found
})

/** What is told from here on, as it comes. */
const listening = Effect.gen(function*() {
  const { events } = yield* Budget.Budget
  const told: Array<string> = []
  yield* Effect.forkScoped(
    Stream.runForEach(events, (event) =>
      Effect.sync(() => {
        const { _tag } = event
        const what = _tag === "Threshold" ? event.percent : _tag === "Unpriced" ? event.model : event.spentNanoUsd
        told.push(`${_tag} ${what}`)
      })),
    { startImmediately: true }
  )
  return Effect.as(Effect.repeat(Effect.yieldNow, { times: 10 }), told)
})

/** A store that takes a while to begin and to end each step. */
const layerFar = Layer.effect(
  Budget.Store,
  Effect.map(Budget.Store, (store) => {
    const pause = Effect.repeat(Effect.yieldNow, { times: 5 })
    return {
      ...store,
      isLocal: false,
      step: (batch) => Effect.andThen(pause, Effect.tap(store.step(batch), pause))
    }
  })
).pipe(Layer.provide(Budget.layerStoreMemory()))

const lost = new ConnectionError({ reason: "reset", billed: "unknown" })

describe("Budget", () => {
  it.effect("reserves the worst case, and says what is missing when there is no room", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 10, 30, 23))
      yield* Effect.replicateEffect(admitted({ tenant: "acme" }), 9)
      const error = yield* refused({ tenant: "acme", input: 5, number: 3 })
      assert.strictEqual(error._tag, "BudgetExceededError")
      assert.deepInclude(error, {
        budget: "tenants",
        account: "tenant acme",
        limitNanoUsd: 100,
        spentNanoUsd: 0,
        reservedNanoUsd: 90,
        neededNanoUsd: 11,
        resetsAt: Date.UTC(2026, 11, 1),
        retryAfter: Duration.hours(1),
        attempts: 2
      })
      assert.include(error.message, "The budget \"tenants\" of tenant acme has no room")
      assert.include(error.message, "Try again in 1h.")
      yield* admitted({ tenant: "other" })
    }).pipe(using([{ name: "tenants", per: "tenant", limit: nano(100), window: { calendar: "month" } }])))

  it.effect("never lets more through than fit, of 1,000 at once", () =>
    Effect.gen(function*() {
      const exits = yield* Effect.forEach(
        Array.from({ length: 1_000 }),
        () => Effect.exit(admitted()),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 137)
      assert.strictEqual((yield* stateOf()).remainingNanoUsd, 9)
    }).pipe(using([{ ...all, limit: nano(1_379) }])))

  it.effect("charges what an attempt really cost, by what became of it", () =>
    Effect.gen(function*() {
      const ends = [
        [(attempt: Attempt.MessageAttempt) => completed(attempt, { inputTokens: 3, outputTokens: 2 }), 5],
        [() => {}, 0],
        // Nothing came back: it costs its estimate.
        [(attempt: Attempt.MessageAttempt) => sent(attempt), 10],
        [(attempt: Attempt.MessageAttempt) => sent(attempt, { inputTokens: 3, outputTokens: 1 }), 4],
        [(attempt: Attempt.MessageAttempt) => fail(attempt, new BadRequestError({ status: 400 })), 0],
        [(attempt: Attempt.MessageAttempt) => fail(attempt, lost), 10]
      ] as const
      let spent = 0
      for (const [end, cost] of ends) {
        const attempt = yield* admitted()
        end(attempt)
        yield* settled(attempt)
        spent += cost
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: spent, reservedNanoUsd: 0 })
      }
    }).pipe(using([all])))

  it.effect("charges an attempt that returned nothing its estimate, the amount of its ledger row", () =>
    Effect.gen(function*() {
      const sketch = { requestType: "estimated", output: 60 }
      const first = yield* admitted(sketch)
      completed(first, { inputTokens: 4, outputTokens: 20 })
      yield* settled(first)
      yield* Attempt.guard(Attempt.learning(kinds), first, Effect.void)
      const lost = yield* admitted(sketch)
      assert.deepInclude(yield* stateOf(), { spentNanoUsd: 24, reservedNanoUsd: 64 })
      sent(lost)
      yield* settled(lost)
      assert.deepInclude(lost.cost, { confidence: "estimated" })
      assert.strictEqual(lost.cost?.cost?.nanoUsd, 24)
      assert.deepInclude(yield* stateOf(), { spentNanoUsd: 48, reservedNanoUsd: 0 })
    }).pipe(using([all])))

  it.effect("reserves on top what a caller expects of that which cannot be counted, all of it where there is no price", () =>
    Effect.gen(function*() {
      const priced = yield* admitted({ expectedCost: nano(30) })
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 40 })
      completed(priced)
      yield* settled(priced)
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 0, spentNanoUsd: 10 })
      const unpriced = yield* admitted({ model: "next", expectedCost: nano(25) })
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 25, spentNanoUsd: 10 })
      completed(unpriced)
      yield* settled(unpriced)
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 0, spentNanoUsd: 35 })
      assert.strictEqual((yield* refused({ expectedCost: nano(56) }))._tag, "BudgetExceededError")
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 0 })
      yield* admitted({ expectedCost: NaN })
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 10 })
    }).pipe(using([all])))

  it.effect("asks nothing of what is free", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.Budget
      const attempt: Attempt.Attempt = { ...attemptOf(), endpoint: "countTokens" }
      yield* yield* budget.admit(attempt)
      assert.strictEqual((yield* refused())._tag, "BudgetExceededError")
    }).pipe(using([{ ...all, limit: 0 }])))

  it.effect("divides by tenant, user, model, key and tag, and takes all or none", () =>
    Effect.gen(function*() {
      const sketch = { tenant: "t", user: "u", model: "claude-opus-5", key: "k", tags: { team: "a" } }
      yield* admitted(sketch)
      assert.strictEqual((yield* refused(sketch))._tag, "BudgetExceededError")
      for (const other of [{ tenant: "x" }, { user: "x" }, { model: "x" }, { key: "x" }]) {
        assert.strictEqual((yield* refused({ ...sketch, ...other }))._tag, "BudgetExceededError")
      }
      yield* admitted({ tenant: "x", user: "x", model: "claude-x", key: "x", tags: { team: "x" }, input: 14 })
      const states = yield* (yield* Budget.Budget).snapshot
      assert.deepStrictEqual(
        states.map(({ account, budget, reservedNanoUsd }) => `${budget} ${account} ${reservedNanoUsd}`).sort(),
        ["key k", "key x", "model claude-opus-5", "model claude-x", "tag a", "tag x"].concat(
          ["tenant t", "tenant x", "user u", "user x"]
        ).map((name) => `${name} 20`)
      )
    }).pipe(using([
      ...(["tenant", "user", "model", "key"] as const).map((per) => ({ name: per, per, limit: nano(20) })),
      { name: "tag", per: { tag: "team" }, limit: nano(20) }
    ])))

  it.effect("gives those that name nobody one account", () =>
    Effect.gen(function*() {
      yield* admitted()
      yield* admitted({ user: "u" })
      const error = yield* refused()
      assert.include(error.message, "The budget \"users\" of no user has no room")
    }).pipe(using([{ name: "users", per: "user", limit: nano(10) }])))

  it.effect("cuts values that are longer than 200 bytes, and keeps them apart by their hash", () =>
    Effect.gen(function*() {
      const long = "é".repeat(150)
      yield* admitted({ user: `${long}a` })
      assert.strictEqual((yield* refused({ user: `${long}a` }))._tag, "BudgetExceededError")
      yield* admitted({ user: `${long}b` })
      yield* (yield* Budget.Budget).overrideLimit("users", { account: `${long}a`, limit: nano(20) })
      yield* admitted({ user: `${long}a` })
      yield* admitted({ user: `${long}c` })
      assert.strictEqual((yield* refused({ user: `${long}c`, output: 6 }))._tag, "BudgetExceededError")
      const names = (yield* (yield* Budget.Budget).snapshot).map(({ account }) => account)
      assert.lengthOf(new Set(names), 3)
      assert.isTrue(
        names.every((name) => new TextEncoder().encode(name).length <= 200 && name.startsWith("é".repeat(91)))
      )
      yield* admitted({ user: "a\0\ud800" })
      assert.deepInclude(yield* stateOf("users", "a\ufffd\ufffd"), { reservedNanoUsd: 10 })
    }).pipe(using([{ name: "users", per: "user", limit: nano(10), limits: { [`${"é".repeat(150)}c`]: nano(15) } }])))

  it.effect("does not count what is no amount", () =>
    Effect.gen(function*() {
      const attempt = yield* admitted()
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 3 })
      completed(attempt)
      yield* settled(attempt)
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 0, spentNanoUsd: 3 })
      assert.strictEqual((yield* refused({ output: 0 }))._tag, "UnpricedModelError")
    }).pipe(Effect.provide(
      Budget.layer({ budgets: [all] }).pipe(
        Layer.provide(Layer.succeed(PriceBook.PriceBook, {
          cost: () => ({ nanoUsd: NaN, picoUsd: undefined as never, cacheSavedNanoUsd: 0, isVerified: true }),
          ceiling: (_, { outputTokens }) => outputTokens === 0 ? NaN : 2.5
        }))
      )
    )))

  it.effect("knows a model by its alias, too", () =>
    Effect.gen(function*() {
      const [id, alias] = ["claude-sonnet-4-5-20250929", "claude-sonnet-4-5"]
      yield* admitted({ model: alias })
      yield* admitted({ model: id })
      for (const name of ["only the alias", "only the id"]) {
        assert.deepInclude(yield* stateOf(name), { reservedNanoUsd: 20 })
      }
      assert.deepInclude(yield* stateOf("models", id), { reservedNanoUsd: 20, limitNanoUsd: 30 })
      yield* (yield* Budget.Budget).overrideLimit("models", { account: alias, limit: nano(25) })
      assert.strictEqual((yield* refused({ model: alias }))._tag, "BudgetExceededError")
    }).pipe(using([
      { name: "only the alias", filter: { model: ["claude-sonnet-4-5"] }, limit: nano(100) },
      { name: "only the id", filter: { model: ["claude-sonnet-4-5-20250929"] }, limit: nano(100) },
      { name: "models", per: "model", limit: nano(5), limits: { "claude-sonnet-4-5": nano(30) } }
    ])))

  it.effect("can be for some attempts only, and have other limits for some accounts", () =>
    Effect.gen(function*() {
      yield* call({ model: "claude-sonnet-5-5", tenant: "acme" })
      yield* call({ model: "claude-opus-5", tenant: "acme", tags: { team: "a" } })
      yield* admitted({ model: "claude-opus-4-8", input: 74, tags: { team: "b" }, tenant: "acme" })
      assert.strictEqual(
        (yield* refused({ model: "claude-opus-4-8", input: 95, tenant: "acme" }))._tag,
        "BudgetExceededError"
      )
      assert.deepInclude(yield* stateOf("opus"), { spentNanoUsd: 20, reservedNanoUsd: 80 })
      assert.deepInclude(yield* stateOf("team"), { spentNanoUsd: 20, reservedNanoUsd: 0 })
      assert.deepInclude(yield* stateOf("tenants", "acme"), { limitNanoUsd: 500, spentNanoUsd: 30 })
    }).pipe(using([
      { name: "opus", limit: nano(100), filter: { model: ["claude-opus-*"] } },
      { name: "team", limit: nano(50), filter: { model: ["claude-opus-5"], tags: { team: ["a"] } } },
      { name: "tenants", per: "tenant", limit: nano(5), limits: { acme: nano(500) } }
    ])))

  it.effect("settles a call into the window in which it was admitted", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 2, 28, 22, 30))
      const open = yield* admitted({ output: 76 })
      yield* TestClock.adjust("1 hour")
      assert.deepInclude(yield* stateOf(), { spentNanoUsd: 0, reservedNanoUsd: 0, remainingNanoUsd: 100 })
      const next = yield* admitted({ output: 86 })
      completed(open)
      yield* settled(open)
      assert.deepInclude(yield* stateOf(), {
        spentNanoUsd: 0,
        reservedNanoUsd: 90,
        windowStart: Date.UTC(2026, 2, 28, 23),
        // The clocks change: it is a day of 23 hours.
        windowEnd: Date.UTC(2026, 2, 29, 22)
      })
      completed(next)
      yield* settled(next)
      assert.deepInclude(yield* stateOf(), { spentNanoUsd: 90, reservedNanoUsd: 0 })
    }).pipe(using([{ ...all, window: { calendar: "day", zone: "Europe/Berlin" } }])))

  it.effect("rolls, and says when the oldest leave", () =>
    Effect.gen(function*() {
      yield* call({ output: 36 })
      yield* TestClock.adjust("30 minutes")
      yield* call({ output: 46 })
      const error = yield* refused({ output: 16 })
      assert.deepInclude(error, { resetsAt: 61 * 60_000, retryAfter: Duration.minutes(31) })
      const later = yield* refused({ output: 66 })
      assert.deepInclude(later, { resetsAt: 91 * 60_000 })
      assert.deepInclude(yield* refused({ output: 100 }), { resetsAt: undefined, retryAfter: undefined })
      yield* TestClock.adjust("31 minutes")
      yield* admitted({ output: 16 })
    }).pipe(using([{ ...all, window: { rolling: "1 hour" } }])))

  it.effect("tells of thresholds and of what was refused, once, and logs it", () => {
    const lines: Array<unknown> = []
    const logger = Logger.make<unknown, void>(({ message }) => void lines.push(message))
    return Effect.gen(function*() {
      const told = yield* listening
      yield* call({ output: 26 })
      assert.deepStrictEqual(yield* told, [])
      yield* call({ output: 56 })
      assert.deepStrictEqual(yield* told, ["Threshold 50", "Threshold 80"])
      yield* call()
      yield* refused()
      yield* refused()
      assert.deepStrictEqual(yield* told, ["Threshold 50", "Threshold 80", "Threshold 100", "Exceeded 100"])
      yield* TestClock.adjust("1 day")
      yield* call({ output: 56 })
      assert.deepStrictEqual((yield* told).slice(4), ["Threshold 50"])
      assert.deepStrictEqual(lines.flat().slice(0, 4), [
        "Budget: \"all\" has spent 50 % of $0.0000.",
        "Budget: \"all\" has spent 80 % of $0.0000.",
        "Budget: \"all\" has spent 100 % of $0.0000.",
        "Budget: \"all\" has no room and refuses calls: $0.0000 spent and $0.0000 reserved of $0.0000."
      ])
    }).pipe(Effect.scoped, using([{ ...all, window: { calendar: "day" } }]), Effect.provide(Logger.layer([logger])))
  })

  it.effect("is not disturbed by a logger that throws", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.Budget
      yield* call()
      assert.deepInclude(yield* stateOf(), { spentNanoUsd: 10 })
      const attempt = attemptOf({ model: "claude-next" })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Attempt.guard(budget, attempt, Effect.void))))
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 0 })
    }).pipe(
      using({ budgets: [{ ...all, limit: nano(10) }], unpriced: "mostExpensive" }),
      Effect.provide(Logger.layer([
        Logger.make(() => {
          throw new Error("a bad logger")
        })
      ]))
    ))

  it.effect("reserves nothing for good where a logger throws at a model without a price", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.Budget
      const exit = yield* Effect.exit(Attempt.guard(budget, attemptOf({ model: "claude-next" }), Effect.void))
      assert.isTrue(Exit.isSuccess(exit))
    }).pipe(
      using({ budgets: [all], unpriced: "allow" }),
      Effect.provide(Logger.layer([
        Logger.make(() => {
          throw new Error("a bad logger")
        })
      ]))
    ))

  it.effect("hides nothing of an estimate that was wrong", () =>
    Effect.gen(function*() {
      const told = yield* listening
      const attempts = yield* Effect.replicateEffect(admitted(), 10)
      for (const attempt of attempts) {
        completed(attempt, { inputTokens: 5, outputTokens: 7 })
        yield* settled(attempt)
      }
      assert.deepInclude(yield* stateOf(), { spentNanoUsd: 120, remainingNanoUsd: -20, overshotNanoUsd: 20 })
      assert.deepStrictEqual(yield* told, ["Threshold 100", "Overshot 108"])
    }).pipe(Effect.scoped, using([{ ...all, notifyAt: [100] }])))

  it.effect("changes while calls run: budgets here, other limits for all", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.Budget
      yield* admitted({ output: 76 })
      yield* budget.setBudgets([{ ...all, limit: nano(50) }])
      assert.deepInclude(yield* stateOf(), { limitNanoUsd: 50, remainingNanoUsd: -30 })
      assert.strictEqual((yield* refused())._tag, "BudgetExceededError")
      yield* budget.overrideLimit("all", { limit: nano(200), until: 60_000 })
      assert.deepInclude(yield* stateOf(), { limitNanoUsd: 200, remainingNanoUsd: 120 })
      yield* admitted()
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* refused())._tag, "BudgetExceededError")
      yield* budget.overrideLimit("all", { limit: nano(90), account: "" })
      assert.deepInclude(yield* stateOf(), { limitNanoUsd: 90, remainingNanoUsd: 0 })
      yield* budget.overrideLimit("all", { limit: undefined, account: "" })
      assert.deepInclude(yield* stateOf(), { limitNanoUsd: 50 })
      yield* budget.setBudgets([])
      yield* admitted({ output: 1_000 })
    }).pipe(using([all])))

  describe("a model without a price", () => {
    it.effect("is refused", () =>
      Effect.gen(function*() {
        const error = yield* refused({ model: "claude-next", number: 2, tenant: "a" })
        assert.deepInclude(error, { _tag: "UnpricedModelError", model: "claude-next", attempts: 1 })
        yield* call({ model: "claude-next", tenant: "b" })
      }).pipe(using([{ ...all, filter: { tenant: ["a"] } }])))

    it.effect("is taken for the dearest, and keeps what it reserved", () =>
      Effect.gen(function*() {
        const attempt = yield* admitted({ model: "claude-next" })
        assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 20 })
        completed(attempt)
        yield* settled(attempt)
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 20, reservedNanoUsd: 0 })
      }).pipe(using({ budgets: [all], unpriced: "mostExpensive" })))

    it.effect("is let pass, counted and told of once", () =>
      Effect.gen(function*() {
        const told = yield* listening
        yield* call({ model: "claude-next" })
        yield* call({ model: "claude-next" })
        assert.deepStrictEqual(yield* told, ["Unpriced claude-next"])
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 0, reservedNanoUsd: 0 })
        const counted = (yield* Metric.snapshot).find(({ id }) => id === "anthropic_budget_unpriced_total")
        assert.deepInclude(counted?.state, { count: 2 })
      }).pipe(
        Effect.scoped,
        using({ budgets: [all], unpriced: "allow" }),
        Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map()))
      ))
  })

  it.effect("learns how much output such calls produce", () =>
    Effect.gen(function*() {
      const sketch = { input: 0, output: 1_000, requestType: "summary" }
      const taught = Effect.gen(function*() {
        const attempt = yield* admitted(sketch)
        completed(attempt, { outputTokens: 50 })
        yield* settled(attempt)
        yield* Attempt.guard(Attempt.learning(kinds), attempt, Effect.void)
      })
      yield* Effect.replicateEffect(taught, 49)
      yield* admitted(sketch)
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 1_000 })
      yield* taught
      yield* admitted(sketch)
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 1_050 })
      yield* admitted({ ...sketch, requestType: "essay" })
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 2_050 })
    }).pipe(using({ budgets: [{ ...all, limit: 1 }], reserveOutput: "learned" })))

  it.effect("shows how much is left, and the least of a divided budget", () =>
    Effect.gen(function*() {
      const left = Effect.map(
        Metric.snapshot,
        (metrics) =>
          metrics.flatMap(({ attributes, id, state }) =>
            id === "anthropic_budget_remaining_usd" && "value" in state ? [[attributes?.budget, state.value]] : []
          ).sort()
      )
      yield* call({ user: "a" })
      yield* call({ user: "b", output: 16 })
      yield* call({ user: "c" })
      assert.deepStrictEqual(yield* left, [["all", nano(60)], ["users", nano(30)]])
      yield* TestClock.adjust("1 day")
      yield* call({ user: "c" })
      assert.deepStrictEqual(yield* left, [["all", nano(50)], ["users", nano(40)]])
    }).pipe(
      using([all, { name: "users", per: "user", limit: nano(50), window: { calendar: "day" } }]),
      Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map()))
    ))

  it.effect("keeps the leases of calls that run long, in a store that outlives the process", () =>
    Effect.gen(function*() {
      const attempt = yield* admitted()
      yield* TestClock.adjust("1 hour")
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 10, lapsedNanoUsd: 0 })
      yield* settled(attempt)
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 0, lapsedNanoUsd: 0 })
      yield* admitted()
      yield* TestClock.adjust("1 hour")
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 10 })
    }).pipe(using({ budgets: [all], lease: "1 minute" }, layerFar)))

  it.effect("renews the leases of calls that run, and no others", () => {
    const renewed: Array<number> = []
    return Effect.gen(function*() {
      const attempts = yield* Effect.replicateEffect(admitted(), 3)
      yield* TestClock.adjust("15 seconds")
      yield* settled(attempts[0]!)
      yield* TestClock.adjust("15 seconds")
      for (const attempt of attempts.slice(1)) yield* settled(attempt)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(renewed, [3, 2])
    }).pipe(using(
      { budgets: [all], lease: "1 minute" },
      Layer.effect(
        Budget.Store,
        Effect.map(Budget.Store, ({ step }) => ({
          step: (batch) => {
            if (batch.renewals !== undefined) renewed.push(batch.renewals.length)
            return step(batch)
          }
        }))
      ).pipe(Layer.provide(Budget.layerStoreMemory()))
    ))
  })

  it.effect("goes on renewing leases after a store that broke", () =>
    Effect.gen(function*() {
      yield* admitted()
      yield* TestClock.adjust("1 hour")
      assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 10, lapsedNanoUsd: 0 })
    }).pipe(using(
      { budgets: [all], lease: "1 minute" },
      Layer.effect(
        Budget.Store,
        Effect.map(Budget.Store, ({ step }) => {
          let asked = 0
          return {
            step: (batch) =>
              batch.renewals !== undefined && asked++ === 0 ? Effect.die(new Error("broken")) : step(batch)
          }
        })
      ).pipe(Layer.provide(Budget.layerStoreMemory()))
    )))

  it.effect("waits for its store until the deadline of the caller at most, and refuses then", () =>
    Effect.gen(function*() {
      const { admit } = yield* Budget.Budget
      const attempt = attemptOf()
      const hasty = { ...attempt, context: { ...attempt.context, deadline: 300 } }
      const fibers = yield* Effect.forEach(
        [hasty, attempt],
        (one) => Effect.forkChild(Effect.flip(admit(one)), { startImmediately: true })
      )
      yield* TestClock.adjust(300)
      assert.deepInclude(yield* Fiber.join(fibers[0]!), { _tag: "BudgetUnavailableError", reason: "store" })
      assert.isUndefined(fibers[1]!.pollUnsafe())
      yield* TestClock.adjust(700)
      assert.deepInclude(yield* Fiber.join(fibers[1]!), { _tag: "BudgetUnavailableError", reason: "store" })
    }).pipe(
      using(
        { budgets: [all], timeout: "1 second" },
        Layer.effect(
          Budget.Store,
          Effect.map(Budget.Store, (store) => ({ ...store, isLocal: false, step: () => Effect.never }))
        ).pipe(Layer.provide(Budget.layerStoreMemory()))
      ),
      Effect.provide(Logger.layer([]))
    ))

  it.effect("refuses new accounts rather than forget money, and drops those whose window is over", () =>
    Effect.gen(function*() {
      yield* call({ user: "a" })
      yield* call({ user: "b" })
      const error = yield* refused({ user: "c" })
      assert.deepInclude(error, { _tag: "BudgetUnavailableError", reason: "accounts" })
      yield* call({ user: "a" })
      yield* TestClock.adjust("1 day")
      // Those of another budget make room, too.
      yield* call({ user: "c", tenant: "t" })
      yield* call({ user: "c", tenant: "t" })
      assert.deepInclude(yield* stateOf("users", "c"), { spentNanoUsd: 20 })
    }).pipe(using(
      [
        { name: "users", per: "user", limit: nano(100), window: { calendar: "day" } },
        { name: "tenant", limit: nano(100), filter: { tenant: ["t"] } }
      ],
      Budget.layerStoreMemory({ maxAccounts: 2 })
    )))

  it.effect("drops accounts in which nothing was ever spent", () =>
    Effect.gen(function*() {
      const never = yield* admitted({ user: "a" })
      yield* settled(never)
      yield* call({ user: "b" })
      yield* call({ user: "c" })
      assert.deepInclude(yield* refused({ user: "d" }), { _tag: "BudgetUnavailableError", reason: "accounts" })
    }).pipe(using([{ name: "users", per: "user", limit: nano(100) }], Budget.layerStoreMemory({ maxAccounts: 2 }))))

  it.effect("is read from configuration, and can be off", () =>
    Effect.gen(function*() {
      yield* Effect.gen(function*() {
        assert.deepInclude(yield* stateOf(), { limitNanoUsd: 2_500_000_000 })
      }).pipe(
        Effect.provide(Budget.layerConfig({
          budgets: Config.map(Config.Number("BUDGET_USD"), (limit) => [{ name: "all", limit }]),
          lease: Config.Duration("LEASE")
        })),
        Effect.provide([
          layerPrices,
          ConfigProvider.layer(ConfigProvider.fromUnknown({ BUDGET_USD: "2.5", LEASE: "1 minute" }))
        ])
      )
      yield* call({ model: "claude-next" }).pipe(Effect.provide(Budget.layerOff))
    }))

  it.effect("says what is wrong with budgets that make no sense", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<readonly [ReadonlyArray<Budget.BudgetOptions>, string]> = [
        [[{ ...all, limit: -1 }], "the limit of all must be from 0"],
        [[{ ...all, limit: NaN }], "the limit of all must be from 0"],
        [
          [all, { ...all, name: "team" }, { ...all, name: "team" }],
          "two budgets have the name team; give each its own"
        ],
        [[{ ...all, name: "" }], "each needs a name"],
        [[{ ...all, notifyAt: [0] }], "all cannot notify at 0 percent"],
        [[{ ...all, window: { calendar: "day", zone: "Mars/Base" } }], "Mars/Base is not a time zone"],
        [[{ ...all, window: { rolling: 0 } }], "the window of all must be 1 millisecond or longer"]
      ]
      for (const [budgets, what] of wrong) {
        const exit = yield* Effect.exit(Effect.void.pipe(using(budgets)))
        assert.include(String(exit), what)
      }
    }))
})

const fail = (attempt: Attempt.Attempt, error: ConnectionError | BadRequestError) => {
  attempt.outcome = Attempt.Outcome.Failed({ usage: Usage.zero, error, limits: undefined })
}

describe("Budget, interrupted", () => {
  for (const [name, store] of [["memory", Budget.layerStoreMemory()], ["a store far away", layerFar]] as const) {
    it.effect(`frees the reservation at whatever step it happens, over ${name}`, () =>
      Effect.gen(function*() {
        const budget = yield* Budget.Budget
        const steps = 60
        for (let step = 0; step <= steps; step++) {
          const attempt = attemptOf()
          const work = Effect.repeat(Effect.yieldNow, { times: 10 })
          const fiber = yield* Effect.forkChild(Attempt.guard(budget, attempt, work))
          yield* Effect.repeat(Effect.yieldNow, { times: step })
          yield* Fiber.interrupt(fiber)
          yield* Effect.repeat(Effect.yieldNow, { times: 50 })
          assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 0, spentNanoUsd: 0 }, `step ${step}`)
        }
      }).pipe(using([{ ...all, limit: nano(10) }], store)))
  }
})
