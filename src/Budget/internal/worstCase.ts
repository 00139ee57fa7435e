/** What an attempt may cost at most, and the refusal of one that does not fit. */
import * as Duration from "effect/Duration"
import type { MessageAttempt } from "../../Attempt.ts"
import { BudgetExceededError } from "../../ClaudeError.ts"
import type * as Model from "../../Model.ts"
import type { PriceBook } from "../../PriceBook.ts"
import { accountText, type Budget } from "./budgets.ts"
import type { Decision } from "./data.ts"

/** An amount in whole nano-dollars; undefined where a price book gives none that can be counted. */
export const amountOf = (nanoUsd: number | undefined): number | undefined =>
  nanoUsd !== undefined && nanoUsd >= 0 && nanoUsd <= Number.MAX_SAFE_INTEGER ? Math.ceil(nanoUsd) : undefined

/** What an attempt may cost at most, in whole nano-dollars: more than can be counted is as much as can be. */
const mostOf = (nanoUsd: number | undefined): number | undefined =>
  nanoUsd !== undefined && nanoUsd >= 0 ? Math.min(Math.ceil(nanoUsd), Number.MAX_SAFE_INTEGER) : undefined

export interface Ceilings {
  readonly reserveOutput?: "max" | "learned" | undefined
  readonly unpriced?: "refuse" | "mostExpensive" | "allow" | undefined
}

/** The most that an attempt can cost; undefined where its model has no price. */
export const ceilingOf = (
  book: PriceBook["Service"],
  { models }: Model.Catalogue,
  { reserveOutput, unpriced }: Ceilings,
  { context, estimate: { inputTokens, maxOutputTokens }, kind, request }: MessageAttempt,
  at: number
): number | undefined => {
  const outputTokens = reserveOutput === "learned" ? kind.highOutput(maxOutputTokens) : maxOutputTokens
  const tokens = { inputTokens, outputTokens, at }
  const uncounted = mostOf((context.expectedCost ?? 0) * 1e9) ?? 0
  const ceiling = mostOf(book.ceiling(request, tokens)) ?? (uncounted > 0 ? 0 : undefined)
  if (ceiling !== undefined) return mostOf(ceiling + uncounted)
  if (unpriced !== "mostExpensive") return undefined
  const ceilings = models.flatMap(({ id }) => mostOf(book.ceiling({ ...request, model: id }, tokens)) ?? [])
  return ceilings.length === 0 ? undefined : Math.max(...ceilings)
}

export type Refused = Extract<Decision, { readonly _tag: "Refused" }>

export const refused = (
  { account, at, resetsAt, ...amounts }: Refused,
  budget: Budget | undefined,
  neededNanoUsd: number,
  { number }: MessageAttempt
): BudgetExceededError =>
  new BudgetExceededError({
    budget: account.budget,
    account: budget?.dimension === undefined ? undefined : accountText(budget.dimension, account.account),
    limitNanoUsd: amounts.limitNanoUsd,
    spentNanoUsd: amounts.spentNanoUsd,
    reservedNanoUsd: amounts.reservedNanoUsd,
    neededNanoUsd,
    resetsAt,
    retryAfter: resetsAt === undefined ? undefined : Duration.millis(resetsAt - at),
    ...(budget?.isOfKey === true && { isOfKey: true }),
    attempts: number - 1
  })

/** It would not fit either if all that runs cost nothing. */
export const isFinal = ({ limitNanoUsd, reservedNanoUsd, spentNanoUsd }: Refused, neededNanoUsd: number): boolean =>
  reservedNanoUsd <= 0 || spentNanoUsd + neededNanoUsd > limitNanoUsd
