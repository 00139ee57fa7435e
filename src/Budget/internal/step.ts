/** What a store of budgets does with a batch: a pure transition of the rows that the batch touches. */
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
import { leavesAt, type Span, spanAt, type Window } from "./window.ts"

/** For how long the number of an owner's last settlement is kept. */
const ownerMillis = 7 * 86_400_000

/**
 * The key of the row of an account. Names of budgets and accounts hold no control characters.
 *
 * @category getters
 * @since 0.1.0
 */
export const keyOf = (budget: string, account: string): string => `${budget}\n${account}`
export const limitKeyOf = (budget: string, account: string | undefined): string =>
  account === undefined ? budget : `${budget}\n${account}\n`
const ownerKeyOf = (owner: string): string => `\n${owner}`

/** The keys of the rows that a batch may change, and of those that it only reads; each sorted. */
export const rowsOf = (
  { overrides = [], owner, renewals = [], reserves = [], settlements = [] }: Batch
): { readonly changed: ReadonlyArray<string>; readonly read: ReadonlyArray<string> } => {
  const changed = new Set<string>()
  const read = new Set<string>()
  const visit = ({ account, budget, key }: Account) => {
    changed.add(key)
    read.add(limitKeyOf(budget, undefined)).add(limitKeyOf(budget, account))
  }
  for (const { reservations } of settlements) for (const { account } of reservations) visit(account)
  for (const { accounts } of reserves) accounts.forEach(visit)
  for (const { accounts } of renewals) accounts.forEach(visit)
  for (const { account, budget } of overrides) changed.add(limitKeyOf(budget, account))
  if (owner !== undefined && settlements.length > 0) changed.add(ownerKeyOf(owner))
  return { changed: [...changed].sort(), read: [...read].filter((key) => !changed.has(key)).sort() }
}

/**
 * The keys of the rows that `step` needs for a batch, sorted, so that whoever locks them in this order meets no deadlock. A batch that reads budgets
 * needs all rows of these budgets, too.
 *
 * @category getters
 * @since 0.1.0
 */
export const keysOf = (batch: Batch): ReadonlyArray<string> => {
  const { changed, read } = rowsOf(batch)
  return [...changed, ...read].sort()
}

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
export const limitOf = (rows: State, { account, budget, limitNanoUsd }: Account, now: number): number => {
  for (const key of [limitKeyOf(budget, account), budget]) {
    const row = rows.get(key)
    if (row?._tag === "Limit" && now < (row.until ?? Infinity)) return row.limitNanoUsd
  }
  return limitNanoUsd
}

type Draft = { -readonly [K in keyof AccountRow]: AccountRow[K] } & {
  slots: Array<Slot>
  leases: Record<string, AccountRow["leases"][string]>
}

/** Changes one slot of a draft by so much. */
const add = ({ slots }: Draft, start: number, by: Partial<Sums>): void => {
  let index = slots.length
  while (index > 0 && slots[index - 1]!.start > start) index--
  const known = slots[index - 1]
  const slot = known?.start === start ? known : { start, spent: 0, reserved: 0, overshot: 0, lapsed: 0 }
  slots.splice(slot === known ? index - 1 : index, slot === known ? 1 : 0, {
    start,
    spent: slot.spent + (by.spent ?? 0),
    reserved: slot.reserved + (by.reserved ?? 0),
    overshot: slot.overshot + (by.overshot ?? 0),
    lapsed: slot.lapsed + (by.lapsed ?? 0)
  })
}

/** Ends the leases that were not renewed: what they reserved is free again, and counts as lapsed. */
const lapse = (draft: Draft, now: number): void => {
  let lapsesAt = Infinity
  let leasedUntil = -Infinity
  for (const [id, { expiresAt, nanoUsd, slot }] of Object.entries(draft.leases)) {
    if (expiresAt > now) {
      lapsesAt = Math.min(lapsesAt, expiresAt)
      leasedUntil = Math.max(leasedUntil, expiresAt)
    } else {
      delete draft.leases[id]
      add(draft, slot, { reserved: -nanoUsd, lapsed: nanoUsd })
    }
  }
  draft.lapsesAt = Number.isFinite(lapsesAt) ? lapsesAt : undefined
  draft.leasedUntil = Number.isFinite(leasedUntil) ? leasedUntil : undefined
}

const lease = (draft: Draft, id: string, slot: number, nanoUsd: number, expiresAt: number): void => {
  draft.leases[id] = { slot, nanoUsd, expiresAt }
  draft.lapsesAt = Math.min(draft.lapsesAt ?? Infinity, expiresAt)
  draft.leasedUntil = Math.max(draft.leasedUntil ?? -Infinity, expiresAt)
}

const copyOf = (row: AccountRow): Draft => ({ ...row, slots: row.slots.slice(), leases: { ...row.leases } })

/** A row with its ended leases lapsed. */
const lapsed = (row: AccountRow, now: number): AccountRow => {
  if (row.lapsesAt === undefined || now < row.lapsesAt) return row
  const draft = copyOf(row)
  lapse(draft, now)
  return draft
}

/** An account in the course of a step. */
interface Entry {
  account: Account
  row: AccountRow
  /** The same as `row` once it was changed. */
  draft: Draft | undefined
}

class Step {
  readonly changed = new Map<string, Row>()
  readonly events: Array<Event> = []
  private readonly rows: State
  private readonly now: number
  private room: number
  private readonly entries = new Map<string, Entry>()

  constructor(rows: State, now: number, room: number) {
    this.rows = rows
    this.now = now
    this.room = room
  }

  private entry(account: Account): Entry {
    const known = this.entries.get(account.key)
    if (known !== undefined) {
      known.account = account
      return known
    }
    // The key of an account is that of no other row.
    const row = this.rows.get(account.key) as AccountRow | undefined
    const { account: name, budget } = account
    const entry: Entry = {
      account,
      row: row ?? { _tag: "Account", budget, account: name, slots: [], alerts: {}, leases: {} },
      draft: undefined
    }
    this.entries.set(account.key, entry)
    return entry
  }

  private edit(entry: Entry): Draft {
    if (entry.draft !== undefined) return entry.draft
    if (!this.rows.has(entry.account.key)) this.room--
    entry.row = entry.draft = copyOf(entry.row)
    return entry.draft
  }

  /** Whether an alert is raised for the first time since `from`. */
  private alert(entry: Entry, name: string, from: number): boolean {
    const last = entry.row.alerts[name]
    if (last !== undefined && last >= from) return false
    const draft = this.edit(entry)
    draft.alerts = { ...draft.alerts, [name]: this.now }
    return true
  }

  settle({ lease: id, reservedNanoUsd, spentNanoUsd }: Settlement, { account, slot }: Reservation): void {
    const entry = this.entry(account)
    const draft = this.edit(entry)
    const isReserved = id === undefined || id in draft.leases
    if (id !== undefined && isReserved) delete draft.leases[id]
    const reserved = isReserved ? reservedNanoUsd : 0
    const overshot = Math.max(0, spentNanoUsd - reserved)
    if (reserved > 0 || spentNanoUsd > 0) add(draft, slot, { spent: spentNanoUsd, reserved: -reserved, overshot })
    if (spentNanoUsd > 0) this.alertSpent(entry, slot, overshot > 0)
  }

  private alertSpent(entry: Entry, slot: number, isOvershot: boolean): void {
    const { now } = this
    const { account, row } = entry
    const { budget, thresholds, window } = account
    const span = spanOf(window, now)
    const counts = slot >= span.from
    const from = counts ? span.from : slot
    const { spent } = sumsOf(row.slots, from, counts ? Infinity : slot)
    const limitNanoUsd = limitOf(this.rows, account, now)
    const facts = { budget, account: account.account, limitNanoUsd, spentNanoUsd: spent, at: now }
    if (counts) {
      for (const percent of thresholds) {
        if (spent < limitNanoUsd * (percent / 100) || !this.alert(entry, `${percent}`, from)) continue
        this.events.push(Event.Threshold({ ...facts, percent }))
      }
    }
    if (isOvershot && spent > limitNanoUsd && this.alert(entry, "overshot", from)) {
      this.events.push(Event.Overshot(facts))
    }
  }

  reserve({ accounts, lease: leased, nanoUsd }: Reserve): Decision {
    const { now } = this
    let room = this.room
    for (const account of accounts) {
      const entry = this.entry(account)
      if (entry.draft === undefined && !this.rows.has(account.key) && --room < 0) return Decision.Full()
      if (entry.row.lapsesAt !== undefined && entry.row.lapsesAt <= now) lapse(this.edit(entry), now)
      const { from } = spanOf(account.window, now)
      const { reserved, spent } = sumsOf(entry.row.slots, from)
      const limitNanoUsd = limitOf(this.rows, account, now)
      if (spent + reserved + nanoUsd > limitNanoUsd) return this.refuse(entry, nanoUsd, limitNanoUsd, spent, reserved)
    }
    const slots = accounts.map((account) => {
      const draft = this.edit(this.entry(account))
      const { slot } = spanOf(account.window, now)
      add(draft, slot, { reserved: nanoUsd })
      if (leased !== undefined) lease(draft, leased.id, slot, nanoUsd, now + leased.millis)
      return slot
    })
    return Decision.Reserved({ slots })
  }

  private refuse(entry: Entry, nanoUsd: number, limitNanoUsd: number, spent: number, reserved: number): Decision {
    const { now } = this
    const { account } = entry
    const facts = { limitNanoUsd, spentNanoUsd: spent, reservedNanoUsd: reserved }
    if (this.alert(entry, "exceeded", spanOf(account.window, now).from)) {
      const { account: name, budget } = account
      this.events.push(Event.Exceeded({ budget, account: name, ...facts, neededNanoUsd: nanoUsd, at: now }))
    }
    return Decision.Refused({ account, ...facts, resetsAt: this.resetsAt(entry, nanoUsd, limitNanoUsd) })
  }

  /** When `needed` fits if nothing is given back. */
  private resetsAt({ account: { window }, row: { slots } }: Entry, needed: number, limit: number): number | undefined {
    if (needed > limit) return undefined
    const { from } = spanOf(window, this.now)
    const { reserved, spent } = sumsOf(slots, from)
    let used = spent + reserved
    for (const slot of slots) {
      if (slot.start < from) continue
      used -= slot.spent + slot.reserved
      if (used + needed <= limit) {
        const at = leavesAt(window, slot.start)
        return Number.isFinite(at) ? at : undefined
      }
    }
    return undefined
  }

  renew({ accounts, lease: id, millis }: Renewal): void {
    for (const account of accounts) {
      const entry = this.entry(account)
      const known = entry.row.leases[id]
      if (known === undefined || known.expiresAt <= this.now) continue
      lease(this.edit(entry), id, known.slot, known.nanoUsd, this.now + millis)
    }
  }

  override({ account, budget, limitNanoUsd, until }: Override): void {
    const key = limitKeyOf(budget, account)
    const forgetAt = limitNanoUsd === undefined ? this.now : until
    const limit = { limitNanoUsd: limitNanoUsd ?? 0, until: forgetAt, forgetAt }
    this.changed.set(key, { _tag: "Limit", budget, account, ...limit })
  }

  /** The number of the last settlement of an owner that was made. */
  made(owner: string): number {
    const row = this.rows.get(ownerKeyOf(owner))
    return row?._tag === "Owner" ? row.number : 0
  }

  acknowledge(owner: string, number: number): void {
    this.changed.set(ownerKeyOf(owner), { _tag: "Owner", number, forgetAt: this.now + ownerMillis })
  }

  /** Finishes the rows that were changed, and says what remains of those that were touched. */
  finish(): ReadonlyArray<Balance> {
    const balances: Array<Balance> = []
    for (const [key, entry] of this.entries) {
      const { account, draft, row } = entry
      const span = spanOf(account.window, this.now)
      if (draft !== undefined) {
        prune(draft, span.from)
        draft.forgetAt = forgetAt(draft, account.window, span, this.now)
        this.changed.set(key, draft)
      }
      const { reserved, spent } = sumsOf(row.slots, span.from)
      balances.push({
        budget: account.budget,
        account: account.account,
        remainingNanoUsd: limitOf(this.rows, account, this.now) - spent - reserved,
        until: span.until === Infinity ? undefined : span.until
      })
    }
    return balances
  }
}

/** Forgets slots that no longer count and that no settlement comes back to. */
const prune = (draft: Draft, from: number): void => {
  const oldest = draft.slots[0]
  if (oldest === undefined || oldest.start >= from) return
  draft.slots = draft.slots.filter(({ reserved, start }) => start >= from || reserved !== 0)
}

/** When nothing of a row counts any more and nothing comes back to it; undefined where that is never. */
const forgetAt = ({ leasedUntil, slots }: Draft, window: Window, span: Span, now: number): number | undefined => {
  let at = now
  for (const { lapsed, reserved, spent, start } of slots) {
    if (spent === 0 && reserved === 0 && lapsed === 0) continue
    // Without a lease, its settlement comes some day.
    const end = reserved > 0 && leasedUntil === undefined
      ? Infinity
      : start === span.slot
      ? span.leaves
      : leavesAt(window, start)
    at = Math.max(at, end, leasedUntil ?? at)
  }
  return at === Infinity ? undefined : at
}

const nothing: ReadonlyArray<never> = []

/** The rows of some budgets as they are now, their ended leases lapsed. */
const read = (rows: State, budgets: ReadonlyArray<string>, now: number): Reply["rows"] => {
  const names = new Set(budgets)
  return [...rows.values()].flatMap((row): Reply["rows"] => {
    if (row._tag === "Owner" || !names.has(row.budget)) return []
    if (row._tag === "Account") return [lapsed(row, now)]
    return now < (row.until ?? Infinity) ? [row] : []
  })
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
  const self = new Step(rows, now, room)
  const { number = 1, overrides, owner, renewals, reserves = nothing, settlements = nothing } = batch
  if (settlements.length > 0) {
    const made = owner === undefined ? 0 : self.made(owner)
    settlements.forEach((settlement, index) => {
      if (owner !== undefined && number + index <= made) return
      for (const reservation of settlement.reservations) self.settle(settlement, reservation)
    })
    if (owner !== undefined) self.acknowledge(owner, Math.max(made, number + settlements.length - 1))
  }
  const decisions = reserves.map((ask) => self.reserve(ask))
  renewals?.forEach((renewal) => self.renew(renewal))
  overrides?.forEach((override) => self.override(override))
  const balances = self.finish()
  return [self.changed, {
    decisions,
    events: self.events,
    balances,
    rows: batch.read === undefined ? nothing : read(rows, batch.read, now),
    now
  }]
}
