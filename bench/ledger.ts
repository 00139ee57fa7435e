/**
 * What the ledger costs: rows a second written through each store, what it adds to a call at a server that answers at once, against the same
 * call without it, and the time of reports over a million rows in SQLite (`npm run bench -- ledger 0` leaves them out). Ratios are medians of
 * pairs of slices measured one after the other; each slice ends when all its rows are written.
 */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Exit, Layer, Redacted, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type * as Attempt from "../src/Attempt.ts"
import * as CallContext from "../src/CallContext.ts"
import * as ClaudeService from "../src/ClaudeService.ts"
import * as CostLedger from "../src/CostLedger.ts"
import * as CostLedgerSql from "../src/CostLedger/Sql.ts"
import type * as CostReport from "../src/CostReport.ts"
import * as PriceBook from "../src/PriceBook.ts"
import * as Sqlite from "../src/Sqlite.ts"
import * as Usage from "../src/Usage.ts"
import type { Row, Run } from "./run.ts"
import { start } from "./utils/server.ts"
import { alternate } from "./utils/sideBySide.ts"

const postgresUrl = process.env["TEST_POSTGRES_URL"] ?? "postgres://postgres@127.0.0.1:5432/test"

const prefix = `bench_${process.pid}_`

const folder = mkdtempSync(join(tmpdir(), "effect-claude-bench-"))

let files = 0

const stores = {
  memory: CostLedger.layerStoreMemory({ maxRows: 200_000 }),
  sqlite: Layer.suspend(() =>
    CostLedgerSql.layerStore().pipe(Layer.provide(Sqlite.layer({ filename: join(folder, `${files++}.db`) })))
  ),
  postgres: CostLedgerSql.layerStore({ prefix }).pipe(
    Layer.provide(PgClient.layer({ url: Redacted.make(postgresUrl), connectTimeout: "2 seconds" }))
  )
}

const dropTables = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`DROP TABLE IF EXISTS ${sql(`${prefix}ledger`)}`
  yield* sql`DROP TABLE IF EXISTS ${sql(`${prefix}ledger_migrations`)}`
}).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(postgresUrl) })))

const median = (values: ReadonlyArray<number>, part = 0.5): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? NaN

const models = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-sonnet-4-6"]

const dayMillis = 86_400_000

const epoch = Date.UTC(2026, 9, 1)

/** Rows of a thousand users of twenty tenants, spread evenly over 30 days. */
const rowsOf = (from: number, count: number, total: number): ReadonlyArray<CostLedger.Row> =>
  Array.from({ length: count }, (_, index) => {
    const n = from + index
    const model = models[(n * 7) % 4] ?? ""
    return {
      callId: `call-k3x9qz-${n.toString(36)}`,
      attempt: 1,
      at: epoch + Math.floor((n / total) * 30 * dayMillis),
      latencyMillis: 800 + (n % 900),
      user: `user-${(n * 7919) % 1_000}`,
      tenant: `tenant-${n % 20}`,
      requestType: n % 3 === 0 ? "summary" : "chat",
      tags: n % 2 === 0 ? { team: "blue" } : {},
      key: "main",
      askedModel: model,
      sentModel: model,
      model,
      rules: [],
      optimizerSavedNanoUsd: null,
      usage: {
        ...Usage.make({ inputTokens: 412, outputTokens: 350, cacheReadTokens: 2_048 }),
        serviceTier: "standard",
        inferenceGeo: "global"
      },
      nanoUsd: 7_100_400,
      cacheSavedNanoUsd: 5_529_600,
      confidence: "exact",
      outcome: "completed",
      error: undefined,
      stopReason: "end_turn",
      billed: "yes",
      requestId: "req_011CSHoEeqs5C35K2UUqR7Fy"
    }
  })

type Built = Context.Context<CostLedger.CostLedger | CostLedger.Store>

/** A ledger of its own over a store, until the scope closes; undefined where the store is not to be had. */
const build = (store: keyof typeof stores, scope: Scope.Closeable): Promise<Built | undefined> =>
  Effect.runPromise(
    Layer.buildWithScope(
      Layer.fresh(CostLedger.layerNoDeps()).pipe(
        Layer.provideMerge(Layer.fresh(Layer.orDie(stores[store]))),
        Layer.provide(PriceBook.layer())
      ),
      scope
    ).pipe(Effect.exit)
  ).then((exit) => {
    if (Exit.isSuccess(exit)) return exit.value
    console.error(`ledger: ${store} is not to be had and was not measured`)
    return undefined
  })

const batch = 200

const fill = (store: CostLedger.Store["Service"], count: number) =>
  Effect.gen(function*() {
    let micros = 0
    for (let from = 0; from < count; from += batch) {
      const rows = rowsOf(from, batch, count)
      const began = performance.now()
      yield* Effect.orDie(store.step({ _tag: "Write", rows }))
      micros += (performance.now() - began) * 1_000
    }
    return micros
  })

const queries: ReadonlyArray<readonly [string, CostReport.Query]> = [
  ["total", {}],
  ["by model", { by: "model" }],
  ["by user", { by: "user" }],
  ["by tag", { by: { tag: "team" } }],
  ["by day", { by: "day" }],
  ["by hour", { by: "hour" }],
  ["of one tenant by model", { by: "model", where: { tenant: "tenant-7" } }]
]

const reports = async (report: (row: Row) => void, rows: number) => {
  const scope = Effect.runSync(Scope.make())
  const built = await build("sqlite", scope)
  if (built === undefined) return
  await Effect.runPromise(fill(Context.get(built, CostLedger.Store), rows))
  const ledger = Context.get(built, CostLedger.CostLedger)
  for (const [name, query] of queries) {
    const times: Array<number> = []
    const cpus: Array<number> = []
    let longest = 0
    for (let n = 0; n < 5; n++) {
      let turned = performance.now()
      const watch = setInterval(() => {
        longest = Math.max(longest, performance.now() - turned)
        turned = performance.now()
      }, 0)
      const began = performance.now()
      const cpu = process.cpuUsage()
      await Effect.runPromise(ledger.report({ ...query, from: epoch, to: epoch + 30 * dayMillis }))
      times.push(performance.now() - began)
      const used = process.cpuUsage(cpu)
      cpus.push((used.user + used.system) / 1_000)
      clearInterval(watch)
    }
    const row = { case: `${name}, 30 days, ${rows} rows, sqlite`, peer: "effect-claude", n: times.length, unit: "ms" }
    report({ ...row, metric: "report_ms", value: median(times) })
    report({ ...row, metric: "report_cpu_ms", value: median(cpus) })
    report({ ...row, metric: "report_blocks_ms", value: longest })
  }
  await Effect.runPromise(Scope.close(scope, Exit.void))
}

const request: Attempt.Request = {
  model: "claude-sonnet-5-5",
  max_tokens: 1_024,
  system: "You are a helpful assistant who answers in one paragraph.",
  messages: [{ role: "user", content: "What is the difference between a policy and a mechanism?" }]
}

type Service = ClaudeService.ClaudeService["Service"]

/** The service with its default policies and this ledger. */
const serviceOver = (url: string, ledger: Layer.Layer<CostLedger.CostLedger>, scope: Scope.Scope): Promise<Service> =>
  Effect.runPromise(
    Layer.buildWithScope(
      ClaudeService.layer({ api: { baseUrl: url }, keys: Redacted.make("sk-ant-bench"), ledger }),
      scope
    ).pipe(Effect.map(Context.get(ClaudeService.ClaudeService)), Effect.orDie)
  )

const callsAtOnce = async (report: (row: Row) => void, url: string, concurrency: number) => {
  const rounds = 31
  const count = 2 * batch
  const slice = (service: Service, end: Effect.Effect<void, unknown>, latencies: Array<number>) => async () => {
    const one = Effect.suspend(() => {
      const began = performance.now()
      return Effect.map(service.create(request), () => {
        latencies.push((performance.now() - began) * 1_000)
      })
    }).pipe(CallContext.annotate({ user: "ada", tenant: "acme" }))
    await Effect.runPromise(Effect.andThen(Effect.replicateEffect(one, count, { concurrency, discard: true }), end))
    return []
  }
  const scope = Effect.runSync(Scope.make())
  const without = await serviceOver(url, CostLedger.layerOff, scope)
  for (const store of ["memory", "sqlite", "postgres"] as const) {
    const scope = Effect.runSync(Scope.make())
    const built = await build(store, scope)
    if (built === undefined) continue
    const ledger = Context.get(built, CostLedger.CostLedger)
    const ours: Array<number> = []
    const theirs: Array<number> = []
    const pairs = await alternate(
      rounds,
      slice(await serviceOver(url, Layer.succeed(CostLedger.CostLedger, ledger), scope), ledger.flush, ours),
      slice(without, Effect.void, theirs)
    )
    const row = { case: `${store}, c=${concurrency}`, peer: "no ledger", n: rounds * count }
    const cpu = (side: "ours" | "theirs") => pairs.map((pair) => pair[side].cpuMicros / count)
    const bare = cpu("theirs")
    report({ ...row, metric: "cpu_per_call_us", value: median(cpu("ours")), unit: "us", peer: "effect-claude" })
    report({ ...row, metric: "cpu_per_call_us", value: median(bare), unit: "us" })
    report({
      ...row,
      metric: "cpu_per_call_ratio",
      value: median(cpu("ours").map((value, index) => value / (bare[index] ?? NaN))),
      unit: "ratio"
    })
    for (const [name, part] of [["p50", 0.5], ["p99", 0.99]] as const) {
      report({
        ...row,
        metric: `added_latency_${name}_us`,
        value: median(ours, part) - median(theirs, part),
        unit: "us"
      })
      report({ ...row, metric: `latency_${name}_us`, value: median(theirs, part), unit: "us" })
    }
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

export const run: Run = async (report) => {
  const server = await start()
  try {
    for (const [store, count] of [["memory", 100_000], ["sqlite", 100_000], ["postgres", 50_000]] as const) {
      const scope = Effect.runSync(Scope.make())
      const built = await build(store, scope)
      if (built === undefined) continue
      const micros = await Effect.runPromise(fill(Context.get(built, CostLedger.Store), count))
      const row = { case: `${store}, ${batch} at once`, peer: "effect-claude", n: count }
      report({ ...row, metric: "rows_per_second", value: count / micros * 1e6, unit: "1/s" })
      await Effect.runPromise(Scope.close(scope, Exit.void))
    }
    for (const concurrency of [1, 16]) await callsAtOnce(report, server.url, concurrency)
    const rows = Number(process.argv[3] ?? 1_000_000)
    if (rows > 0) await reports(report, rows)
  } finally {
    await Effect.runPromise(Effect.ignore(dropTables))
    rmSync(folder, { recursive: true, force: true })
    server.stop()
  }
}
