/**
 * Spend limits of organizations. They hold until the calendar month (UTC) of the clock ends.
 */
import * as DateTime from "effect/DateTime"
import type { BillRow } from "./Bill.ts"
import type { Refusal } from "./Wire.ts"
import { refuse } from "./Wire.ts"

/**
 * What an organization may spend in a calendar month (UTC).
 *
 * - `kind`: who set it. `enforced` is the cap of the usage tier (429 with the code `enforced_spend_limit_reached` and no `retry-after`),
 *   `contract` a contract (429 with the code `contract_spend_limit_reached`), `organization` and `workspace` the customer (400 whose message
 *   alone says so).
 * - `limit`: in the unit of `costOf`, for all organizations or as a function of the organization; `Infinity` for no limit.
 * - `costOf`: what a request counts. Default tokens of all categories; for dollars, `(row) => (row.nanoUsd ?? 0) / 1e9`.
 *
 * @category models
 * @since 0.1.0
 */
export interface SpendLimit {
  readonly kind: "enforced" | "contract" | "organization" | "workspace"
  readonly limit: number | ((organization: string) => number)
  readonly costOf?: ((row: BillRow) => number) | undefined
}

const allTokens = ({ usage }: BillRow): number =>
  usage.input + usage.output + usage.cacheRead + usage.cacheWrite5m + usage.cacheWrite1h

const monthOf = (epochMillis: number): number => {
  const { month, year } = DateTime.toPartsUtc(DateTime.makeUnsafe(epochMillis))
  return year * 12 + month - 1
}

const firstDayAfter = (month: number): string =>
  `${Math.floor((month + 1) / 12)}-${String((month + 1) % 12 + 1).padStart(2, "0")}-01 at 00:00 UTC`

export const make = (limit: SpendLimit | undefined) => {
  const costOf = limit?.costOf ?? allTokens
  const spent = new Map<string, { month: number; amount: number }>()

  const refuses = (organization: string, now: number): Refusal | undefined => {
    if (limit === undefined) return undefined
    const month = monthOf(now)
    const account = spent.get(organization)
    const most = typeof limit.limit === "function" ? limit.limit(organization) : limit.limit
    if ((account?.month === month ? account.amount : 0) < most) return undefined
    const again = `You will regain access on ${firstDayAfter(month)}.`
    switch (limit.kind) {
      case "enforced":
        return refuse(
          429,
          `You have reached the monthly spend limit of your usage tier. ${again}`,
          "enforced_spend_limit_reached"
        )
      case "contract":
        return refuse(429, "You have reached the spend limit of your contract.", "contract_spend_limit_reached")
      case "organization":
        return refuse(400, `You have reached your specified API usage limits. ${again}`)
      case "workspace":
        return refuse(400, `You have reached your specified workspace API usage limits. ${again}`)
    }
  }

  const add = (row: BillRow): void => {
    if (limit === undefined) return
    const month = monthOf(row.at)
    const account = spent.get(row.organization)
    if (account === undefined || account.month < month) spent.set(row.organization, { month, amount: costOf(row) })
    else if (account.month === month) account.amount += costOf(row)
  }

  return { refuses, add }
}
