/**
 * A process under load that is stopped by SIGTERM: `node drainingProcess.ts API_URL LEDGER_FILE COLLECTOR_URL`. It prints the address of its server, and
 * at the end how its calls ended, as JSON.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Exit, Layer, Logger, Redacted } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import * as CallContext from "../../src/CallContext.ts"
import * as ClaudeService from "../../src/ClaudeService.ts"
import * as CostLedgerSql from "../../src/CostLedger/Sql.ts"
import * as Health from "../../src/Health.ts"
import * as HttpServer from "../../src/Http/Server.ts"
import * as MessageStream from "../../src/MessageStream.ts"
import * as Otlp from "../../src/Monitor/Otlp.ts"
import * as Sqlite from "../../src/Sqlite.ts"
import * as Simulator from "../../src/testing/Simulator.ts"

/** How the calls of a process ended. */
export interface Counts {
  readonly answered: number
  readonly failed: number
  readonly interrupted: number
}

export interface Running {
  readonly url: Promise<string>
  readonly stop: () => void
  readonly kill: () => void
  /** Its counts and its exit code. */
  readonly ended: Promise<readonly [Counts | undefined, number | null]>
}

export const start = (api: string, ledger: string, collector: string): Running => {
  const file = fileURLToPath(import.meta.url)
  const child: ChildProcess = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", file, api, ledger, collector],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  let counts: Counts | undefined
  const url = new Promise<string>((resolve) => {
    createInterface(child.stdout!).on("line", (line) => {
      if (line.startsWith("http")) resolve(line)
      else counts = JSON.parse(line)
    })
  })
  return {
    url,
    stop: () => void child.kill("SIGTERM"),
    kill: () => void child.kill("SIGKILL"),
    ended: once(child, "close").then(([code]) => [counts, code])
  }
}

const request = {
  model: "claude-sonnet-5-5",
  max_tokens: 100,
  messages: [{ role: "user" as const, content: "Tell me about rivers." }]
}

const main = (api: string, ledger: string, collector: string) => {
  const counts = { answered: 0, failed: 0, interrupted: 0 }
  const call = (n: number) =>
    (n % 2 === 0
      ? Effect.asVoid(ClaudeService.create(request))
      : Effect.asVoid(MessageStream.message(ClaudeService.stream(request)))).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            counts[Exit.isSuccess(exit) ? "answered" : Exit.hasInterrupts(exit) ? "interrupted" : "failed"]++
          })
        ),
        Effect.ignore,
        CallContext.annotate({ user: `u-${n}` })
      )

  const program = Effect.gen(function*() {
    const { url } = yield* HttpServer.Server
    const { isStopping } = yield* Health.Health
    yield* Effect.sync(() => console.log(url))
    const worker = (n: number) => Effect.repeat(call(n), { until: () => isStopping })
    yield* Effect.forEach(Array.from({ length: 40 }, (_, n) => n), worker, { concurrency: "unbounded" })
    // A program that does not end by itself.
    yield* Effect.never
  })

  const services = HttpServer.layer({ port: 0 }).pipe(
    Layer.provideMerge(Health.layer()),
    Layer.provideMerge(ClaudeService.layerWithParts({
      api: { baseUrl: api },
      keys: Redacted.make(Simulator.apiKey),
      ledger: CostLedgerSql.layer({ flushEvery: "1 hour" }).pipe(Layer.provide(Sqlite.layer({ filename: ledger })))
    })),
    Layer.provideMerge(Otlp.layer({ endpoint: collector })),
    Layer.provide(Logger.layer([]))
  )
  return Health.drained(program, "20 seconds").pipe(
    Effect.provide(services),
    Effect.ensuring(Effect.sync(() => console.log(JSON.stringify(counts))))
  )
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , api = "", ledger = "", collector = ""] = process.argv
  NodeRuntime.runMain(main(api, ledger, collector))
}
