/**
 * Runs benches and prints what they measure, one JSON object a line: `npm run bench -- NAME [args]`, or all of them.
 *
 * A bench is a module beside this one that exports `run`. It measures our side and its peers in one run, alternating. Arguments after
 * the name are in `process.argv.slice(3)`.
 */
import { globSync } from "node:fs"
import { basename } from "node:path"

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

const known = globSync("*.ts", { cwd: import.meta.dirname })
  .map((path) => basename(path, ".ts"))
  .filter((name) => name !== "run")
  .sort()

const asked = process.argv[2]
if (asked !== undefined && !known.includes(asked)) {
  console.error(`No such bench: ${asked}. There are: ${known.join(", ") || "none"}`)
  process.exit(1)
}

for (const name of asked === undefined ? known : [asked]) {
  const { run }: { run?: Run } = await import(`./${name}.ts`)
  await run?.(({ case: varied, metric, n, peer, unit, value }) => {
    console.log(JSON.stringify({ name, metric, case: varied, value, unit, peer, n }))
  })
}
