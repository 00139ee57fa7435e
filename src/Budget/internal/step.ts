/** What a store of budgets does with a batch: a pure transition of the rows that the batch touches; and the store that keeps them in memory. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import {
  type Balance,
  type Batch,
  Decision,
  Event,
  type Override,
  type Renewal,
  type Reply,
  type Reservation,
  type Reserve,
  type Row,
  type Slot,
  type State
} from "./data.ts"
import { lapse, lease, limitKeyOf, read } from "./rows.ts"
import { madeBy, settle, slotAt } from "./settlements.ts"
import { leavesAt } from "./window.ts"
import { add, alert, count, edit, type Entry, entryOf, type Work } from "./work.ts"

const reserve = (work: Work, ask: Reserve): Decision => {
  const { accounts, isLook = false, lease: leased, nanoUsd } = ask
  const { now } = work
  let { room } = work
  for (const account of accounts) {
    const entry = entryOf(work, account)
    if (entry.draft === undefined && !work.rows.has(account.key) && --room < 0) return Decision.Full()
    if (entry.row.lapsesAt !== undefined && entry.row.lapsesAt <= now) {
      lapse(edit(work, entry), now)
      count(entry)
    }
    const used = isLook ? entry.spent : entry.spent + entry.reserved
    if (used + nanoUsd > entry.limitNanoUsd) return refuse(work, entry, ask)
  }
  const reservations: Array<Reservation> = []
  for (const account of isLook ? [] : accounts) {
    const entry = entryOf(work, account)
    const { slot } = entry.span
    add(work, entry, slot, { reserved: nanoUsd })
    if (leased !== undefined) lease(edit(work, entry), leased.id, slot, nanoUsd, now + leased.millis)
    reservations.push({ account, slot })
  }
  return {
    _tag: "Reserved",
    settlement: { lease: leased?.id, reservedNanoUsd: isLook ? 0 : nanoUsd, spentNanoUsd: 0, reservations }
  }
}

const refuse = (work: Work, entry: Entry, { isPatient = false, nanoUsd: neededNanoUsd }: Reserve): Decision => {
  const { account, limitNanoUsd, reserved: reservedNanoUsd, span, spent: spentNanoUsd } = entry
  const facts = { limitNanoUsd, spentNanoUsd, reservedNanoUsd, at: work.now }
  if (!isPatient && alert(work, entry, "exceeded", span.from)) {
    work.events.push(Event.Exceeded({ budget: account.budget, account: account.account, ...facts, neededNanoUsd }))
  }
  return Decision.Refused({ account, ...facts, resetsAt: resetsAt(entry, neededNanoUsd) })
}

/** When `needed` fits if nothing is given back. */
const resetsAt = (
  { account: { window }, limitNanoUsd, reserved, row: { slots }, span, spent }: Entry,
  needed: number
): number | undefined => {
  if (needed > limitNanoUsd) return undefined
  let used = spent + reserved
  for (const slot of slots) {
    if (slot.start < span.from) continue
    used -= slot.spent + slot.reserved
    if (used + needed <= limitNanoUsd) {
      const at = leavesAt(window, slot.start)
      return Number.isFinite(at) ? at : undefined
    }
  }
  return undefined
}

/** A batch that was overtaken by a later one of its owner may renew what that has settled. */
const renew = (work: Work, { lease: id, millis, nanoUsd, reservations }: Renewal, isLate: boolean): void => {
  for (const { account, slot } of reservations) {
    const entry = entryOf(work, account)
    const isKnown = id in entry.row.leases
    if (isLate && !isKnown) continue
    if (!isKnown) {
      const lapsed = Math.min(nanoUsd, slotAt(entry.row, slot)?.lapsed ?? 0)
      add(work, entry, slot, { reserved: nanoUsd, lapsed: -lapsed })
    }
    lease(edit(work, entry), id, slot, nanoUsd, work.now + millis)
  }
}

const override = (work: Work, { account, budget, limitNanoUsd, until }: Override): void => {
  const end = limitNanoUsd === undefined ? work.now : until
  const row = { _tag: "Limit", budget, account, limitNanoUsd: limitNanoUsd ?? 0, until: end, forgetAt: end } as const
  work.changed.set(limitKeyOf(budget, account), row)
}

/** Finishes the rows that were changed, and says what remains of those that were touched. */
const finish = (work: Work): ReadonlyArray<Balance> => {
  const { changed, now } = work
  const balances: Array<Balance> = []
  for (const [key, { account, draft, limitNanoUsd, reserved, span, spent }] of work.entries) {
    if (draft !== undefined) {
      const oldest = draft.slots[0]
      if (oldest !== undefined && oldest.start < span.from) {
        // A settlement comes back to a slot with a reservation.
        draft.slots = draft.slots.filter(({ reserved, start }) => start >= span.from || reserved !== 0)
      }
      let last: Slot | undefined
      let isOpen = false
      for (const slot of draft.slots) {
        if (slot.reserved > 0) isOpen = true
        if (slot.reserved > 0 || slot.spent > 0 || slot.lapsed > 0) last = slot
      }
      const { leasedUntil } = draft
      const leaves = last === undefined
        ? now
        : last.start === span.slot
        ? span.leaves
        : leavesAt(account.window, last.start)
      // Without a lease, a settlement may come at any time.
      const end = isOpen ? Math.max(leaves, leasedUntil ?? Infinity) : leaves
      draft.forgetAt = end === Infinity ? undefined : end
      changed.set(key, draft)
    }
    balances.push({
      budget: account.budget,
      account: account.account,
      limitNanoUsd,
      spentNanoUsd: spent,
      remainingNanoUsd: limitNanoUsd - spent - reserved,
      until: span.until === Infinity ? undefined : span.until
    })
  }
  return balances
}

const nothing: ReadonlyArray<never> = []

/**
 * Does one batch, and returns the rows that it changed. It is a pure function of the rows, the batch and the time.
 *
 * - `state`: at least the rows that `keysOf` names and, for a batch that reads budgets, all rows of these budgets.
 * - `now`: milliseconds since the epoch, by the clock of the store.
 * - `room`: how many accounts may still be made. A reservation that needs more is answered by `Full`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const step = (
  state: State | undefined,
  batch: Batch,
  now: number,
  room: number = Infinity
): readonly [changed: State, Reply] => {
  const rows = state ?? new Map<string, Row>()
  const { number = 1, overrides, owner, renewals, reserves, settlements } = batch
  const work: Work = { rows, now, owner, entries: new Map(), changed: new Map(), events: [], room }
  if (settlements !== undefined && settlements.length > 0) settle(work, settlements, number)
  const decisions: Array<Decision> = []
  for (const ask of reserves ?? nothing) decisions.push(reserve(work, ask))
  renewals?.forEach((renewal) => renew(work, renewal, madeBy(work) >= number))
  overrides?.forEach((change) => override(work, change))
  const balances = finish(work)
  const found = batch.read === undefined ? nothing : read(rows, batch.read, now)
  return [work.changed, { decisions, events: work.events, balances, rows: found, now }]
}

/** How often a full memory looks for rows to forget. */
const forgetMillis = 1_000

/** Steps over rows in memory. At `maxAccounts` of them, it forgets those that say nothing any more. */
export const stepInMemory = (maxAccounts: number, clock: Clock.Clock): (batch: Batch) => Effect.Effect<Reply> => {
  const rows = new Map<string, Row>()
  let forgotAt = -Infinity
  return (batch) =>
    Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      if (rows.size >= maxAccounts && Math.abs(now - forgotAt) >= forgetMillis) {
        forgotAt = now
        for (const [key, { forgetAt = Infinity }] of rows) if (forgetAt <= now) rows.delete(key)
      }
      const [changed, reply] = step(rows, batch, now, maxAccounts - rows.size)
      for (const [key, row] of changed) rows.set(key, row)
      return reply
    })
}
