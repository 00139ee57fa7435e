/** The budgets of a process as they are configured now, and what callers say about them by name. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Catalogue } from "../../Model.ts"
import { accountsFor } from "./admission.ts"
import {
  accountOf,
  type Budget,
  type BudgetOptions,
  budgetsOf,
  type LimitOverride,
  maxUsd,
  nanoUsdOf
} from "./budgets.ts"
import type { Account, Override } from "./data.ts"

/**
 * What was asked of a budget cannot be done; `detail` says why.
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetInputError extends Schema.TaggedError<BudgetInputError>("effect-claude/BudgetInputError")(
  "BudgetInputError",
  { detail: Schema.String }
) {
  override get message(): string {
    return `Budget: ${this.detail}.`
  }
}

/**
 * An amount that was counted as spent and was not charged.
 *
 * - `amount`: US dollars.
 * - `account`: of a budget that is divided. Default the one of attempts that name nobody.
 * - `at`: the window that it was counted in, by any instant of it, in milliseconds since the epoch. Default now.
 *
 * @category models
 * @since 0.1.0
 */
export interface Credit {
  readonly amount: number
  readonly account?: string | undefined
  readonly at?: number | undefined
}

/**
 * An attempt of the past that was charged, such as a row of the ledger: it counted in the accounts that these fields choose.
 *
 * - `nanoUsd`: integer nano-dollars; null for an attempt without a price.
 * - `at`: when it was sent, in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Charged {
  readonly at: number
  readonly sentModel: string
  readonly tenant?: string | undefined
  readonly user?: string | undefined
  readonly key?: string | undefined
  readonly tags: Readonly<Record<string, string>>
  readonly nanoUsd: number | null
}

export class Registry {
  budgets: ReadonlyArray<Budget>
  private readonly catalogue: Catalogue
  private readonly countsLapsed: boolean

  constructor(budgets: ReadonlyArray<BudgetOptions>, catalogue: Catalogue, countsLapsed: boolean) {
    this.catalogue = catalogue
    this.countsLapsed = countsLapsed
    this.budgets = budgetsOf(budgets, catalogue, countsLapsed)
  }

  set(budgets: ReadonlyArray<BudgetOptions>): void {
    this.budgets = budgetsOf(budgets, this.catalogue, this.countsLapsed)
  }

  readonly find = (name: string): Budget | undefined => this.budgets.find((budget) => budget.name === name)

  overrideOf(
    name: string,
    { account, limit, until }: LimitOverride
  ): Effect.Effect<Override, BudgetInputError> {
    return Effect.flatMap(this.accountIn(name, account), ([, value]) => {
      const limitNanoUsd = limit === undefined ? undefined : nanoUsdOf(limit)
      if (limit !== undefined && limitNanoUsd === undefined) return wrong(amountText(`the new limit of ${name}`, limit))
      if (until !== undefined && !(until >= 0)) return wrong(`the override of ${name} cannot end at ${until}`)
      return Effect.succeed({
        budget: name,
        account: value,
        limitNanoUsd,
        until: until === undefined || until === Infinity ? undefined : Math.ceil(until)
      })
    })
  }

  creditOf(
    name: string,
    { account, amount, at }: Credit
  ): Effect.Effect<{ readonly account: Account; readonly nanoUsd: number }, BudgetInputError> {
    return Effect.flatMap(this.accountIn(name, account), ([budget, value = ""]) => {
      const nanoUsd = nanoUsdOf(amount)
      if (nanoUsd === undefined) return wrong(amountText(`what is credited to ${name}`, amount))
      if (at !== undefined && !Number.isFinite(at)) return wrong(`a credit to ${name} cannot be for the instant ${at}`)
      return Effect.succeed({ account: budget.account(value), nanoUsd })
    })
  }

  accountsOf({ key, sentModel, tags, tenant, user }: Charged): ReadonlyArray<Account> {
    return accountsFor(this.budgets, {
      context: { tenant, user, tags },
      facts: this.catalogue.lookup(sentModel),
      key: key === undefined ? undefined : { label: key }
    })
  }

  /** A budget, and the account of it that is meant. */
  private accountIn(
    name: string,
    account: string | undefined
  ): Effect.Effect<readonly [Budget, string | undefined], BudgetInputError> {
    const budget = this.find(name)
    if (budget === undefined) {
      const names = this.budgets.map(({ name }) => JSON.stringify(name)).join(", ")
      return wrong(`there is no budget ${JSON.stringify(name)}; there is ${names === "" ? "none" : names}`)
    }
    if (account !== undefined && account !== "" && budget.dimension === undefined) {
      return wrong(`the budget ${JSON.stringify(name)} is not divided, so it has no account ${JSON.stringify(account)}`)
    }
    return Effect.succeed([
      budget,
      account === undefined ? undefined : accountOf(budget.dimension, account, this.catalogue)
    ])
  }
}

const wrong = (detail: string): Effect.Effect<never, BudgetInputError> => Effect.fail(new BudgetInputError({ detail }))

const amountText = (what: string, usd: number): string => `${what} must be from 0 to ${maxUsd} US dollars, not ${usd}`
