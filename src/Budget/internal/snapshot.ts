/** How the accounts of budgets stand, from the rows of a store. */
import type { Budget } from "./budgets.ts"
import type { AccountRow, Reply, Row } from "./data.ts"
import { limitKeyOf } from "./rows.ts"
import { limitOf, sumsOf } from "./step.ts"
import { spanAt } from "./window.ts"

/**
 * One account of a budget as it stands, in integer nano-dollars (1 USD = 1_000_000_000).
 *
 * - `account`: the tenant, user, model, key or tag value; `""` where the budget is not divided, or for attempts that name none.
 * - `remainingNanoUsd`: negative where more is spent than the limit.
 * - `overshotNanoUsd`: what calls cost beyond what was reserved for them.
 * - `lapsedNanoUsd`: what processes had reserved that crashed. It is free again, and the API may have charged it.
 * - `windowStart`, `windowEnd`: milliseconds since the epoch. For a rolling window, the end is when it next advances; a window without an end has
 *   `Infinity`.
 *
 * @category models
 * @since 0.1.0
 */
export interface AccountStatus {
  readonly budget: string
  readonly account: string
  readonly limitNanoUsd: number
  readonly spentNanoUsd: number
  readonly reservedNanoUsd: number
  readonly remainingNanoUsd: number
  readonly overshotNanoUsd: number
  readonly lapsedNanoUsd: number
  readonly windowStart: number
  readonly windowEnd: number
}

/** Whether anything of an account counts, or will. */
const isActive = ({ slots }: AccountRow, from: number): boolean =>
  slots.some(({ lapsed, reserved, spent, start }) => reserved > 0 || (start >= from && (spent > 0 || lapsed > 0)))

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
      const { lapsed, overshot, reserved, spent } = sumsOf(slots, from)
      const limitNanoUsd = limitOf(limits, budget.account(account), now)
      return {
        budget: budget.name,
        account,
        limitNanoUsd,
        spentNanoUsd: spent,
        reservedNanoUsd: reserved,
        remainingNanoUsd: limitNanoUsd - spent - reserved,
        overshotNanoUsd: overshot,
        lapsedNanoUsd: lapsed,
        windowStart: from,
        windowEnd: until
      }
    })
  })
}
