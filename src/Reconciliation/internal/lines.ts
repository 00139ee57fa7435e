/** Lines of bills, and exact sums of them. */
import * as Schema from "effect/Schema"

/**
 * An amount that is exact: a number, or a `bigint` beyond 2^53 (9 million dollars in nano-dollars), where a number is not.
 *
 * @category models
 * @since 0.1.0
 */
export type Amount = number | bigint

/** Decodes and encodes an `Amount`. */
export const Amount = Schema.Union([Schema.Int, Schema.BigInt])

const Stated = Schema.optional(Amount)

/**
 * A line of a bill: one model on one day (`YYYY-MM-DD`, UTC). Amounts that the bill does not state are left out and not compared. Money is in
 * integer nano-dollars. Amounts are numbers, and `bigint` beyond 2^53.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Line = Schema.Struct({
  day: Schema.String.check(Schema.isPattern(/^\d{4}-\d{2}-\d{2}$/)),
  model: Schema.String,
  inputTokens: Stated,
  outputTokens: Stated,
  cacheReadTokens: Stated,
  cacheWrite5mTokens: Stated,
  cacheWrite1hTokens: Stated,
  webSearchRequests: Stated,
  nanoUsd: Stated
})

/**
 * A line of a bill: one model on one day.
 *
 * @category models
 * @since 0.1.0
 */
export interface Line extends Schema.Schema.Type<typeof Line> {}

/**
 * The amounts that are compared.
 *
 * @category models
 * @since 0.1.0
 */
export type Category = Exclude<keyof Line, "day" | "model">

export const categories: ReadonlyArray<Category> = [
  "inputTokens",
  "outputTokens",
  "cacheReadTokens",
  "cacheWrite5mTokens",
  "cacheWrite1hTokens",
  "webSearchRequests",
  "nanoUsd"
]

/**
 * The bill cannot be parsed; `detail` says what is wrong. In a CSV file, `line` and `column` say where: the line of the text and the column of the table,
 * both from 1.
 *
 * @category errors
 * @since 0.1.0
 */
export class BillFormatError
  extends Schema.TaggedError<BillFormatError>("effect-claude/BillFormatError")("BillFormatError", {
    detail: Schema.String,
    line: Schema.optional(Schema.Int),
    column: Schema.optional(Schema.Int)
  })
{
  override get message(): string {
    const column = this.column === undefined ? "" : `, column ${this.column}`
    const where = this.line === undefined ? "" : `line ${this.line}${column}: `
    return `The bill cannot be parsed: ${where}${this.detail}. Correct it and try again.`
  }
}

/** A day that exists. */
export const isDay = (day: string): boolean =>
  /^\d{4}-\d{2}-\d{2}$/.test(day) && !Number.isNaN(Date.parse(day)) && new Date(day).toISOString().startsWith(day)

export const exact = (amount: bigint): Amount =>
  amount >= BigInt(Number.MIN_SAFE_INTEGER) && amount <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(amount) : amount

/** Undefined for what is no amount. */
export const whole = (amount: Amount | undefined): bigint | undefined =>
  typeof amount === "bigint" ? amount : Number.isFinite(amount) ? BigInt(Math.round(amount ?? 0)) : undefined

/** Money is added up in 10^-18 dollars, and rounded to nano-dollars once. */
export const attoPerNano = 1_000_000_000n

/** To nano-dollars, half up. */
const rounded = (atto: bigint): bigint => {
  const doubled = 2n * atto + attoPerNano
  const quotient = doubled / (2n * attoPerNano)
  return doubled < 0n && doubled % (2n * attoPerNano) !== 0n ? quotient - 1n : quotient
}

/** Adds lines up, one for each day and model; amounts of money in 10^-18 dollars. */
export class Sums {
  private readonly lines = new Map<
    string,
    { readonly day: string; readonly model: string; readonly amounts: Map<Category, bigint> }
  >()

  add(day: string, model: string, amounts: Iterable<readonly [Category, bigint]>): void {
    const name = `${day}\n${model}`
    const line = this.lines.get(name) ?? { day, model, amounts: new Map<Category, bigint>() }
    this.lines.set(name, line)
    for (const [category, amount] of amounts) {
      line.amounts.set(category, (line.amounts.get(category) ?? 0n) + amount)
    }
  }

  get all(): ReadonlyArray<Line> {
    return [...this.lines.values()].map(({ amounts, day, model }): Line => ({
      day,
      model,
      ...Object.fromEntries(
        Array.from(amounts, ([name, amount]) => [name, exact(name === "nanoUsd" ? rounded(amount) : amount)])
      )
    }))
  }
}

/** One line for each day and model. */
export const summed = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> => {
  const sums = new Sums()
  for (const line of lines) {
    sums.add(
      line.day,
      line.model,
      categories.flatMap((name) => {
        const amount = whole(line[name])
        return amount === undefined ? [] : [[name, name === "nanoUsd" ? amount * attoPerNano : amount] as const]
      })
    )
  }
  return sums.all
}

/** A decimal number of some unit as 10^-18 dollars; undefined where it is none. */
export const attoOf = (text: string, attoPerUnit: bigint): bigint | undefined => {
  const match = /^([+-]?)(\d{1,30})(?:\.(\d{0,30}))?$/.exec(text)
  if (match === null) return undefined
  const [, sign = "", units = "0", decimals = ""] = match
  const amount = BigInt(units + decimals) * attoPerUnit / 10n ** BigInt(decimals.length)
  return sign === "-" ? -amount : amount
}
