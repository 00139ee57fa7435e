/** Bills as CSV. */
import * as Effect from "effect/Effect"
import * as Csv from "effect/encoding/Csv"
import * as Stream from "effect/Stream"
import { attoOf, attoPerNano, BillFormatError, type Category, isDay, type Line, Sums } from "./lines.ts"

const columnOf: { readonly [column: string]: Category } = {
  input_tokens: "inputTokens",
  output_tokens: "outputTokens",
  cache_read_tokens: "cacheReadTokens",
  cache_write_5m_tokens: "cacheWrite5mTokens",
  cache_write_1h_tokens: "cacheWrite1hTokens",
  web_searches: "webSearchRequests",
  nano_usd: "nanoUsd",
  usd: "nanoUsd"
}

/** Money in 10^-18 dollars; undefined where it is no decimal number. */
const amountOf = (column: string, text: string): bigint | undefined =>
  column === "usd"
    ? attoOf(text, attoPerNano * attoPerNano)
    : column === "nano_usd"
    ? attoOf(text, attoPerNano)
    : /^-?\d{1,30}(\.0*)?$/.test(text)
    ? BigInt(text.replace(/\..*$/, ""))
    : undefined

interface Placed {
  readonly cells: Csv.Row
  readonly line: number
}

/** Records with the line in which each begins; text that is not CSV (RFC 4180), such as a quote inside a cell, is refused rather than guessed at. */
const recordsOf = (text: string): Effect.Effect<ReadonlyArray<Placed>, BillFormatError> =>
  Stream.make(text).pipe(
    Stream.pipeThroughChannel(Csv.decodeString({ maxRecordSize: Infinity })),
    Stream.runCollect,
    Effect.mapError(({ column, line, message }) => new BillFormatError({ detail: message, line, column })),
    Effect.map((records) => {
      let next = 1
      return records.map((cells): Placed => {
        const line = next
        next += 1 + cells.reduce((sum, cell) => sum + (cell.match(/\r\n?|\n/g)?.length ?? 0), 0)
        return { cells, line }
      }).filter(({ cells }) => cells.some((cell) => cell.trim() !== ""))
    })
  )

const wrong = (detail: string, line: number, column?: number): Effect.Effect<never, BillFormatError> =>
  Effect.fail(new BillFormatError({ detail, line, column }))

/**
 * The bill as CSV (RFC 4180) with a header line: `day` (`YYYY-MM-DD`), `model` and any of `input_tokens`, `output_tokens`, `cache_read_tokens`,
 * `cache_write_5m_tokens`, `cache_write_1h_tokens`, `web_searches`, and `usd` (decimal) or `nano_usd`. Other columns are ignored, empty cells
 * are not compared, lines of one day and model are added up.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromCsv = (text: string): Effect.Effect<ReadonlyArray<Line>, BillFormatError> =>
  Effect.gen(function*() {
    const [{ cells: header, line: first } = { cells: [], line: 1 }, ...records] = yield* recordsOf(text)
    const names = header.map((name) => name.trim().toLowerCase())
    for (const [index, name] of names.entries()) {
      const isKnown = name === "day" || name === "model" || Object.hasOwn(columnOf, name)
      if (isKnown && names.indexOf(name) < index) return yield* wrong(`a second column ${name}`, first, index + 1)
    }
    const dayAt = names.indexOf("day")
    const modelAt = names.indexOf("model")
    if (dayAt < 0 || modelAt < 0) return yield* wrong("the header does not name the columns day and model", first)
    const money = ["usd", "nano_usd"].filter((name) => names.includes(name))
    if (money.length > 1) return yield* wrong("the columns usd and nano_usd say the same; keep one", first)
    const sums = new Sums()
    for (const { cells, line } of records) {
      if (cells.length !== names.length) {
        const column = Math.min(cells.length, names.length) + 1
        return yield* wrong(`${cells.length} cells for ${names.length} columns`, line, column)
      }
      const day = cells[dayAt]?.trim() ?? ""
      const model = cells[modelAt]?.trim() ?? ""
      if (!isDay(day)) return yield* wrong(`day ${JSON.stringify(day)} is none like 2026-11-23`, line, dayAt + 1)
      if (model === "") return yield* wrong("the model is missing", line, modelAt + 1)
      const amounts = new Map<Category, bigint>()
      for (const [column, name] of names.entries()) {
        const category = Object.hasOwn(columnOf, name) ? columnOf[name] : undefined
        const cell = cells[column]?.trim() ?? ""
        if (category === undefined || cell === "") continue
        const amount = amountOf(name, cell)
        if (amount === undefined) return yield* wrong(`${name} ${JSON.stringify(cell)} is no amount`, line, column + 1)
        amounts.set(category, amount)
      }
      sums.add(day, model, amounts)
    }
    if (names.every((name) => !Object.hasOwn(columnOf, name))) {
      return yield* wrong(`the header names no amount: any of ${Object.keys(columnOf).join(", ")}`, first)
    }
    return sums.all
  })
