/** The rules of budgets beside reserving and settling: doubt and credit, waiting for room, clocks that jump, what names nothing. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Random, Stream } from "effect"
import * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import * as CallContext from "effect-claude/CallContext"
import { ConnectionError } from "effect-claude/ClaudeError"
import * as ClaudeService from "effect-claude/ClaudeService"
import * as Sqlite from "effect-claude/Sqlite"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Usage from "effect-claude/Usage"
import { TestClock } from "effect/testing"
import { attemptOf, completed, layerPrices, sent, type Sketch } from "./utils/budgets.ts"
import * as settling from "./utils/settling.ts"

const nano = (nanoUsd: number) => nanoUsd / 1e9

const all: Budget.BudgetOptions = { name: "all", limit: nano(100) }
const users: Budget.BudgetOptions = { name: "users", per: "user", limit: nano(100) }

const layerSqlite = BudgetSql.layerStore().pipe(
  Layer.provide(Layer.fresh(Sqlite.layer({ filename: ":memory:" }))),
  Layer.orDie
)

/** Each rule holds in a store of this process and in one behind a client. */
const stores = { memory: Budget.layerStoreMemory(), SQLite: layerSqlite }

const using = (
  options: Budget.Options | ReadonlyArray<Budget.BudgetOptions>,
  store: Layer.Layer<Budget.Store> = stores.memory
) =>
  Effect.provide(
    Layer.fresh(
      Budget.layerNoDeps("budgets" in options ? options : { budgets: options }).pipe(
        Layer.provide([layerPrices, store])
      )
    )
  )

const admitted = Effect.fnUntraced(function*(sketch: Sketch = {}) {
  const budget = yield* Budget.Budget
  const attempt = attemptOf(sketch)
  yield* settling.admit(budget, attempt)
  return attempt
})

const refused = (sketch: Sketch = {}) => Effect.flip(admitted(sketch))

/** What a client does in the background. */
const done = Effect.repeat(Effect.yieldNow, { times: 50 })

const settled = (attempt: Attempt.MessageAttempt) => Effect.andThen(settling.settle(attempt), done)

const call = Effect.fnUntraced(function*(sketch: Sketch = {}, usage?: Partial<Usage.Usage>) {
  const attempt = yield* admitted(sketch)
  completed(attempt, usage)
  yield* settled(attempt)
})

const stateOf = Effect.fnUntraced(function*(name = "all", account = "") {
  const states = yield* (yield* Budget.Budget).snapshot
  return states.find((state) => state.budget === name && state.account === account)
})

for (const [name, store] of Object.entries(stores)) {
  describe(`Budget, over ${name}`, () => {
    it.effect("reports apart what nobody knows the API charges, and credits it to every account in which it counted", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.Budget
        yield* call({ user: "a" })
        const lost = yield* admitted({ user: "a" })
        const error = new ConnectionError({ reason: "reset", billed: "unknown" })
        lost.outcome = Attempt.Outcome.Failed({ usage: Usage.zero, limits: undefined, error })
        yield* settled(lost)
        const left = yield* admitted({ user: "b" })
        sent(left, { inputTokens: 3, outputTokens: 1 })
        yield* settled(left)
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 24, doubtfulNanoUsd: 14 })
        assert.deepInclude(yield* stateOf("users", "a"), { spentNanoUsd: 20, doubtfulNanoUsd: 10 })

        const row = { at: 0, sentModel: lost.model, tags: {}, user: "a", nanoUsd: 10 }
        yield* budget.creditAttempt(row, 4)
        yield* done
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 20, doubtfulNanoUsd: 10 })
        assert.deepInclude(yield* stateOf("users", "a"), { spentNanoUsd: 16, doubtfulNanoUsd: 6 })
        yield* budget.creditAttempt({ ...row, nanoUsd: 6 })
        yield* budget.creditAttempt({ ...row, user: "b", nanoUsd: null })
        yield* budget.credit("users", { account: "b", amount: nano(1) })
        yield* done
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 14, doubtfulNanoUsd: 4 })
        assert.deepInclude(yield* stateOf("users", "a"), { spentNanoUsd: 10, doubtfulNanoUsd: 0 })
        assert.deepInclude(yield* stateOf("users", "b"), { spentNanoUsd: 3, doubtfulNanoUsd: 3 })
      }).pipe(using([all, users], store)))

    it.effect("credits the window in which it was counted", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.Budget
        yield* call()
        yield* TestClock.adjust("1 day")
        yield* call({ output: 16 })
        yield* budget.credit("all", { amount: nano(10), at: 1 })
        yield* done
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 20 })
        yield* budget.credit("all", { amount: nano(15) })
        yield* done
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 5 })
      }).pipe(using([{ ...all, window: { calendar: "day" } }], store)))

    it.effect("waits for calls in flight where that is asked for, until none is refused that fits", () =>
      Effect.forEach([1, 2, 3, 4, 5], (seed) =>
        Effect.gen(function*() {
          const one = Effect.gen(function*() {
            const attempt = yield* admitted({ user: "u", output: 6 })
            yield* Effect.sleep(yield* Random.nextIntBetween(1, 1_000))
            completed(attempt, { inputTokens: 1, outputTokens: 1 })
            yield* settling.settle(attempt)
          })
          const calls = yield* Effect.forEach(
            Array.from({ length: 45 }),
            () => Effect.forkChild(Effect.exit(one), { startImmediately: true })
          )
          yield* TestClock.adjust("30 seconds")
          const exits = yield* Effect.forEach(calls, Fiber.join)
          assert.strictEqual(exits.filter(Exit.isSuccess).length, 45)
          yield* done
          assert.deepInclude(yield* stateOf("users", "u"), { spentNanoUsd: 90, reservedNanoUsd: 0 })
        }).pipe(using({ budgets: [users], waitForRoom: "20 seconds" }, store), Random.withSeed(seed)), {
        discard: true
      }))

    it.effect("gives room in the order of arrival, and nothing to who left, whose deadline passes or who can never fit", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const waiting = (name: string, sketch: Sketch, deadline?: number) =>
          Effect.tap(
            Effect.forkChild(
              Effect.gen(function*() {
                const attempt = attemptOf(sketch)
                const asking = deadline === undefined
                  ? attempt
                  : { ...attempt, context: { ...attempt.context, deadline } }
                const exit = yield* Effect.exit(settling.admit(yield* Budget.Budget, asking))
                order.push(`${name} ${Exit.isSuccess(exit) ? "admitted" : "refused"}`)
                return asking
              }),
              { startImmediately: true }
            ),
            done
          )
        const first = yield* admitted({ output: 76 })
        yield* waiting("never", { output: 97 })
        const large = yield* waiting("large", { output: 86 })
        yield* waiting("small", { output: 1 })
        const gone = yield* waiting("gone", { output: 6 })
        yield* waiting("hasty", { output: 26 }, 2_000)
        const last = yield* waiting("last", { output: 6 })
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(order, ["never refused", "hasty refused"])
        yield* Fiber.interrupt(gone)
        completed(first, { inputTokens: 1, outputTokens: 1 })
        yield* settled(first)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(order.slice(2), ["large admitted", "small admitted"])
        const held = yield* Fiber.join(large)
        completed(held, { inputTokens: 1, outputTokens: 1 })
        yield* settled(held)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(order.slice(4), ["last admitted"])
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 4, reservedNanoUsd: 15 })
        const tooMuch = yield* waiting("too much", { output: 86 })
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(tooMuch)
        assert.deepStrictEqual(order.slice(5), ["too much refused"])
        yield* Fiber.join(last)
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 4, reservedNanoUsd: 15 })
      }).pipe(using({ budgets: [all], waitForRoom: "20 seconds" }, store)))

    it.effect("tells of thresholds again for a limit that was raised", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.Budget
        const told: Array<string> = []
        yield* Effect.forkScoped(
          Stream.runForEach(
            budget.events,
            (event) =>
              Effect.sync(() =>
                told.push("percent" in event ? `${event.percent} of ${event.limitNanoUsd}` : event._tag)
              )
          ),
          { startImmediately: true }
        )
        yield* call({ output: 56 })
        yield* budget.setBudgets([{ ...all, limit: nano(200) }])
        yield* call({ output: 46 })
        yield* budget.overrideLimit("all", { limit: nano(400) })
        yield* call({ output: 96 })
        yield* budget.setBudgets([{ ...all, limit: nano(200) }])
        yield* call({ output: 1 })
        yield* done
        assert.deepStrictEqual(told, ["50 of 100", "50 of 200", "50 of 400"])
      }).pipe(Effect.scoped, using([{ ...all, notifyAt: [50] }], store)))
  })
}

describe("Budget", () => {
  it.effect("says which budget is meant that is not there, and what else makes no sense", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.Budget
      const messages = yield* Effect.forEach([
        budget.overrideLimit("tenant", { limit: 1 }),
        budget.overrideLimit("all", { limit: 1, account: "acme" }),
        budget.overrideLimit("all", { limit: -1 }),
        budget.overrideLimit("all", { limit: 1, until: NaN }),
        budget.credit("constructor", { amount: 1 }),
        budget.credit("all", { amount: NaN }),
        budget.credit("users", { amount: 1, at: Infinity })
      ], (effect) => Effect.map(Effect.flip(effect), ({ _tag, message }) => `${_tag} ${message}`))
      assert.deepStrictEqual(messages, [
        "BudgetInputError Budget: there is no budget \"tenant\"; there is \"all\", \"users\".",
        "BudgetInputError Budget: the budget \"all\" is not divided, so it has no account \"acme\".",
        "BudgetInputError Budget: the new limit of all must be from 0 to 9,000,000 US dollars, not -1.",
        "BudgetInputError Budget: the override of all cannot end at NaN.",
        "BudgetInputError Budget: there is no budget \"constructor\"; there is \"all\", \"users\".",
        "BudgetInputError Budget: what is credited to all must be from 0 to 9,000,000 US dollars, not NaN.",
        "BudgetInputError Budget: a credit to users cannot be for the instant Infinity."
      ])
      for (const lease of [0, -1, NaN, Infinity]) {
        const exit = yield* Effect.exit(Layer.build(Budget.layer({ budgets: [all], lease })))
        assert.include(String(exit), "Budget: lease must be finite and at least 1 ms, and is")
      }
      const build = Effect.exit(Layer.build(Budget.layer({ budgets: [{ ...all, limits: { acme: 1 } }] })))
      assert.include(
        String(yield* build),
        "Budget: all has limits of single values, so it must say what divides it: per"
      )
    }).pipe(Effect.scoped, using([all, users]), Effect.provide(layerPrices)))

  it.effect("lets nothing lapse of what it holds when its clock jumps, forward or back", () =>
    Effect.gen(function*() {
      const real = yield* Clock.Clock
      let jump = 0
      const clock: Clock.Clock = {
        ...real,
        currentTimeMillisUnsafe: () => real.currentTimeMillisUnsafe() + jump,
        currentTimeMillis: Effect.sync(() => real.currentTimeMillisUnsafe() + jump)
      }
      yield* Effect.gen(function*() {
        const open = yield* Effect.replicateEffect(admitted(), 10)
        for (const millis of [600_000, -600_000, 125_000, 3_600_000]) {
          jump += millis
          const refusal = yield* refused()
          assert.deepInclude(refusal, { spentNanoUsd: 0, reservedNanoUsd: 100 })
          assert.deepInclude(yield* stateOf(), { spentNanoUsd: 0, reservedNanoUsd: 100, lapsedNanoUsd: 0 })
          jump += 300_000
          assert.deepInclude(yield* stateOf(), { reservedNanoUsd: 100, lapsedNanoUsd: 0 })
          yield* TestClock.adjust("10 minutes")
        }
        for (const attempt of open) {
          completed(attempt, { inputTokens: 1 })
          yield* settled(attempt)
        }
        assert.deepInclude(yield* stateOf(), { spentNanoUsd: 10, reservedNanoUsd: 0, overshotNanoUsd: 0 })
      }).pipe(
        using({ budgets: [all], lapsed: "released" }, layerSqlite),
        Effect.provideService(Clock.Clock, clock)
      )
    }))

  const message = ClaudeTest.forever(Effect.delay(Effect.succeed("Yes."), "1 second"))

  const service = (budget: Budget.Options) =>
    ClaudeService.layer({
      api: ClaudeTest.layerApi(message),
      keys: [ClaudeTest.key],
      limiter: {
        limits: { requestsPerMinute: 60, inputTokensPerMinute: 1e9, outputTokensPerMinute: 1e9 }
      },
      budget
    })

  it.effect("reserves nothing for calls that wait for their turn", () =>
    Effect.forEach([1, 2, 3, 4, 5], (seed) =>
      Effect.gen(function*() {
        const calls = yield* Effect.forEach(
          Array.from({ length: 200 }),
          () => Effect.forkChild(Effect.exit(ClaudeService.create({ ...ClaudeTest.hello, max_tokens: 1_000 })))
        )
        yield* TestClock.adjust("10 minutes")
        const exits = yield* Effect.forEach(calls, Fiber.join)
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 200)
      }).pipe(Effect.provide(service({ budgets: [{ name: "all", limit: 1 }] })), Random.withSeed(seed)), {
      discard: true
    }))

  it.effect("refuses before the wait what the wait cannot change", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => Effect.forkChild(Effect.exit(ClaudeService.create(ClaudeTest.hello)))
      )
      yield* TestClock.adjust(100)
      const error = yield* Effect.flip(
        ClaudeService.create({ ...ClaudeTest.hello, max_tokens: 64_000 }).pipe(CallContext.withDeadline("1 second"))
      )
      assert.strictEqual(error._tag, "BudgetExceededError")
      yield* Effect.forEach(calls, Fiber.interrupt)
    }).pipe(Effect.provide(service({ budgets: [{ name: "all", limit: 0.5 }] }))))
})
