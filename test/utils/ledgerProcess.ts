/**
 * A process of its own that settles attempts through the real layer: `node ledgerProcess.ts NAME COUNT sqlite FILE` or `... postgres PREFIX`.
 * It prints how many of its attempts are written, each time that it knows more, and `done` when its layer has ended.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import * as Attempt from "../../src/Attempt.ts"
import * as CostLedger from "../../src/CostLedger.ts"
import * as CostLedgerSql from "../../src/CostLedger/Sql.ts"
import * as PriceBook from "../../src/PriceBook.ts"
import * as Sqlite from "../../src/Sqlite.ts"
import * as ClaudeTest from "../../src/testing/ClaudeTest.ts"
import * as Usage from "../../src/Usage.ts"
import * as settling from "./settling.ts"

export interface Place {
  readonly kind: "sqlite" | "postgres"
  readonly name: string
}

export interface Running {
  /** How many of its attempts are certainly written. */
  readonly written: () => number
  readonly kill: () => Promise<void>
  /** Waits for its end; false where it failed. */
  readonly ended: Promise<boolean>
}

export const postgresUrl = process.env["TEST_POSTGRES_URL"] ?? "postgres://postgres@127.0.0.1:5432/test"

export const start = (name: string, count: number, place: Place): Running => {
  const file = fileURLToPath(import.meta.url)
  const child: ChildProcess = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", file, name, String(count), place.kind, place.name],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  let written = 0
  let done = false
  if (child.stdout !== null) {
    createInterface(child.stdout).on("line", (line) => {
      if (line === "done") done = true
      else written = Number(line)
    })
  }
  const exit = once(child, "close")
  return {
    written: () => written,
    kill: async () => {
      child.kill("SIGKILL")
      await exit
    },
    ended: exit.then(() => done)
  }
}

const attempt = (callId: string): Attempt.Attempt =>
  ClaudeTest.attempt({
    callId,
    context: { user: callId },
    estimate: { inputTokens: 10, maxOutputTokens: 10 },
    key: null,
    outcome: Attempt.Outcome.Completed({
      usage: Usage.make({ inputTokens: 10, outputTokens: 1 }),
      limits: undefined,
      model: undefined,
      requestId: undefined,
      stopReason: undefined
    })
  })

const main = (name: string, count: number, place: Place) =>
  Effect.gen(function*() {
    const ledger = yield* CostLedger.CostLedger
    for (let settled = 0; settled < count;) {
      for (let n = 0; n < 37 && settled < count; n++, settled++) {
        const made = attempt(`${name}-${settled}`)
        yield* settling.admit(ledger, made)
        yield* settling.settle(made)
      }
      yield* Effect.sleep(2)
      const { pendingRows } = yield* ledger.status
      console.log(settled - pendingRows)
    }
  }).pipe(
    Effect.provide(
      CostLedgerSql.layer({
        flushEvery: "20 millis",
        batchRows: 100,
        prefix: place.kind === "postgres" ? place.name : undefined
      }).pipe(
        Layer.provide(PriceBook.layer()),
        Layer.provide(
          place.kind === "postgres"
            ? PgClient.layer({ url: Redacted.make(postgresUrl) })
            : Sqlite.layer({ filename: place.name })
        )
      )
    ),
    Effect.andThen(Effect.sync(() => console.log("done")))
  )

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , name = "", count, kind, place = ""] = process.argv
  await Effect.runPromise(main(name, Number(count), { kind: kind === "postgres" ? kind : "sqlite", name: place }))
}
