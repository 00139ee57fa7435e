/**
 * What a call and an event of a stream cost by other ways to reach the API: the bare SDK, with its defaults and without retries; the SDK under
 * `cockatiel` and `bottleneck`; the SDK through a gateway; and other libraries. Each side runs in a process of its own, in slices that alternate, at a
 * server that answers at once. Processor time is that of its process, and of the gateway. What they need is installed in `bench/peers`, apart.
 */
import { type ChildProcess, execFileSync, fork } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Measured, Slice } from "./peers/side.ts"
import type { Row, Run } from "./run.ts"
import { start } from "./utils/server.ts"
import { median } from "./utils/sideBySide.ts"

const ours = "effect-claude"

const sides: Readonly<Record<string, string>> = {
  [ours]: ours,
  "sdk": "@anthropic-ai/sdk",
  "sdk-without-retries": "@anthropic-ai/sdk without retries",
  "cockatiel-bottleneck": "cockatiel + bottleneck",
  "portkey-gateway": "@portkey-ai/gateway",
  "ai-sdk": "ai",
  "langchain": "@langchain/anthropic",
  "effect-ai-anthropic": "@effect/ai-anthropic"
}

const slices: ReadonlyArray<Slice & { readonly rounds: number }> = [
  { kind: "call", concurrency: 1, count: 100, rounds: 7 },
  { kind: "call", concurrency: 16, count: 320, rounds: 7 },
  { kind: "call", concurrency: 64, count: 640, rounds: 7 },
  { kind: "stream", concurrency: 1, count: 2, rounds: 5 },
  { kind: "stream", concurrency: 16, count: 16, rounds: 3 },
  { kind: "stream", concurrency: 64, count: 64, rounds: 1 }
]

/** A side whose slice takes longer is measured once. */
const tooLong = 8_000_000

const folder = fileURLToPath(new URL("peers", import.meta.url))

const install = (): void => {
  if (existsSync(`${folder}/node_modules`)) return
  execFileSync("npm", ["--prefix", folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], { stdio: "ignore" })
}

const runSlice = async (child: ChildProcess, slice: Slice): Promise<Measured> => {
  child.send(slice)
  const [measured] = await Promise.race([once(child, "message"), once(child, "exit")])
  if (typeof measured !== "object" || measured === null) throw new Error(`A side ended with ${measured}`)
  return measured
}

const percentile = (values: ReadonlyArray<number>, share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!

const figures = (slice: Slice, { cpuMicros, micros, pieces }: Measured) => {
  const units = slice.kind === "call" ? slice.count : pieces
  return { perSecond: units / micros * 1e6, cpu: cpuMicros / units }
}

const compare = (report: (row: Row) => void, slice: Slice, measured: ReadonlyMap<string, ReadonlyArray<Measured>>) => {
  const unit = slice.kind === "call" ? "call" : "event"
  const own = measured.get(ours)!.map((one) => figures(slice, one)) // it is one of the sides
  for (const [name, all] of measured) {
    const row = { case: `c=${slice.concurrency}`, n: all.length * slice.count, peer: sides[name]! }
    const theirs = all.map((one) => figures(slice, one))
    const p99 = percentile(all.flatMap(({ millis }) => millis), 0.99)
    const perSecond = median(theirs.map((one) => one.perSecond))
    report({ ...row, metric: `${unit}s_per_second`, value: perSecond, unit: "1/s" })
    report({ ...row, metric: `cpu_per_${unit}_us`, value: median(theirs.map(({ cpu }) => cpu)), unit: "us" })
    report({ ...row, metric: `${slice.kind}_p99_ms`, value: p99, unit: "ms" })
    if (name === ours) continue
    // Rounds in which both were measured, side by side.
    const ratios = (of: "cpu" | "perSecond") => median(theirs.map((one, round) => own[round]![of] / one[of]))
    report({ ...row, metric: `${unit}s_ratio`, value: ratios("perSecond"), unit: "ratio" })
    report({ ...row, metric: `cpu_per_${unit}_ratio`, value: ratios("cpu"), unit: "ratio" })
  }
}

export const run: Run = async (report) => {
  install()
  const server = await start()
  const children = new Map<string, ChildProcess>()
  try {
    for (const name of Object.keys(sides)) {
      const child = fork(`${folder}/run.ts`, [name, server.url], { stdio: ["ignore", "ignore", "ignore", "ipc"] })
      children.set(name, child)
      await once(child, "message")
    }
    for (const slice of slices) {
      const measured = new Map<string, Array<Measured>>(Object.keys(sides).map((name) => [name, []]))
      const order = [...children]
      // Enough to be compiled: what is measured goes on like this.
      for (const [, child] of order) await runSlice(child, { ...slice, count: slice.kind === "call" ? 800 : 24 })
      for (let round = 0; round < slice.rounds; round++) {
        for (const [name, child] of order) {
          const before = measured.get(name)! // every side has its list
          if (before.some(({ micros }) => micros > tooLong)) continue
          before.push(await runSlice(child, slice))
        }
        order.push(order.shift()!) // there are sides
      }
      compare(report, slice, measured)
    }
  } finally {
    for (const child of children.values()) child.disconnect()
    server.stop()
  }
}
