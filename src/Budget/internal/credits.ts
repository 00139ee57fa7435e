/** Where a credit is taken from. */
import type { Account, Slot, Sums } from "./data.ts"
import { spanAt } from "./window.ts"

/** What is taken from each slot: of the one at `at`, then of those before it in its window, and of each what lapsed and what is in doubt first. */
export const creditsOf = (
  { countsLapsed = true, window }: Account,
  slots: ReadonlyArray<Slot>,
  at: number,
  nanoUsd: number
): ReadonlyArray<readonly [start: number, less: Partial<Sums>]> => {
  const { from } = spanAt(window, at)
  let left = nanoUsd
  return slots.slice().reverse().flatMap(({ doubtful = 0, lapsed, spent, start }) => {
    if (start > at || start < from) return []
    const ofLapsed = countsLapsed ? Math.min(left, lapsed) : 0
    const ofSpent = Math.min(left - ofLapsed, spent)
    left -= ofLapsed + ofSpent
    if (ofLapsed + ofSpent === 0) return []
    return [[start, { spent: -ofSpent, lapsed: -ofLapsed, doubtful: -Math.min(ofSpent, doubtful) }]]
  })
}
