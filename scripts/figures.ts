/**
 * Makes the table of figures of `bench/README.md` from what benches print: `npm run -s bench | node scripts/figures.ts`.
 *
 * Our own figure, or the ratio against a peer, is the figure; those of others stand beside it.
 */
import { readFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import type { Row } from "../bench/run.ts"

type Line = Row & { readonly name: string }

const ours = "effect-claude"

/** The lines of benches, without what else was printed. */
export const linesOf = (text: string): ReadonlyArray<Line> =>
  text.split("\n").filter((line) => line.startsWith("{\"name\"")).map((line) => JSON.parse(line))

const number = (value: number): string =>
  Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)))

const figure = ({ unit, value }: Row): string =>
  unit === "ratio" || unit === "" ? number(value) : `${number(value)} ${unit}`

/** A Markdown table with a row for each metric and case. */
export const table = (lines: ReadonlyArray<Line>): string => {
  const groups = new Map<string, Array<Line>>()
  for (const line of lines) {
    const key = JSON.stringify([line.name, line.metric, line.case])
    groups.set(key, [...(groups.get(key) ?? []), line])
  }
  const rows = [...groups.values()].map((group) => {
    const own = group.find(({ peer }) => peer === ours) ?? group[0]! // a group has one line at least
    const others = group.filter((line) => line !== own).map((line) => `${line.peer} ${figure(line)}`)
    const against = [...(own.peer === ours ? [] : [own.peer]), ...others].join("; ")
    return [`\`${own.name}\``, `\`${own.metric}\``, own.case, figure(own), against]
  })
  const head = ["bench", "metric", "case", "figure", "against"]
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ").replace(/ {2,}/g, " ")} |`).join(
    "\n"
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(table(linesOf(readFileSync(0, "utf8"))))
