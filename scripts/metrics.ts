/**
 * Writes the table of metrics into `docs/monitoring.md` from the tables of `src`: `node scripts/metrics.ts`. The check `metrics` compares.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { type Definition, labels, metrics, type Values } from "../src/internal/metrics.ts"
import { catalogue } from "../src/Model.ts"
import { conventions } from "../src/Monitor/internal/genAi.ts"

export const path = "docs/monitoring.md"

/** What a set has that is known when a layer is built only: models and groups as in the catalogue, budgets and keys as in an example. */
const sizes: Record<string, number> = {
  models: catalogue.models.length + 1,
  groups: 2 * catalogue.groups.length + 1,
  budgets: 5,
  keys: 10,
  tenants: 3
}

const sizeOf = (values: Values): number => {
  const set = labels[values]
  return typeof set === "string" ? sizes[set]! : set.length
}

/** A histogram is a series for each bucket, one for all that is above them, its sum and its count. */
const seriesOf = (definition: Definition): number =>
  Object.values(definition.labels).reduce((product, values) => product * sizeOf(values), 1) *
  (definition.type === "histogram" ? (definition.boundaries?.length ?? 0) + 3 : 1)

/** The most series of the table, with the sets of `sizes`. */
export const bound: number = Object.values(metrics).reduce(
  (sum, definition: Definition) => sum + seriesOf(definition),
  0
)

const labelsText = (definition: Definition): string =>
  Object.keys(definition.labels).map((name) => `\`${name}\``).join(", ")

const setText = (values: Values): string => {
  const set = labels[values]
  return typeof set !== "string" ? set.map((value) => `\`${value}\``).join(", ") : {
    models: "the models of the catalogue and yours, by their ids; every other one is `other`",
    groups: "the rate-limit groups of these models, with `-fast` for fast mode, and `count-tokens`",
    budgets: "the names of your budgets",
    keys: "the labels of your keys, of the first 100",
    tenants: "the tenants that `monitor: { tenants }` names, at most 50; every other one, and none, is `other`"
  }[set]
}

/** Each name of a label once for each set of values that it has. */
const labelRows = (): ReadonlyArray<string> => {
  const seen = new Set<string>()
  const all: ReadonlyArray<Definition> = Object.values(metrics)
  return all.flatMap((definition) =>
    Object.entries(definition.labels).flatMap(([name, values]) => {
      const row = `| \`${name}\` | ${setText(values)} |`
      return seen.has(row) || !seen.add(row) ? [] : [row]
    })
  )
}

const table = (): string => {
  const rows = Object.values(metrics).map((definition: Definition) =>
    `| \`${definition.name}\` | ${definition.type} | ${labelsText(definition)} | ${definition.description} |`
  )
  const versions = Object.entries(conventions).flatMap(([version, { metrics }]) =>
    Object.values(metrics).map(({ description, name, type, unit }) =>
      `| \`${name}\` | ${type} | \`${unit}\` | \`${version}\` | ${description} |`
    )
  )
  return [
    "| metric | type | labels | what it is |",
    "| --- | --- | --- | --- |",
    ...rows,
    "",
    "| label | values |",
    "| --- | --- |",
    ...labelRows(),
    "",
    `With the models of the catalogue, ${sizes["budgets"]} budgets, ${sizes["keys"]} keys and ${
      sizes["tenants"]! - 1
    } named tenants these are at most ${bound.toLocaleString("en")} series, buckets included, whatever users send.`,
    "",
    "| metric of the conventions | type | unit | version | what it is |",
    "| --- | --- | --- | --- | --- |",
    ...versions
  ].join("\n")
}

const [begin, end] = ["<!-- metrics: written by scripts/metrics.ts -->", "<!-- /metrics -->"]

/** The page as it should be. */
export const written = (page: string): string => {
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`${path} has no place for the metrics`)
  return `${page.slice(0, from)}${begin}\n\n${table()}\n\n${page.slice(to)}`
}

/** What is wrong with the page. */
export const stale = (page: string): ReadonlyArray<string> =>
  written(page) === page ? [] : [`${path} is stale: run node scripts/metrics.ts`]

if (import.meta.main) writeFileSync(path, written(readFileSync(path, "utf8")))
