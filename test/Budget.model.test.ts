/** Budgets against a reference that is small enough to be seen to be right: it looks at the whole history for each question. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Layer, Schema } from "effect"
import type * as Attempt from "effect-claude/Attempt"
import * as Budget from "effect-claude/Budget"
import * as BudgetSql from "effect-claude/Budget/Sql"
import * as Sqlite from "effect-claude/Sqlite"
import { TestClock } from "effect/testing"
import { between } from "./utils/between.ts"
import { attemptOf, completed, layerPrices, sent } from "./utils/budgets.ts"
import * as settling from "./utils/settling.ts"

const hour = 3_600_000
const tenants = ["a", "b"]

const Step = Schema.Union([
  Schema.Struct({ do: Schema.Literal("admit"), tenant: between(0, 1), nanoUsd: between(0, 60) }),
  Schema.Struct({
    do: Schema.Literal("settle"),
    which: between(0, 20),
    how: Schema.Literals(["cost", "notSent", "lost"]),
    part: between(0, 130)
  }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 30 * hour) }),
  Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, hour) }),
  Schema.Struct({ do: Schema.Literal("limit"), nanoUsd: between(0, 150) }),
  Schema.Struct({ do: Schema.Literal("credit"), tenant: between(0, 1), nanoUsd: between(0, 80) }),
  Schema.Struct({
    do: Schema.Literal("override"),
    tenant: Schema.UndefinedOr(between(0, 1)),
    nanoUsd: Schema.UndefinedOr(between(0, 300)),
    millis: between(1, 3 * hour)
  })
])

/** A call of the past: it counts for what it reserved while it runs, and for what it cost after. */
interface Call {
  readonly attempt: Attempt.MessageAttempt
  readonly tenant: string
  readonly at: number
  readonly reserved: number
  spent: number | undefined
  doubtful: number
}

/** Where a call counts together with others. */
const slots: Record<string, (at: number) => number> = {
  total: () => 0,
  day: (at) => Math.floor(at / (24 * hour)),
  rolling: (at) => Math.floor(at / 60_000)
}

/** Whether a call of the past counts now. */
const windows: Record<string, (at: number, now: number) => boolean> = {
  total: () => true,
  day: (at, now) => new Date(at).toISOString().slice(0, 10) === new Date(now).toISOString().slice(0, 10),
  // Minutes that are not wholly outside.
  rolling: (at, now) => (Math.floor(at / 60_000) + 1) * 60_000 > now - hour
}

const budgetsWith = (limit: number): ReadonlyArray<Budget.BudgetOptions> => [
  { name: "total", limit: 1_000 / 1e9 },
  { name: "day", per: "tenant", limit: limit / 1e9, window: { calendar: "day" } },
  { name: "rolling", limit: 120 / 1e9, window: { rolling: "1 hour" } }
]

const law = (name: string, store: Layer.Layer<Budget.Store>, runs: number) =>
  it.effect.prop(
    name,
    { limit: between(0, 150), steps: Schema.Array(Step) },
    ({ limit, steps }) =>
      Effect.gen(function*() {
        const budget = yield* Budget.Budget
        yield* budget.setBudgets(budgetsWith(limit))
        const calls: Array<Call> = []
        const overrides = new Map<string | undefined, { readonly limit: number; readonly until: number }>()
        let configured = limit

        const limitOf = (name: string, account: string, now: number) => {
          if (name !== "day") return name === "total" ? 1_000 : 120
          const other = [overrides.get(account), overrides.get(undefined)].find((other) => other && now < other.until)
          return other?.limit ?? configured
        }
        const counting = (name: string, account: string, now: number) =>
          calls.filter(({ at, tenant }) => (name !== "day" || tenant === account) && windows[name]!(at, now))
        /** What was credited in one slot of an account. */
        const credits = new Map<string, { spent: number; doubtful: number }>()
        const slotsOf = (name: string, account: string, those: ReadonlyArray<Call>) =>
          [...new Set(those.map(({ at }) => slots[name]!(at)))].sort((one, other) => other - one).map((slot) => {
            const key = `${name} ${name === "day" ? account : ""} ${slot}`
            const credit = credits.get(key) ?? { spent: 0, doubtful: 0 }
            credits.set(key, credit)
            const own = those.filter(({ at }) => slots[name]!(at) === slot)
            return {
              credit,
              spent: own.reduce((sum, { spent = 0 }) => sum + spent, 0) - credit.spent,
              doubtful: own.reduce((sum, { doubtful }) => sum + doubtful, 0) - credit.doubtful
            }
          })
        const spentOf = (name: string, account: string, those: ReadonlyArray<Call>) =>
          slotsOf(name, account, those).reduce((sum, { spent }) => sum + spent, 0)
        const doubtfulOf = (name: string, account: string, those: ReadonlyArray<Call>) =>
          slotsOf(name, account, those).reduce((sum, { doubtful }) => sum + doubtful, 0)
        const reservedOf = (calls: ReadonlyArray<Call>) =>
          calls.reduce((sum, { reserved, spent }) => spent === undefined ? sum + reserved : sum, 0)
        const lacks = (name: string, account: string, now: number, needed: number) => {
          const those = counting(name, account, now)
          return spentOf(name, account, those) + reservedOf(those) + needed > limitOf(name, account, now)
        }

        const check = Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          for (const state of yield* budget.snapshot) {
            const those = counting(state.budget, state.account, now)
            const spent = spentOf(state.budget, state.account, those)
            const reserved = reservedOf(those)
            const limit = limitOf(state.budget, state.account, now)
            assert.deepInclude(state, {
              limitNanoUsd: limit,
              spentNanoUsd: spent,
              reservedNanoUsd: reserved,
              remainingNanoUsd: limit - spent - reserved,
              lapsedNanoUsd: 0,
              doubtfulNanoUsd: doubtfulOf(state.budget, state.account, those),
              overshotNanoUsd: those.reduce((sum, { reserved, spent = 0 }) => sum + Math.max(0, spent - reserved), 0)
            }, state.budget)
          }
        })

        const settle = Effect.fnUntraced(function*(self: Call, how: "cost" | "notSent" | "lost", part: number) {
          const spent = how === "notSent" ? 0 : how === "lost" ? self.reserved : Math.ceil(self.reserved * part / 100)
          // No answer has an empty prompt.
          if (how === "cost" && spent > 0) completed(self.attempt, { inputTokens: spent })
          if (how === "lost") sent(self.attempt)
          yield* settling.settle(self.attempt)
          yield* Effect.repeat(Effect.yieldNow, { times: 10 })
          self.spent = spent
          self.doubtful = how === "lost" ? spent : 0
        })

        /** In doubt first, and the newest first. */
        const credit = (name: string, account: string, now: number, nanoUsd: number) => {
          let left = nanoUsd
          for (const { credit, doubtful, spent } of slotsOf(name, account, counting(name, account, now))) {
            const taken = Math.min(left, spent)
            left -= taken
            credit.spent += taken
            credit.doubtful += Math.min(taken, doubtful)
          }
        }

        for (const step of steps) {
          const now = yield* Clock.currentTimeMillis
          switch (step.do) {
            case "admit": {
              const tenant = tenants[step.tenant]!
              const attempt = attemptOf({ input: step.nanoUsd, output: 0, tenant })
              const missing = ["total", "day", "rolling"].filter((name) => lacks(name, tenant, now, step.nanoUsd))
              const exit = yield* Effect.exit(settling.admit(budget, attempt))
              assert.strictEqual(Exit.isSuccess(exit), missing.length === 0, `misses ${missing}`)
              if (Exit.isSuccess(exit)) {
                calls.push({ attempt, tenant, at: now, reserved: step.nanoUsd, spent: undefined, doubtful: 0 })
              }
              break
            }
            case "settle": {
              const open = calls.filter(({ spent }) => spent === undefined)
              const self = open[step.which % Math.max(1, open.length)]
              if (self !== undefined) yield* settle(self, step.how, step.part)
              break
            }
            case "wait":
              yield* TestClock.adjust(step.millis)
              break
            case "credit": {
              const tenant = tenants[step.tenant]!
              const { attempt } = calls[0] ?? { attempt: attemptOf() }
              yield* budget.creditAttempt({
                at: now,
                sentModel: attempt.model,
                tags: {},
                tenant,
                nanoUsd: step.nanoUsd
              })
              yield* Effect.repeat(Effect.yieldNow, { times: 10 })
              for (const name of ["total", "day", "rolling"]) credit(name, tenant, now, step.nanoUsd)
              break
            }
            case "limit":
              configured = step.nanoUsd
              yield* budget.setBudgets(budgetsWith(configured))
              break
            case "override": {
              const account = step.tenant === undefined ? undefined : tenants[step.tenant]
              const until = now + step.millis
              const limit = step.nanoUsd === undefined ? undefined : step.nanoUsd / 1e9
              yield* budget.overrideLimit("day", { limit, account, until })
              if (step.nanoUsd === undefined) overrides.delete(account)
              else overrides.set(account, { limit: step.nanoUsd, until })
            }
          }
          yield* check
        }
        for (const self of calls) if (self.spent === undefined) yield* settle(self, "notSent", 0)
        yield* check
        assert.isTrue((yield* budget.snapshot).every(({ reservedNanoUsd }) => reservedNanoUsd === 0))
      }).pipe(
        Effect.provide(Budget.layerNoDeps({ budgets: [], lease: "10 days" }).pipe(Layer.provide([layerPrices, store])))
      ),
    { arbitrary: { runs, size: 60 } }
  )

describe("Budget, against a reference", () => {
  law("admits what fits and nothing else, and loses no nano-dollar, in memory", Budget.layerStoreMemory(), 500)

  law(
    "admits what fits and nothing else, and loses no nano-dollar, in SQLite",
    BudgetSql.layerStore().pipe(Layer.provide(Layer.fresh(Sqlite.layer({ filename: ":memory:" }))), Layer.orDie),
    50
  )

  const Event = Schema.Union([
    Schema.Struct({ do: Schema.Literal("admit"), owner: between(0, 1), nanoUsd: between(0, 60) }),
    Schema.Struct({ do: Schema.Literal("settle"), which: between(0, 20), nanoUsd: between(0, 70) }),
    Schema.Struct({ do: Schema.Literal("renew"), owner: between(0, 1) }),
    Schema.Struct({ do: Schema.Literal("wait"), millis: between(0, 150) }),
    Schema.Struct({ do: Schema.Literal("credit"), nanoUsd: between(0, 80) })
  ])

  it.effect.prop(
    "reserves for those who renew, counts what lapsed until it is settled or credited, or frees it where that is asked for",
    { countsLapsed: Schema.Boolean, steps: Schema.Array(Event) },
    ({ countsLapsed, steps }) =>
      Effect.sync(() => {
        const account: Budget.Account = {
          key: Budget.keyOf("all", ""),
          budget: "all",
          account: "",
          window: { _tag: "Total" },
          thresholds: [],
          limitNanoUsd: 100,
          countsLapsed
        }
        const rows = new Map<string, Budget.Row>()
        const calls: Array<
          {
            readonly owner: number
            readonly settlement: Budget.Settlement
            until: number
            isOpen: boolean
            hasLapsed: boolean
          }
        > = []
        const numbers = [1, 1]
        let [now, spent, lapsed] = [1, 0, 0]
        const at = (batch: Budget.Batch) => {
          const [changed, reply] = Budget.step(rows, batch, now)
          changed.forEach((row, key) => rows.set(key, row))
          return reply
        }
        const reserved = () =>
          calls.reduce(
            (sum, { isOpen, settlement, until }) => isOpen && until > now ? sum + settlement.reservedNanoUsd : sum,
            0
          )
        /** Open ones whose time is over. */
        const lapse = () => {
          for (const call of calls) {
            if (!call.isOpen || call.hasLapsed || call.until > now) continue
            call.hasLapsed = true
            lapsed += call.settlement.reservedNanoUsd
          }
        }
        const restore = (call: (typeof calls)[number]) => {
          if (call.hasLapsed) lapsed -= Math.min(lapsed, call.settlement.reservedNanoUsd)
          call.hasLapsed = false
        }

        for (const [index, step] of steps.entries()) {
          lapse()
          switch (step.do) {
            case "admit": {
              const fits = spent + (countsLapsed ? lapsed : 0) + reserved() + step.nanoUsd <= 100
              const lease = { id: `${index}`, millis: 100 }
              const { decisions: [decision] } = at({
                reserves: [{ lease, nanoUsd: step.nanoUsd, accounts: [account] }]
              })
              assert.strictEqual(decision?._tag, fits ? "Reserved" : "Refused")
              if (decision?._tag !== "Reserved") break
              const { settlement } = decision
              calls.push({ owner: step.owner, settlement, until: now + 100, isOpen: true, hasLapsed: false })
              break
            }
            case "settle": {
              const open = calls.filter(({ isOpen }) => isOpen)
              const call = open[step.which % Math.max(1, open.length)]
              if (call === undefined) break
              // What has lapsed by then is taken as lapsed by whoever looks.
              at({ reserves: [{ nanoUsd: 0, accounts: [account], isLook: true }] })
              at({
                owner: `${call.owner}`,
                number: numbers[call.owner]!++,
                settlements: [{ ...call.settlement, spentNanoUsd: step.nanoUsd }]
              })
              restore(call)
              call.isOpen = false
              spent += step.nanoUsd
              break
            }
            case "renew": {
              const own = calls.filter(({ isOpen, owner }) => isOpen && owner === step.owner)
              at({ reserves: [{ nanoUsd: 0, accounts: [account], isLook: true }] })
              at({
                owner: `${step.owner}`,
                number: numbers[step.owner]!,
                renewals: own.map(({ settlement: { lease = "", reservations, reservedNanoUsd } }) => ({
                  lease,
                  millis: 100,
                  nanoUsd: reservedNanoUsd,
                  reservations
                }))
              })
              for (const call of own) {
                restore(call)
                call.until = now + 100
              }
              break
            }
            case "credit": {
              const reservations = [{ account, slot: 0 }]
              at({ settlements: [{ reservedNanoUsd: 0, spentNanoUsd: -step.nanoUsd, reservations }] })
              if (step.nanoUsd === 0) break
              const ofLapsed = countsLapsed ? Math.min(step.nanoUsd, lapsed) : 0
              lapsed -= ofLapsed
              spent -= Math.min(spent, step.nanoUsd - ofLapsed)
              break
            }
            case "wait":
              now += step.millis
          }
          lapse()
          const { rows: [row] } = at({ read: ["all"] })
          const slot = row?._tag === "Account" ? row.slots[0] : undefined
          assert.deepStrictEqual(
            [slot?.spent ?? 0, slot?.reserved ?? 0, slot?.lapsed ?? 0],
            [spent, reserved(), lapsed],
            JSON.stringify(step)
          )
        }
      }),
    { arbitrary: { runs: 500, size: 60 } }
  )
})
