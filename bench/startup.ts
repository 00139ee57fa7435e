/**
 * What it takes to start: importing the built package, against importing the SDK and the modules of `effect` that it uses; from there to a layer that is
 * ready for calls, and to the first answer of a server that answers at once, against the bare SDK. Figures are
 * processor time, so that they mean the same on a busy machine; each is of a process of its own, in turns. The package is built first.
 */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { effectUsed } from "../scripts/bundles.ts"
import { type Graph, modulesOf } from "../scripts/loads.ts"
import type { Run } from "./run.ts"
import { start } from "./utils/server.ts"
import { median } from "./utils/sideBySide.ts"

const rounds = 21

const sdk = "@anthropic-ai/sdk"

const spent = `const spent = () => { const { system, user } = process.cpuUsage(); return (system + user) / 1_000 }`

/** Runs a module, and answers what it printed: milliseconds. */
const millis = (code: string): number =>
  Number(execFileSync(process.execPath, ["--no-warnings", "--input-type=module", "--eval", code], { encoding: "utf8" }))

/** The code of a module that imports, and prints what the process has spent. */
const importing = (specifiers: ReadonlyArray<string>): string =>
  [...specifiers.map((name) => `import ${JSON.stringify(name)}`), spent, "console.log(spent())"].join("\n")

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
  console.log(spent() - began)
  process.exit()`

const firstCallOfSdk = (url: string): string =>
  `import Anthropic from "${sdk}"
  ${spent}
  const began = spent()
  await new Anthropic({ apiKey: "sk-ant-bench", baseURL: "${url}" }).messages.create(${asked})
  console.log(spent() - began)
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
  try {
    const sides = {
      ours: importing(["effect-claude"]),
      theirs: importing([sdk, ...used()]),
      nothing: importing([]),
      ready: firstCall(server.url, false),
      call: firstCall(server.url, true),
      callOfSdk: firstCallOfSdk(server.url)
    }
    const found = new Map<string, Array<number>>(Object.keys(sides).map((name) => [name, []]))
    for (let round = -1; round < rounds; round++) {
      for (const [name, code] of Object.entries(sides)) {
        const took = millis(code)
        if (round >= 0) found.get(name)?.push(took) // the first round warms the file system
      }
    }
    const of = (name: keyof typeof sides) => found.get(name) ?? []
    const row = { case: "one process", n: rounds }
    const whole = `${sdk} and what is used of effect`
    const at = { ...row, metric: "import_cpu_ms", unit: "ms" }
    report({ ...at, value: median(of("ours")), peer: "effect-claude" })
    report({ ...at, value: median(of("theirs")), peer: whole })
    report({ ...at, value: median(of("nothing")), peer: "nothing" })
    const ratios = of("ours").map((value, index) => value / of("theirs")[index]!) // as many rounds
    report({ ...row, metric: "import_cpu_ratio", value: median(ratios), unit: "ratio", peer: whole })
    report({ ...row, metric: "ready_cpu_ms", unit: "ms", value: median(of("ready")), peer: "effect-claude" })
    const first = { ...row, metric: "first_call_cpu_ms", unit: "ms" }
    report({ ...first, value: median(of("call")), peer: "effect-claude" })
    report({ ...first, value: median(of("callOfSdk")), peer: sdk })
  } finally {
    server.stop()
  }
}
