/** What settlements do to the accounts of budgets: they charge what attempts cost, and credit what was charged too much. */
import { type AccountRow, Event, type Settlement, type Slot } from "./data.ts"
import { lapse, ownerKeyOf } from "./rows.ts"
import { spanAt } from "./window.ts"
import { add, alert, count, edit, type Entry, entryOf, spentOf, sumsOf, type Work } from "./work.ts"

/** How long the number of an owner's last settlement is kept. */
const ownerMillis = 7 * 86_400_000

/** The number of the last settlement of the owner that was made. */
export const madeBy = ({ owner, rows }: Work): number => {
  if (owner === undefined) return 0
  const row = rows.get(ownerKeyOf(owner))
  return row?._tag === "Owner" ? row.number : 0
}

/** Skips the settlements that the owner had sent before and that were made. */
export const settle = (work: Work, settlements: ReadonlyArray<Settlement>, number: number): void => {
  const made = madeBy(work)
  if (work.owner !== undefined) {
    const last = Math.max(made, number + settlements.length - 1)
    work.changed.set(ownerKeyOf(work.owner), { _tag: "Owner", number: last, forgetAt: work.now + ownerMillis })
  }
  for (let index = Math.max(0, made - number + 1); index < settlements.length; index++) {
    const settlement = settlements[index]!
    for (const { account, slot } of settlement.reservations) {
      const entry = entryOf(work, account)
      if (settlement.spentNanoUsd < 0) credit(work, entry, slot, -settlement.spentNanoUsd)
      else charge(work, entry, slot, settlement)
    }
  }
}

export const slotAt = ({ slots }: AccountRow, start: number): Slot | undefined =>
  slots.find((slot) => slot.start === start)

/** Replaces what one account had reserved, or what had lapsed of it, by what was spent. */
const charge = (
  work: Work,
  entry: Entry,
  reservedIn: number,
  { doubtfulNanoUsd, lease: id, reservedNanoUsd, spentNanoUsd }: Settlement
): void => {
  const { leases } = edit(work, entry)
  const lease = id === undefined ? undefined : leases[id]
  if (id !== undefined) delete leases[id]
  const slot = lease?.slot ?? reservedIn
  const reserved = id === undefined ? reservedNanoUsd : lease?.nanoUsd ?? 0
  const lapsed = id === undefined || lease !== undefined
    ? 0
    : Math.min(reservedNanoUsd, slotAt(entry.row, slot)?.lapsed ?? 0)
  const overshot = Math.max(0, spentNanoUsd - reserved - (entry.account.countsLapsed === false ? 0 : lapsed))
  if (reserved === 0 && lapsed === 0 && spentNanoUsd === 0) return
  const doubtful = Math.min(doubtfulNanoUsd ?? 0, spentNanoUsd)
  add(work, entry, slot, { spent: spentNanoUsd, reserved: -reserved, overshot, lapsed: -lapsed, doubtful })
  if (spentNanoUsd > 0) alertSpent(work, entry, slot, overshot > 0)
}

/** Takes a credit from one slot and then from those before it in its window, and from each what is in doubt first. */
const credit = (work: Work, entry: Entry, at: number, nanoUsd: number): void => {
  const { account: { countsLapsed = true, window } } = entry
  lapse(edit(work, entry), work.now)
  count(entry)
  const { from } = spanAt(window, at)
  let left = nanoUsd
  for (const { doubtful = 0, lapsed, spent, start } of entry.row.slots.slice().reverse()) {
    if (start > at || start < from) continue
    const ofLapsed = countsLapsed ? Math.min(left, lapsed) : 0
    const ofSpent = Math.min(left - ofLapsed, spent)
    left -= ofLapsed + ofSpent
    if (ofLapsed + ofSpent === 0) continue
    add(work, entry, start, { spent: -ofSpent, lapsed: -ofLapsed, doubtful: -Math.min(ofSpent, doubtful) })
  }
}

/** Raises the alerts of an account that was charged. */
const alertSpent = (work: Work, entry: Entry, slot: number, isOvershot: boolean): void => {
  const { account: { account, budget, thresholds }, limitNanoUsd, row, span } = entry
  const counts = slot >= span.from
  const from = counts ? span.from : slot
  const spent = counts ? entry.spent : spentOf(entry.account, sumsOf(row.slots, slot, slot))
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
