/** What a store of budgets does with a batch: a pure transition of the rows that the batch touches; and the store that keeps them in memory. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { withAlert } from "./alerts.ts"
import { creditsOf } from "./credits.ts"
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
  type State,
  type Sums
} from "./data.ts"
import { type Draft, lapse, lease, limitKeyOf, ownerKeyOf, read } from "./rows.ts"
import { spentIn } from "./sums.ts"
import { leavesAt, type Span, spanAt, type Window } from "./window.ts"

/** An account in the course of a step. */
interface Entry {
  readonly account: Account
  row: AccountRow
  /** The same as `row` once it was changed. */
  draft: Draft | undefined
  readonly limitNanoUsd: number
  readonly span: Span
  /** What counts in its window; what lapsed is spent where that counts. */
  spent: number
  reserved: number
}

/** A step in its course: the rows as they were, the accounts that it touches, and what it changed. */
interface Work {
  readonly rows: State
  readonly now: number
  readonly owner: string | undefined
  readonly entries: Map<string, Entry>
  readonly changed: Map<string, Row>
  readonly events: Array<Event>
  room: number
}

const nothing: ReadonlyArray<never> = []

/** Spans by window: one holds for all calls until it ends. */
const spans = new WeakMap<Window, Span>()

/** The limit that holds now: that of an override for the account, of one for its budget, or what the process was configured with. */
export const limitOf = (rows: State, { budget, key, limitNanoUsd }: Account, now: number): number => {
  const own = rows.get(`${key}\n`)
  if (own?._tag === "Limit" && now < (own.until ?? Infinity)) return own.limitNanoUsd
  const common = rows.get(budget)
  return common?._tag === "Limit" && now < (common.until ?? Infinity) ? common.limitNanoUsd : limitNanoUsd
}

const entryOf = (work: Work, account: Account): Entry => {
  const { budget, key, window } = account
  const { entries, now, rows } = work
  const known = entries.get(key)
  // Another process may have configured it otherwise.
  if (known?.account === account) return known
  // The key of an account is that of no other row.
  const row = known?.row ?? rows.get(key) as AccountRow | undefined ??
    { _tag: "Account" as const, budget, account: account.account, slots: [], alerts: {}, leases: {} }
  let span = spans.get(window)
  if (span === undefined || now < span.slot || now >= span.until) spans.set(window, span = spanAt(window, now))
  const limitNanoUsd = limitOf(rows, account, now)
  const entry = { account, row, draft: known?.draft, limitNanoUsd, span, spent: 0, reserved: 0 }
  count(entry)
  entries.set(key, entry)
  return entry
}

/** Adds up what counts in the window of an account. */
const count = (entry: Entry): void => {
  const { account: { countsLapsed = true }, row, span: { from } } = entry
  entry.spent = 0
  entry.reserved = 0
  for (const { lapsed, reserved, spent, start } of row.slots) {
    if (start < from) continue
    entry.spent += countsLapsed ? spent + lapsed : spent
    entry.reserved += reserved
  }
}

const edit = (work: Work, entry: Entry): Draft => {
  const { account, draft, row } = entry
  if (draft !== undefined) return draft
  if (!work.rows.has(account.key)) work.room--
  return entry.row = entry.draft = { ...row, slots: row.slots.slice(), leases: { ...row.leases } }
}

/** Changes one slot of an account by so much. */
const add = (work: Work, entry: Entry, start: number, more: Partial<Sums>): void => {
  const { spent = 0, reserved = 0, overshot = 0, lapsed = 0, doubtful = 0 } = more
  const { slots } = edit(work, entry)
  let index = slots.length
  while (index > 0 && slots[index - 1]!.start > start) index--
  const known = slots[index - 1]
  const isKnown = known?.start === start
  const slot: Slot = {
    start,
    spent: isKnown ? known.spent + spent : spent,
    reserved: isKnown ? known.reserved + reserved : reserved,
    overshot: isKnown ? known.overshot + overshot : overshot,
    lapsed: isKnown ? known.lapsed + lapsed : lapsed,
    doubtful: doubtful === 0 ? isKnown ? known.doubtful : undefined : (isKnown ? known.doubtful ?? 0 : 0) + doubtful
  }
  if (isKnown) slots[index - 1] = slot
  else slots.splice(index, 0, slot)
  if (start < entry.span.from) return
  entry.spent += entry.account.countsLapsed === false ? spent : spent + lapsed
  entry.reserved += reserved
}

/** Whether an alert was raised since `from`, at this limit. */
const isRaised = ({ limitNanoUsd, row }: Entry, name: string, from: number): boolean =>
  (row.alerts[`${name} ${limitNanoUsd}`] ?? -Infinity) >= from

const raise = (work: Work, entry: Entry, name: string, from: number): void => {
  const draft = edit(work, entry)
  draft.alerts = withAlert(draft.alerts, `${name} ${entry.limitNanoUsd}`, from, work.now)
}

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
  for (const account of isLook ? nothing : accounts) {
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
  const { account, limitNanoUsd, reserved: reservedNanoUsd, span: { from }, spent: spentNanoUsd } = entry
  const facts = { limitNanoUsd, spentNanoUsd, reservedNanoUsd, at: work.now }
  if (!isPatient && !isRaised(entry, "exceeded", from)) {
    raise(work, entry, "exceeded", from)
    work.events.push(Event.Exceeded({ budget: account.budget, account: account.account, ...facts, neededNanoUsd }))
  }
  return { _tag: "Refused", account, ...facts, resetsAt: resetsAt(entry, neededNanoUsd) }
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

/** How long the number of an owner's last settlement is kept. */
const ownerMillis = 7 * 86_400_000

/** The number of the last settlement of the owner that was made. */
const madeBy = ({ owner, rows }: Work): number => {
  const row = owner === undefined ? undefined : rows.get(ownerKeyOf(owner))
  return row?._tag === "Owner" ? row.number : 0
}

const slotAt = ({ slots }: AccountRow, start: number): Slot | undefined => slots.find((slot) => slot.start === start)

/** Replaces what one account had reserved, or what had lapsed of it, by what was spent. */
const settle = (
  work: Work,
  entry: Entry,
  reservedIn: number,
  { doubtfulNanoUsd, lease: id, reservedNanoUsd, spentNanoUsd }: Settlement
): void => {
  const { account: { countsLapsed = true, thresholds }, limitNanoUsd } = entry
  const { leases } = edit(work, entry)
  const lease = id === undefined ? undefined : leases[id]
  if (id !== undefined) delete leases[id]
  const slot = lease?.slot ?? reservedIn
  const reserved = id === undefined ? reservedNanoUsd : lease?.nanoUsd ?? 0
  const lapsed = id === undefined || lease !== undefined
    ? 0
    : Math.min(reservedNanoUsd, slotAt(entry.row, slot)?.lapsed ?? 0)
  const overshot = Math.max(0, spentNanoUsd - reserved - (countsLapsed ? lapsed : 0))
  if (reserved === 0 && lapsed === 0 && spentNanoUsd === 0) return
  const doubtful = Math.min(doubtfulNanoUsd ?? 0, spentNanoUsd)
  add(work, entry, slot, { spent: spentNanoUsd, reserved: -reserved, overshot, lapsed: -lapsed, doubtful })
  const isNotable = overshot > 0 || entry.spent >= limitNanoUsd * (Math.min(...thresholds) / 100)
  if (isNotable && spentNanoUsd > 0) alertSpent(work, entry, slot, overshot > 0)
}

/** Raises the alerts of an account that was charged. */
const alertSpent = (work: Work, entry: Entry, slot: number, isOvershot: boolean): void => {
  const { account: { account, budget, thresholds }, limitNanoUsd, row, span } = entry
  const counts = slot >= span.from
  const from = counts ? span.from : slot
  const spent = counts ? entry.spent : spentIn(entry.account, row.slots, slot, slot)
  const facts = { budget, account, limitNanoUsd, spentNanoUsd: spent, at: work.now }
  for (const percent of counts ? thresholds : nothing) {
    if (spent < limitNanoUsd * (percent / 100) || isRaised(entry, `${percent}`, from)) continue
    raise(work, entry, `${percent}`, from)
    work.events.push(Event.Threshold({ ...facts, percent }))
  }
  if (isOvershot && spent > limitNanoUsd && !isRaised(entry, "overshot", from)) {
    raise(work, entry, "overshot", from)
    work.events.push(Event.Overshot(facts))
  }
}

const credit = (work: Work, entry: Entry, at: number, nanoUsd: number): void => {
  lapse(edit(work, entry), work.now)
  count(entry)
  for (const [start, less] of creditsOf(entry.account, entry.row.slots, at, nanoUsd)) add(work, entry, start, less)
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
  const made = owner === undefined ? 0 : madeBy(work)
  // Those that the owner had sent before and that were made are skipped.
  for (const settlement of settlements?.slice(Math.max(0, made - number + 1)) ?? nothing) {
    for (const { account, slot } of settlement.reservations) {
      const entry = entryOf(work, account)
      if (settlement.spentNanoUsd < 0) credit(work, entry, slot, -settlement.spentNanoUsd)
      else settle(work, entry, slot, settlement)
    }
  }
  if (owner !== undefined && settlements !== undefined && settlements.length > 0) {
    const last = Math.max(made, number + settlements.length - 1)
    work.changed.set(ownerKeyOf(owner), { _tag: "Owner", number: last, forgetAt: now + ownerMillis })
  }
  const decisions: Array<Decision> = []
  for (const ask of reserves ?? nothing) decisions.push(reserve(work, ask))
  renewals?.forEach((renewal) => renew(work, renewal, made >= number))
  overrides?.forEach((change) => override(work, change))
  const balances = finish(work)
  const found = batch.read === undefined ? nothing : read(rows, batch.read, now)
  return [work.changed, { decisions, events: work.events, balances, rows: found, now }]
}

/** How often a full memory looks for rows to forget. */
const forgetMillis = 1_000

/** Rows in memory. At `maxAccounts` of them, it forgets those that say nothing any more. */
export class Memory {
  readonly isLocal = true
  private readonly rows = new Map<string, Row>()
  private readonly maxAccounts: number
  private readonly clock: Clock.Clock
  private forgotAt = -Infinity

  constructor(maxAccounts: number, clock: Clock.Clock) {
    this.maxAccounts = maxAccounts
    this.clock = clock
  }

  readonly step = (batch: Batch): Effect.Effect<Reply> => Effect.suspend(() => this.stepNow(batch))

  /** Has answered before there is an effect to run: ask where it is run. */
  readonly stepNow = (batch: Batch): Effect.Effect<Reply> => {
    const { maxAccounts, rows } = this
    const now = this.clock.currentTimeMillisUnsafe()
    if (rows.size >= maxAccounts && Math.abs(now - this.forgotAt) >= forgetMillis) {
      this.forgotAt = now
      for (const [key, { forgetAt = Infinity }] of rows) if (forgetAt <= now) rows.delete(key)
    }
    const [changed, reply] = step(rows, batch, now, maxAccounts - rows.size)
    for (const [key, row] of changed) rows.set(key, row)
    return Effect.succeed(reply)
  }
}
