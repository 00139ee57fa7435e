/**
 * What each public module loads when it is imported: the files of each package and their bytes, with bounds. `node scripts/loads.ts FOLDER` imports
 * every module of a built package in `FOLDER`, and answers as JSON what imported what; nothing else of that process is in the figures.
 */
import { globSync, statSync } from "node:fs"
import { registerHooks } from "node:module"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

/** URLs of modules, each with those that it imports. */
export type Graph = Readonly<Record<string, ReadonlyArray<string>>>

export interface Load {
  readonly files: number
  readonly bytes: number
}

/** The package of a file; a file outside `node_modules`, or of this package where it is installed, is our own. */
const packageOf = (url: string): string => {
  const name = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]
  return name === undefined || name === "effect-claude" ? "own" : name
}

/** What a module loads, itself included, by package. What Node has built in costs nothing to speak of. */
export const loads = (
  graph: Graph,
  url: string,
  sizeOf: (url: string) => number
): ReadonlyMap<string, Load> => {
  const seen = new Set([url])
  for (const one of seen) for (const next of graph[one] ?? []) seen.add(next)
  const byPackage = new Map<string, Load>()
  for (const one of seen) {
    if (!one.startsWith("file:")) continue
    const name = packageOf(one)
    const { bytes, files } = byPackage.get(name) ?? { bytes: 0, files: 0 }
    byPackage.set(name, { bytes: bytes + sizeOf(one), files: files + 1 })
  }
  return byPackage
}

const sdk = ["@anthropic-ai/sdk", "@opentelemetry/api", "@stablelib/base64", "fast-sha256", "standardwebhooks"]

const openTelemetry = [
  "@effect/opentelemetry",
  "@opentelemetry/api",
  "@opentelemetry/api-logs",
  "@opentelemetry/context-async-hooks",
  "@opentelemetry/core",
  "@opentelemetry/resources",
  "@opentelemetry/sdk-logs",
  "@opentelemetry/sdk-metrics",
  "@opentelemetry/sdk-trace",
  "@opentelemetry/sdk-trace-base",
  "@opentelemetry/sdk-trace-node",
  "@opentelemetry/semantic-conventions"
]

/** The most kilobytes of `effect` and of our own that a module may load, and the packages that it may load beside them. */
type Bound = readonly [effect: number, own: number, others?: ReadonlyArray<string>]

/** Modules that do without the SDK are one file, nearly all of which `ClaudeService` loads too. */
const withoutSdk: Bound = [4_000, 430]

/** Modules without a row stand over `ClaudeService`, and have its bound. `undici` and `re2js` are loaded when they are needed. */
const bounds: Readonly<Record<string, Bound>> = {
  ClaudeService: [4_300, 950, sdk],
  Attempt: withoutSdk,
  Budget: withoutSdk,
  "Budget/Sql": [4_100, 430],
  CallContext: withoutSdk,
  ClaudeConfig: [4_000, 20],
  ClaudeError: withoutSdk,
  "ClaudeLanguageModel/Tools": [3_300, 20],
  Cli: [4_600, 60],
  CostLedger: withoutSdk,
  "CostLedger/Sql": [4_100, 430],
  CostOptimizer: withoutSdk,
  CostReport: withoutSdk,
  Estimate: [1_600, 40],
  Fallback: withoutSdk,
  Hedge: withoutSdk,
  Http: [4_800, 1_050, sdk],
  "Http/Server": [4_800, 1_050, [...sdk, "@effect/platform-node", "@effect/platform-node-shared", "ws"]],
  InputSanitizer: withoutSdk,
  KeyStore: withoutSdk,
  "KeyStore/AgeFile": withoutSdk,
  "KeyStore/Credentials": withoutSdk,
  "KeyStore/Folder": withoutSdk,
  "KeyStore/Keyring": withoutSdk,
  "KeyStore/Kubernetes": withoutSdk,
  "KeyStore/Local": [4_000, 450],
  "KeyStore/Vault": withoutSdk,
  MessageStream: withoutSdk,
  Model: [1_600, 40],
  "Monitor/OpenTelemetry": [4_100, 20, openTelemetry],
  "Monitor/Otlp": [4_300, 20],
  "Monitor/Prometheus": [4_400, 20],
  PriceBook: withoutSdk,
  RateLimiter: withoutSdk,
  "RateLimiter/Redis": [4_100, 440],
  Reconciliation: withoutSdk,
  Request: withoutSdk,
  RetryPolicy: withoutSdk,
  Sqlite: [4_100, 20],
  Usage: withoutSdk,
  "testing/Recording": [3_200, 20]
}

/** The most files of our own: they are most of what an import takes. */
const maxFiles = 35

const kilobytes = ({ bytes }: Load): number => Math.ceil(bytes / 1_000)

/** What a module loads beyond its bound. */
export const beyond = (name: string, found: ReadonlyMap<string, Load>): ReadonlyArray<string> => {
  const [effect, own, others = []] = bounds[name] ?? bounds["ClaudeService"]! // it has a row
  const most: Readonly<Record<string, number>> = { effect, own }
  return [...found].flatMap(([of, load]) => {
    const limit = most[of]
    if (limit === undefined) return others.includes(of) ? [] : [`${name} loads ${of}`]
    return [
      ...(kilobytes(load) <= limit ? [] : [`${name} loads ${kilobytes(load)} kB of ${of}, at most ${limit}`]),
      ...(of !== "own" || load.files <= maxFiles ? [] : [`${name} loads ${load.files} files, at most ${maxFiles}`])
    ]
  })
}

const line = (name: string, found: ReadonlyMap<string, Load>): string => {
  const parts = [...found].sort(([, a], [, b]) => b.bytes - a.bytes).map(([of, load]) =>
    `${of} ${kilobytes(load)} kB in ${load.files}`
  )
  return `${name.padEnd(26)} ${parts.join(", ")}`
}

/** A line for each public module, by name and URL, and what is beyond its bound. */
export const judge = (graph: Graph, modules: ReadonlyMap<string, string>) => {
  const lines: Array<string> = []
  const wrong: Array<string> = []
  for (const [name, url] of modules) {
    const found = loads(graph, url, (one) => statSync(fileURLToPath(one)).size)
    lines.push(line(name, found))
    wrong.push(...beyond(name, found))
  }
  return { lines, wrong }
}

/** The public modules of a built package, with their URLs. */
export const modulesOf = (folder: string): ReadonlyMap<string, string> =>
  new Map(
    globSync("**/*.js", { cwd: folder }).filter((path) => !path.includes("internal/") && path !== "bin.js").sort().map(
      (path) => [path.slice(0, -".js".length), pathToFileURL(join(folder, path)).href]
    )
  )

if (import.meta.main) {
  const graph: Record<string, Array<string>> = {}
  registerHooks({
    resolve: (specifier, context, next) => {
      const resolved = next(specifier, context)
      if (context.parentURL !== undefined) (graph[context.parentURL] ??= []).push(resolved.url)
      return resolved
    }
  })
  for (const url of modulesOf(process.argv[2] ?? "dist").values()) await import(url)
  console.log(JSON.stringify(graph))
}
