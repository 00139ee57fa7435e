/**
 * What it takes to start: importing the built package, against importing the SDK and the modules of `effect` that it uses; from there to a layer that is
 * ready for calls, most of which is loading `undici`, and to the first answer of a server that answers at once, against the bare SDK. With Node's
 * compile cache too, which a program turns on with the variable `NODE_COMPILE_CACHE`. `cpu` is processor time, which means the same on a busy machine;
 * `wall` is what a clock shows. Each figure is of a process of its own, in turns. The package is built first.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { effectUsed } from "../scripts/bundles.ts"
import { type Graph, modulesOf } from "../scripts/loads.ts"
import type { Run } from "./run.ts"
import { start } from "./utils/server.ts"
import { median } from "./utils/sideBySide.ts"

const rounds = 21

const sdk = "@anthropic-ai/sdk"

interface Took {
  readonly cpu: number
  readonly wall: number
}

/** Milliseconds of the process so far. */
const spent = `const spent = () => {
    const { system, user } = process.cpuUsage()
    return { cpu: (system + user) / 1_000, wall: performance.now() }
  }`

/** Prints what it took since `began`. */
const printed =
  `const { cpu, wall } = spent(); console.log(JSON.stringify({ cpu: cpu - began.cpu, wall: wall - began.wall }))`

/** Runs a module with Node's compile cache in that folder, if any, and answers what it printed. */
const took = (code: string, cache: string | undefined): Took =>
  JSON.parse(execFileSync(process.execPath, ["--no-warnings", "--input-type=module", "--eval", code], {
    encoding: "utf8",
    env: { ...process.env, NODE_COMPILE_CACHE: cache ?? "" }
  }))

/** The code of a module that imports, and prints what the process has spent. */
const importing = (specifiers: ReadonlyArray<string>): string =>
  [...specifiers.map((name) => `import ${JSON.stringify(name)}`), spent, "console.log(JSON.stringify(spent()))"].join(
    "\n"
  )

const loadingUndici = `${spent}
  const began = spent()
  await import("undici")
  ${printed}`

const asked = `{ model: "claude-sonnet-5-5", max_tokens: 1_024, messages: [{ role: "user", content: "Who are you?" }] }`

/** The module prints what it takes to build the layer, after which a call can be sent, or what a call takes from there on too. */
const firstCall = (url: string, calls: boolean): string =>
  `import { ManagedRuntime, Redacted } from "effect"
  import { ClaudeService } from "effect-claude"
  ${spent}
  const began = spent()
  const runtime = ManagedRuntime.make(ClaudeService.layer({ api: { baseUrl: "${url}" }, keys: Redacted.make("sk-ant-bench") }))
  await runtime.context()
  ${calls ? `await runtime.runPromise(ClaudeService.create(${asked}))` : ""}
  ${printed}
  process.exit()`

const firstCallOfSdk = (url: string): string =>
  `import Anthropic from "${sdk}"
  ${spent}
  const began = spent()
  await new Anthropic({ apiKey: "sk-ant-bench", baseURL: "${url}" }).messages.create(${asked})
  ${printed}
  process.exit()`

/** The modules of `effect` that the files import which the main entry loads. */
const used = (): ReadonlyArray<string> => {
  const graph: Graph = JSON.parse(
    execFileSync(process.execPath, ["--no-warnings", "scripts/loads.ts", "dist"], {
      encoding: "utf8",
      maxBuffer: 1 << 26
    })
  )
  const seen = new Set([modulesOf("dist").get("index")!]) // it is built
  for (const url of seen) {
    for (const next of graph[url] ?? []) {
      if (next.includes("/dist/") && !next.includes("/node_modules/")) seen.add(next)
    }
  }
  return [...effectUsed([...seen].map((url) => readFileSync(new URL(url), "utf8"))).keys()]
}

export const run: Run = async (report) => {
  execFileSync("npm", ["run", "--silent", "build"], { stdio: "inherit" })
  const server = await start()
  const cache = mkdtempSync(join(tmpdir(), "effect-claude-startup-"))
  try {
    const sides = {
      ours: importing(["effect-claude"]),
      theirs: importing([sdk, ...used()]),
      nothing: importing([]),
      undici: loadingUndici,
      ready: firstCall(server.url, false),
      call: firstCall(server.url, true),
      callOfSdk: firstCallOfSdk(server.url)
    }
    const cases = { "one process": undefined, "with a compile cache": cache }
    const found = new Map<string, Array<Took>>()
    for (let round = -2; round < rounds; round++) {
      for (const [name, folder] of Object.entries(cases)) {
        for (const [side, code] of Object.entries(sides)) {
          const one = took(code, folder)
          // The first rounds warm the file system, and the cache.
          if (round >= 0) found.set(name + side, [...found.get(name + side) ?? [], one])
        }
      }
    }
    for (const name of Object.keys(cases)) {
      const of = (side: keyof typeof sides, clock: keyof Took) =>
        (found.get(name + side) ?? []).map((one) => one[clock])
      const row = { case: name, n: rounds }
      const whole = `${sdk} and what is used of effect`
      for (const clock of ["cpu", "wall"] as const) {
        const at = { ...row, metric: `import_${clock}_ms`, unit: "ms" }
        report({ ...at, value: median(of("ours", clock)), peer: "effect-claude" })
        report({ ...at, value: median(of("theirs", clock)), peer: whole })
        report({ ...at, value: median(of("nothing", clock)), peer: "nothing" })
        const ready = { ...row, metric: `ready_${clock}_ms`, unit: "ms" }
        report({ ...ready, value: median(of("ready", clock)), peer: "effect-claude" })
        report({ ...ready, value: median(of("undici", clock)), peer: "undici alone" })
        const first = { ...row, metric: `first_call_${clock}_ms`, unit: "ms" }
        report({ ...first, value: median(of("call", clock)), peer: "effect-claude" })
        report({ ...first, value: median(of("callOfSdk", clock)), peer: sdk })
      }
      const theirs = of("theirs", "cpu")
      const ratios = of("ours", "cpu").map((value, index) => value / theirs[index]!) // as many rounds
      report({ ...row, metric: "import_cpu_ratio", value: median(ratios), unit: "ratio", peer: whole })
    }
  } finally {
    rmSync(cache, { recursive: true, force: true })
    server.stop()
  }
}
