/** Which accounts an attempt touches. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Attempt } from "../../Attempt.ts"
import { firstOf } from "../../internal/text.ts"
import type { Catalogue } from "../../Model.ts"
import type { Rules, Share } from "./account.ts"
import * as Window from "./window.ts"

/** What a budget is divided by: each value has an account of its own. */
export type Dimension = "tenant" | "user" | "model" | "key" | { readonly tag: string }

/**
 * Which attempts a budget is for. One `*` at the end of a value stands for anything. All that is given must hold. An alias of a model is as
 * good as its id.
 */
export interface Only {
  readonly tenant?: ReadonlyArray<string> | undefined
  readonly user?: ReadonlyArray<string> | undefined
  readonly model?: ReadonlyArray<string> | undefined
  readonly key?: ReadonlyArray<string> | undefined
  readonly tags?: Readonly<Record<string, ReadonlyArray<string>>> | undefined
}

/** The last so long, or the calendar day, week (from Monday) or month of a time zone, UTC by default. */
export type WindowOf =
  | { readonly rolling: Duration.Input }
  | { readonly calendar: "day" | "week" | "month"; readonly zone?: string | undefined }

/**
 * One budget.
 *
 * - `name`: unique; it labels metrics and names the budget in a shared store.
 * - `limit`: US dollars, rounded to whole nano-dollars.
 * - `per`: each tenant, user, model (by its id, also where an alias was sent), key (its label) or value of a tag has the limit for itself. Attempts that name none share one account,
 *   that of `""`; a value longer than 200 characters counts by those. By default all attempts together have it.
 * - `limits`: other limits, in dollars, for some of those values.
 * - `only`: which attempts it is for. Default all.
 * - `window`: by default none: it is for everything ever spent.
 * - `thresholds`: percents of the limit that are told of. Default 50, 80 and 100.
 */
export interface Rule {
  readonly name: string
  readonly limit: number
  readonly per?: Dimension | undefined
  readonly limits?: Readonly<Record<string, number>> | undefined
  readonly only?: Only | undefined
  readonly window?: WindowOf | undefined
  readonly thresholds?: ReadonlyArray<number> | undefined
}

/** A rule, made ready. */
export interface Line {
  readonly rules: Rules
  readonly dimension: Dimension | undefined
  readonly touches: (attempt: Attempt) => boolean
  readonly share: (attempt: Attempt) => Share
  readonly shareOf: (account: string) => Share
}

const wrong = (what: string): never => {
  throw new RangeError(`Budget: ${what}`)
}

/** Dollars as integer nano-dollars. */
export const toNanoUsd = (usd: number, what: string): number => {
  const nanoUsd = Math.round(usd * 1e9)
  return usd >= 0 && Number.isSafeInteger(nanoUsd)
    ? nanoUsd
    : wrong(`${what} must be from 0 to 9,000,000 US dollars, and is ${usd}`)
}

const windowOf = (name: string, window: WindowOf | undefined): Window.Window => {
  if (window === undefined) return Window.total
  if ("rolling" in window) {
    const millis = Duration.toMillis(window.rolling)
    return millis >= 1 && Number.isFinite(millis)
      ? Window.rolling(millis)
      : wrong(`the window of ${name} must be 1 millisecond at least`)
  }
  const zone = Option.getOrUndefined(DateTime.zoneFromString(window.zone ?? "UTC"))
  return zone === undefined
    ? wrong(`${window.zone} is no time zone. Use one such as Europe/Berlin or +02:00`)
    : Window.calendar(window.calendar, zone)
}

/** The longest name of a budget, and of an account. */
const maxName = 100
const maxAccount = 200

/** Neither NUL nor half a character, nor a name without bound, can be stored and indexed by every database. */
const storable = (value: string): string => firstOf(value, maxAccount).replace(/[\p{Cc}\p{Cs}]/gu, "\ufffd")

/** A model has one account, whether its id or an alias is asked for. */
export const accountOf = (dimension: Dimension | undefined, value: string, { lookup }: Catalogue): string =>
  storable(dimension === "model" ? lookup(value).id : value)

const valueOf = (attempt: Attempt, dimension: Dimension): string | undefined => {
  const { context, facts, key } = attempt
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
      return context.tags[dimension.tag]
  }
}

const isOneOf = (patterns: ReadonlyArray<string>) => {
  const exact = new Set(patterns.filter((pattern) => !pattern.endsWith("*")))
  const prefixes = patterns.filter((pattern) => pattern.endsWith("*")).map((pattern) => pattern.slice(0, -1))
  return (value: string | undefined) =>
    value !== undefined && (exact.has(value) || prefixes.some((prefix) => value.startsWith(prefix)))
}

const touchesOf = ({ tags, ...only }: Only, { lookup }: Catalogue): Line["touches"] => {
  const tests = [
    // The keys of `only` without `tags` are dimensions.
    ...Object.entries(only).map(([name, values]) => [name as "tenant" | "user" | "model" | "key", values] as const),
    ...Object.entries(tags ?? {}).map(([tag, values]) => [{ tag }, values] as const)
  ].flatMap(([dimension, values]) =>
    values === undefined
      ? []
      : [{ dimension, holds: isOneOf(dimension === "model" ? values.map((value) => lookup(value).id) : values) }]
  )
  return (attempt) => tests.every(({ dimension, holds }) => holds(valueOf(attempt, dimension)))
}

const lineOf = (rule: Rule, catalogue: Catalogue): Line => {
  const { limit, limits = {}, name, only = {}, per, thresholds = [50, 80, 100], window } = rule
  if (name === "" || name.length > maxName || storable(name) !== name) {
    wrong(`each needs a name, of at most ${maxName} printable characters`)
  }
  for (const percent of thresholds) if (!(percent > 0)) wrong(`a threshold of ${name} is ${percent} percent`)
  const limitNanoUsd = toNanoUsd(limit, `the limit of ${name}`)
  const others = new Map(
    Object.entries(limits).map((
      [value, usd]
    ) => [accountOf(per, value, catalogue), toNanoUsd(usd, `the limit of ${name} for ${value}`)])
  )
  const rules: Rules = { name, window: windowOf(name, window), thresholds: [...new Set(thresholds)] }
  const shareOf = (account: string): Share => ({
    rules,
    account,
    limitNanoUsd: others.get(account) ?? limitNanoUsd
  })
  const whole = shareOf("")
  return {
    rules,
    dimension: per,
    touches: touchesOf(only, catalogue),
    shareOf,
    share: per === undefined ? () => whole : (attempt) => shareOf(storable(valueOf(attempt, per) ?? ""))
  }
}

/** Makes rules ready. Ones that make no sense are thrown. */
export const linesOf = (rules: ReadonlyArray<Rule>, catalogue: Catalogue): ReadonlyArray<Line> => {
  const lines = rules.map((rule) => lineOf(rule, catalogue))
  const names = new Set(lines.map((line) => line.rules.name))
  return names.size === lines.length ? lines : wrong("two have one name")
}

/** An account in words; undefined where the budget has one for all. */
export const accountText = (dimension: Dimension | undefined, account: string): string | undefined => {
  if (dimension === undefined) return undefined
  const name = typeof dimension === "string" ? dimension : dimension.tag
  return account === "" ? `no ${name}` : `${name} ${account}`
}
