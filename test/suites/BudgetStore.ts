/**
 * What every store of budgets does. `here` and `there` are two processes over the same accounts. Times are short, so that a store with a clock of
 * its own can be asked too.
 */
import { assert, describe, type it } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import type * as Budget from "effect-claude/Budget"

export type StoreOf = Budget.Store["Service"]

export interface SuiteOptions {
  readonly name: string
  /** Two processes; the same store twice where it belongs to one. */
  readonly processes: Effect.Effect<{ readonly here: StoreOf; readonly there: StoreOf }, unknown, Scope.Scope>
  readonly sleep: (millis: number) => Effect.Effect<void>
  /** `it.effect` for a store on `Clock`, `it.live` for one with a clock of its own. */
  readonly test: typeof it.effect | typeof it.live
}

/** Everything ever spent, as one slot. */
const total: Budget.Rules["window"] = { at: () => ({ slot: 0, from: 0, until: Infinity }), leavesAt: () => Infinity }

const dayMillis = 1_000

/** A calendar whose days are short. */
const day: Budget.Rules["window"] = {
  at: (now) => {
    const slot = Math.floor(now / dayMillis) * dayMillis
    return { slot, from: slot, until: slot + dayMillis }
  },
  leavesAt: (slot) => slot + dayMillis
}

let names = 0

export const rulesOf = (window: Budget.Rules["window"] = total): Budget.Rules => ({
  name: `budget-${++names}`,
  window,
  thresholds: [50, 100]
})

const share = (rules: Budget.Rules, limitNanoUsd: number, account = ""): Budget.Share => ({
  rules,
  account,
  limitNanoUsd
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

  /** As an owner of its own, since those of one come one after another. */
  step(batch: Partial<Budget.Batch>) {
    return this.store.step({ owner: `${this.owner}-${++names}`, number: 1, settles: [], reserves: [], ...batch })
  }

  ask(nanoUsd: number, shares: ReadonlyArray<Budget.Share>, leaseMillis = 60_000): Budget.Reserve {
    return { lease: `${this.owner}-${++this.leases}`, leaseMillis, nanoUsd, shares }
  }

  reserve(ask: Budget.Reserve) {
    return Effect.map(this.step({ reserves: [ask] }), ({ events, replies }) => ({ ask, events, reply: replies[0]! }))
  }

  /** A reservation that must have room. */
  take(nanoUsd: number, shares: ReadonlyArray<Budget.Share>, leaseMillis?: number) {
    return Effect.map(this.reserve(this.ask(nanoUsd, shares, leaseMillis)), ({ ask, reply }) => {
      if (reply._tag !== "Reserved") throw new Error(`no room: ${JSON.stringify(reply)}`)
      return settleOf(ask, reply.slots)
    })
  }

  settle(held: Budget.Settle, spentNanoUsd: number) {
    return this.step({ settles: [{ ...held, spentNanoUsd }] })
  }

  /** The reply to a reservation that must have none. */
  refused(nanoUsd: number, shares: ReadonlyArray<Budget.Share>) {
    return Effect.map(this.reserve(this.ask(nanoUsd, shares)), ({ events, reply }) => {
      if (reply._tag !== "Refused") throw new Error("there was room")
      return { ...reply, events }
    })
  }

  read(rules: Budget.Rules, account = "") {
    return Effect.map(this.store.read([rules.name]), ({ accounts, now }) => {
      const { from } = rules.window.at(now)
      const sums = { spent: 0, reserved: 0, overshot: 0, lapsed: 0 }
      for (const stored of accounts) {
        if (stored.account !== account) continue
        for (const slot of stored.slots) {
          if (slot.start < from) continue
          sums.spent += slot.spent
          sums.reserved += slot.reserved
          sums.overshot += slot.overshot
          sums.lapsed += slot.lapsed
        }
      }
      return sums
    })
  }
}

const settleOf = (ask: Budget.Reserve, slots: ReadonlyArray<number>): Budget.Settle => ({
  lease: ask.lease,
  heldNanoUsd: ask.nanoUsd,
  spentNanoUsd: 0,
  holds: ask.shares.map((share, index) => ({ share, slot: slots[index]! }))
})

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
    Effect.flatMap(process.store.read([]), ({ now }) => sleep(dayMillis - now % dayMillis + 5))

  describe(`Budget.Store, ${name}`, () => {
    run("reserves in all accounts or in none", (here, there) =>
      Effect.gen(function*() {
        const wide = rulesOf()
        const narrow = rulesOf()
        const both = [share(wide, 100, "a"), share(narrow, 50)]
        yield* here.take(30, both)
        const { spentNanoUsd, ...refusal } = yield* there.refused(30, both)
        assert.deepInclude(refusal, { limitNanoUsd: 50, reservedNanoUsd: 30, resetsAt: undefined })
        assert.strictEqual(spentNanoUsd, 0)
        assert.strictEqual(refusal.share.rules.name, narrow.name)
        assert.deepInclude(yield* here.read(wide, "a"), { spent: 0, reserved: 30 })
        yield* there.take(70, [share(wide, 100, "a")])
        yield* here.take(100, [share(wide, 100, "b")])
      }))

    run(
      "admits exactly those that fit of 1,000 at once, and never more at any instant",
      (here, there) =>
        Effect.gen(function*() {
          const rules = rulesOf()
          const one = share(rules, 137 * 7 + 3)
          let running = true
          const watcher = yield* Effect.forkScoped(Effect.gen(function*() {
            while (running) {
              const { reserved, spent } = yield* there.read(rules)
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
          assert.strictEqual(replies.filter(({ reply }) => reply._tag === "Reserved").length, 137)
          assert.deepInclude(yield* here.read(rules), { spent: 0, reserved: 137 * 7 })
        })
    )

    run("replaces a reservation by what was spent", (here, there) =>
      Effect.gen(function*() {
        const rules = rulesOf()
        const one = [share(rules, 100)]
        const first = yield* here.take(60, one)
        const second = yield* here.take(40, one)
        yield* here.settle(first, 10)
        yield* there.take(50, one)
        yield* there.refused(1, one)
        yield* here.settle(second, 0)
        yield* there.take(40, one)
        assert.deepInclude(yield* there.read(rules), { spent: 10, reserved: 90, overshot: 0 })
      }))

    run(
      "says how much was spent beyond what was reserved, and tells once that it passed the limit",
      (here, there) =>
        Effect.gen(function*() {
          const rules = { ...rulesOf(), thresholds: [] }
          const one = [share(rules, 100)]
          const first = yield* here.take(50, one)
          const second = yield* there.take(50, one)
          assert.deepStrictEqual((yield* here.settle(first, 60)).events, [])
          const [event, ...others] = (yield* there.settle(second, 55)).events
          assert.deepInclude(event, { _tag: "Overshot", spentNanoUsd: 115, limitNanoUsd: 100 })
          assert.deepStrictEqual(others, [])
          assert.deepInclude(yield* here.read(rules), { spent: 115, reserved: 0, overshot: 15 })
        })
    )

    run("makes the settlements of a batch once, however often it comes", (here) =>
      Effect.gen(function*() {
        if (here.store.isLocal) return // it is not asked again
        const rules = rulesOf()
        const one = [share(rules, 100)]
        const held = yield* here.take(60, one)
        const batch = { owner: `${rules.name}-owner-${Math.random()}`, settles: [{ ...held, spentNanoUsd: 25 }] }
        yield* here.step(batch)
        yield* here.step({ ...batch, reserves: [here.ask(5, one)] })
        assert.deepInclude(yield* here.read(rules), { spent: 25, reserved: 5 })
      }))

    run(
      "frees leases that are not renewed, keeps those that are, and charges what ends later",
      (here, there) =>
        Effect.gen(function*() {
          const rules = rulesOf()
          const one = [share(rules, 100)]
          const crashed = yield* here.take(40, one, 1_000)
          const kept = yield* here.take(50, one, 1_000)
          yield* sleep(400)
          yield* here.store.renew([kept.lease], 60_000)
          yield* there.refused(20, one)
          yield* sleep(700)
          assert.deepInclude(yield* there.read(rules), { reserved: 50, lapsed: 40 })
          yield* there.take(50, one)
          yield* there.refused(1, one)
          assert.deepInclude(yield* there.read(rules), { reserved: 100, lapsed: 40 })
          yield* here.store.renew([crashed.lease], 60_000)
          yield* here.settle(crashed, 30)
          yield* here.settle(kept, 10)
          assert.deepInclude(yield* there.read(rules), { spent: 40, reserved: 50, overshot: 30 })
        })
    )

    run("counts a call in the window in which it was admitted", (here, there) =>
      Effect.gen(function*() {
        const rules = rulesOf(day)
        const one = [share(rules, 100)]
        yield* morning(here)
        const open = yield* here.take(80, one)
        yield* here.settle(yield* here.take(20, one), 20)
        const refusal = yield* there.refused(30, one)
        assert.strictEqual(refusal.resetsAt, refusal.at - refusal.at % dayMillis + dayMillis)
        yield* sleep(dayMillis)
        assert.deepInclude(yield* there.read(rules), { spent: 0, reserved: 0 })
        const next = yield* there.take(90, one)
        yield* here.settle(open, 70)
        assert.deepInclude(yield* there.read(rules), { spent: 0, reserved: 90 })
        yield* there.settle(next, 5)
        assert.deepInclude(yield* there.read(rules), { spent: 5, reserved: 0 })
      }))

    run("tells also that a window was overshot which is over by then", (here, there) =>
      Effect.gen(function*() {
        const rules = { ...rulesOf(day), thresholds: [10] }
        const one = [share(rules, 140)]
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
        assert.deepInclude(yield* there.read(rules), { spent: 0, reserved: 90 })
      }))

    run(
      "tells of each threshold once in a window, whichever process reaches it",
      (here, there) =>
        Effect.gen(function*() {
          const rules = rulesOf(day)
          const one = [share(rules, 100)]
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
        const rules = rulesOf()
        const one = (account: string) => [share(rules, 100, account)]
        const until = (yield* here.store.read([])).now + 800
        yield* here.store.override({ budget: rules.name, account: undefined, limitNanoUsd: 50, until })
        yield* here.store.override({ budget: rules.name, account: "a", limitNanoUsd: 200, until: Infinity })
        assert.strictEqual((yield* there.refused(60, one("b"))).limitNanoUsd, 50)
        yield* there.take(150, one("a"))
        const { overrides } = yield* there.store.read([rules.name])
        assert.deepStrictEqual(
          overrides.map(({ account, limitNanoUsd }) => `${account} ${limitNanoUsd}`).sort(),
          ["a 200", "undefined 50"]
        )
        yield* sleep(810)
        yield* there.take(60, one("b"))
        yield* there.store.override({ budget: rules.name, account: "a", limitNanoUsd: undefined, until: Infinity })
        assert.strictEqual((yield* here.refused(1, one("a"))).limitNanoUsd, 100)
      }))

    run("does a batch in order, settlements first", (here) =>
      Effect.gen(function*() {
        const rules = rulesOf()
        const one = [share(rules, 100)]
        const held = yield* here.take(100, one)
        const asks = [here.ask(60, one), here.ask(60, one), here.ask(30, one)]
        const { replies } = yield* here.step({ settles: [{ ...held, spentNanoUsd: 10 }], reserves: asks })
        assert.deepStrictEqual(replies.map(({ _tag }) => _tag), ["Reserved", "Refused", "Reserved"])
        assert.deepInclude(yield* here.read(rules), { spent: 10, reserved: 90 })
      }))
  })
}
