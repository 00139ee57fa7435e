/** What counts in some slots of an account. */
import type { Account, Slot, Sums } from "./data.ts"

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

export const spentIn = (account: Account, slots: ReadonlyArray<Slot>, from: number, to: number): number =>
  spentOf(account, sumsOf(slots, from, to))
