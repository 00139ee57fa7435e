/** A step of a store of budgets in its course: the accounts that it touches, and what it changes of them. */
import type { Account, AccountRow, Event, Row, Slot, State } from "./data.ts"
import type { Draft } from "./rows.ts"
import { type Span, spanAt, type Window } from "./window.ts"

/** Spans by window: one holds for all calls until it ends. */
const spans = new WeakMap<Window, Span>()

export const spanOf = (window: Window, now: number): Span => {
  const last = spans.get(window)
  if (last !== undefined && last.slot <= now && now < last.until) return last
  const span = spanAt(window, now)
  spans.set(window, span)
  return span
}

export type Sums = { readonly [K in Exclude<keyof Slot, "start">]-?: number }

/** What counts in the slots from `from` to `to`. */
export const sumsOf = (slots: ReadonlyArray<Slot>, from: number, to: number = Infinity): Sums => {
  const sums = { spent: 0, reserved: 0, overshot: 0, lapsed: 0, doubtful: 0 }
  for (const slot of slots) {
    if (slot.start < from || slot.start > to) continue
    sums.spent += slot.spent
    sums.reserved += slot.reserved
    sums.overshot += slot.overshot
    sums.lapsed += slot.lapsed
    sums.doubtful += slot.doubtful ?? 0
  }
  return sums
}

/** What counts as spent of an account. */
export const spentOf = ({ countsLapsed = true }: Account, { lapsed, spent }: Sums): number =>
  countsLapsed ? spent + lapsed : spent

/** The limit that holds now: that of an override for the account, of one for its budget, or what the process was configured with. */
export const limitOf = (rows: State, { budget, key, limitNanoUsd }: Account, now: number): number => {
  const own = rows.get(`${key}\n`)
  if (own?._tag === "Limit" && now < (own.until ?? Infinity)) return own.limitNanoUsd
  const common = rows.get(budget)
  return common?._tag === "Limit" && now < (common.until ?? Infinity) ? common.limitNanoUsd : limitNanoUsd
}

/** An account in the course of a step. */
export interface Entry {
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
export interface Work {
  readonly rows: State
  readonly now: number
  readonly owner: string | undefined
  readonly entries: Map<string, Entry>
  readonly changed: Map<string, Row>
  readonly events: Array<Event>
  room: number
}

export const entryOf = (work: Work, account: Account): Entry => {
  const { budget, key, window } = account
  const known = work.entries.get(key)
  // Another process may have configured it otherwise.
  if (known?.account === account) return known
  // The key of an account is that of no other row.
  const row = known?.row ?? work.rows.get(key) as AccountRow | undefined ??
    { _tag: "Account" as const, budget, account: account.account, slots: [], alerts: {}, leases: {} }
  const span = spanOf(window, work.now)
  const limitNanoUsd = limitOf(work.rows, account, work.now)
  const entry = { account, row, draft: known?.draft, limitNanoUsd, span, spent: 0, reserved: 0 }
  count(entry)
  work.entries.set(key, entry)
  return entry
}

/** Adds up what counts in the window of an account. */
export const count = (entry: Entry): void => {
  const sums = sumsOf(entry.row.slots, entry.span.from)
  entry.spent = spentOf(entry.account, sums)
  entry.reserved = sums.reserved
}

export const edit = (work: Work, entry: Entry): Draft => {
  const { account, draft, row } = entry
  if (draft !== undefined) return draft
  if (!work.rows.has(account.key)) work.room--
  return entry.row = entry.draft = { ...row, slots: row.slots.slice(), leases: { ...row.leases } }
}

/** Changes one slot of an account by so much. */
export const add = (work: Work, entry: Entry, start: number, more: Partial<Sums>): void => {
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

/** The most alerts that an account remembers: in a window that has no end, its limit may change often. */
const maxAlerts = 64

/** Whether an alert is raised for the first time since `from`, at this limit. */
export const alert = (work: Work, entry: Entry, name: string, from: number): boolean => {
  const key = `${name} ${entry.limitNanoUsd}`
  const last = entry.row.alerts[key]
  if (last !== undefined && last >= from) return false
  const draft = edit(work, entry)
  const others = Object.entries(draft.alerts).filter(([other, at]) => other !== key && at >= from)
  draft.alerts = Object.fromEntries([...others.slice(1 - maxAlerts), [key, work.now]])
  return true
}
