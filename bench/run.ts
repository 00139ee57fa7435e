/**
 * Runs benches and prints what they measure, one JSON object a line: `npm run bench -- NAME [args]`, or `npm run bench -- all`. With `--markdown` it also
 * writes the section of each bench in `bench/README.md`; `all` writes the whole page.
 *
 * A bench is a module beside this one that exports `run`; its docstring is the text of its section. It measures our side and its peers in one run,
 * alternating. Arguments after the name are in `process.argv.slice(3)`. For `all` each bench is a process of its own.
 */
import { spawn } from "node:child_process"
import { globSync, readFileSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { createInterface } from "node:readline"
import { linesOf, page, placed, section } from "../scripts/figures.ts"
import { circumstances } from "./utils/circumstances.ts"

/** One figure. `peer` is what a ratio is against, or whose figure it is; `n` is how many measurements it rests on. */
export interface Row {
  /** What is measured, such as `throughput_ratio`. */
  readonly metric: string
  /** What varies between rows of one metric, such as `c=64`. */
  readonly case: string
  readonly value: number
  /** `ratio`, `us`, `1/s`, ... */
  readonly unit: string
  readonly peer: string
  readonly n: number
}

export type Run = (report: (row: Row) => void) => Promise<void>

const readme = join(import.meta.dirname, "README.md")

const sourceOf = (name: string): string => readFileSync(join(import.meta.dirname, `${name}.ts`), "utf8")

/** Runs a bench in this process, and answers what it printed. */
const here = async (name: string): Promise<string> => {
  const lines: Array<string> = []
  const { run }: { run?: Run } = await import(`./${name}.ts`)
  await run?.(({ case: varied, metric, n, peer, unit, value }) => {
    const line = JSON.stringify({ name, metric, case: varied, value, unit, peer, n })
    console.log(line)
    lines.push(line)
  })
  return lines.join("\n")
}

/** Runs a bench in a process of its own, and answers what it printed. */
const elsewhere = (name: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const lines: Array<string> = []
    const child = spawn(process.execPath, [...process.execArgv, import.meta.filename, name], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    createInterface(child.stdout).on("line", (line) => {
      console.log(line)
      lines.push(line)
    })
    child.once("error", reject).once("close", (code) => {
      if (code !== 0) console.error(`The bench ${name} ended with ${code}`)
      resolve(lines.join("\n"))
    })
  })

const main = async (): Promise<void> => {
  const known = globSync("*.ts", { cwd: import.meta.dirname }).map((path) => basename(path, ".ts")).filter((name) =>
    name !== "run"
  ).sort()
  const markdown = process.argv.includes("--markdown")
  process.argv = process.argv.filter((arg) => arg !== "--markdown")
  const [, , asked = "all"] = process.argv
  if (asked !== "all" && !known.includes(asked)) {
    console.error(`No such bench: ${asked}. There are: all, ${known.join(", ")}`)
    process.exit(1)
  }
  const measured = async (name: string, run: (name: string) => Promise<string>): Promise<string> => {
    const where = circumstances()
    return section(name, sourceOf(name), where, linesOf(await run(name)))
  }
  if (asked !== "all") {
    const found = await measured(asked, here)
    if (markdown) writeFileSync(readme, placed(readFileSync(readme, "utf8"), asked, found))
    return
  }
  const sections: Array<string> = []
  for (const name of known) sections.push(await measured(name, elsewhere))
  if (markdown) writeFileSync(readme, page(sections))
}

if (import.meta.main) await main()
