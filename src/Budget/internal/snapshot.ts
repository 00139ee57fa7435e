/** How the accounts of budgets stand, from the rows of a store. */
import type { Budget } from "./budgets.ts"
import type { AccountRow, Reply, Row } from "./data.ts"
import { limitKeyOf } from "./rows.ts"
import { limitOf } from "./step.ts"
import { spentOf, sumsOf } from "./sums.ts"
import { spanAt } from "./window.ts"

/**
 * One account of a budget as it stands, in integer nano-dollars (1 USD = 1_000_000_000).
 *
 * - `account`: the tenant, user, model, key or tag value; `""` where the budget is not divided, or for attempts that name none.
 * - `countsAll`: whether every attempt counts in it: its budget is neither divided nor filtered.
 * - `remainingNanoUsd`: negative where more is spent than the limit.
 * - `overshotNanoUsd`: what calls cost beyond what was reserved for them.
 * - `spentNanoUsd`: what calls cost, and what has lapsed where that counts as spent.
 * - `lapsedNanoUsd`: what processes had reserved that crashed: nobody knows whether the API charges it.
 * - `doubtfulNanoUsd`: the part of what was spent for attempts that were sent and returned no whole answer: nobody knows whether the API charges it.
 * - `windowStart`, `windowEnd`: milliseconds since the epoch. For a rolling window, the end is when it next advances; a window without an end has
 *   `Infinity`.
 *
 * @category models
 * @since 0.1.0
 */
export interface AccountStatus {
  readonly budget: string
  readonly account: string
  readonly countsAll: boolean
  readonly limitNanoUsd: number
  readonly spentNanoUsd: number
  readonly reservedNanoUsd: number
  readonly remainingNanoUsd: number
  readonly overshotNanoUsd: number
  readonly lapsedNanoUsd: number
  readonly doubtfulNanoUsd: number
  readonly windowStart: number
  readonly windowEnd: number
}

/** Whether anything of an account counts, or will. */
const isActive = ({ slots }: AccountRow, from: number): boolean =>
  slots.some(({ lapsed, overshot, reserved, spent, start }) =>
    reserved > 0 || (start >= from && (spent > 0 || lapsed > 0 || overshot > 0))
  )

/** The accounts of some budgets: those with an amount in their window, and those of budgets that are not divided. */
export const statusesOf = (budgets: ReadonlyArray<Budget>, { now, rows }: Reply): ReadonlyArray<AccountStatus> => {
  const limits = new Map(
    rows.flatMap((row): ReadonlyArray<[string, Row]> =>
      row._tag === "Limit" ? [[limitKeyOf(row.budget, row.account), row]] : []
    )
  )
  return budgets.flatMap((budget): ReadonlyArray<AccountStatus> => {
    const { from, until } = spanAt(budget.window, now)
    const active = rows.filter((row): row is AccountRow =>
      row._tag === "Account" && row.budget === budget.name && isActive(row, from)
    )
    const shown = active.length === 0 && budget.whole !== undefined ? [{ account: "", slots: [] }] : active
    return shown.map(({ account, slots }) => {
      const sums = sumsOf(slots, from)
      const { doubtful, lapsed, overshot, reserved } = sums
      const spent = spentOf(budget.account(account), sums)
      const limitNanoUsd = limitOf(limits, budget.account(account), now)
      return {
        budget: budget.name,
        account,
        countsAll: budget.whole !== undefined && budget.matches === undefined,
        limitNanoUsd,
        spentNanoUsd: spent,
        reservedNanoUsd: reserved,
        remainingNanoUsd: limitNanoUsd - spent - reserved,
        overshotNanoUsd: overshot,
        lapsedNanoUsd: lapsed,
        doubtfulNanoUsd: doubtful,
        windowStart: from,
        windowEnd: until
      }
    })
  })
}
