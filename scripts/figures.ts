/**
 * Makes `bench/README.md` from what benches print; by itself the table: `npm run -s bench -- calls | node scripts/figures.ts`.
 *
 * Our own figure, or the ratio against the only peer, is the figure; those of others stand beside it.
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
  const rows = [...groups].map(([key, group]) => {
    const [, metric, varied]: ReadonlyArray<string> = JSON.parse(key)
    // Ratios against several peers stand beside each other.
    const own = group.find(({ peer }) => peer === ours) ?? (group.length === 1 ? group[0] : undefined)
    const others = group.filter((line) => line !== own).map((line) => `${line.peer} ${figure(line)}`)
    const against = [...(own === undefined || own.peer === ours ? [] : [own.peer]), ...others].join("; ")
    return [`\`${metric}\``, varied, own === undefined ? "" : figure(own), against]
  })
  const head = ["metric", "case", "figure", "against"]
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ").replace(/ {2,}/g, " ")} |`).join(
    "\n"
  )
}

/** The first docstring of a module, as text. */
const docstring = (source: string): string =>
  /^\/\*\*(.*?)\*\//s.exec(source)?.[1]?.split("\n").map((line) => line.replace(/^ \* ?/, "")).join("\n").trim() ?? ""

/** The section of a bench: its docstring, when and where it ran, and its figures. */
export const section = (name: string, source: string, circumstances: string, lines: ReadonlyArray<Line>): string =>
  [
    `## ${name}`,
    docstring(source),
    `${circumstances}.`,
    ...(lines.length === 0 ? ["It gave no figure."] : [table(lines)])
  ]
    .join("\n\n") + "\n"

/** Puts a section into a page: in the place of the one that it has, or among the others by name; those of no bench, which begin with a capital, stay last. */
export const placed = (text: string, name: string, section: string): string => {
  const [head = "", ...sections] = text.split(/^(?=## )/m)
  const nameOf = (one: string) => /^## (.*)/.exec(one)?.[1] ?? ""
  const others = sections.filter((one) => nameOf(one) !== name).map((one) => `${one.trimEnd()}\n`)
  const isOther = (one: string) => /^[A-Z]/.test(nameOf(one))
  const sorted = [...others, section].sort((a, b) =>
    Number(isOther(a)) - Number(isOther(b)) || (nameOf(a) < nameOf(b) ? -1 : 1)
  )
  return [`${head.trimEnd()}\n`, ...sorted].join("\n")
}

/** The whole page. */
export const page = (sections: ReadonlyArray<string>): string =>
  [
    "# Benchmarks",
    "`npm run bench -- all --markdown` measures everything and writes this page; `npm run bench -- calls --markdown` one section of it.",
    "A claim of speed is a ratio, the median of slices of both sides that alternate in one run, so that what else the machine does falls on both. Runs on an " +
    "idle machine differ by up to 15 %. A ratio is ours to that of the peer. Some cases need Redis (`REDIS_URL`) or " +
    "Postgres (`TEST_POSTGRES_URL`), and are missing without."
  ].join("\n\n") + "\n\n" + sections.join("\n")

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(table(linesOf(readFileSync(0, "utf8"))))
