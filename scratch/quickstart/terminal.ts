/** How things are written: plain text, with a little weight where a terminal shows it. */
import { Console, Duration, Effect, Stdio } from "effect"

/** What went wrong: its tag, and what it says about itself. */
export const message = (error: { readonly _tag: string; readonly message: string }): string =>
  `${error._tag}: ${error.message}`

/** For the eye: headings and asides. Plain where the output is no terminal or `NO_COLOR` is set. */
export const weights = Effect.map(Stdio.Stdio.use((stdio) => stdio.stdoutIsTerminal), (terminal) => {
  const plain = !terminal || (process.env["NO_COLOR"] ?? "") !== ""
  const style = (code: number) => (text: string) => plain ? text : `\u001b[${code}m${text}\u001b[0m`
  return { heading: style(1), aside: style(2) }
})

export const seconds = (duration: Duration.Input): string => `${(Duration.toMillis(duration) / 1000).toFixed(2)} s`

/** A table, the first two columns to the left, numbers to the right. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0))
  return rows.map((row) =>
    row.map((cell, column) => column < 2 ? cell.padEnd(width(column)) : cell.padStart(width(column))).join("   ")
      .trimEnd()
  ).join("\n")
}

export const say = (line = "") => Console.log(line)
