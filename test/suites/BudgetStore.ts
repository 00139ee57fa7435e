/**
 * What every store of budgets does. `here` and `there` are two processes over the same accounts. Times are short, so that a store with a clock of
 * its own can be asked too.
 */
import { assert, describe, type it } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import * as Budget from "effect-claude/Budget"

export type StoreOf = Budget.Store["Service"]

export interface SuiteOptions {
  readonly name: string
  /** Two processes; the same store twice where it belongs to one. */
  readonly processes: Effect.Effect<{ readonly here: StoreOf; readonly there: StoreOf }, unknown, Scope.Scope>
  readonly sleep: (millis: number) => Effect.Effect<void>
  /** `it.effect` for a store on `Clock`, `it.live` for one with a clock of its own. */
  readonly test: typeof it.effect | typeof it.live
}

/** A budget that a store knows nothing of yet. */
export interface Sketch {
  readonly name: string
  readonly window: Budget.Window
  readonly thresholds: ReadonlyArray<number>
}

const dayMillis = 1_000

/** A calendar window that is short. */
const day: Budget.Window = { _tag: "Calendar", unit: "second", zone: "UTC" }

let names = 0

export const budgetOf = (window: Budget.Window = { _tag: "Total" }): Sketch => ({
  name: `budget-${++names}`,
  window,
  thresholds: [50, 100]
})

export const accountOf = (
  { name, ...budget }: Sketch,
  limitNanoUsd: number,
  account = "",
  countsLapsed = true
): Budget.Account => ({
  countsLapsed,
  key: Budget.keyOf(name, account),
  budget: name,
  account,
  limitNanoUsd,
  ...budget
})

/** One process with what it holds. */
class Process {
  readonly store: StoreOf
  private readonly owner: string
  private leases = 0

  constructor(store: StoreOf, owner: string) {
    this.store = store
    this.owner = owner
  }

  /** As an owner of its own, since the batches of one owner come one after another. */
  step(batch: Budget.Batch) {
    return this.store.step({ owner: `${this.owner}-${++names}`, number: 1, ...batch })
  }

  ask(nanoUsd: number, accounts: ReadonlyArray<Budget.Account>, millis = 60_000): Budget.Reserve {
    return { lease: { id: `${this.owner}-${++this.leases}`, millis }, nanoUsd, accounts }
  }

  reserve(ask: Budget.Reserve) {
    return Effect.map(this.step({ reserves: [ask] }), ({ decisions, events }) => ({
      ask,
      decision: decisions[0]!,
      events
    }))
  }

  /** A reservation that must have room. */
  take(nanoUsd: number, accounts: ReadonlyArray<Budget.Account>, leaseMillis?: number) {
    return Effect.map(this.reserve(this.ask(nanoUsd, accounts, leaseMillis)), ({ decision }) => {
      if (decision._tag !== "Reserved") throw new Error(`no room: ${JSON.stringify(decision)}`)
      return decision.settlement
    })
  }

  settle(reserved: Budget.Settlement, spentNanoUsd: number, doubtfulNanoUsd = 0) {
    return this.step({ settlements: [{ ...reserved, spentNanoUsd, doubtfulNanoUsd }] })
  }

  credit(account: Budget.Account, nanoUsd: number, slot = 0) {
    const reservations = [{ account, slot }]
    return this.step({ settlements: [{ reservedNanoUsd: 0, spentNanoUsd: -nanoUsd, reservations }] })
  }

  /** As the process itself, which is alive. */
  own(batch: Budget.Batch) {
    return this.store.step({ owner: this.owner, number: 1, ...batch })
  }

  renew(reserved: Budget.Settlement, millis: number) {
    const { lease, reservations, reservedNanoUsd: nanoUsd } = reserved
    return this.step({ renewals: [{ lease: lease!, millis, nanoUsd, reservations }] })
  }

  override(override: Budget.Override) {
    return this.step({ overrides: [override] })
  }

  /** What a reservation is answered that must have no room. */
  refused(nanoUsd: number, accounts: ReadonlyArray<Budget.Account>) {
    return Effect.map(this.reserve(this.ask(nanoUsd, accounts)), ({ decision, events }) => {
      if (decision._tag !== "Refused") throw new Error("there was room")
      return { ...decision, events }
    })
  }

  read({ name, window }: Sketch, account = "") {
    return Effect.map(this.step({ read: [name] }), ({ now, rows }) => {
      const from = window._tag === "Calendar" ? now - now % dayMillis : 0
      const sums = { spent: 0, reserved: 0, overshot: 0, lapsed: 0, doubtful: 0 }
      for (const row of rows) {
        if (row._tag !== "Account" || row.account !== account) continue
        for (const slot of row.slots) {
          if (slot.start < from) continue
          sums.spent += slot.spent
          sums.reserved += slot.reserved
          sums.overshot += slot.overshot
          sums.lapsed += slot.lapsed
          sums.doubtful += slot.doubtful ?? 0
        }
      }
      return sums
    })
  }
}

export const suite = ({ name, processes, sleep, test }: SuiteOptions) => {
  const run = (
    sentence: string,
    body: (here: Process, there: Process) => Effect.Effect<void, unknown, Scope.Scope>
  ) =>
    test(sentence, () =>
      Effect.scoped(Effect.flatMap(processes, ({ here, there }) => {
        const run = `${++names}-${Math.random()}`
        return body(new Process(here, `here-${run}`), new Process(there, `there-${run}`))
      })), 30_000)

  /** To the start of a day, so that what follows falls into one. */
  const morning = (process: Process) =>
    Effect.flatMap(process.step({ read: [] }), ({ now }) => sleep(dayMillis - now % dayMillis + 5))

  describe(`Budget.Store, ${name}`, () => {
    run("reserves in all accounts or in none", (here, there) =>
      Effect.gen(function*() {
        const wide = budgetOf()
        const narrow = budgetOf()
        const both = [accountOf(wide, 100, "a"), accountOf(narrow, 50)]
        yield* here.take(30, both)
        const { spentNanoUsd, ...refusal } = yield* there.refused(30, both)
        assert.deepInclude(refusal, { limitNanoUsd: 50, reservedNanoUsd: 30 })
        assert.isUndefined(refusal.resetsAt)
        assert.strictEqual(spentNanoUsd, 0)
        assert.strictEqual(refusal.account.budget, narrow.name)
        assert.deepInclude(yield* here.read(wide, "a"), { spent: 0, reserved: 30 })
        yield* there.take(70, [accountOf(wide, 100, "a")])
        yield* here.take(100, [accountOf(wide, 100, "b")])
      }))

    run(
      "admits exactly those that fit of 1,000 at once, and never more at any instant",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const one = accountOf(budget, 137 * 7 + 3)
          let running = true
          const watcher = yield* Effect.forkScoped(Effect.gen(function*() {
            while (running) {
              const { reserved, spent } = yield* there.read(budget)
              assert.isAtMost(spent + reserved, one.limitNanoUsd)
              yield* Effect.yieldNow
            }
          }))
          const replies = yield* Effect.forEach(Array.from({ length: 1_000 }), (_, index) => {
            const process = index % 2 === 0 ? here : there
            return process.reserve(process.ask(7, [one]))
          }, { concurrency: 64 })
          running = false
          yield* Fiber.join(watcher)
          assert.strictEqual(replies.filter(({ decision }) => decision._tag === "Reserved").length, 137)
          assert.deepInclude(yield* here.read(budget), { spent: 0, reserved: 137 * 7 })
        })
    )

    run("replaces a reservation by what was spent", (here, there) =>
      Effect.gen(function*() {
        const budget = budgetOf()
        const one = [accountOf(budget, 100)]
        const first = yield* here.take(60, one)
        const second = yield* here.take(40, one)
        yield* here.settle(first, 10)
        yield* there.take(50, one)
        yield* there.refused(1, one)
        yield* here.settle(second, 0)
        yield* there.take(40, one)
        assert.deepInclude(yield* there.read(budget), { spent: 10, reserved: 90, overshot: 0 })
      }))

    run(
      "says how much was spent beyond what was reserved, and tells once that it passed the limit",
      (here, there) =>
        Effect.gen(function*() {
          const budget = { ...budgetOf(), thresholds: [] }
          const one = [accountOf(budget, 100)]
          const lowered = accountOf(budget, 20)
          const { reservations: [reservation], ...before } = yield* here.take(25, one)
          const under = { ...before, reservations: [{ ...reservation!, account: lowered }] }
          assert.deepStrictEqual((yield* here.settle(under, 25)).events, [])
          const first = yield* here.take(40, one)
          const second = yield* there.take(35, one)
          assert.deepStrictEqual((yield* here.settle(first, 50)).events, [])
          const [event, ...others] = (yield* there.settle(second, 40)).events
          assert.deepInclude(event, { _tag: "Overshot", spentNanoUsd: 115, limitNanoUsd: 100 })
          assert.deepStrictEqual(others, [])
          assert.deepInclude(yield* here.read(budget), { spent: 115, reserved: 0, overshot: 15 })
        })
    )

    run(
      "counts the settlements of an owner once, however often and in whatever batches they come",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const one = [accountOf(budget, 100)]
          const spent = yield* Effect.forEach(
            [25, 10, 5],
            (spentNanoUsd) => Effect.map(here.take(20, one), (reserved) => ({ ...reserved, spentNanoUsd }))
          )
          const owner = `${budget.name}-owner-${Math.random()}`
          yield* here.step({ owner, number: 1, settlements: spent.slice(0, 2) })
          yield* there.step({ owner, number: 1, settlements: spent.slice(0, 2), reserves: [here.ask(3, one)] })
          assert.deepInclude(yield* here.read(budget), { spent: 35, reserved: 23 })
          yield* here.step({ owner, number: 1, settlements: spent })
          yield* here.step({ owner, number: 2, settlements: spent.slice(1) })
          assert.deepInclude(yield* there.read(budget), { spent: 40, reserved: 3 })
        })
    )

    run(
      "counts what was reserved under leases that are not renewed as spent, until they are settled or credited",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const one = [accountOf(budget, 100)]
          const crashed = yield* here.take(40, one, 100)
          const late = yield* here.take(25, one, 100)
          yield* here.take(30, one)
          yield* sleep(150)
          const refused = yield* there.refused(6, one)
          assert.deepInclude(refused, { spentNanoUsd: 65, reservedNanoUsd: 30 })
          assert.deepInclude(yield* there.read(budget), { spent: 0, reserved: 30, lapsed: 65 })
          yield* here.settle(late, 5)
          assert.deepInclude(yield* there.read(budget), { spent: 5, reserved: 30, lapsed: 40, overshot: 0 })
          yield* there.credit(one[0]!, 10)
          assert.deepInclude(yield* there.read(budget), { spent: 5, lapsed: 30 })
          yield* here.settle(crashed, 45)
          assert.deepInclude(yield* there.read(budget), { spent: 50, reserved: 30, lapsed: 0, overshot: 15 })
          yield* there.take(20, one)
          yield* there.refused(1, one)
        })
    )

    run(
      "reserves again what lapsed though its process holds it, unless that has settled it meanwhile",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const one = [accountOf(budget, 100, "", false)]
          const held = yield* here.take(80, one, 50)
          yield* sleep(100)
          yield* there.take(60, one)
          assert.deepInclude(yield* there.read(budget), { reserved: 60, lapsed: 80 })
          yield* here.renew(held, 60_000)
          assert.deepInclude(yield* there.read(budget), { reserved: 140, lapsed: 0 })
          yield* there.refused(1, one)
          const { lease, reservations, reservedNanoUsd: nanoUsd } = held
          const settlements = [{ ...held, spentNanoUsd: 10 }]
          yield* here.own({ settlements })
          yield* here.own({ renewals: [{ lease: lease!, millis: 60_000, nanoUsd, reservations }] })
          assert.deepInclude(yield* there.read(budget), { spent: 10, reserved: 60, lapsed: 0 })
        })
    )

    run(
      "takes credits off what was spent, in doubt first, in its window, and never below nothing",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const account = accountOf(budget, 100)
          yield* here.settle(yield* here.take(50, [account]), 50, 30)
          yield* here.settle(yield* here.take(20, [account]), 20)
          assert.deepInclude(yield* there.read(budget), { spent: 70, doubtful: 30 })
          yield* there.credit(account, 25)
          assert.deepInclude(yield* there.read(budget), { spent: 45, doubtful: 5 })
          yield* there.credit(account, 1_000)
          assert.deepInclude(yield* there.read(budget), { spent: 0, doubtful: 0, overshot: 0, lapsed: 0 })
          yield* there.take(100, [account])
          yield* there.credit(account, 10)
          assert.deepInclude(yield* there.read(budget), { spent: 0, reserved: 100 })
          const nobody = budgetOf()
          yield* there.credit(accountOf(nobody, 100), 10)
          assert.deepInclude(yield* there.read(nobody), { spent: 0, reserved: 0 })
        })
    )

    run(
      "tells of thresholds and refusals again under another limit, and once for each",
      (here) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const spend = (nanoUsd: number, limitNanoUsd: number) =>
            Effect.flatMap(
              here.take(nanoUsd, [accountOf(budget, limitNanoUsd)]),
              (held) => Effect.map(here.settle(held, nanoUsd), ({ events }) => events.map(told))
            )
          const told = (event: Budget.Event) => event._tag === "Threshold" ? event.percent : event._tag
          assert.deepStrictEqual(yield* spend(60, 100), [50])
          assert.deepStrictEqual(yield* spend(10, 100), [])
          const refusal = Effect.map(here.refused(60, [accountOf(budget, 100)]), ({ events }) => events.map(told))
          assert.deepStrictEqual(yield* refusal, ["Exceeded"])
          assert.deepStrictEqual(yield* spend(40, 200), [50])
          assert.deepStrictEqual(yield* spend(10, 200), [])
          yield* here.override({ budget: budget.name, account: undefined, limitNanoUsd: 400, until: undefined })
          assert.deepStrictEqual(yield* spend(80, 200), [50])
          yield* here.override({ budget: budget.name, account: undefined, limitNanoUsd: undefined, until: undefined })
          assert.deepStrictEqual(yield* spend(0, 200), [])
          assert.deepStrictEqual(yield* refusal, [])
        })
    )

    run(
      "only looks where it is asked to, and refuses what would not fit beside what is spent",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const one = [accountOf(budget, 100)]
          yield* here.settle(yield* here.take(30, one), 30)
          yield* here.take(50, one)
          const look = (nanoUsd: number) =>
            Effect.map(
              there.step({ reserves: [{ ...there.ask(nanoUsd, one), isLook: true }] }),
              ({ decisions }) => decisions[0]?._tag
            )
          assert.strictEqual(yield* look(70), "Reserved")
          assert.strictEqual(yield* look(71), "Refused")
          assert.deepInclude(yield* there.read(budget), { spent: 30, reserved: 50 })
        })
    )

    run("tells of no refusal that is waited out", (here) =>
      Effect.gen(function*() {
        const budget = budgetOf()
        const one = [accountOf(budget, 100)]
        const patient = { ...here.ask(101, one), isPatient: true }
        assert.deepStrictEqual((yield* here.step({ reserves: [patient] })).events, [])
        assert.lengthOf((yield* here.refused(101, one)).events, 1)
      }))

    run(
      "frees leases that are not renewed where that is asked for, keeps those that are, and charges what ends later",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf()
          const one = [accountOf(budget, 100, "", false)]
          const crashed = yield* here.take(40, one, 1_000)
          const kept = yield* here.take(50, one, 1_000)
          yield* sleep(400)
          yield* here.renew(kept, 60_000)
          yield* there.refused(20, one)
          yield* sleep(700)
          assert.deepInclude(yield* there.read(budget), { reserved: 50, lapsed: 40 })
          yield* there.take(50, one)
          yield* there.refused(1, one)
          assert.deepInclude(yield* there.read(budget), { reserved: 100, lapsed: 40 })
          yield* here.settle(crashed, 30)
          yield* here.settle(kept, 10)
          assert.deepInclude(yield* there.read(budget), { spent: 40, reserved: 50, overshot: 30, lapsed: 0 })
        })
    )

    run("counts a call in the window in which it was admitted", (here, there) =>
      Effect.gen(function*() {
        const budget = budgetOf(day)
        const one = [accountOf(budget, 100)]
        yield* morning(here)
        const open = yield* here.take(80, one)
        yield* here.settle(yield* here.take(20, one), 20)
        const refusal = yield* there.refused(30, one)
        assert.strictEqual(refusal.resetsAt, refusal.at - refusal.at % dayMillis + dayMillis)
        yield* sleep(dayMillis)
        assert.deepInclude(yield* there.read(budget), { spent: 0, reserved: 0 })
        const next = yield* there.take(90, one)
        yield* here.settle(open, 70)
        assert.deepInclude(yield* there.read(budget), { spent: 0, reserved: 90 })
        yield* there.settle(next, 5)
        assert.deepInclude(yield* there.read(budget), { spent: 5, reserved: 0 })
      }))

    run("tells also that a window was overshot which is over by then", (here, there) =>
      Effect.gen(function*() {
        const budget = { ...budgetOf(day), thresholds: [10] }
        const one = [accountOf(budget, 140)]
        yield* morning(here)
        yield* here.settle(yield* here.take(20, one), 20)
        const open = yield* here.take(100, one)
        yield* sleep(dayMillis)
        yield* there.take(90, one)
        const { events } = yield* here.settle(open, 130)
        assert.deepStrictEqual(
          events.map((event) => event._tag === "Overshot" ? event.spentNanoUsd : event._tag),
          [150]
        )
        assert.deepInclude(yield* there.read(budget), { spent: 0, reserved: 90 })
      }))

    run(
      "tells of each threshold once in a window, whichever process reaches it",
      (here, there) =>
        Effect.gen(function*() {
          const budget = budgetOf(day)
          const one = [accountOf(budget, 100)]
          yield* morning(here)
          const spend = (process: Process, nanoUsd: number) =>
            Effect.flatMap(process.take(nanoUsd, one), (held) => process.settle(held, nanoUsd))
          const told = (yield* Effect.forEach(Array.from({ length: 10 }), (_, index) =>
            spend(index % 2 === 0 ? here : there, 10), { concurrency: "unbounded" })).flatMap(({ events }) =>
              events
            )
          const seen = told.map((event) =>
            event._tag === "Threshold" ? event.percent : event._tag
          )
          assert.sameMembers(seen, [50, 100])
          assert.deepStrictEqual((yield* here.refused(10, one)).events.map(({ _tag }) => _tag), ["Exceeded"])
          assert.deepStrictEqual((yield* there.refused(10, one)).events, [])
          yield* sleep(dayMillis)
          const [again] = (yield* spend(there, 60)).events
          assert.deepInclude(again, { _tag: "Threshold", percent: 50, spentNanoUsd: 60 })
        })
    )

    run("holds another limit in every process, for as long as it lasts", (here, there) =>
      Effect.gen(function*() {
        const budget = budgetOf()
        const one = (account: string) => [accountOf(budget, 100, account)]
        const until = (yield* here.step({ read: [] })).now + 800
        yield* here.override({ budget: budget.name, account: undefined, limitNanoUsd: 50, until })
        yield* here.override({ budget: budget.name, account: "a", limitNanoUsd: 200, until: undefined })
        assert.strictEqual((yield* there.refused(60, one("b"))).limitNanoUsd, 50)
        yield* there.take(150, one("a"))
        const { rows } = yield* there.step({ read: [budget.name] })
        assert.deepStrictEqual(
          rows.flatMap((row) => row._tag === "Limit" ? [`${row.account} ${row.limitNanoUsd}`] : []).sort(),
          ["a 200", "undefined 50"]
        )
        yield* sleep(810)
        yield* there.take(60, one("b"))
        yield* there.override({ budget: budget.name, account: "a", limitNanoUsd: undefined, until: undefined })
        assert.strictEqual((yield* here.refused(1, one("a"))).limitNanoUsd, 100)
      }))

    run("takes the limit that each request names, also within one batch", (here) =>
      Effect.gen(function*() {
        const budget = budgetOf()
        const reserved = yield* here.take(50, [accountOf(budget, 100)])
        const { balances, decisions } = yield* here.step({
          settlements: [{ ...reserved, spentNanoUsd: 40 }],
          reserves: [200, 130].map((limitNanoUsd) => here.ask(80, [accountOf(budget, limitNanoUsd)]))
        })
        assert.deepStrictEqual(decisions.map(({ _tag }) => _tag), ["Reserved", "Refused"])
        assert.deepStrictEqual(balances.map(({ remainingNanoUsd }) => remainingNanoUsd), [10])
      }))

    run("does a batch in order, settlements first", (here) =>
      Effect.gen(function*() {
        const budget = budgetOf()
        const one = [accountOf(budget, 100)]
        const reserved = yield* here.take(100, one)
        const asks = [here.ask(60, one), here.ask(60, one), here.ask(30, one)]
        const { decisions } = yield* here.step({ settlements: [{ ...reserved, spentNanoUsd: 10 }], reserves: asks })
        assert.deepStrictEqual(decisions.map(({ _tag }) => _tag), ["Reserved", "Refused", "Reserved"])
        assert.deepInclude(yield* here.read(budget), { spent: 10, reserved: 90 })
      }))
  })
}
