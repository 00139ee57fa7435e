/** What a run depends on beside the code: versions, machine, what else it does, and date. */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { cpus, loadavg, totalmem } from "node:os"

const root = `${import.meta.dirname}/../..`

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(`${root}/node_modules/${name}/package.json`, "utf8")).version

/** One line, taken before the run. The name of the machine is nobody's business. */
export const circumstances = (): string => {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).trim()
  const cores = cpus()
  return [
    new Date().toISOString().slice(0, 10),
    `commit \`${commit}\``,
    `Node ${process.versions.node}`,
    ...["effect", "@anthropic-ai/sdk", "undici"].map((name) => `\`${name}\` ${versionOf(name)}`),
    `${cores.length} cores of ${cores[0]?.model ?? "an unknown processor"}, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    `load ${loadavg()[0]?.toFixed(1)} before`
  ].join(", ")
}
