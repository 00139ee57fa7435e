/**
 * Many inputs for each surface that takes what others wrote: `npm run fuzz`. Each test of `test/mutations.*.test.ts` is a surface; `npm test` takes
 * a thousand inputs of each, this takes 100,000, in a process that ends where its heap grows beyond 512 MB.
 *
 * - `npm run fuzz -- headers`: the surfaces with this in their names.
 * - `MUTATE_COUNT`: how many inputs. `MUTATE_SEED`: repeats a run, whose failure names it. Without one each run has its own.
 */
import { spawnSync } from "node:child_process"
import { globSync } from "node:fs"

const vitest = new URL("../node_modules/vitest/vitest.mjs", import.meta.url).pathname
const surfaces = process.argv.slice(2)
const hours = (count: number): number => count * 3_600_000

for (const file of globSync("test/mutations.*.test.ts")) {
  const { status } = spawnSync(
    process.execPath,
    [
      vitest,
      "run",
      "--project",
      "unit",
      "--testTimeout",
      String(hours(12)),
      "--passWithNoTests",
      ...(surfaces.length === 0 ? [] : ["--testNamePattern", surfaces.join("|")]),
      file
    ],
    {
      stdio: "inherit",
      env: { MUTATE_COUNT: "100000", ...process.env, NODE_OPTIONS: "--max-old-space-size=512" }
    }
  )
  if (status !== 0) process.exitCode = 1
}
