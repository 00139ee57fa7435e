/** What a store of budgets does with a batch: a pure transition of the rows that the batch touches; and the store that keeps them in memory. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import {
  type Account,
  type AccountRow,
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
  type Settlement,
  type Slot,
  type State
} from "./data.ts"
import { type Draft, lapse, lease, limitKeyOf, ownerKeyOf, read } from "./rows.ts"
import { leavesAt, type Span, spanAt, type Window } from "./window.ts"

/** How long the number of an owner's last settlement is kept. */
const ownerMillis = 7 * 86_400_000

/** Spans by window: one holds for all calls until it ends. */
const spans = new WeakMap<Window, Span>()

const spanOf = (window: Window, now: number): Span => {
  const last = spans.get(window)
  if (last !== undefined && last.slot <= now && now < last.until) return last
  const span = spanAt(window, now)
  spans.set(window, span)
  return span
}

export type Sums = Omit<Slot, "start">

/** What counts in the slots from `from` to `to`. */
export const sumsOf = (slots: ReadonlyArray<Slot>, from: number, to: number = Infinity): Sums => {
  const sums = { spent: 0, reserved: 0, overshot: 0, lapsed: 0 }
  for (const slot of slots) {
    if (slot.start < from || slot.start > to) continue
    sums.spent += slot.spent
    sums.reserved += slot.reserved
    sums.overshot += slot.overshot
    sums.lapsed += slot.lapsed
  }
  return sums
}

/** The limit that holds now: that of an override for the account, of one for its budget, or what the process was configured with. */
export const limitOf = (rows: State, { budget, key, limitNanoUsd }: Account, now: number): number => {
  const own = rows.get(`${key}\n`)
  if (own?._tag === "Limit" && now < (own.until ?? Infinity)) return own.limitNanoUsd
  const common = rows.get(budget)
  return common?._tag === "Limit" && now < (common.until ?? Infinity) ? common.limitNanoUsd : limitNanoUsd
}

/** An account in the course of a step. */
interface Entry {
  readonly account: Account
  row: AccountRow
  /** The same as `row` once it was changed. */
  draft: Draft | undefined
  readonly limitNanoUsd: number
  readonly span: Span
  /** What counts in its window. */
  spent: number
  reserved: number
}

/** A step in its course: the rows as they were, the accounts that it touches, and what it changed. */
interface Work {
  readonly rows: State
  readonly now: number
  readonly entries: Map<string, Entry>
  readonly changed: Map<string, Row>
  readonly events: Array<Event>
  room: number
}

const entryOf = (work: Work, account: Account): Entry => {
  const { budget, key, window } = account
  const known = work.entries.get(key)
  // Another process may have configured it otherwise.
  if (known?.account === account) return known
  // The key of an account is that of no other row.
  const row = known?.row ?? work.rows.get(key) as AccountRow | undefined ??
    { _tag: "Account" as const, budget, account: account.account, slots: [], alerts: {}, leases: {} }
  const span = spanOf(window, work.now)
  const { reserved, spent } = sumsOf(row.slots, span.from)
  const limitNanoUsd = limitOf(work.rows, account, work.now)
  const entry = { account, row, draft: known?.draft, limitNanoUsd, span, spent, reserved }
  work.entries.set(key, entry)
  return entry
}

const edit = (work: Work, entry: Entry): Draft => {
  const { account, draft, row } = entry
  if (draft !== undefined) return draft
  if (!work.rows.has(account.key)) work.room--
  return entry.row = entry.draft = { ...row, slots: row.slots.slice(), leases: { ...row.leases } }
}

/** Changes one slot of an account by so much. */
const add = (
  work: Work,
  entry: Entry,
  start: number,
  spent: number,
  reserved: number,
  overshot: number
): void => {
  const { slots } = edit(work, entry)
  let index = slots.length
  while (index > 0 && slots[index - 1]!.start > start) index--
  const known = slots[index - 1]
  if (known?.start !== start) slots.splice(index, 0, { start, spent, reserved, overshot, lapsed: 0 })
  else {
    slots[index - 1] = {
      start,
      spent: known.spent + spent,
      reserved: known.reserved + reserved,
      overshot: known.overshot + overshot,
      lapsed: known.lapsed
    }
  }
  if (start < entry.span.from) return
  entry.spent += spent
  entry.reserved += reserved
}

/** Whether an alert is raised for the first time since `from`. */
const alert = (work: Work, entry: Entry, name: string, from: number): boolean => {
  const last = entry.row.alerts[name]
  if (last !== undefined && last >= from) return false
  const draft = edit(work, entry)
  draft.alerts = { ...draft.alerts, [name]: work.now }
  return true
}

/** Skips the settlements that the owner had sent before and that were made. */
const settle = (
  work: Work,
  settlements: ReadonlyArray<Settlement>,
  owner: string | undefined,
  number: number
): void => {
  let made = 0
  if (owner !== undefined) {
    const row = work.rows.get(ownerKeyOf(owner))
    made = row?._tag === "Owner" ? row.number : 0
    const last = Math.max(made, number + settlements.length - 1)
    work.changed.set(ownerKeyOf(owner), { _tag: "Owner", number: last, forgetAt: work.now + ownerMillis })
  }
  for (let index = Math.max(0, made - number + 1); index < settlements.length; index++) {
    const { lease: id, reservations, reservedNanoUsd, spentNanoUsd } = settlements[index]!
    for (const { account, slot } of reservations) {
      const entry = entryOf(work, account)
      const { leases } = edit(work, entry)
      const isReserved = id === undefined || id in leases
      if (id !== undefined) delete leases[id]
      const reserved = isReserved ? reservedNanoUsd : 0
      const overshot = Math.max(0, spentNanoUsd - reserved)
      if (reserved === 0 && spentNanoUsd === 0) continue
      add(work, entry, slot, spentNanoUsd, -reserved, overshot)
      if (spentNanoUsd > 0) alertSpent(work, entry, slot, overshot > 0)
    }
  }
}

/** Raises the alerts of an account that was charged. */
const alertSpent = (work: Work, entry: Entry, slot: number, isOvershot: boolean): void => {
  const { account: { account, budget, thresholds }, limitNanoUsd, row, span } = entry
  const counts = slot >= span.from
  const from = counts ? span.from : slot
  const spent = counts ? entry.spent : sumsOf(row.slots, slot, slot).spent
  const facts = { budget, account, limitNanoUsd, spentNanoUsd: spent, at: work.now }
  if (counts) {
    for (const percent of thresholds) {
      if (spent < limitNanoUsd * (percent / 100) || !alert(work, entry, `${percent}`, from)) continue
      work.events.push(Event.Threshold({ ...facts, percent }))
    }
  }
  if (isOvershot && spent > limitNanoUsd && alert(work, entry, "overshot", from)) {
    work.events.push(Event.Overshot(facts))
  }
}

const reserve = (work: Work, { accounts, lease: leased, nanoUsd }: Reserve): Decision => {
  const { now } = work
  let { room } = work
  for (const account of accounts) {
    const entry = entryOf(work, account)
    if (entry.draft === undefined && !work.rows.has(account.key) && --room < 0) return Decision.Full()
    if (entry.row.lapsesAt !== undefined && entry.row.lapsesAt <= now) {
      lapse(edit(work, entry), now)
      entry.reserved = sumsOf(entry.row.slots, entry.span.from).reserved
    }
    if (entry.spent + entry.reserved + nanoUsd > entry.limitNanoUsd) return refuse(work, entry, nanoUsd)
  }
  const reservations: Array<Reservation> = []
  for (const account of accounts) {
    const entry = entryOf(work, account)
    const { slot } = entry.span
    add(work, entry, slot, 0, nanoUsd, 0)
    if (leased !== undefined) lease(edit(work, entry), leased.id, slot, nanoUsd, now + leased.millis)
    reservations.push({ account, slot })
  }
  return {
    _tag: "Reserved",
    settlement: { lease: leased?.id, reservedNanoUsd: nanoUsd, spentNanoUsd: 0, reservations }
  }
}

const refuse = (work: Work, entry: Entry, neededNanoUsd: number): Decision => {
  const { account, limitNanoUsd, reserved: reservedNanoUsd, span, spent: spentNanoUsd } = entry
  const facts = { limitNanoUsd, spentNanoUsd, reservedNanoUsd, at: work.now }
  if (alert(work, entry, "exceeded", span.from)) {
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

const renew = (work: Work, { accounts, lease: id, millis }: Renewal): void => {
  for (const account of accounts) {
    const entry = entryOf(work, account)
    const known = entry.row.leases[id]
    if (known === undefined || known.expiresAt <= work.now) continue
    lease(edit(work, entry), id, known.slot, known.nanoUsd, work.now + millis)
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
  const work: Work = { rows, now, entries: new Map(), changed: new Map(), events: [], room }
  const { number = 1, overrides, owner, renewals, reserves, settlements } = batch
  if (settlements !== undefined && settlements.length > 0) settle(work, settlements, owner, number)
  const decisions: Array<Decision> = []
  for (const ask of reserves ?? nothing) decisions.push(reserve(work, ask))
  renewals?.forEach((renewal) => renew(work, renewal))
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
