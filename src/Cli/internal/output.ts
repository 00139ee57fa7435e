/** What a command writes: its result to the standard output, everything else to the standard error. */
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type { Failure } from "./failure.ts"
import { redact } from "./redact.ts"

/** Whether the result is written as JSON. */
export const Json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription(
      "Write the result as one JSON value; each line of the standard error is an object with an error or a log"
    ),
    Flag.withDefault(false)
  )
})

/** Writes the result of a command. */
export const result = (value: unknown, text: string) =>
  Effect.flatMap(Json, (isJson) => Console.log(isJson ? JSON.stringify(value) : text))

/** Text from outside, without what a terminal would obey but lines and tabs. */
export const harmless = (text: string): string => text.replace(/[^\P{Cc}\n\t]/gu, "")

/** A line of the standard error that is no error; names of the fields are part of the command's interface. */
export const logLine = (level: string, message: string, isJson: boolean): string =>
  isJson ? JSON.stringify({ log: { level, message: redact(message) } }) : harmless(redact(message))

/** An error on the standard error; names of the fields are part of the command's interface. */
export const errorLine = (
  { exitCode, message, tag, ...rest }: Failure,
  isJson: boolean,
  paint: (text: string) => string = (text) => text
): string =>
  isJson
    ? JSON.stringify({ error: { tag, message, exitCode, ...rest } })
    : `${paint(`${tag}:`)} ${harmless(message)}`

/** Writes a line for the eye of who runs the command. */
export const note = (line: string) => Effect.flatMap(Json, (isJson) => Console.error(logLine("info", line, isJson)))

/** Styles that are plain where the output is no terminal, or `NO_COLOR` is set. */
export const styles = Effect.map(TerminalCapabilities.TerminalCapabilities, ({ canColor }) => {
  const style = (code: number) => (text: string) => canColor ? `\u001b[${code}m${text}\u001b[0m` : text
  return { bold: style(1), dim: style(2), red: style(31), green: style(32), yellow: style(33) }
})

/** Nano-dollars as a number of dollars for JSON; null where the price is not known. */
export const dollars = (nanoUsd: number | undefined): number | null => nanoUsd === undefined ? null : nanoUsd / 1e9

export const seconds = (millis: number): string => `${(millis / 1000).toFixed(2)} s`

/** Characters that take two columns of a terminal, and those that take none. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u
const none = /[\p{M}\p{Cf}]/u

/** How many columns of a terminal a text takes. */
const widthOf = (text: string): number => {
  let width = 0
  for (const character of text) width += none.test(character) ? 0 : wide.test(character) ? 2 : 1
  return width
}

/** Rows of cells as a table; a column is aligned to the right where `right` says so. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>, right: (column: number) => boolean = () => false) => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => widthOf(row[column] ?? ""))))
  const pad = (cell: string, column: number): string => {
    const space = " ".repeat(Math.max(0, (widths[column] ?? 0) - widthOf(cell)))
    return right(column) ? space + cell : cell + space
  }
  return rows.map((row) => row.map(pad).join("  ").trimEnd()).join("\n")
}

/** Text from outside as one line that a terminal does not obey. */
export const printable = (text: string): string => text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, "?")
