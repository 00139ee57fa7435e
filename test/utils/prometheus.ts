/** A real Prometheus server that scrapes what a test serves. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { freePort } from "./freePort.ts"

/** Whether this machine can start one. Where it must, that is not left open. */
export const isInstalled = spawnSync("prometheus", ["--version"]).status === 0
if (!isInstalled && process.env["CI"] === "true") throw new Error("prometheus is not installed")
if (!isInstalled) console.warn("skipped: prometheus is not installed")

/** What `promtool` says of a text or a file: its exit code and its words. */
export const promtool = (args: ReadonlyArray<string>, input = "") => {
  const { status, stderr, stdout } = spawnSync("promtool", args, { input, encoding: "utf8" })
  return { status, said: `${stdout}${stderr}`.trim() }
}

export interface Server {
  readonly url: string
  /** The samples of an instant query, now: labels and value. */
  readonly query: (promql: string) => Effect.Effect<
    ReadonlyArray<{ readonly metric: Readonly<Record<string, string>>; readonly value: number }>
  >
  /** The sum of all samples of a query. */
  readonly total: (promql: string) => Effect.Effect<number>
  /** How scrapes of the target went. */
  readonly target: Effect.Effect<{ readonly health: string; readonly lastError: string; readonly lastScrape: string }>
}

/** Scrapes `target` (`host:port`) each second. `rules`: files of rules, which it evaluates as often. */
export const server = (
  target: string,
  rules: ReadonlyArray<string> = []
): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function*() {
    const port = yield* Effect.promise(freePort)
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-claude-prometheus-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    const config = join(folder, "prometheus.json")
    // JSON is YAML.
    writeFileSync(
      config,
      JSON.stringify({
        global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
        rule_files: rules,
        scrape_configs: [{ job_name: "claude", static_configs: [{ targets: [target] }] }]
      })
    )
    yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const child = spawn("prometheus", [
          `--config.file=${config}`,
          `--storage.tsdb.path=${join(folder, "data")}`,
          `--web.listen-address=127.0.0.1:${port}`
        ], { stdio: ["ignore", "ignore", "pipe"] })
        let said = ""
        // It is read to the end: a log that nobody takes would end the server.
        child.stderr.on("data", (chunk) => said += chunk)
        while (!said.includes("Server is ready to receive web requests")) {
          if (child.exitCode !== null) throw new Error(said)
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
        return child
      }),
      (child: ChildProcess) =>
        Effect.promise(async () => {
          if (child.exitCode !== null || child.signalCode !== null) return
          const exit = once(child, "exit")
          child.kill("SIGKILL")
          await exit
        })
    )
    const url = `http://127.0.0.1:${port}`
    const get = <A>(path: string) =>
      Effect.promise(async () => ((await (await fetch(`${url}/api/v1/${path}`)).json()) as { readonly data: A }).data)
    const query: Server["query"] = (promql) =>
      Effect.map(
        get<{ result: ReadonlyArray<{ metric: Record<string, string>; value: [number, string] }> }>(
          `query?query=${encodeURIComponent(promql)}`
        ),
        ({ result }) => result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }))
      )
    return {
      url,
      query,
      total: (promql) => Effect.map(query(promql), (all) => all.reduce((sum, { value }) => sum + value, 0)),
      target: Effect.map(
        get<{ activeTargets: ReadonlyArray<{ health: string; lastError: string; lastScrape: string }> }>("targets"),
        ({ activeTargets }) => activeTargets[0]!
      )
    }
  })
