/** Budgets as they are configured, and the accounts of them that an attempt counts in. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Key } from "../../Attempt.ts"
import { type CallContext, tagOf } from "../../CallContext.ts"
import { nameOf } from "../../internal/text.ts"
import type { Catalogue, Model } from "../../Model.ts"
import type { Account } from "./data.ts"
import { keyOf } from "./rows.ts"
import type { Window } from "./window.ts"

/**
 * What divides a budget: each value has an account of its own.
 *
 * @category models
 * @since 0.1.0
 */
export type Dimension = "tenant" | "user" | "model" | "key" | { readonly tag: string }

/**
 * The attempts that count towards a budget: those that match all fields, each with one of its values. A `*` at the end of a value matches anything.
 * The alias of a model matches its id, and its id the alias.
 *
 * - `tenant`, `user`: what `CallContext` says. Default any.
 * - `model`: the model that is asked. Default any.
 * - `key`: the label of the key. Default any.
 * - `tags`: for each named tag, the values that match. Default any.
 *
 * @category options
 * @since 0.1.0
 */
export interface Filter {
  readonly tenant?: ReadonlyArray<string> | undefined
  readonly user?: ReadonlyArray<string> | undefined
  readonly model?: ReadonlyArray<string> | undefined
  readonly key?: ReadonlyArray<string> | undefined
  readonly tags?: Readonly<Record<string, ReadonlyArray<string>>> | undefined
}

/**
 * A rolling window of some length, or the calendar day, week (from Monday) or month of a time zone, by default UTC.
 *
 * @category options
 * @since 0.1.0
 */
export type WindowOptions =
  | { readonly rolling: Duration.Input }
  | { readonly calendar: "day" | "week" | "month"; readonly zone?: string | undefined }

/**
 * One budget.
 *
 * - `name`: unique. It labels metrics, and identifies the budget in a shared store.
 * - `limit`: US dollars, rounded to nano-dollars.
 * - `per`: gives each tenant, user, model (by its id), key (by its label) or value of a tag the limit for itself. Attempts without a value share the
 *   account `""`. Values longer than 200 bytes are cut, and end with their hash. By default all attempts share one limit.
 * - `limits`: limits of single values, in US dollars, in place of `limit`.
 * - `filter`: which attempts count. Default all.
 * - `window`: the period that the limit is for. By default it never resets.
 * - `notifyAt`: percentages of the limit at which an event is published and logged. Default 50, 80 and 100.
 *
 * @category options
 * @since 0.1.0
 */
export interface BudgetOptions {
  readonly name: string
  readonly limit: number
  readonly per?: Dimension | undefined
  readonly limits?: Readonly<Record<string, number>> | undefined
  readonly filter?: Filter | undefined
  readonly window?: WindowOptions | undefined
  readonly notifyAt?: ReadonlyArray<number> | undefined
}

/**
 * A limit that replaces that of a budget, or of one of its accounts. The override of an account takes precedence over that of its budget.
 *
 * - `limit`: US dollars, or `undefined` to restore the configured one.
 * - `account`: the account that it is for. Default the whole budget.
 * - `until`: when it ends, in milliseconds since the epoch. Default when it is removed.
 *
 * @category options
 * @since 0.1.0
 */
export interface LimitOverride {
  readonly limit: number | undefined
  readonly account?: string | undefined
  readonly until?: number | undefined
}

/**
 * A budget that was checked. Attempts that do not match count nowhere in it; without `matches`, all do. Where it is not divided, `whole` is its only
 * account.
 */
export interface Budget {
  readonly name: string
  readonly window: Window
  readonly dimension: Dimension | undefined
  /** Whether it depends on the key of an attempt. */
  readonly isOfKey: boolean
  readonly matches: ((subject: Subject) => boolean) | undefined
  readonly whole: Account | undefined
  readonly account: (value: string) => Account
  /** Accounts of attempts that came lately, by the values that divide them. */
  readonly recent: Map<string, Account>
}

const wrong = (what: string): never => {
  throw new RangeError(`Budget: ${what}`)
}

/** More cannot be counted in nano-dollars. */
export const maxUsd = "9,000,000"

/** Dollars as integer nano-dollars; undefined where they cannot be counted. */
export const nanoUsdOf = (usd: number): number | undefined => {
  const nanoUsd = Math.round(usd * 1e9)
  return usd >= 0 && Number.isSafeInteger(nanoUsd) ? nanoUsd : undefined
}

const toNanoUsd = (usd: number, what: string): number =>
  nanoUsdOf(usd) ?? wrong(`${what} must be from 0 to ${maxUsd} US dollars, not ${usd}`)

const total: Window = { _tag: "Total" }

const windowOf = (name: string, window: WindowOptions | undefined): Window => {
  if (window === undefined) return total
  if ("rolling" in window) {
    const millis = Duration.toMillis(window.rolling)
    return millis >= 1 && Number.isFinite(millis)
      ? { _tag: "Rolling", millis }
      : wrong(`the window of ${name} must be 1 millisecond or longer`)
  }
  const { calendar: unit, zone = "UTC" } = window
  return Option.isSome(DateTime.zoneFromString(zone))
    ? { _tag: "Calendar", unit, zone }
    : wrong(`${zone} is not a time zone. Use one such as Europe/Berlin or +02:00`)
}

/** The longest name of a budget. */
const maxName = 100

/** A model has one account, whether its id or an alias is asked for. */
export const accountOf = (dimension: Dimension | undefined, value: string, { lookup }: Catalogue): string =>
  nameOf(dimension === "model" ? lookup(value).id : value)

/** What decides in which accounts something counts: an attempt, or what is left of one. */
export interface Subject {
  readonly context: Pick<CallContext, "tenant" | "user" | "tags">
  readonly facts: Pick<Model, "id">
  readonly key: Pick<Key, "label"> | undefined
}

export const valueOf = ({ context, facts, key }: Subject, dimension: Dimension): string | undefined => {
  switch (dimension) {
    case "tenant":
      return context.tenant
    case "user":
      return context.user
    case "model":
      return facts.id
    case "key":
      return key?.label
    default:
      return tagOf(context.tags, dimension.tag)
  }
}

const isOneOf = (patterns: ReadonlyArray<string>) => {
  const exact = new Set(patterns.filter((pattern) => !pattern.endsWith("*")))
  const prefixes = patterns.filter((pattern) => pattern.endsWith("*")).map((pattern) => pattern.slice(0, -1))
  return (value: string | undefined) =>
    value !== undefined && (exact.has(value) || prefixes.some((prefix) => value.startsWith(prefix)))
}

const matchesOf = ({ tags, ...filter }: Filter, { lookup }: Catalogue): Budget["matches"] => {
  const tests = [
    // The keys of a filter without `tags` are dimensions.
    ...Object.entries(filter).map(([name, values]) => [name as "tenant" | "user" | "model" | "key", values] as const),
    ...Object.entries(tags ?? {}).map(([tag, values]) => [{ tag: nameOf(tag) }, values] as const)
  ].flatMap(([dimension, values]) =>
    values === undefined
      ? []
      : [{
        dimension,
        holds: isOneOf(
          values.map((value) =>
            dimension === "model"
              ? lookup(value).id
              : value.endsWith("*")
              ? `${nameOf(value.slice(0, -1))}*`
              : nameOf(value)
          )
        )
      }]
  )
  return (subject) => tests.every(({ dimension, holds }) => holds(valueOf(subject, dimension)))
}

const budgetOf = (options: BudgetOptions, catalogue: Catalogue, countsLapsed: boolean): Budget => {
  const { filter, limit, limits = {}, name, notifyAt = [50, 80, 100], per } = options
  if (name === "" || name.length > maxName || /[\p{Cc}\p{Cs}]/u.test(name)) {
    wrong(`each needs a name, of at most ${maxName} printable characters`)
  }
  for (const percent of notifyAt) if (!(percent > 0)) wrong(`${name} cannot notify at ${percent} percent`)
  if (per === undefined && Object.keys(limits).length > 0) {
    wrong(`${name} has limits of single values, so it must say what divides it: per`)
  }
  const limitNanoUsd = toNanoUsd(limit, `the limit of ${name}`)
  const others = new Map(
    Object.entries(limits).map(([value, usd]) => [
      accountOf(per, value, catalogue),
      toNanoUsd(usd, `the limit of ${name} for ${value}`)
    ])
  )
  const window = windowOf(name, options.window)
  const thresholds = [...new Set(notifyAt)]
  const account = (value: string): Account => ({
    key: keyOf(name, value),
    budget: name,
    account: value,
    window,
    thresholds,
    limitNanoUsd: others.get(value) ?? limitNanoUsd,
    countsLapsed
  })
  return {
    name,
    window,
    dimension: typeof per === "object" ? { tag: nameOf(per.tag) } : per,
    isOfKey: per === "key" || filter?.key !== undefined,
    matches: filter === undefined ? undefined : matchesOf(filter, catalogue),
    whole: per === undefined ? account("") : undefined,
    account,
    recent: new Map()
  }
}

/** Checks budgets. Throws a `RangeError` where their options are invalid. */
export const budgetsOf = (
  options: ReadonlyArray<BudgetOptions>,
  catalogue: Catalogue,
  countsLapsed: boolean
): ReadonlyArray<Budget> => {
  const budgets = options.map((budget) => budgetOf(budget, catalogue, countsLapsed))
  const names = budgets.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  return twice === undefined ? budgets : wrong(`two budgets have the name ${twice}; give each its own`)
}

/** An account in words, such as `tenant acme`; undefined where the budget is not divided. */
export const accountText = (dimension: Dimension | undefined, account: string): string | undefined => {
  if (dimension === undefined) return undefined
  const name = typeof dimension === "string" ? dimension : dimension.tag
  return account === "" ? `no ${name}` : `${name} ${account}`
}
