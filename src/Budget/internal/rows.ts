/** The rows of a store: their keys, the leases in them, and which a batch needs. */
import type { Account, AccountRow, Batch, Reply, Slot, State } from "./data.ts"

/**
 * The key of the row of an account. Names of budgets and accounts hold no control characters.
 *
 * @category getters
 * @since 0.1.0
 */
export const keyOf = (budget: string, account: string): string => `${budget}\n${account}`
export const limitKeyOf = (budget: string, account: string | undefined): string =>
  account === undefined ? budget : `${keyOf(budget, account)}\n`
export const ownerKeyOf = (owner: string): string => `\n${owner}`

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
  for (const { reservations } of renewals) for (const { account } of reservations) visit(account)
  for (const { account, budget } of overrides) changed.add(limitKeyOf(budget, account))
  if (owner !== undefined && settlements.length > 0) changed.add(ownerKeyOf(owner))
  else if (owner !== undefined && renewals.length > 0) read.add(ownerKeyOf(owner))
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

/** A row in the course of a step. */
export type Draft = { -readonly [K in keyof AccountRow]: AccountRow[K] } & {
  slots: Array<Slot>
  leases: Record<string, AccountRow["leases"][string]>
}

/** Ends the leases that were not renewed: what they reserved has lapsed. */
export const lapse = (draft: Draft, now: number): void => {
  let lapsesAt = Infinity
  let leasedUntil = -Infinity
  for (const [id, { expiresAt, nanoUsd, slot: start }] of Object.entries(draft.leases)) {
    if (expiresAt > now) {
      lapsesAt = Math.min(lapsesAt, expiresAt)
      leasedUntil = Math.max(leasedUntil, expiresAt)
    } else {
      delete draft.leases[id]
      draft.slots = draft.slots.map((slot) =>
        slot.start === start ? { ...slot, reserved: slot.reserved - nanoUsd, lapsed: slot.lapsed + nanoUsd } : slot
      )
    }
  }
  draft.lapsesAt = Number.isFinite(lapsesAt) ? lapsesAt : undefined
  draft.leasedUntil = Number.isFinite(leasedUntil) ? leasedUntil : undefined
}

/** Starts or renews a lease. */
export const lease = (draft: Draft, id: string, slot: number, nanoUsd: number, expiresAt: number): void => {
  draft.leases[id] = { slot, nanoUsd, expiresAt }
  draft.lapsesAt = Math.min(draft.lapsesAt ?? Infinity, expiresAt)
  draft.leasedUntil = Math.max(draft.leasedUntil ?? -Infinity, expiresAt)
}

const lapsed = (row: AccountRow, now: number): AccountRow => {
  if (row.lapsesAt === undefined || now < row.lapsesAt) return row
  const draft = { ...row, slots: row.slots.slice(), leases: { ...row.leases } }
  lapse(draft, now)
  return draft
}

/** The rows of some budgets as they are now, their ended leases lapsed. */
export const read = (rows: State, budgets: ReadonlyArray<string>, now: number): Reply["rows"] => {
  const names = new Set(budgets)
  return [...rows.values()].flatMap((row): Reply["rows"] => {
    if (row._tag === "Owner" || !names.has(row.budget)) return []
    return [row._tag === "Account" ? lapsed(row, now) : row]
  })
}
